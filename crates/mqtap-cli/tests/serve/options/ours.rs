//! The options that QEMU does not have, and the type.

use mqtap::netdev::OptionName;
use mqtap_test_support::{Elsewhere, TestResult, ip};

use super::super::coalescing::a_connection_gets_every_byte_of_coalesced_segments;
use super::super::daemon::Daemon;
use super::super::engines::bursts_for_a_tap_without_header_leave_it_out;
use super::super::lifecycle::{carrier_can_be_kept, carrier_follows_the_guest};
use super::super::segmentation::the_kernel_segments_where_it_is_to;
use super::{Row, errors, exec, gone, output, shell, shown};

pub(super) const ROWS: &[Row] = &[
    Row {
        option: OptionName::Type,
        works: the_type,
        refused: &[
            ("user,id=a", "`user` is not a netdev type"),
            ("id=a", "does not say its type"),
            ("type=bridge,id=a", "`bridge` is not a netdev type"),
        ],
    },
    Row {
        option: OptionName::Carrier,
        works: carrier,
        refused: &[("tap,id=a,carrier=gest", "did you mean `guest`?")],
    },
    Row {
        option: OptionName::Exclusive,
        works: exclusive,
        refused: &[("tap,id=a,exclusive=maybe", "write `exclusive=on` or `exclusive=off`")],
    },
    Row {
        option: OptionName::Qdisc,
        works: qdisc,
        refused: &[("tap,id=a,qdisc=fq", "the values of qdisc are `noqueue` and `mq`")],
    },
    Row {
        option: OptionName::Netns,
        works: netns,
        refused: &[
            ("tap,id=a,netns=/no/such/namespace", "enter the network namespace /no/such/namespace: ENOENT"),
            ("tap,id=a,netns=..", "neither a name of a network namespace nor a path"),
        ],
    },
    Row {
        option: OptionName::Persist,
        works: persist,
        refused: &[
            ("tap,id=a,persist=on", "persist=on needs a name"),
            ("tap,id=a,persist=maybe", "write `persist=on` or `persist=off`"),
        ],
    },
    Row {
        option: OptionName::User,
        works: user,
        refused: &[("tap,id=a,user=no-such-user", "user=: there is no user no-such-user")],
    },
    Row {
        option: OptionName::Group,
        works: group,
        refused: &[("tap,id=a,group=no-such-group", "group=: there is no group no-such-group")],
    },
    Row {
        option: OptionName::Mac,
        works: mac,
        refused: &[
            ("tap,id=a,mac=1:2", "mac=1:2: it is not a MAC address such as 02:00:00:00:00:01"),
            ("tap,id=a,mac=01:00:00:00:00:00", "this is that of a group"),
        ],
    },
    Row {
        option: OptionName::Mtu,
        works: mtu,
        refused: &[
            ("tap,id=a,mtu=67", "the MTU of a tap is 68 to 65521 bytes"),
            ("tap,id=a,mtu=65522", "the MTU of a tap is 68 to 65521 bytes"),
        ],
    },
    Row {
        option: OptionName::Engine,
        works: bursts_for_a_tap_without_header_leave_it_out,
        refused: &[("tap,id=a,engine=dpdk", "the values of engine are `auto`, `syscall` and `io_uring`")],
    },
    Row {
        option: OptionName::Segment,
        works: the_kernel_segments_where_it_is_to,
        refused: &[("tap,id=a,segment=maybe", "write `segment=on` or `segment=off`")],
    },
    Row {
        option: OptionName::Coalesce,
        works: a_connection_gets_every_byte_of_coalesced_segments,
        refused: &[
            ("tap,id=a,coalesce=maybe", "the values of coalesce are `auto`, `on` and `off`"),
            ("tap,id=a,coalesce=on,vnet_hdr=off", "coalesce=on contradicts vnet_hdr=off"),
        ],
    },
];

fn the_type() -> TestResult {
    for text in ["tap,id=a", "type=tap,id=a", "id=a,type=tap", r#"{"type":"tap","id":"a"}"#] {
        assert_eq!(output(&mut exec(text, &["echo", "{a}"]))?, "tap,id=a,fd=3\n");
    }
    Ok(())
}

fn carrier() -> TestResult {
    carrier_follows_the_guest()?;
    gone()?;
    carrier_can_be_kept()
}

fn exclusive() -> TestResult {
    let _holder = Daemon::start("tap,id=a,ifname=tap0,queues=2", &[])?;
    let refused = exec("tap,id=b,ifname=tap0,exclusive=on", &["true"]).output()?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("tap0") && errors(&refused).contains("mqtap"), "{}", errors(&refused));
    output(&mut exec("tap,id=b,ifname=tap0,exclusive=off", &["true"])).map(drop)
}

fn qdisc() -> TestResult {
    let up = "ip link set tap0 up; ip -o link show tap0";
    for (given, found) in [("", "noqueue"), (",qdisc=noqueue", "noqueue"), (",qdisc=mq", "mq")] {
        let shown = shell(&format!("tap,id=a,ifname=tap0,queues=2{given}"), up, &[])?;
        assert!(shown.contains(&format!("qdisc {found} ")), "{given}: {shown}");
    }
    Ok(())
}

fn netns() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let netdev = format!("tap,id=a,ifname=tap0,persist=on,netns={}", elsewhere.path().display());
    output(&mut exec(&netdev, &["true"]))?;
    assert!(ip("link show tap0").is_err());
    elsewhere.run(|| ip("link show tap0")).map(drop)
}

fn persist() -> TestResult {
    assert!(shown(",persist=off")?.contains("persist off"));
    gone()?;
    shown(",persist=on")?;
    assert!(ip("-d link show tap0")?.contains("persist on"));
    Ok(())
}

fn user() -> TestResult {
    assert!(shown("")?.contains("user root"), "of who runs it");
    assert!(shown(",user=root,group=root")?.contains("user root group root"));
    Ok(())
}

fn group() -> TestResult {
    let shown = shown(",group=root")?;
    assert!(shown.contains("group root") && !shown.contains("user "), "{shown}");
    Ok(())
}

fn mac() -> TestResult {
    assert!(shown(",mac=02:00:00:00:00:42")?.contains("link/ether 02:00:00:00:00:42"));
    Ok(())
}

fn mtu() -> TestResult {
    assert!(shown(",mtu=9000")?.contains("mtu 9000"));
    Ok(())
}
