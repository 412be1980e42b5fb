//! Arbitrary text through the `-netdev` parser. Whatever it accepts must survive being printed and read back, as text and as JSON,
//! and must be checkable without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtap::netdev::Options;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let options: Options = match text.parse() {
        Ok(options) => options,
        Err(error) => {
            // An error is a sentence for a person; printing it must work for any input.
            assert!(!error.to_string().is_empty());
            return;
        }
    };

    let printed = options.to_string();
    let reparsed: Options = printed
        .parse()
        .unwrap_or_else(|error| panic!("printed as {printed:?}, which does not parse: {error}"));
    assert_eq!(options, reparsed, "printed as {printed:?}");

    let json = serde_json::to_string(&options).expect("parsed options serialise");
    let from_json: Options = serde_json::from_str(&json)
        .unwrap_or_else(|error| panic!("serialised as {json}, which does not read back: {error}"));
    assert_eq!(options, from_json, "serialised as {json}");
    // The JSON form is accepted where the text form is, as QEMU does.
    assert_eq!(json.parse::<Options>().as_ref(), Ok(&options));

    match options.validate() {
        Ok(()) => assert_eq!(reparsed.validate(), Ok(())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
