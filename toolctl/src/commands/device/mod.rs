//! The commands on devices: `block-*` and `network-*`.
//!
//! ```text
//!   words --Disk, Vif (xend-api)--> DeviceConfig --AttachDevice, DetachDevice, ConfigureDevice--> xend
//!   DOM --Devices--> DeviceInfo --> rows | (DEVID ((KEY VALUE)..)) | JSON
//! ```

pub mod block_attach;
pub mod block_configure;
pub mod block_detach;
pub mod block_list;
mod list;
pub mod network_attach;
pub mod network_detach;
pub mod network_list;

use crate::cli::command::{Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::device::{DeviceError, Mode};
use noxen_xend_api::{DeviceClass, Disk, Request};

const FORCE: Opt = Opt::flag('f', "force", "Do not wait until the guest lets go of it.");

/// The disk of `DOM BACKDEV FRONTDEV MODE [BACKDOM]`. A path may hold commas here.
fn disk_of(words: &[String]) -> Result<Disk, Failure> {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let (uname, dev, mode) = (word(1), word(2), word(3));
    let text = format!("{uname},{dev},{mode}");
    let error = |e: DeviceError| Failure::usage(e.to_string());
    let mode = Mode::parse(mode).ok_or_else(|| {
        error(DeviceError::Mode {
            mode: mode.to_owned(),
            disk: text.clone(),
        })
    })?;
    let mut disk = Disk::new(uname, dev, mode).ok_or_else(|| error(DeviceError::Disk(text)))?;
    disk.backend = words.get(4).cloned();
    disk.number().map_err(error)?;
    disk.image().map_err(error)?;
    Ok(disk)
}

/// `DOM DEVID [-f]`, for either class.
fn detach(context: &mut Context, parsed: &Parsed, class: DeviceClass) -> Result<i32, Failure> {
    let words = &parsed.words;
    if let Some(word) = words.get(2) {
        context.line(format!("Ignoring option {word}"))?;
    }
    context.ask_ok(&Request::DetachDevice {
        domain: words.first().cloned().unwrap_or_default(),
        class,
        device: words.get(1).cloned().unwrap_or_default(),
        force: parsed.has("force"),
    })?;
    Ok(0)
}

/// The one domain of a listing; xm said what is wrong on standard output.
pub(super) fn only_domain(
    context: &mut Context,
    parsed: &Parsed,
    command: &Command,
) -> Result<String, Failure> {
    let wrong = match parsed.words.as_slice() {
        [domain] => return Ok(domain.clone()),
        [] => "No domain parameter given",
        _ => "No multiple domain parameters allowed",
    };
    context.line(wrong)?;
    let usage = crate::cli::usage::command(command);
    context.out.write_all(usage.as_bytes())?;
    Err(Failure::Status(1))
}
