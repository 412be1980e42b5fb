//! Combinations. What QEMU does is noted where it is worse than an error.

use super::{parsed, says, senseless};
use crate::netdev::{Id, OptionName, Options, OptionsError, ProgramError, Script, VhostMode};

#[track_caller]
fn valid(text: &str) {
    assert_eq!(parsed(text).validate(), Ok(()), "{text}");
}

#[test]
fn what_people_use_is_valid() {
    for text in [
        "tap,id=hn0",
        "tap,id=hn0,ifname=tap0,script=no,downscript=no,queues=4",
        "tap,id=hn0,ifname=tap0,script=no,downscript=no,queues=4,vhost=on",
        "tap,id=hn0,ifname=vm%d,queues=256,sndbuf=0,vnet_hdr=on",
        "tap,id=hn0,fds=10:11:12:13,vhostfds=14:15:16:17",
        "tap,id=hn0,fd=10,vhost=on,vhostfd=11",
        "tap,id=hn0,vhostfd=11",
        "tap,id=hn0,queues=2,vhostforce=on,poll-us=50",
        "tap,id=hn0,vhost=off,vhostforce=off",
        "tap,id=hn0,helper=/usr/lib/qemu/qemu-bridge-helper,br=br1",
        "tap,id=hn0,helper=/usr/bin/sudo helper --flag",
        "tap,id=hn0,script=/etc/qemu-ifup,downscript=./down",
        "tap,id=hn0,fds=3:4,carrier=on,sndbuf=1M",
        "tap,id=hn0,sndbuf=2147483647",
    ] {
        valid(text);
    }
}

/// QEMU of before 11.1 dies of an assertion.
#[test]
fn at_least_one_queue() {
    let error = senseless("tap,id=a,queues=0");
    assert_eq!(error, OptionsError::NoQueues);
    says(&error, &["queues=0", "at least one"]);
}

/// QEMU opens 256, fails at the next with "Argument list too long", and when hot-plugging leaves them behind.
#[test]
fn at_most_256_queues() {
    valid("tap,id=a,queues=256");
    let error = senseless("tap,id=a,queues=257");
    assert_eq!(error, OptionsError::TooManyQueues { queues: 257 });
    says(&error, &["queues=257", "at most 256"]);

    let list = |count: i32| (3..3 + count).map(|fd| fd.to_string()).collect::<Vec<_>>().join(":");
    valid(&format!("tap,id=a,fds={}", list(256)));
    let error = senseless(&format!("tap,id=a,fds={}", list(257)));
    assert_eq!(error, OptionsError::TooManyFds { option: OptionName::Fds, count: 257 });
    says(&error, &["257 file descriptors"]);
}

#[test]
fn lists_from_code_are_not_empty() {
    for option in [OptionName::Fds, OptionName::Vhostfds] {
        let mut options = Options::new(Id::new("a").unwrap());
        match option {
            OptionName::Fds => options.fds = Some(Vec::new()),
            _ => options.vhostfds = Some(Vec::new()),
        }
        assert_eq!(options.validate(), Err(OptionsError::NoFds { option }));
    }
}

#[test]
fn file_descriptors_are_not_the_standard_streams() {
    for (text, option, fd, stream) in [
        ("fd=0", OptionName::Fd, 0, "standard input"),
        ("fds=3:1", OptionName::Fds, 1, "standard output"),
        ("vhostfd=2", OptionName::Vhostfd, 2, "standard error"),
    ] {
        let error = senseless(&format!("tap,id=a,{text}"));
        assert_eq!(error, OptionsError::StandardStreamFd { option, fd });
        says(&error, &[stream, "3 or above"]);
    }
    let mut options = Options::new(Id::new("a").unwrap());
    options.fd = Some(-5);
    says(&options.validate().unwrap_err(), &["fd: -5", "not negative"]);
}

#[test]
fn a_file_descriptor_serves_one_queue() {
    let error = senseless("tap,id=a,fds=3:4:3");
    assert_eq!(error, OptionsError::DuplicateFd { fd: 3, first: OptionName::Fds, second: OptionName::Fds });
    says(&error, &["3 is given twice, in fds=;", "each queue needs its own"]);
    let error = senseless("tap,id=a,fds=3:4,vhostfds=5:4");
    assert_eq!(
        error,
        OptionsError::DuplicateFd { fd: 4, first: OptionName::Fds, second: OptionName::Vhostfds }
    );
}

#[test]
fn queues_come_from_one_place() {
    use OptionName::{Fd, Fds, Helper, Queues};
    for (text, first, second, remedy) in [
        ("queues=1,fd=3", Fd, Queues, "leave out queues="),
        ("queues=2,fds=3:4", Fds, Queues, "leave out queues="),
        ("fd=3,fds=4", Fd, Fds, "list all file descriptors in fds="),
        ("fd=3,helper=/h", Fd, Helper, "leave out one"),
        ("fds=3,helper=/h", Fds, Helper, "leave out one"),
        ("queues=1,helper=/h", Queues, Helper, "leave out queues="),
    ] {
        let error = senseless(&format!("tap,id=a,{text}"));
        assert_eq!(error, OptionsError::ConflictingSources { first, second });
        says(&error, &[&format!("{first}= and {second}= cannot"), remedy]);
    }
}

#[test]
fn a_helper_opens_one_queue() {
    let error = senseless("tap,id=a,queues=4,helper=/h");
    assert_eq!(error, OptionsError::HelperWithQueues { queues: 4 });
    says(&error, &["queues=4", "single queue", "helper=mqtap"]);
}

#[test]
fn our_own_helper_opens_several() {
    for text in
        ["helper=mqtap", "helper=mqtap,queues=4,br=br1", "queues=256,helper=mqtap,sndbuf=0,carrier=on"]
    {
        valid(&format!("tap,id=a,{text}"));
        assert!(parsed(&format!("tap,id=a,{text}")).uses_own_helper());
    }
    assert_eq!(parsed("tap,id=a,helper=mqtap,queues=4").queue_count(), 4);
    assert_eq!(parsed("tap,id=a,helper=mqtap").queue_count(), 1);
    assert_eq!(senseless("tap,id=a,helper=mqtap,queues=0"), OptionsError::NoQueues);
    assert_eq!(senseless("tap,id=a,helper=mqtap,queues=257"), OptionsError::TooManyQueues { queues: 257 });
    let error = senseless("tap,id=a,helper=mqtap,fds=3:4");
    assert_eq!(
        error,
        OptionsError::ConflictingSources { first: OptionName::Fds, second: OptionName::Helper }
    );
}

#[test]
fn what_is_open_already_is_not_opened_by_us() {
    for source in ["fd=3", "fds=3:4", "helper=/h", "helper=mqtap"] {
        for option in [
            "ifname=tap0",
            "script=no",
            "script=/s",
            "downscript=no",
            "vnet_hdr=on",
            "vnet_hdr=off",
            "exclusive=on",
            "qdisc=mq",
        ] {
            let error = senseless(&format!("tap,id=a,{source},{option}"));
            let name = option.split('=').next().unwrap();
            let source_name = source.split('=').next().unwrap();
            assert_eq!(
                error,
                OptionsError::NotForOpenQueues {
                    option: OptionName::find(name).unwrap(),
                    source_option: OptionName::find(source_name).unwrap()
                }
            );
            says(
                &error,
                &[&format!("{name}= cannot be given with {source_name}="), &format!("leave out {name}=")],
            );
        }
    }
    // Device-wide settings can be made through any queue.
    valid("tap,id=a,fds=3:4,sndbuf=64k,carrier=off");
}

/// QEMU ignores a bridge without a helper.
#[test]
fn br_goes_with_every_source_of_queues() {
    for source in ["queues=2", "ifname=tap0", "fd=3", "fds=3:4", "helper=/bin/h"] {
        valid(&format!("tap,id=a,{source},br=br0"));
    }
}

/// QEMU ignores all but the first two, and those too before 11.1.
#[test]
fn vhost_off_is_off() {
    for (text, option) in [
        ("vhostfd=3", OptionName::Vhostfd),
        ("vhostfds=3", OptionName::Vhostfds),
        ("vhostforce=on", OptionName::Vhostforce),
    ] {
        let error = senseless(&format!("tap,id=a,vhost=off,{text}"));
        assert_eq!(error, OptionsError::VhostOff { option });
        says(&error, &[&format!("vhost=off contradicts {option}=")]);
    }
}

/// Who gives handles, or forces it, does not try.
#[test]
fn trying_vhost_is_not_insisting() {
    for (text, option) in [
        ("vhostfd=3", OptionName::Vhostfd),
        ("vhostfds=3", OptionName::Vhostfds),
        ("vhostforce=on", OptionName::Vhostforce),
    ] {
        let error = senseless(&format!("tap,id=a,vhost=try,{text}"));
        assert_eq!(error, OptionsError::VhostTry { option });
        says(&error, &[&format!("vhost=try contradicts {option}="), "write `vhost=on`"]);
    }
    valid("tap,id=a,vhost=try,vhostforce=off");
}

/// The kernel has an engine of its own.
#[test]
fn an_engine_is_for_frames_that_we_move() {
    for text in ["vhost=on", "vhostforce=on", "vhostfd=3"] {
        let error = senseless(&format!("tap,id=a,engine=syscall,{text}"));
        assert_eq!(error, OptionsError::EngineWithVhost);
        says(&error, &["engine=", "`vhost=off`"]);
    }
    valid("tap,id=a,engine=auto,vhost=on");
    valid("tap,id=a,engine=syscall,vhost=try");
}

/// Without it, it is our workers that poll; QEMU ignores it then.
#[test]
fn polling_goes_with_vhost_and_without() {
    valid("tap,id=a,poll-us=50");
    valid("tap,id=a,poll-us=50,vhost=off");
    valid("tap,id=a,poll-us=50,vhost=on");
    valid("tap,id=a,poll-us=50,vhost=try");
    valid("tap,id=a,poll-us=50,vhostfd=3");
    valid("tap,id=a,poll-us=50,vhostforce=on");
}

#[test]
fn vhost_is_wanted_as_in_qemu() {
    use VhostMode::{Off, On, Try};
    for (text, mode) in [
        ("vhost=on", On),
        ("vhost=off", Off),
        ("vhost=try", Try),
        ("vhostforce=on", On),
        ("vhostforce=off", Off),
        ("vhost=off,vhostforce=off", Off),
        ("vhost=on,vhostforce=off", On),
        ("vhost=try,vhostforce=off", Try),
        ("vhostfd=3", On),
        ("vhostfds=3", On),
        ("queues=1", Off),
    ] {
        let options = parsed(&format!("tap,id=a,{text}"));
        assert_eq!(options.vhost_mode(), mode, "{text}");
        assert_eq!(options.wants_vhost(), mode != Off, "{text}");
    }
}

/// QEMU before 11.1 shares the one vhost file descriptor among all queues.
#[test]
fn each_queue_has_its_vhost() {
    for (text, option, queues, given) in [
        ("queues=4,vhostfd=9", OptionName::Vhostfd, 4, 1),
        ("fds=3:4,vhostfd=9", OptionName::Vhostfd, 2, 1),
        ("fds=3:4,vhostfds=9", OptionName::Vhostfds, 2, 1),
        ("fd=3,vhostfds=9:10", OptionName::Vhostfds, 1, 2),
        ("vhostfds=9:10", OptionName::Vhostfds, 1, 2),
    ] {
        let error = senseless(&format!("tap,id=a,{text}"));
        assert_eq!(error, OptionsError::VhostFdCount { option, queues, given });
    }
    says(&senseless("tap,id=a,fds=3:4,vhostfds=9"), &["2 queues but vhostfds= gives 1 file descriptor;"]);
    valid("tap,id=a,queues=2,vhostfds=9:10");
}

/// QEMU 11.1 prefers `vhostfd`.
#[test]
fn vhostfd_or_vhostfds() {
    assert_eq!(senseless("tap,id=a,vhostfd=3,vhostfds=4"), OptionsError::VhostfdAndVhostfds);
}

/// QEMU cuts it to the largest.
#[test]
fn the_send_buffer_fits_an_int() {
    let error = senseless("tap,id=a,sndbuf=2G");
    assert_eq!(error, OptionsError::SendBufferTooLarge { sndbuf: 1 << 31 });
    says(&error, &["sndbuf=2147483648", "2147483647", "`sndbuf=0`"]);
}

#[test]
fn programs_are_paths() {
    let reason_of = |text: &str| match senseless(&format!("tap,id=a,{text}")) {
        OptionsError::InvalidProgram { reason, .. } => reason,
        other => panic!("{text}: {other}"),
    };
    let bare_script = ProgramError::NotAPath { script: true };
    assert_eq!(reason_of("script=ifup.sh"), bare_script);
    assert_eq!(reason_of("downscript=off"), bare_script);
    assert_eq!(reason_of("script=/etc/"), ProgramError::Directory);
    assert_eq!(reason_of("script=/a\0b"), ProgramError::Nul);
    assert_eq!(reason_of("helper=qemu-bridge-helper"), ProgramError::NotAPath { script: false });
    assert_eq!(reason_of("helper= "), ProgramError::Blank);
    assert_eq!(reason_of("helper=a \0"), ProgramError::Nul);
    says(&senseless("tap,id=a,script=none"), &["script=none", "PATH is not searched", "write `no`"]);

    // From code.
    let mut options = Options::new(Id::new("a").unwrap());
    options.script = Some(Script::Program("no".into()));
    assert!(options.validate().is_err(), "prints as script=no");
    options.script = Some(Script::Program("".into()));
    assert!(options.validate().is_err());
}

#[cfg(unix)]
#[test]
fn programs_can_be_printed() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut options = Options::new(Id::new("a").unwrap());
    let path = std::ffi::OsStr::from_bytes(b"/bin/\xff");
    options.script = Some(Script::Program(path.into()));
    assert!(matches!(
        options.validate(),
        Err(OptionsError::InvalidProgram { reason: ProgramError::NotUtf8, .. })
    ));
}

#[test]
fn what_an_interface_is_to_be_makes_sense() {
    for text in
        ["mtu=68", "mtu=65521", "mac=fe:ff:ff:ff:ff:ff", "persist=off", "user=0,group=0", "netns=blue"]
    {
        assert_eq!(parsed(&format!("tap,id=a,{text}")).validate(), Ok(()), "{text}");
    }
    for (text, pieces) in [
        ("mtu=67", ["mtu=67", "68 to 65521"]),
        ("mtu=65522", ["mtu=65522", "68 to 65521"]),
        ("mac=01:00:00:00:00:00", ["mac=01:00:00:00:00:00", "that of a group"]),
        ("mac=00:00:00:00:00:00", ["mac=00:00:00:00:00:00", "that of nobody"]),
        ("persist=on", ["persist=on needs a name", "`ifname=tap0`"]),
        ("persist=on,ifname=tap%d", ["persist=on needs a name", "another name each time"]),
    ] {
        says(&senseless(&format!("tap,id=a,{text}")), &pieces);
    }
    for option in ["netns=blue", "persist=off", "user=0", "group=0", "mac=02:00:00:00:00:01", "mtu=1500"] {
        let name = option.split('=').next().unwrap();
        for source in ["fd=3", "fds=3:4", "helper=/h", "helper=mqtap"] {
            let error = senseless(&format!("tap,id=a,{source},{option}"));
            says(&error, &[&format!("{name}= cannot be given with"), "leave out"]);
        }
    }
}

#[test]
fn frames_are_coalesced_only_where_we_move_them_and_say_so() {
    for (text, given) in [
        ("vnet_hdr=off", "vnet_hdr=off"),
        ("vhost=on", "vhost=on"),
        ("vhostforce=on", "vhost=on"),
        ("vhostfd=3", "vhost=on"),
    ] {
        let error = senseless(&format!("tap,id=a,coalesce=on,{text}"));
        assert!(matches!(error, OptionsError::CoalesceImpossible { given: found, .. } if found == given));
        says(&error, &["coalesce=on contradicts", given, "leave out"]);
        valid(&format!("tap,id=a,{text}"));
        valid(&format!("tap,id=a,coalesce=off,{text}"));
    }
    valid("tap,id=a,coalesce=on,sndbuf=64k,queues=4");
    valid("tap,id=a,coalesce=on,vhost=try");
}
