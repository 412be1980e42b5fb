//! Tests that need a process of their own, as they count or limit what all tests of a process share.

use std::process::Command;

/// Set in that process.
const ALONE: &str = "MQTAP_TEST_ALONE";

/// Whether this is the process of its own. If not, runs the test of that name in one; it must pass there.
pub(crate) fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "there is no test {test}: {text}");
    false
}
