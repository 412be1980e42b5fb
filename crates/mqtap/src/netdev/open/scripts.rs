//! `script=` and `downscript=`: other people's ways to set an interface up and to take it down.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::name::OptionName;
use super::super::options::{Id, Options, Script};
use super::Error;
use crate::device::{self, TapDevice};
use crate::link::Links;
use crate::name::InterfaceName;
use crate::program::{Program, RunError, TIME_LIMIT};

/// Runs the downscript when it is dropped, while the interface is there still.
#[derive(Debug)]
pub(super) struct Downscript {
    id: Id,
    /// None if it is not to run after all.
    program: Option<PathBuf>,
    place: Place,
}

impl Downscript {
    pub(super) fn forget(mut self) {
        self.program = None;
    }
}

/// Which interface it is, and where.
#[derive(Debug)]
struct Place {
    links: Arc<Links>,
    index: u32,
    name: InterfaceName,
    /// Its namespace, where this is not the one in which it was opened from.
    namespace: Option<OwnedFd>,
}

/// Runs the script, and returns the downscript for later. A script that fails is not followed by its downscript.
pub(super) fn run(options: &Options, device: &TapDevice) -> Result<Option<Downscript>, Error> {
    if [&options.script, &options.downscript].into_iter().all(|script| program(script).is_none()) {
        return Ok(None);
    }
    let place = Place {
        links: Arc::clone(device.links()),
        index: device.interface_index(),
        name: device.name(),
        namespace: device.namespace_elsewhere(),
    };
    if let Some(program) = program(&options.script) {
        let outcome = place.run(&options.id, OptionName::Script, program).map_err(Error::device(options))?;
        outcome.map_err(|source| Error::Script {
            id: options.id.clone(),
            interface: place.name,
            program: program.to_owned(),
            source,
        })?;
    }
    let downscript = program(&options.downscript).map(Path::to_owned);
    Ok(downscript.map(|program| Downscript { id: options.id.clone(), program: Some(program), place }))
}

fn program(script: &Option<Script>) -> Option<&Path> {
    match script {
        Some(Script::Program(path)) => Some(path),
        Some(Script::None) | None => None,
    }
}

impl Place {
    fn run(
        &self,
        id: &Id,
        option: OptionName,
        program: &Path,
    ) -> Result<Result<(), RunError>, device::Error> {
        // Somebody may have renamed it; when it is gone, its last name is as good as any.
        let name = self.links.get(self.index).map_or(self.name, |link| link.name);
        let label = format!("{id}: {option} {}", program.display());
        let arguments = [program.as_os_str(), name.as_str().as_ref()];
        let program = Program { label: &label, arguments: &arguments, passed: None, limit: TIME_LIMIT };
        device::visit_if(self.namespace.as_ref().map(|namespace| namespace.as_fd()), || Ok(program.run()))
    }
}

impl Drop for Downscript {
    fn drop(&mut self) {
        let Self { id, program: Some(program), place } = self else { return };
        let error = match place.run(id, OptionName::Downscript, program) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!("netdev {id}: downscript={} for {}: {error}", program.display(), place.name);
    }
}
