//! What the monitor window of a domain wants of xend, since noxen-vmm opens no files and ends no domain.
//!
//! ```text
//!   noxen-vmm --Event::Wished{number, wish}--> xend: does it --Request::Fulfilled{number, refusal}--> noxen-vmm
//! ```
//! One at a time. xend heeds the wishes of a domain only if its configuration has `monitor = 1`.

use serde::{Deserialize, Serialize};

/// Longest name of a file, bytes.
pub const MAX_FILE: usize = 1024;

/// A wish.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "wish", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wish {
    /// Another medium in a drive for CDs or floppies.
    Change {
        /// The drive as xm names it: `hdc`, `fda`.
        drive: String,
        /// Its image: an absolute path, or with a scheme before it as in `disk=`.
        file: String,
    },
    /// No medium in that drive.
    Eject {
        /// The drive.
        drive: String,
    },
    /// A disk more at the USB controller, which noxen-vmm has made room for.
    UsbAdd {
        /// The disk's name: `sda` to `sdh`.
        name: String,
        /// Its image: an absolute path.
        file: String,
    },
    /// That disk out of the USB controller.
    UsbDel {
        /// The disk's name.
        name: String,
    },
    /// The guest's screen in a file: xend answers with `Request::Screendump` first.
    Screendump {
        /// Absolute path.
        file: String,
    },
    /// The domain is destroyed.
    Quit,
}
