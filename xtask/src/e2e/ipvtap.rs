//! ipvtaps, by the kernel of a release: not every kernel has them.

use super::lab::tests_of_serve;
use crate::image::IPVTAP_MODULES;
use crate::lab::Stage;
use crate::outcome::Result;

/// The tests of macvtaps, with ipvtaps.
pub(super) fn serve(_: &Stage, name: &str) -> Result<()> {
    tests_of_serve(name, IPVTAP_MODULES, "MQTAP_TEST_IPVTAP=on", 4)
}
