//! Whatever can be parsed prints as something that parses to the same.

use proptest::prelude::*;

use crate::netdev::{CarrierMode, Coalesce, Engine, Id, Options, Qdisc, Script, VhostMode};
use crate::{Account, MacAddress, NameRequest, Namespace};

fn fd() -> impl Strategy<Value = i32> {
    0..=i32::MAX
}

fn fds() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::vec(fd(), 1..10)
}

/// Names the kernel takes, the comma among their characters.
fn interface() -> &'static str {
    "[a-z][a-z0-9,._-]{0,14}"
}

fn script() -> impl Strategy<Value = Script> {
    prop_oneof![
        Just(Script::None),
        "[^\0]{0,8}/[a-z,= \u{e9}\"\\\\]{1,12}".prop_map(|path| Script::Program(path.into())),
    ]
}

prop_compose! {
    fn sources()(
        ifname in prop::option::of(prop_oneof![interface(), "[a-z,]{0,8}%d[a-z,]{0,5}"]),
        fd in prop::option::of(fd()),
        fds in prop::option::of(fds()),
        queues in prop::option::of(any::<u32>()),
        script in prop::option::of(script()),
        downscript in prop::option::of(script()),
        br in prop::option::of(interface()),
        helper in prop::option::of("[^\0]{1,20}"),
    ) -> Options {
        let mut options = Options::new(Id::new("x").unwrap());
        options.ifname = ifname.map_or(NameRequest::KernelChoice, |name| name.parse().unwrap());
        options.fd = fd;
        options.fds = fds;
        options.queues = queues;
        options.script = script;
        options.downscript = downscript;
        options.br = br.map(|name| name.parse().unwrap());
        options.helper = helper;
        options
    }
}

fn namespace() -> impl Strategy<Value = Namespace> {
    prop_oneof![
        "[a-z][a-z0-9,._ -]{0,14}".prop_map(Namespace::Name),
        "[^\0]{0,8}/[a-z,= \u{e9}]{1,12}".prop_map(|path| Namespace::Path(path.into())),
        (1..=i32::MAX as u32).prop_map(Namespace::Pid),
    ]
}

fn account() -> impl Strategy<Value = Account> {
    prop_oneof!["[a-z_][a-z0-9_-]{0,30}".prop_map(Account::Name), (0..u32::MAX).prop_map(Account::Id)]
}

prop_compose! {
    fn created()(
        sources in sources(),
        netns in prop::option::of(namespace()),
        persist in any::<Option<bool>>(),
        user in prop::option::of(account()),
        group in prop::option::of(account()),
        mac in any::<Option<[u8; 6]>>(),
        mtu in any::<Option<u32>>(),
    ) -> Options {
        let mut options = sources;
        options.netns = netns;
        options.persist = persist;
        options.user = user;
        options.group = group;
        options.mac = mac.map(MacAddress::new);
        options.mtu = mtu;
        options
    }
}

prop_compose! {
    fn any_options()(
        sources in created(),
        id in "[a-zA-Z][a-zA-Z0-9._-]{0,20}",
        sndbuf in prop::option::of(any::<u64>()),
        switches in any::<[Option<bool>; 2]>(),
        vhost in prop::sample::select(vec![None, Some(VhostMode::On), Some(VhostMode::Off), Some(VhostMode::Try)]),
        vhostfd in prop::option::of(fd()),
        vhostfds in prop::option::of(fds()),
        poll_us in prop::option::of(any::<u32>()),
        carrier in prop::sample::select(vec![CarrierMode::Guest, CarrierMode::On, CarrierMode::Off]),
        exclusive in any::<bool>(),
        qdisc in prop::sample::select(vec![Qdisc::Noqueue, Qdisc::Mq]),
        engine in prop::sample::select(vec![Engine::Auto, Engine::Syscall, Engine::IoUring]),
        segment in any::<bool>(),
        coalesce in prop::sample::select(vec![Coalesce::Auto, Coalesce::On, Coalesce::Off]),
    ) -> Options {
        let mut options = sources;
        options.id = Id::new(id).unwrap();
        options.sndbuf = sndbuf;
        [options.vnet_hdr, options.vhostforce] = switches;
        options.vhost = vhost;
        options.vhostfd = vhostfd;
        options.vhostfds = vhostfds;
        options.poll_us = poll_us;
        options.carrier = carrier;
        options.exclusive = exclusive;
        options.qdisc = qdisc;
        options.engine = engine;
        options.segment = segment;
        options.coalesce = coalesce;
        options
    }
}

proptest! {
    #[test]
    fn text(options in any_options()) {
        let printed = options.to_string();
        prop_assert_eq!(printed.parse::<Options>(), Ok(options), "printed as {}", printed);
    }

    #[test]
    fn json(options in any_options()) {
        let printed = serde_json::to_string(&options).unwrap();
        let read: Options = serde_json::from_str(&printed).unwrap();
        prop_assert_eq!(&read, &options, "printed as {}", printed);
        prop_assert_eq!(printed.parse::<Options>(), Ok(options));
    }

    /// Text made of the pieces the syntax is made of: whatever is accepted round-trips, and nothing panics.
    #[test]
    fn pieces(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = format!("tap,id=a{}", pieces.concat());
        if let Ok(options) = text.parse::<Options>() {
            let printed = options.to_string();
            let _ = options.validate();
            prop_assert_eq!(printed.parse::<Options>(), Ok(options), "printed as {}", printed);
        }
    }
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(",".to_owned()),
        Just("=".to_owned()),
        Just(":".to_owned()),
        Just("no".to_owned()),
        prop::sample::select(crate::netdev::OptionName::ALL).prop_map(|name| format!(",{name}=")),
        prop::sample::select(crate::netdev::OptionName::ALL).prop_map(|name| format!(",{name}")),
        "[0-9]{1,4}",
        prop::sample::select(vec!["on", "off", "1.5M", "0x", "tap0", "/bin/x", "%d", "é"])
            .prop_map(str::to_owned),
    ]
}
