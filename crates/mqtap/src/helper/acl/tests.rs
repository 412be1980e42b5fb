use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::{Acl, Error, Line, rule};

/// A directory of access lists.
struct Lists(tempfile::TempDir);

impl Lists {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text.replace("$dir", self.0.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn read(&self, text: &str) -> Result<Acl, Error> {
        Acl::read(&self.write("main", text))
    }
}

#[track_caller]
fn check(text: &str, allowed: &[&str], refused: &[&str]) {
    let acl = Lists::new().read(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    for bridge in allowed {
        assert!(acl.allows(bridge.parse().unwrap()), "{text:?} should allow {bridge}");
    }
    for bridge in refused {
        assert!(!acl.allows(bridge.parse().unwrap()), "{text:?} should not allow {bridge}");
    }
}

#[test]
fn what_is_not_allowed_is_refused() {
    check("", &[], &["br0"]);
    check("allow br0", &["br0"], &["br1", "br", "br00"]);
    check("# allow br0\n\n   \n\t# deny all\nallow br1\nallow br2\n", &["br1", "br2"], &["br0"]);
    check("  allow \t br0 \t\r\n", &["br0"], &["br1"]);
    check("allow all", &["br0", "anything"], &[]);
}

#[test]
fn what_is_denied_is_refused_whatever_else_is_said() {
    check("deny br0\nallow br0", &[], &["br0"]);
    check("allow br0\ndeny br0", &[], &["br0"]);
    check("allow all\ndeny br1", &["br0"], &["br1"]);
    check("allow br0\ndeny all", &[], &["br0"]);
}

/// QEMU's helper takes `allow br0 br1` for a name that no bridge has, and `allow a-bridge-with-a-long-name` for its first 15
/// bytes.
#[test]
fn what_is_not_understood_is_an_error() {
    for (text, piece) in [
        ("allow", "line 1: `allow` takes a bridge"),
        ("allow br0\nallow br0 br1", "line 2: `allow` takes a bridge"),
        ("allow a-bridge-with-a-long-name", "line 1"),
        ("deny br/0", "line 1"),
        ("permit br0", "`permit` is no rule"),
        ("allow br0\nALLOW br1", "line 2: `ALLOW`"),
        ("\u{1b}[31m br0", "`\\u{1b}[31m`"),
        ("include", "`include` takes the whole path"),
        ("include more.conf", "`include` takes the whole path"),
    ] {
        let error = Lists::new().read(text).unwrap_err();
        assert!(matches!(error, Error::Line { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains(piece), "`{piece}` is missing in: {error}");
    }
}

#[test]
fn included_files_add_rules() {
    let lists = Lists::new();
    lists.write("alice", "allow br1\nallow br2");
    lists.write("all", "include $dir/alice\ndeny br2");
    let acl = lists.read("allow br0\ninclude $dir/all").unwrap();
    assert!(acl.allows("br0".parse().unwrap()) && acl.allows("br1".parse().unwrap()));
    assert!(!acl.allows("br2".parse().unwrap()));
}

#[test]
fn an_included_file_that_is_missing_is_an_error() {
    let error = Lists::new().read("allow all\ninclude /no/such/file").unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path.ends_with("file")), "{error}");
}

#[test]
fn files_that_include_one_another_are_an_error() {
    let lists = Lists::new();
    lists.write("b", "include $dir/main");
    let error = lists.read("include $dir/b").unwrap_err();
    assert!(error.to_string().contains("include one another"), "{error}");
    let many = "include $dir/leaf\n".repeat(100);
    lists.write("leaf", "");
    assert!(lists.read(&many).unwrap_err().to_string().contains("one include too many"));
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    for mode in [0o646, 0o664, 0o602] {
        let lists = Lists::new();
        let path = lists.write("main", "allow all");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Acl::read(&path).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
    let lists = Lists::new();
    let path = lists.write("included", "allow all");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(lists.read("include $dir/included"), Err(Error::Untrusted { .. })));
}

#[test]
fn what_is_not_a_file_of_reasonable_size_is_refused() {
    let lists = Lists::new();
    assert!(Acl::read(lists.0.path()).unwrap_err().to_string().contains("is not a file"));
    assert!(matches!(Acl::read("/dev/null".as_ref()), Err(Error::Untrusted { .. })));
    rustix::fs::mkfifoat(rustix::fs::CWD, lists.path("pipe"), 0o600.into()).unwrap();
    assert!(matches!(Acl::read(&lists.path("pipe")), Err(Error::Untrusted { .. })));
    let long = "# nothing\n".repeat(10_000);
    assert!(lists.read(&long).unwrap_err().to_string().contains("larger than 64 KiB"));
    fs::write(lists.path("latin1"), b"allow br\xe4\n").unwrap();
    assert!(matches!(Acl::read(&lists.path("latin1")), Err(Error::Read { .. })));
}

proptest! {
    #[test]
    fn any_line_is_a_rule_or_an_error(line in ".*") {
        // And no panic.
        if let Ok(Some(Line::Include(path))) = rule(&line) {
            prop_assert!(path.is_absolute());
        }
    }

    #[test]
    fn a_denial_counts_wherever_it_stands(
        before in proptest::collection::vec("(allow|deny) (br[0-9]|all)", 0..5),
        after in proptest::collection::vec("(allow|deny) (br[0-9]|all)", 0..5),
    ) {
        let text = [before, vec!["deny br5".to_owned()], after].concat().join("\n");
        prop_assert!(!Lists::new().read(&text).unwrap().allows("br5".parse().unwrap()));
    }
}
