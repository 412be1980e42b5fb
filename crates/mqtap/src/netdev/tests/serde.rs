//! The JSON form, which is that of QEMU's `-netdev '{…}'`.

use super::{parsed, refused, says};
use crate::netdev::{Options, OptionsError};

fn from_json(json: &str) -> Result<Options, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn prints_what_qemu_reads() {
    let options = parsed("tap,id=hn0,fds=3:4,vhost=on,vhostfds=5:6,sndbuf=1M,poll-us=50,script=no");
    assert_eq!(
        serde_json::to_string(&options).unwrap(),
        r#"{"type":"tap","id":"hn0","fds":"3:4","script":"no","sndbuf":1048576,"vhost":true,"vhostfds":"5:6","poll-us":50}"#
    );
}

#[test]
fn our_own_options_appear_when_set() {
    let options = parsed("tap,id=a,carrier=on,exclusive=on,qdisc=mq");
    assert_eq!(
        serde_json::to_string(&options).unwrap(),
        r#"{"type":"tap","id":"a","carrier":"on","exclusive":true,"qdisc":"mq"}"#
    );
    let defaults = parsed("tap,id=a,carrier=guest,exclusive=off,qdisc=noqueue");
    assert_eq!(serde_json::to_string(&defaults).unwrap(), r#"{"type":"tap","id":"a"}"#);
}

#[test]
fn values_have_their_type_or_are_text() {
    let expected = parsed("tap,id=a,queues=4,vnet_hdr=on,sndbuf=1M,poll-us=7,carrier=off");
    for json in [
        r#"{"type":"tap","id":"a","queues":4,"vnet_hdr":true,"sndbuf":1048576,"poll-us":7,"carrier":"off"}"#,
        r#"{"id":"a","queues":"4","vnet_hdr":"on","sndbuf":"1M","poll-us":"7","carrier":false}"#,
    ] {
        assert_eq!(from_json(json), Ok(expected.clone()), "{json}");
    }
    let expected = parsed("tap,id=a,fds=3:4");
    for json in [r#"{"id":"a","fds":"3:4"}"#, r#"{"id":"a","fds":[3,4],"fd":null}"#] {
        assert_eq!(from_json(json), Ok(expected.clone()), "{json}");
    }
    assert_eq!(from_json(r#"{"id":"a","fd":3}"#), Ok(parsed("tap,id=a,fd=3")));
}

#[test]
fn a_comma_needs_no_doubling() {
    let options = from_json(r#"{"id":"a","script":"/a,b"}"#).unwrap();
    assert_eq!(options, parsed("tap,id=a,script=/a,,b"));
}

#[test]
fn mistakes_are_those_of_the_text_form() {
    for (json, piece) in [
        (r#"{"id":"a","queue":4}"#, "did you mean `queues`?"),
        (r#"{"id":"a","queues":-1}"#, "queues=-1: it is negative"),
        (r#"{"id":"a","queues":1.5}"#, "queues=1.5"),
        (r#"{"id":"a","queues":true}"#, "queues=on"),
        (r#"{"id":"a","queues":2,"queues":3}"#, "given twice"),
        (r#"{"id":"a","fds":[]}"#, "fds= is empty"),
        (r#"{"id":"a","fds":["x"]}"#, "expected i64"),
        (r#"{"id":"a,b"}"#, "id=a,b: an id starts"),
        (r#"{"id":"a","ifname":{}}"#, "expected text, a number"),
        (r#"{"type":"user","id":"a","foo":1}"#, "`user`"),
        (r#"{"queues":2}"#, "no id"),
        ("[]", "a map of netdev options"),
    ] {
        let error = from_json(json).unwrap_err();
        assert!(error.contains(piece), "{json}: {error}");
    }
}

#[test]
fn the_parser_takes_json_too() {
    assert_eq!(parsed(r#"{"type":"tap","fds":"3:4","id":"hostnet0"}"#), parsed("tap,id=hostnet0,fds=3:4"));
    assert!(matches!(refused(r#"{"type":"tap","id":"a","queues":0x10}"#), OptionsError::InvalidJson { .. }));
    says(&refused("{"), &["not a JSON object"]);
    // The typed error, not only its text.
    assert_eq!(refused("{}"), OptionsError::MissingId);
}
