//! The device classes, one line each.

use crate::devices::backend::{Backend, Context};
use crate::devices::vbd;
use crate::devices::vif;
use noxen_control::DeviceSpec;
use std::os::fd::OwnedFd;

/// Makes the back end of `spec`; an error line names what is wrong with it.
pub fn make(
    spec: &DeviceSpec,
    fds: Vec<OwnedFd>,
    context: &Context,
) -> Result<Box<dyn Backend>, String> {
    match spec {
        DeviceSpec::Vbd { .. } => Ok(Box::new(vbd::make(spec, fds, context)?)),
        DeviceSpec::Vif { rate, .. } => Ok(Box::new(vif::make(spec.id(), *rate, fds, context)?)),
    }
}
