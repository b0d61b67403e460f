//! The device classes, one line each.

use crate::devices::backend::{Backend, Context};
use crate::devices::vbd::{self, Counts};
use crate::devices::vfb::{self, Display};
use crate::devices::vif;
use crate::devices::vkbd::{self, Keys};
use crate::viewers::Touch;
use noxen_control::DeviceSpec;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A device as others than its front end use it.
#[derive(Debug, Clone)]
pub enum Head {
    /// Nobody does.
    None,
    /// Shown.
    Screen(Arc<Display>),
    /// Fed.
    Keyboard(Arc<Keys>),
    /// Counted.
    Disk(Arc<Counts>),
}

/// A device made.
pub struct Made {
    /// Its behaviour on the bus.
    pub backend: Box<dyn Backend>,
    /// Its other side.
    pub head: Head,
}

impl Made {
    fn alone(backend: impl Backend + 'static) -> Made {
        Made {
            backend: Box::new(backend),
            head: Head::None,
        }
    }
}

/// Makes the back end of `spec`; an error line names what is wrong with it. `touch` makes what takes the input of a
/// screen's viewers; `goes_on`: another process was its back end until now.
pub fn make(
    spec: &DeviceSpec,
    fds: Vec<OwnedFd>,
    context: &Context,
    goes_on: bool,
    touch: impl FnOnce(u32) -> Box<dyn Touch>,
) -> Result<Made, String> {
    match spec {
        DeviceSpec::Vbd { .. } => {
            let disk = vbd::make(spec, fds, context)?;
            Ok(Made {
                head: Head::Disk(disk.counts()),
                backend: Box::new(disk),
            })
        }
        DeviceSpec::Vif { rate, mac, .. } => {
            let vif = vif::make(spec.id(), mac, *rate, fds, context, goes_on)?;
            Ok(Made::alone(vif))
        }
        DeviceSpec::Vfb {
            videoram_mib,
            vnc,
            devid,
            ..
        } => {
            let mut screen = vfb::make(spec.id(), *videoram_mib, context)?;
            if let Some(vnc) = vnc {
                screen.serve(vnc, fds, touch(*devid))?;
            }
            Ok(Made {
                head: Head::Screen(screen.display()),
                backend: Box::new(screen),
            })
        }
        DeviceSpec::Vkbd { width, height, .. } => {
            let keyboard = vkbd::make(spec.id(), (*width, *height), context);
            Ok(Made {
                head: Head::Keyboard(keyboard.keys()),
                backend: Box::new(keyboard),
            })
        }
    }
}
