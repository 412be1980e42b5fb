mod property;

use super::{Handover, Template, TemplateError};
use crate::netdev::Options;

fn handover(options: &str, first: i32, vhost: bool) -> Handover {
    let options: Options = options.parse().unwrap();
    let mut handover = Handover::numbered(&options, first, vhost);
    handover.mac = Some("52:54:00:12:34:56".parse().unwrap());
    handover
}

fn two() -> [Handover; 2] {
    [handover("tap,id=hn0,ifname=tap0,queues=4", 3, true), handover("tap,id=b-1.x,ifname=tap%d", 11, false)]
}

fn fill(text: &str) -> Result<String, TemplateError> {
    Template::new(&two()).unwrap().fill(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_netdev_is_what_qemu_takes() {
    for (options, vhost, expected) in [
        ("tap,id=a", false, "tap,id=a,fd=3"),
        ("tap,id=a", true, "tap,id=a,fd=3,vhostfd=4"),
        ("tap,id=a,queues=2", true, "tap,id=a,fds=3:4,vhostfds=5:6"),
        ("tap,id=a,fds=8:9:10", false, "tap,id=a,fds=3:4:5"),
        ("tap,id=a,queues=2,sndbuf=1M", false, "tap,id=a,fds=3:4,sndbuf=1048576"),
        ("tap,id=a,queues=2,vhost=on,poll-us=50", true, "tap,id=a,fds=3:4,vhostfds=5:6,poll-us=50"),
        ("tap,id=a,queues=2,vhost=on,poll-us=50", false, "tap,id=a,fds=3:4"),
    ] {
        let printed = handover(options, 3, vhost).to_string();
        assert_eq!(printed, expected);
        // What we print, QEMU's syntax being ours, we read.
        printed.parse::<Options>().unwrap().validate().unwrap();
    }
}

#[test]
fn descriptors_of_a_kind_share_a_name() {
    let names = |handover: &Handover| handover.fd_names().collect::<Vec<_>>().join(":");
    let [a, b] = two();
    assert_eq!(names(&a), "hn0:hn0:hn0:hn0:hn0.vhost:hn0.vhost:hn0.vhost:hn0.vhost");
    assert_eq!(a.fd_count(), 8);
    assert_eq!(names(&b), "b-1.x");
    assert_eq!(b.fd_count(), 1);
}

#[test]
fn names_in_braces_are_replaced() {
    for (text, expected) in [
        ("{hn0}", "tap,id=hn0,fds=3:4:5:6,vhostfds=7:8:9:10"),
        ("{b-1.x}", "tap,id=b-1.x,fd=11"),
        ("{hn0.fds}/{hn0.fds.csv}", "3:4:5:6/3,4,5,6"),
        ("{hn0.vhostfds} {hn0.vhostfds.csv}", "7:8:9:10 7,8,9,10"),
        ("{hn0.ifname}", "tap0"),
        ("{hn0.queues}{hn0.virtqueues}{hn0.vectors}", "4810"),
        ("mac={hn0.mac},", "mac=52:54:00:12:34:56,"),
        ("{b-1.x.fds}{b-1.x.vectors}", "114"),
        ("fd=[{hn0.fds.csv}]", "fd=[3,4,5,6]"),
        ("{{hn0}}", "{hn0}"),
        ("{{hn0.fds}}{hn0.queues}", "{hn0.fds}4"),
        ("{\"a\":{hn0.queues}}", "{\"a\":4}"),
        ("{{{hn0.queues}}}", "{{hn0.queues}}"),
    ] {
        assert_eq!(fill(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn every_key_has_a_value() {
    for key in Template::KEYS {
        assert!(fill(&format!("{{hn0.{key}}}")).is_ok(), "{key}");
    }
}

#[test]
fn other_braces_are_braces() {
    for text in [
        "",
        "{",
        "}",
        "{}",
        "{{}}",
        "a{",
        "{hn0",
        "{hn0 }",
        "{ hn0}",
        "{hn0;}",
        "{1}",
        "{-a}",
        "{a,b}",
        "{hn\u{f6}}",
        "${HOME}",
        "${hn0}",
        "awk '{ print $1 }'",
        "{ echo; }",
        r#"{"driver":"qcow2","file":{"driver":"file","filename":"a.img"}}"#,
        r#"{"type":"tap","id":"x","vhost":true}"#,
        "{{a b}}",
    ] {
        assert_eq!(fill(text).as_deref(), Ok(text), "{text}");
    }
    let bytes = b"\xff{hn0.queues}{\xfe}";
    assert_eq!(Template::new(&two()).unwrap().fill(bytes).unwrap(), b"\xff4{\xfe}");
}

#[test]
fn unknown_names_are_errors_that_name_the_known() {
    for (text, expected) in [
        (
            "{print}",
            "`{print}` names no netdev; there is `hn0` and `b-1.x`; for the text itself write `{{print}}`",
        ),
        (
            "{hn1.fds}",
            "`{hn1.fds}` names no netdev; there is `hn0` and `b-1.x`; did you mean `hn0`?; for the text itself write `{{hn1.fds}}`",
        ),
        (
            "{hn0.fd}",
            "`{hn0.fd}`: netdev hn0 has no `fd`; it has `fds`, `fds.csv`, `vhostfds`, `vhostfds.csv`, `ifname`, `queues`, `virtqueues`, \
             `vectors` and `mac`; did you mean `fds`?",
        ),
        (
            "{b-1.x.vhostfds.csv}",
            "`{b-1.x.vhostfds.csv}`: netdev b-1.x has no vhost-net handles; with vhost=on it has them or fails, with vhost=try it may have none",
        ),
    ] {
        assert_eq!(fill(text).unwrap_err().to_string(), expected, "{text}");
    }
    let mut netdevs = two();
    netdevs[0].mac = None;
    let error = Template::new(&netdevs).unwrap().fill(b"{hn0.mac}").unwrap_err();
    assert!(matches!(error, TemplateError::NoMac { .. }), "{error}");
}

#[test]
fn ids_must_not_mean_two_things() {
    let netdevs = [handover("tap,id=a.fds", 3, false), handover("tap,id=a", 4, false)];
    let error = Template::new(&netdevs).unwrap_err();
    assert_eq!(
        error.to_string(),
        "netdev ids a and a.fds: `{a.fds}` would mean two things; rename one of them"
    );
    Template::new(&[handover("tap,id=a.b", 3, false), handover("tap,id=a", 4, false)]).unwrap();
}
