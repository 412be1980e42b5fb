//! `cargo xtask demo`: the main job, shown.

mod embedded;
mod guest;

use std::process::{Command, ExitCode, Stdio};

use crate::lab::Lab;
use crate::outcome::{Context as _, Result, fail, say};
use crate::{process, serve, setup};

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The driver that runs as a process plays the guest: no QEMU, no root, about a second
    #[arg(long)]
    embedded: bool,
    /// Everything is installed and built; the task calls itself with this in a user namespace.
    #[arg(long, hide = true)]
    prepared: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut embedded = arguments.embedded;
    if !arguments.prepared {
        setup::ensure(&[setup::BASE])?;
        if !embedded && let Err(error) = setup::ensure(&[setup::GUEST]) {
            say(format!("{error}\nWithout them, the same story with a driver in a process as the guest:\n"));
            embedded = true;
        }
        say("building the release binaries");
        serve::build_release(&["mqtap-cli", "mqtap-driver"])?;
        if !setup::is_root() {
            return in_user_namespace(embedded);
        }
    }
    if embedded {
        embedded::show()?;
    } else {
        guest::show()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who is not root becomes so in a namespace, in which network namespaces and taps can be made.
fn in_user_namespace(embedded: bool) -> Result<ExitCode> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--"]).arg(std::env::current_exe()?);
    command.args(["demo", "--prepared"]);
    if embedded {
        command.arg("--embedded");
    }
    let status = command.stdin(Stdio::null()).status().context(|| "cannot start `unshare`".to_owned())?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    fail(format!(
        "`{}` failed ({status}); without user namespaces the demo needs root",
        process::describe(&command)
    ))
}

/// The daemon's table, as SIGUSR1 prints it.
fn show_table(lab: &mut Lab) -> Result<()> {
    if let Some(table) = lab.backend.counters()? {
        say(format!("\n{}", table.text));
    }
    let kernel = lab.namespace.link_number("tap0", "/linkinfo/info_data/numqueues")?;
    let disabled = lab.namespace.link_number("tap0", "/linkinfo/info_data/numdisabled")?;
    say(format!("  the kernel says: {kernel} queues of tap0 attached, {disabled} detached\n"));
    Ok(())
}
