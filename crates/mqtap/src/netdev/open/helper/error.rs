//! Why a helper was of no help.

use rustix::io::Errno;
use thiserror::Error;

use crate::device;
use crate::link::describe;
use crate::program::RunError;

/// Why no queues could be had from a helper.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HelperError {
    /// `helper=mqtap`, and no `mqtap`.
    #[error(
        "the program mqtap is not installed (not /usr/bin/mqtap, nor /usr/local/bin/mqtap); install it, or name another helper"
    )]
    NoOwnHelper,
    /// No socket to give it.
    #[error("cannot make a pair of sockets: {source}")]
    Socket {
        /// Why.
        source: std::io::Error,
    },
    /// It could not be run, failed, or took too long.
    #[error("{source}{}", advice(source, .bridge))]
    Run {
        /// Why.
        source: RunError,
        /// The bridge that it was told.
        bridge: String,
    },
    /// It ended well and sent nothing.
    #[error(
        "it ended well, but passed no queue over the socket (end of file); is it a bridge helper? Those take --use-vnet, --fd=N and --br=BRIDGE"
    )]
    NothingPassed,
    /// It sent more or less than was asked for.
    #[error("it was to pass {wanted} queues, and passed {passed}")]
    QueueCount {
        /// Queues wanted.
        wanted: usize,
        /// Descriptors that came.
        passed: usize,
    },
    /// What it sent could not be taken.
    #[error("cannot take what it passed: {}{}", describe(*.errno), if *.errno == Errno::MFILE { "; raise the limit of open files (ulimit -n)" } else { "" })]
    Receive {
        /// Why.
        errno: Errno,
    },
    /// What it sent are no tap queues, or not of one tap.
    #[error("what it passed is of no use: {source}")]
    Queues {
        /// Why.
        source: Box<device::Error>,
    },
}

/// What to do about things that helpers complain of. QEMU's says neither which file nor what it should say.
fn advice(source: &RunError, bridge: &str) -> String {
    let RunError::Failed { last_line: Some(words), .. } = source else { return String::new() };
    if words.contains("failed to parse default acl file") || words.contains("denied by acl file") {
        format!("; QEMU's helper needs a file /etc/qemu/bridge.conf with the line `allow {bridge}`")
    } else if words.contains("failed to create tun device: Operation not permitted") {
        "; QEMU's helper must be setuid root, or have a capability: `setcap cap_net_admin+ep` on its file"
            .to_owned()
    } else {
        String::new()
    }
}
