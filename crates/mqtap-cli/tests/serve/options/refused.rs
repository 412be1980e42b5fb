//! What QEMU refuses together, and what it takes and then ignores.

use mqtap_test_support::TestResult;

use super::assert_refused;

/// One netdev, and what the error has in it.
fn all_refused(cases: &[(&str, &[&str])]) {
    for (options, pieces) in cases {
        for piece in *pieces {
            assert_refused(&format!("tap,id=a,{options}"), piece);
        }
    }
}

/// "queues=, helper=, fds= and fd= are mutual exclusive", says QEMU. By what is given, not by the value.
pub(crate) fn queues_from_two_places_are_refused() -> TestResult {
    all_refused(&[
        ("queues=1,fd=3", &["fd= and queues=", "leave out queues="]),
        ("queues=2,fds=3:4", &["fds= and queues=", "leave out queues="]),
        ("queues=1,helper=/h", &["queues= and helper="]),
        ("queues=2,helper=/h", &["queues=2 cannot be had", "single queue", "helper=mqtap"]),
        ("fd=3,fds=4:5", &["fd= and fds=", "list all"]),
        ("fd=3,helper=/h", &["fd= and helper="]),
        ("fds=3:4,helper=/h", &["fds= and helper="]),
        ("fds=3:4,helper=mqtap", &["fds= and helper="]),
    ]);
    Ok(())
}

/// "ifname=, script=, downscript=, vnet_hdr= are invalid with fd=/fds=/helper=".
pub(crate) fn what_is_open_already_has_no_options_about_opening() -> TestResult {
    let of_qemu = ["ifname=tap0", "script=no", "script=/s", "downscript=no", "vnet_hdr=on", "vnet_hdr=off"];
    let ours = [
        "exclusive=on",
        "qdisc=mq",
        "netns=blue",
        "persist=off",
        "user=root",
        "group=root",
        "mac=02:00:00:00:00:01",
        "mtu=1500",
    ];
    for source in ["fd=3", "fds=3:4", "helper=/h"] {
        let name = source.split('=').next().unwrap_or_default();
        for option in of_qemu.into_iter().chain(ours) {
            let option_name = option.split('=').next().unwrap_or_default();
            assert_refused(
                &format!("tap,id=a,{source},{option}"),
                &format!("{option_name}= cannot be given with {name}="),
            );
        }
    }
    Ok(())
}

/// "vhostfd(s)= is not valid without vhost", and the number of them, which older ones did not count.
pub(crate) fn vhost_handles_without_vhost_or_of_another_number_are_refused() -> TestResult {
    all_refused(&[
        ("vhost=off,vhostfd=3", &["vhost=off contradicts vhostfd="]),
        ("vhost=off,vhostfds=3", &["vhost=off contradicts vhostfds="]),
        ("queues=4,vhostfd=9", &["4 queues but vhostfd= gives 1"]),
        ("queues=2,vhostfds=9:10:11", &["2 queues but vhostfds= gives 3"]),
        ("fds=3:4,vhostfd=9", &["2 queues but vhostfd= gives 1"]),
        ("fds=3:4,vhostfds=9", &["2 queues but vhostfds= gives 1"]),
        ("fd=3,vhostfds=9:10", &["1 queue but vhostfds= gives 2"]),
        ("helper=/h,vhostfds=9:10", &["1 queue but vhostfds= gives 2"]),
    ]);
    Ok(())
}

/// What QEMU does not check: one of them is ignored then.
pub(crate) fn what_qemu_ignores_is_refused() -> TestResult {
    all_refused(&[
        ("vhostfd=3,vhostfds=4", &["vhostfd= and vhostfds="]),
        ("vhost=off,vhostforce=on", &["vhost=off contradicts vhostforce="]),
        ("queues=2,queues=2", &["queues= is given twice"]),
        ("fds=3:3", &["3 is given twice"]),
        ("fd=3,vhostfd=3", &["3 is given twice"]),
        ("fd=0", &["standard input"]),
    ]);
    Ok(())
}
