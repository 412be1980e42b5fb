//! What makes sense together.

use std::path::Path;

use super::error::OptionsError;
use super::name::OptionName as Name;
use super::options::{Coalesce, Engine, MAX_QUEUES, MAX_SEND_BUFFER, Options, Qdisc, Script, VhostMode};
use super::value::ProgramError;
use crate::NameRequest;
use crate::link::{MAX_MTU, MIN_MTU};

impl Options {
    /// Says whether the options make sense, each by itself and together. Looks at nothing but the options: whether the interface exists, the
    /// file descriptors are open and so on shows when the netdev is opened.
    ///
    /// # Errors
    ///
    /// The first mistake found, as an [`OptionsError`] of its own kind.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.check_sources()?;
        self.check_queues()?;
        self.check_fds()?;
        self.check_opened_elsewhere()?;
        self.check_programs()?;
        self.check_send_buffer()?;
        self.check_created()?;
        self.check_coalesce()?;
        self.check_vhost()
    }

    /// Where the queues come from, at most one of: file descriptors, a helper, or us opening a number of them.
    fn check_sources(&self) -> Result<(), OptionsError> {
        let foreign_helper = self.helper.is_some() && !self.uses_own_helper();
        if let (Some(queues), true) = (self.queues, foreign_helper)
            && queues > 1
        {
            return Err(OptionsError::HelperWithQueues { queues });
        }
        let mut given = [
            (Name::Fd, self.fd.is_some()),
            (Name::Fds, self.fds.is_some()),
            (Name::Queues, self.queues.is_some() && !self.uses_own_helper()),
            (Name::Helper, self.helper.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name));
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => Err(OptionsError::ConflictingSources { first, second }),
            _ => Ok(()),
        }
    }

    fn check_queues(&self) -> Result<(), OptionsError> {
        match self.queues {
            Some(0) => Err(OptionsError::NoQueues),
            Some(queues) if queues > MAX_QUEUES => Err(OptionsError::TooManyQueues { queues }),
            _ => Ok(()),
        }
    }

    fn check_fds(&self) -> Result<(), OptionsError> {
        let groups = [
            (Name::Fd, self.fd.as_slice()),
            (Name::Fds, self.fds.as_deref().unwrap_or_default()),
            (Name::Vhostfd, self.vhostfd.as_slice()),
            (Name::Vhostfds, self.vhostfds.as_deref().unwrap_or_default()),
        ];
        for (option, list) in [(Name::Fds, &self.fds), (Name::Vhostfds, &self.vhostfds)] {
            let count = list.as_ref().map_or(1, Vec::len);
            if count == 0 {
                return Err(OptionsError::NoFds { option });
            }
            if count > MAX_QUEUES as usize {
                return Err(OptionsError::TooManyFds { option, count });
            }
        }
        // A few hundred numbers at most, so looking at all pairs is fine.
        let mut seen: Vec<(i32, Name)> = Vec::new();
        for (option, fds) in groups {
            for &fd in fds {
                check_fd(option, fd)?;
                if let Some((_, first)) = seen.iter().find(|(other, _)| *other == fd) {
                    return Err(OptionsError::DuplicateFd { fd, first: *first, second: option });
                }
                seen.push((fd, option));
            }
        }
        Ok(())
    }

    /// Options about opening an interface say nothing when somebody else has opened it. By presence, as in QEMU; those which have a default
    /// instead of presence, by value.
    fn check_opened_elsewhere(&self) -> Result<(), OptionsError> {
        let Some(source_option) = self.opened_elsewhere() else {
            return Ok(());
        };
        let given = [
            (Name::Ifname, self.ifname != NameRequest::KernelChoice),
            (Name::Script, self.script.is_some()),
            (Name::Downscript, self.downscript.is_some()),
            (Name::VnetHdr, self.vnet_hdr.is_some()),
            (Name::Exclusive, self.exclusive),
            (Name::Qdisc, self.qdisc != Qdisc::default()),
            (Name::Netns, self.netns.is_some()),
            (Name::Persist, self.persist.is_some()),
            (Name::User, self.user.is_some()),
            (Name::Group, self.group.is_some()),
            (Name::Mac, self.mac.is_some()),
            (Name::Mtu, self.mtu.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(OptionsError::NotForOpenQueues { option, source_option }),
            None => Ok(()),
        }
    }

    /// The option by which queues come that are open already.
    fn opened_elsewhere(&self) -> Option<Name> {
        [
            (Name::Fd, self.fd.is_some()),
            (Name::Fds, self.fds.is_some()),
            (Name::Helper, self.helper.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    fn check_programs(&self) -> Result<(), OptionsError> {
        for (option, script) in [(Name::Script, &self.script), (Name::Downscript, &self.downscript)] {
            if let Some(Script::Program(path)) = script {
                check_script(path).map_err(|reason| OptionsError::InvalidProgram {
                    option,
                    value: path.display().to_string(),
                    reason,
                })?;
            }
        }
        if let Some(helper) = self.helper.as_ref().filter(|_| !self.uses_own_helper()) {
            check_helper(helper).map_err(|reason| OptionsError::InvalidProgram {
                option: Name::Helper,
                value: helper.clone(),
                reason,
            })?;
        }
        Ok(())
    }

    fn check_send_buffer(&self) -> Result<(), OptionsError> {
        match self.sndbuf {
            Some(sndbuf) if sndbuf > MAX_SEND_BUFFER => Err(OptionsError::SendBufferTooLarge { sndbuf }),
            _ => Ok(()),
        }
    }

    /// What an interface is to be that is created.
    fn check_created(&self) -> Result<(), OptionsError> {
        if let Some(mac) = self.mac {
            mac.station().map_err(OptionsError::NotAStation)?;
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err(OptionsError::MtuOutOfRange { mtu });
        }
        if self.persist == Some(true) && !matches!(self.ifname, NameRequest::Exact(_)) {
            return Err(OptionsError::PersistWithoutName);
        }
        Ok(())
    }

    fn check_coalesce(&self) -> Result<(), OptionsError> {
        let (given, reason) = match self {
            Self { coalesce: Coalesce::Auto | Coalesce::Off, .. } => return Ok(()),
            Self { vnet_hdr: Some(false), .. } => {
                ("vnet_hdr=off", "only a virtio header can say that a frame is several")
            }
            _ if self.vhost_mode() == VhostMode::On => {
                ("vhost=on", "the kernel's vhost-net takes frames as they are")
            }
            _ => return Ok(()),
        };
        Err(OptionsError::CoalesceImpossible { given, reason })
    }

    fn check_vhost(&self) -> Result<(), OptionsError> {
        if self.vhost == Some(VhostMode::Off) {
            let wants = [
                (Name::Vhostfd, self.vhostfd.is_some()),
                (Name::Vhostfds, self.vhostfds.is_some()),
                (Name::Vhostforce, self.vhostforce == Some(true)),
            ];
            if let Some((option, _)) = wants.into_iter().find(|(_, wants)| *wants) {
                return Err(OptionsError::VhostOff { option });
            }
        }
        if self.vhost_mode() == VhostMode::On && self.engine != Engine::default() {
            return Err(OptionsError::EngineWithVhost);
        }
        if self.vhost == Some(VhostMode::Try) {
            let insists = [
                (Name::Vhostfd, self.vhostfd.is_some()),
                (Name::Vhostfds, self.vhostfds.is_some()),
                (Name::Vhostforce, self.vhostforce == Some(true)),
            ];
            if let Some((option, _)) = insists.into_iter().find(|(_, insists)| *insists) {
                return Err(OptionsError::VhostTry { option });
            }
        }
        let (option, given) = match (self.vhostfd, &self.vhostfds) {
            (Some(_), Some(_)) => return Err(OptionsError::VhostfdAndVhostfds),
            (Some(_), None) => (Name::Vhostfd, 1),
            (None, Some(fds)) => (Name::Vhostfds, fds.len()),
            (None, None) => return Ok(()),
        };
        let queues = self.queue_count();
        if queues == given { Ok(()) } else { Err(OptionsError::VhostFdCount { option, queues, given }) }
    }
}

fn check_fd(option: Name, fd: i32) -> Result<(), OptionsError> {
    match fd {
        i32::MIN..0 => Err(OptionsError::NegativeFd { option, number: fd.to_string() }),
        0..=2 => Err(OptionsError::StandardStreamFd { option, fd }),
        _ => Ok(()),
    }
}

fn check_script(path: &Path) -> Result<(), ProgramError> {
    let text = path.to_str().ok_or(ProgramError::NotUtf8)?;
    check_path(text, true)
}

/// A helper with a blank in it is a command for a shell, so that only its first word can be judged, and not even that in full.
fn check_helper(helper: &str) -> Result<(), ProgramError> {
    if helper.trim().is_empty() {
        Err(ProgramError::Blank)
    } else if helper.contains([' ', '\t']) {
        check_nul(helper)
    } else {
        check_path(helper, false)
    }
}

fn check_path(path: &str, script: bool) -> Result<(), ProgramError> {
    check_nul(path)?;
    if !path.contains('/') {
        Err(ProgramError::NotAPath { script })
    } else if path.ends_with('/') {
        Err(ProgramError::Directory)
    } else {
        Ok(())
    }
}

fn check_nul(text: &str) -> Result<(), ProgramError> {
    if text.contains('\0') { Err(ProgramError::Nul) } else { Ok(()) }
}
