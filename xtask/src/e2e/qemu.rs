//! What docs/qemu.md says of vhost-user. Of inherited queues, `exec` sees to it.

use super::checks::{self, PAIRS};
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::page::{Page, replaced};
use crate::qemu::{self, Guest};
use crate::serve::Backend;

/// The page's daemon and the page's QEMU: four pairs, and each carries frames.
pub(super) fn vhost_user(stage: &Stage, name: &str) -> Result<()> {
    const SOCKET: &str = "/run/vm0.sock";
    let page = Page::read("qemu.md")?;
    let Some(image) = &stage.image else { return fail("this scenario needs a guest image") };
    let mut lab = Lab::with(stage, name, |namespace, logs| {
        let socket = logs.join("tap0.sock");
        let line = replaced(page.block("sh serve")?, SOCKET, &socket.to_string_lossy())?;
        Backend::typed(&line, PAIRS, &socket, namespace, logs)
    })?;
    let mut line = replaced(page.block("sh vhost-user")?, SOCKET, &lab.backend.socket(0).to_string_lossy())?;
    if !qemu::has_working_msix() {
        line = replaced(&line, "vectors=10", "vectors=0")?;
    }
    let mut guest = Guest::typed(&lab.namespace, image, PAIRS, &line, &lab.logs, "guest")?;
    guest.wait_ready()?;
    guest.configure(0)?;
    checks::four_pairs(&mut lab, &mut guest)?;
    guest.kill();
    checks::attached(&lab, 0, PAIRS)?;
    lab.backend.must_run()
}
