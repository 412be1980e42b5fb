//! A Debian guest with its own `virtio_net` driver (issue: four pairs, both ways, resize, reboot, …).

use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::serve::TapSpec;

/// Four pairs are seen, and IPv4 and IPv6 reach the guest.
pub(super) fn boots(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 4)])?;
    let machine = lab.machine(&[4], "");
    let mut guest = lab.boot(&machine)?;
    let channels = guest.channels("eth0")?;
    if channels != (4, 4) {
        return fail(format!(
            "the guest sees {} pairs and uses {}, not 4 and 4",
            channels.0, channels.1
        ));
    }
    for address in ["10.77.0.2", "fd77::2"] {
        lab.namespace.shell(
            &format!("ping -c 3 -i 0.2 -W 5 {address}"),
            std::time::Duration::from_secs(30),
        )?;
    }
    Ok(())
}
