//! The option string: what it says, and the error of each thing that is wrong with it.

use super::{parsed, refused, says};
use crate::netdev::{
    CarrierMode, Coalesce, Engine, Id, NumberError, OptionName, Options, OptionsError, Qdisc, Script,
    SizeError, VhostMode,
};
use crate::{Account, MacAddress, NameRequest, Namespace};

fn named(id: &str) -> Options {
    Options::new(Id::new(id).unwrap())
}

#[test]
fn only_the_id_is_needed() {
    let options = parsed("tap,id=hn0");
    assert_eq!(options, named("hn0"));
    assert_eq!(options.queue_count(), 1);
    assert!(!options.wants_vhost());
    assert_eq!(options.validate(), Ok(()));
}

#[test]
fn every_option_reaches_its_field() {
    let options = parsed(
        "tap,id=hn0,ifname=tap7,fd=10,fds=3:4,queues=2,script=/etc/up,downscript=no,br=br0,helper=/usr/lib/h,sndbuf=1M,vnet_hdr=off,\
         vhost=on,vhostfd=11,vhostfds=5:6,vhostforce=yes,poll-us=50,carrier=on,exclusive=on,qdisc=mq,engine=io_uring,segment=off,\
         coalesce=off",
    );
    let mut expected = named("hn0");
    expected.ifname = "tap7".parse().unwrap();
    expected.fd = Some(10);
    expected.fds = Some(vec![3, 4]);
    expected.queues = Some(2);
    expected.script = Some(Script::Program("/etc/up".into()));
    expected.downscript = Some(Script::None);
    expected.br = Some("br0".parse().unwrap());
    expected.helper = Some("/usr/lib/h".to_owned());
    expected.sndbuf = Some(1 << 20);
    expected.vnet_hdr = Some(false);
    expected.vhost = Some(VhostMode::On);
    expected.vhostfd = Some(11);
    expected.vhostfds = Some(vec![5, 6]);
    expected.vhostforce = Some(true);
    expected.poll_us = Some(50);
    expected.carrier = CarrierMode::On;
    expected.exclusive = true;
    expected.qdisc = Qdisc::Mq;
    expected.engine = Engine::IoUring;
    expected.segment = false;
    expected.coalesce = Coalesce::Off;
    assert_eq!(options, expected);
}

#[test]
fn the_type_may_have_its_name_and_any_place() {
    assert_eq!(parsed("type=tap,id=a"), named("a"));
    assert_eq!(parsed("id=a,type=tap"), named("a"));
}

#[test]
fn one_comma_may_end_the_text() {
    assert_eq!(parsed("tap,id=a,"), named("a"));
}

#[test]
fn a_doubled_comma_is_a_comma() {
    let options = parsed("tap,id=a,script=/etc/a,,b/up,,,downscript=/d,,");
    assert_eq!(options.script, Some(Script::Program("/etc/a,b/up,".into())));
    assert_eq!(options.downscript, Some(Script::Program("/d,".into())));
}

#[test]
fn an_equals_sign_in_a_value_is_part_of_it() {
    let options = parsed("tap,id=a,helper=/bin/env X=1 helper");
    assert_eq!(options.helper.as_deref(), Some("/bin/env X=1 helper"));
}

#[test]
fn a_bare_switch_is_on_and_after_no_off() {
    let options = parsed("tap,id=a,vhost,vnet_hdr,exclusive");
    assert_eq!(options.vhost, Some(VhostMode::On));
    assert_eq!(options.vnet_hdr, Some(true));
    assert!(options.exclusive);
    let options = parsed("tap,id=a,novhost,novnet_hdr,novhostforce,noexclusive");
    assert_eq!(options.vhost, Some(VhostMode::Off));
    assert_eq!(options.vnet_hdr, Some(false));
    assert_eq!(options.vhostforce, Some(false));
    assert!(!options.exclusive);
}

/// QEMU makes an interface called `on` of a bare `ifname`.
#[test]
fn other_options_are_nothing_without_a_value() {
    let error = refused("tap,id=a,ifname");
    assert_eq!(error, OptionsError::MissingValue { word: "ifname".to_owned(), option: OptionName::Ifname });
    says(&error, &["`ifname` alone", "`ifname=tap0`"]);
    says(&refused("tap,id=a,noscript"), &["`noscript` alone", "`script=no`"]);
    for option in OptionName::ALL.iter().filter(|option| !option.is_switch()) {
        let error = refused(&format!("tap,{option}"));
        assert!(matches!(error, OptionsError::MissingValue { .. }), "{option}: {error}");
    }
}

#[test]
fn an_empty_path_is_no_script() {
    let options = parsed("tap,id=a,script=,downscript=");
    assert_eq!(options.script, Some(Script::None));
    assert_eq!(options.downscript, Some(Script::None));
}

#[test]
fn other_options_are_not_empty() {
    let empty_is_none = [OptionName::Script, OptionName::Downscript];
    for option in OptionName::ALL.iter().filter(|option| !empty_is_none.contains(option)) {
        let text = match option {
            OptionName::Type => "type=,id=a".to_owned(),
            OptionName::Id => "tap,id=".to_owned(),
            _ => format!("tap,id=a,{option}="),
        };
        let error = refused(&text);
        assert_eq!(error, OptionsError::EmptyValue { option: *option });
        says(&error, &[&format!("{option}= is empty")]);
    }
    says(&refused("tap,id=a,fds="), &["at least one queue"]);
    says(&refused("tap,id=a,ifname="), &["let the kernel choose"]);
}

#[test]
fn text_without_options() {
    assert_eq!(refused(""), OptionsError::Empty);
    assert_eq!(refused(",id=a"), OptionsError::EmptyValue { option: OptionName::Type });
    says(&refused("id=a,queues=4"), &["`id=a`", "does not say its type", "`tap,`"]);
}

#[test]
fn other_types() {
    says(&refused("user,id=a,hostfwd=x"), &["`user`", "one: `tap`", "QEMU's own"]);
    says(&refused("vhost-user,id=a,chardev=c"), &["mqtap serve"]);
    says(&refused("tpa,id=a"), &["`tpa`", "begin with `tap,`"]);
    says(&refused("hn0"), &["`hn0` is not a netdev type"]);
}

#[test]
fn unknown_options_and_what_was_meant() {
    let error = refused("tap,id=a,queue=4");
    assert_eq!(
        error,
        OptionsError::UnknownOption { option: "queue".to_owned(), suggestion: Some(OptionName::Queues) }
    );
    says(&error, &["`queue`", "did you mean `queues`?"]);
    for (typed, meant) in [
        ("vnet-hdr", "vnet_hdr"),
        ("poll_us", "poll-us"),
        ("IFNAME", "ifname"),
        ("sndbuff", "sndbuf"),
        ("down_script", "downscript"),
        ("vhost_fds", "vhostfds"),
    ] {
        says(&refused(&format!("tap,id=a,{typed}=1")), &[&format!("did you mean `{meant}`?")]);
    }
    says(&refused("tap,id=a,frobnicate=1"), &["the options are `type`, `id`", " and `coalesce`"]);
    says(&refused("tap,id=a,mac=52:54:0:0:0:1"), &["the NIC"]);
    says(&refused("tap,id=a,nonsense"), &["`nonsense`"]);
    says(&refused("tap,id=a,nofoo"), &["`nofoo`"]);
}

/// QEMU silently uses the last.
#[test]
fn an_option_comes_once() {
    let error = refused("tap,id=a,queues=4,queues=8");
    assert_eq!(
        error,
        OptionsError::Duplicate { option: OptionName::Queues, first: "4".to_owned(), second: "8".to_owned() }
    );
    says(&error, &["queues= is given twice", "`4`", "`8`"]);
    says(&refused("tap,id=a,vhost,novhost"), &["`on`", "`off`"]);
    says(&refused("tap,type=tap,id=a"), &["type= is given twice"]);
    says(&refused("tap,id=a,queues=2,queues=2"), &["queues= is given twice"]);
}

#[test]
fn stray_commas_and_equals_signs() {
    assert_eq!(refused("tap,id=a,vhost,,queues=4"), OptionsError::EmptyOption);
    assert_eq!(refused("tap,id=a,=5"), OptionsError::MissingName { value: "5".to_owned() });
    let error = refused("tap,id=a,,queues=4");
    assert_eq!(error, OptionsError::CommaInValue { option: OptionName::Id, value: "a,queues=4".to_owned() });
    says(&error, &["`id=a,queues=4` is one value", "shell variable"]);
    says(&refused("tap,,id=a"), &["`type=tap,id=a` is one value"]);
    says(&refused("tap,id=a,queues=4,,"), &["`queues=4,` is one value"]);
    let error = refused("tap,id=a,fds=3:4,5,6");
    assert_eq!(error, OptionsError::CommaInList { option: OptionName::Fds, value: "3:4:5".to_owned() });
    says(&refused("tap,id=a,fds=3:4,vhostfds=5,6"), &["separated by colons: `vhostfds=5:6`"]);
    says(&refused("tap,id=a,fds=3,vnet"), &["`vnet` is not an option"]);
}

#[test]
fn ids() {
    for id in ["a", "hn0", "Z", "net.0-x_y"] {
        assert_eq!(parsed(&format!("tap,id={id}")).id.as_str(), id);
    }
    for id in ["1a", "_a", "-a", ".a", "a b", "a/b", "ä", "a:b", "aé"] {
        assert_eq!(refused(&format!("tap,id={id}")), OptionsError::InvalidId { id: id.to_owned() });
    }
    says(&refused("tap,id=1a"), &["id=1a", "starts with a letter"]);
    assert_eq!(refused("tap,queues=4"), OptionsError::MissingId);
    says(&refused("tap"), &["no id", "`tap,id=hn0`"]);
}

#[test]
fn bad_switches() {
    let error = refused("tap,id=a,vnet_hdr=ON");
    assert_eq!(error, OptionsError::InvalidSwitch { option: OptionName::VnetHdr, value: "ON".to_owned() });
    says(&error, &["vnet_hdr=ON", "`vnet_hdr=on` or `vnet_hdr=off`"]);
}

#[test]
fn vhost_has_three_positions() {
    for (value, expected) in
        [("on", VhostMode::On), ("true", VhostMode::On), ("no", VhostMode::Off), ("try", VhostMode::Try)]
    {
        assert_eq!(parsed(&format!("tap,id=a,vhost={value}")).vhost, Some(expected), "{value}");
    }
    let error = refused("tap,id=a,vhost=tri");
    assert!(matches!(error, OptionsError::InvalidChoice { suggestion: Some("try"), .. }), "{error}");
    says(&error, &["vhost=tri", "`on`, `off` and `try`"]);
}

#[test]
fn bad_numbers() {
    for (value, expected) in [
        ("four", NumberError::NotANumber),
        ("-1", NumberError::Negative),
        ("010", NumberError::LeadingZero),
        ("4294967297", NumberError::TooLarge),
    ] {
        for option in ["queues", "poll-us"] {
            match refused(&format!("tap,id=a,{option}={value}")) {
                OptionsError::InvalidNumber { reason, .. } => assert_eq!(reason, expected),
                other => panic!("{option}={value}: {other}"),
            }
        }
    }
    says(&refused("tap,id=a,queues=010"), &["queues=010", "octal for QEMU"]);
    says(&refused("tap,id=a,queues=-1"), &["negative", "1 to 256"]);
    says(&refused("tap,id=a,poll-us=x"), &["0 to 4294967295"]);
    assert_eq!(parsed("tap,id=a,queues=0x10").queues, Some(16));
}

#[test]
fn bad_sizes() {
    match refused("tap,id=a,sndbuf=1MB") {
        OptionsError::InvalidSize { reason, .. } => assert_eq!(reason, SizeError::NotASize),
        other => panic!("{other}"),
    }
    says(&refused("tap,id=a,sndbuf=1MB"), &["sndbuf=1MB", "512k"]);
    says(&refused("tap,id=a,sndbuf=1.5"), &["needs one", "1.5M"]);
}

#[test]
fn words_of_our_own_options() {
    assert_eq!(parsed("tap,id=a,coalesce").coalesce, Coalesce::On);
    assert_eq!(parsed("tap,id=a,nocoalesce").coalesce, Coalesce::Off);
    says(&refused("tap,id=a,coalesce=yes"), &["coalesce=yes", "`auto`, `on` and `off`"]);
    assert_eq!(parsed("tap,id=a,carrier=guest").carrier, CarrierMode::Guest);
    assert_eq!(parsed("tap,id=a,carrier=off").carrier, CarrierMode::Off);
    assert_eq!(parsed("tap,id=a,qdisc=noqueue").qdisc, Qdisc::Noqueue);
    says(
        &refused("tap,id=a,carrier=gest"),
        &["carrier=gest", "`guest`, `on` and `off`", "did you mean `guest`?"],
    );
    says(&refused("tap,id=a,qdisc=fq"), &["`noqueue` and `mq`"]);
}

#[test]
fn interface_names() {
    let cases = ["0123456789abcdef", "a/b", "a b", ".", "..", "tap%s", "tap%d%d", "100%"];
    for name in cases {
        let error = refused(&format!("tap,id=a,ifname={name}"));
        assert!(
            matches!(error, OptionsError::InvalidInterfaceName { option: OptionName::Ifname, .. }),
            "{name}: {error}"
        );
        says(&error, &["ifname: interface name", name]);
    }
    assert!(matches!(parsed("tap,id=a,ifname=vm%d").ifname, NameRequest::Pattern(_)));
    assert!(matches!(parsed("tap,id=a,ifname=0123456789abcde").ifname, NameRequest::Exact(_)));
    // A bridge is named exactly.
    says(&refused("tap,id=a,br=br%d"), &["br=br%d: ", "named exactly"]);
}

#[test]
fn file_descriptors() {
    assert_eq!(parsed("tap,id=a,fd=03").fd, Some(3));
    assert_eq!(parsed("tap,id=a,fds=7").fds, Some(vec![7]));
    assert_eq!(parsed("tap,id=a,fds=5:4:3").fds, Some(vec![5, 4, 3]));

    for (text, piece) in [
        ("fds=3:", "element 2 of the list is empty"),
        ("fds=:3", "element 1"),
        ("fds=3::4", "element 2"),
        ("vhostfds=:", "element 1"),
    ] {
        let error = refused(&format!("tap,id=a,{text}"));
        assert!(matches!(error, OptionsError::EmptyFdInList { .. }), "{error}");
        says(&error, &[text, piece]);
    }

    let error = refused("tap,id=a,fds=tap0:tap1");
    assert!(matches!(&error, OptionsError::NamedFd { name, .. } if name == "tap0"));
    says(&error, &["fds=tap0:tap1", "monitor", "number of an open file"]);

    for text in ["fd=3x", "fd=0x3", "fd=+3", "fd= 3", "fd=-", "vhostfd=3 "] {
        let error = refused(&format!("tap,id=a,{text}"));
        assert!(matches!(error, OptionsError::MalformedFd { .. }), "{error}");
        says(&error, &[text]);
    }

    says(&refused("tap,id=a,fds=3:-1"), &["fds", "-1", "not negative"]);
    says(&refused("tap,id=a,fd=2147483648"), &["too large", "2147483647"]);
    let error = refused("tap,id=a,fd=3:4");
    assert!(matches!(error, OptionsError::FdList { .. }));
    says(&error, &["fd= takes one", "`fds=3:4`"]);
    says(&refused("tap,id=a,vhostfd=5:6"), &["`vhostfds=5:6`"]);
}

/// Error texts end up in terminals and logs.
#[test]
fn error_texts_are_bounded_and_printable() {
    let text = refused(&format!("tap,id={}", "\u{1b}[2J\n".repeat(100_000))).to_string();
    assert!(text.len() < 400, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn what_an_interface_is_to_be_that_is_created() {
    let options = parsed("tap,id=a,netns=blue,persist,user=alice,group=107,mac=02:00:00:00:00:42,mtu=9000");
    assert_eq!(options.netns, Some(Namespace::Name("blue".to_owned())));
    assert_eq!(options.persist, Some(true));
    assert_eq!(options.user, Some(Account::Name("alice".to_owned())));
    assert_eq!(options.group, Some(Account::Id(107)));
    assert_eq!(options.mac, Some(MacAddress::new([2, 0, 0, 0, 0, 0x42])));
    assert_eq!(options.mtu, Some(9000));
    assert_eq!(parsed("tap,id=a,netns=/run/a,,b").netns, Some(Namespace::Path("/run/a,b".into())));
    assert_eq!(parsed("tap,id=a,netns=4711").netns, Some(Namespace::Pid(4711)));
    assert_eq!(parsed("tap,id=a,nopersist").persist, Some(false));

    says(&refused("tap,id=a,netns=.."), &["netns: \"..\" is neither a name", "nor a path"]);
    says(&refused("tap,id=a,netns=0"), &["0 is not the number of a process", "/run/netns/0"]);
    says(&refused("tap,id=a,user=4294967295"), &["user: 4294967295 is too large"]);
    says(&refused("tap,id=a,group=a:b"), &["group: \"a:b\" is no name"]);
    says(
        &refused("tap,id=a,mac=02:00:00:00:00"),
        &["mac=02:00:00:00:00", "02:00:00:00:00:01", "the host's end"],
    );
    says(&refused("tap,id=a,mtu=1500b"), &["mtu=1500b", "68 to 65521"]);
    says(&refused("tap,id=a,persist=maybe"), &["persist=maybe", "`persist=on`"]);
    says(
        &refused("tap,id=a,macaddr=02:00:00:00:00:01"),
        &["the guest's MAC address belongs to the NIC", "mac="],
    );
}
