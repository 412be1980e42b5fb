//! A namespace, a backend in it, and guests on the backend: the stage of every scenario.

use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::netns::Namespace;
use crate::outcome::Result;
use crate::paths;
use crate::qemu::{Guest, Machine};
use crate::serve::{Backend, BackendKind, TapSpec};

/// What every scenario is given.
pub(crate) struct Stage {
    pub(crate) kind: BackendKind,
    pub(crate) image: Option<Image>,
    /// Root of the machine, not only of a user namespace.
    pub(crate) real_root: bool,
}

/// One scenario's own world; gone when dropped.
pub(crate) struct Lab {
    // Dropped in this order: the daemon before the namespace it lives in.
    pub(crate) backend: Backend,
    pub(crate) namespace: Namespace,
    pub(crate) logs: PathBuf,
    image: Option<Image>,
    guests: u32,
}

impl Lab {
    /// A lab with the given taps.
    pub(crate) fn new(stage: &Stage, scenario: &str, taps: &[TapSpec]) -> Result<Self> {
        Self::with(stage, scenario, |namespace, logs| Backend::start(stage.kind, namespace, logs, taps))
    }

    /// A lab with a backend that is started in that namespace and logs to that directory.
    pub(crate) fn with(
        stage: &Stage,
        scenario: &str,
        backend: impl FnOnce(&Namespace, &Path) -> Result<Backend>,
    ) -> Result<Self> {
        let logs = paths::logs(scenario)?;
        let namespace = Namespace::new()?;
        let backend = backend(&namespace, &logs)?;
        Ok(Self { backend, namespace, logs, image: stage.image.clone(), guests: 0 })
    }

    /// The machine that most scenarios boot: every tap a NIC, as many CPUs as the first has queue pairs.
    pub(crate) fn machine(&self, pairs: &[u16], properties: &str) -> Machine {
        let nics = (0..pairs.len()).map(|index| self.backend.nic(index, properties)).collect();
        Machine { nics, cpus: pairs.first().copied().unwrap_or(1), memory_mib: 512, launcher: Vec::new() }
    }

    /// Starts QEMU; the guest is not up yet.
    pub(crate) fn start(&mut self, machine: &Machine) -> Result<Guest> {
        self.guests += 1;
        let name = format!("guest{}", self.guests);
        let Some(image) = &self.image else {
            return crate::outcome::fail("this scenario needs a guest image");
        };
        Guest::start(&self.namespace, image, machine, &self.logs, &name)
    }

    /// Starts a guest, waits for it, and gives it its addresses.
    pub(crate) fn boot(&mut self, machine: &Machine) -> Result<Guest> {
        let mut guest = self.start(machine)?;
        guest.wait_ready()?;
        for index in 0..machine.nics.len() {
            guest.configure(index)?;
        }
        Ok(guest)
    }
}
