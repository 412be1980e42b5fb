//! Where `helper=mqtap` finds its program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The name of the program.
const NAME: &str = "mqtap";

/// Where packages and people install it.
const INSTALLED: [&str; 2] = ["/usr/bin/mqtap", "/usr/local/bin/mqtap"];

/// This program, if it is `mqtap`; else the one that is installed. `PATH` is not searched.
pub(super) fn find() -> Option<PathBuf> {
    choose(std::env::current_exe().ok().as_deref(), &INSTALLED.map(Path::new))
}

fn choose(this: Option<&Path>, installed: &[&Path]) -> Option<PathBuf> {
    // One that was replaced since it was started (" (deleted)") has another name, and its successor is where it was.
    let this = this.filter(|path| path.file_name() == Some(OsStr::new(NAME)));
    this.into_iter().chain(installed.iter().copied()).find(|path| path.is_file()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::choose;

    #[test]
    fn mqtap_itself_comes_first_and_others_do_not_count() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        std::fs::create_dir(place.path().join("bin")).unwrap();
        let (installed, itself, vmm) = (file("installed"), file("mqtap"), file("vmm"));
        assert_eq!(choose(Some(&itself), &[&installed]), Some(itself));
        assert_eq!(choose(Some(&vmm), &[&installed]), Some(installed.clone()));
        assert_eq!(
            choose(Some(&place.path().join("mqtap (deleted)")), &[&installed]),
            Some(installed.clone())
        );
        assert_eq!(choose(None, &[Path::new("/no/such/file"), &installed]), Some(installed));
        assert_eq!(choose(Some(&vmm), &[Path::new("/no/such/file"), &place.path().join("bin")]), None);
    }
}
