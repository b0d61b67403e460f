//! A disk in xl's words (xl-disk-configuration(5)): `[KEY=VALUE|FLAG,]* [TARGET,[FORMAT,[VDEV,[ACCESS]]]] [target=REST]`.
//!
//! ```text
//!   /dev/vg/a,,xvda            raw    a path below /dev     -> phy:/dev/vg/a
//!   /img/a.raw,raw,xvda,rw            another one           -> file:/img/a.raw, with direct-io-safe tap:aio:/img/a.raw
//!   format=qcow2,vdev=xvda,target=/a  qcow, qcow2, vhd      -> tap:qcow2:/a
//!   script=block-iscsi,vdev=xvda,target=iqn...              -> iscsi:iqn...
//! ```

use noxen_xend_api::device::{DeviceError, Disk, Mode};

/// Words before the first colon with which a disk of xm's form begins.
const OF_XM: [&str; 6] = ["phy", "file", "tap", "tap2", "nbd", "drbd"];
/// Prefixes that xl took for formats before it had a parameter for them.
const OF_XL: [&str; 5] = ["raw", "qcow", "qcow2", "vhd", "qed"];

/// Parameters that have a value.
const VALUED: [&str; 8] = [
    "target",
    "format",
    "vdev",
    "access",
    "devtype",
    "script",
    "backend",
    "backendtype",
];

/// Is `text` in xl's form? xm's has a kind before a colon, or nothing, then a name and `r`, `w` or `w!`.
pub fn is_xl(text: &str) -> bool {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let named = parts.iter().any(|part| {
        let name = part.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| VALUED.contains(&name))
    });
    let kind = parts[0].split_once(':').map(|(kind, _)| kind);
    match kind {
        _ if named || parts[0].starts_with('/') => true,
        // xl took xm's form over, with its own words for modes.
        Some(kind) if OF_XM.contains(&kind) => {
            parts[1..].iter().any(|part| matches!(*part, "rw" | "ro"))
        }
        Some(kind) => OF_XL.contains(&kind),
        None if parts[0].is_empty() || parts.len() < 3 => false,
        None => parts.len() > 3 || Mode::parse(parts[2]).is_none(),
    }
}

/// Why a text is no disk of xl's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XlDiskError {
    /// A word that is no parameter.
    #[error("Invalid disk '{disk}': unknown parameter '{word}'")]
    Unknown {
        /// The word.
        word: String,
        /// The whole text.
        disk: String,
    },
    /// The same parameter again.
    #[error("Invalid disk '{disk}': {name} is given twice")]
    Twice {
        /// Its name.
        name: &'static str,
        /// The whole text.
        disk: String,
    },
    /// A value that the parameter does not take.
    #[error("Invalid disk '{disk}': {name} is '{value}'; {wanted}")]
    Value {
        /// Parameter.
        name: &'static str,
        /// What was found.
        value: String,
        /// What would do.
        wanted: &'static str,
        /// The whole text.
        disk: String,
    },
    /// Something is missing.
    #[error("Invalid disk '{disk}': there is no {name}")]
    Missing {
        /// Parameter.
        name: &'static str,
        /// The whole text.
        disk: String,
    },
    /// The disk itself.
    #[error(transparent)]
    Disk(#[from] DeviceError),
}

#[derive(Default)]
struct Parameters {
    target: Option<String>,
    format: Option<String>,
    vdev: Option<String>,
    access: Option<String>,
    script: Option<String>,
    backend: Option<String>,
    cdrom: bool,
    direct: bool,
}

const POSITIONAL: [&str; 4] = ["target", "format", "vdev", "access"];

impl Parameters {
    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "target" => &mut self.target,
            "format" => &mut self.format,
            "vdev" => &mut self.vdev,
            "access" => &mut self.access,
            "script" => &mut self.script,
            "backend" => &mut self.backend,
            _ => return None,
        })
    }
}

/// The disk that `text` describes.
pub fn parse(text: &str) -> Result<Disk, XlDiskError> {
    disk(&read(text)?, text)
}

fn read(text: &str) -> Result<Parameters, XlDiskError> {
    let mut all = Parameters::default();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(target) = rest.strip_prefix("target=") {
            // Everything to the end, commas and all.
            set(&mut all, "target", target, text)?;
            return Ok(all);
        }
        let (word, more) = match rest.split_once(',') {
            Some((word, more)) => (word, Some(more)),
            None => (rest, None),
        };
        one(&mut all, word.trim_end(), text)?;
        match more {
            Some(more) => rest = more,
            None => return Ok(all),
        }
    }
}

fn one(all: &mut Parameters, word: &str, text: &str) -> Result<(), XlDiskError> {
    let unknown = || XlDiskError::Unknown {
        word: word.to_owned(),
        disk: text.to_owned(),
    };
    let wrong = |name, value: &str, wanted| XlDiskError::Value {
        name,
        value: value.to_owned(),
        wanted,
        disk: text.to_owned(),
    };
    match word {
        "cdrom" => all.cdrom = true,
        "disk" | "discard" => {}
        "direct-io-safe" => all.direct = true,
        "no-discard" => {
            return Err(wrong(
                "discard",
                "no-discard",
                "a guest's discards cannot be refused yet",
            ))
        }
        _ => match word.split_once('=') {
            Some(("devtype", "cdrom")) => all.cdrom = true,
            Some(("devtype", "disk" | "")) => {}
            Some(("devtype", other)) => return Err(wrong("devtype", other, "it is disk or cdrom")),
            // One back end serves them all.
            Some(("backendtype", "phy" | "qdisk" | "tap" | "")) => {}
            Some(("backendtype", other)) => {
                return Err(wrong("backendtype", other, "it is phy or qdisk"))
            }
            Some(("specification", "xen" | "")) => {}
            Some(("specification", other)) => {
                return Err(wrong("specification", other, "only xen is built"))
            }
            Some((name, value)) => {
                let known = POSITIONAL
                    .into_iter()
                    .chain(["script", "backend"])
                    .find(|known| *known == name);
                set(all, known.ok_or_else(unknown)?, value, text)?;
            }
            None => {
                let free = POSITIONAL
                    .into_iter()
                    .find(|name| all.slot(name).is_some_and(|slot| slot.is_none()));
                set(all, free.ok_or_else(unknown)?, word, text)?;
            }
        },
    }
    Ok(())
}

/// An empty value is as good as none, and may be given once more.
fn set(
    all: &mut Parameters,
    name: &'static str,
    value: &str,
    text: &str,
) -> Result<(), XlDiskError> {
    let Some(slot) = all.slot(name) else {
        return Ok(());
    };
    if slot.as_deref().is_some_and(|before| !before.is_empty()) {
        return Err(XlDiskError::Twice {
            name,
            disk: text.to_owned(),
        });
    }
    *slot = Some(value.to_owned());
    Ok(())
}

fn disk(all: &Parameters, text: &str) -> Result<Disk, XlDiskError> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let wrong = |name, value: String, wanted| XlDiskError::Value {
        name,
        value,
        wanted,
        disk: text.to_owned(),
    };
    let missing = |name| XlDiskError::Missing {
        name,
        disk: text.to_owned(),
    };
    let vdev = given(&all.vdev).ok_or_else(|| missing("vdev"))?;
    let (vdev, cdrom) = match vdev.strip_suffix(":cdrom") {
        Some(vdev) => (vdev.to_owned(), true),
        None => (vdev, all.cdrom),
    };
    let mode = match given(&all.access).as_deref() {
        None if cdrom => Mode::Read,
        None | Some("rw" | "w") => Mode::Write,
        Some("ro" | "r") => Mode::Read,
        Some(other) => return Err(wrong("access", other.to_owned(), "it is rw or ro")),
    };
    let target = given(&all.target);
    let uname = match (target, given(&all.script)) {
        (None, _) if cdrom => String::new(),
        (None, _) => return Err(missing("target")),
        (Some(target), Some(script)) => match script.strip_prefix("block-") {
            Some(kind) if !kind.contains('/') => format!("{kind}:{target}"),
            _ => {
                return Err(wrong(
                    "script",
                    script,
                    "scripts of the name block-KIND are called",
                ))
            }
        },
        (Some(target), None) => {
            let format = given(&all.format);
            uname(&target, format.as_deref(), all.direct).ok_or_else(|| {
                wrong(
                    "format",
                    format.unwrap_or_default(),
                    "it is raw, qcow, qcow2 or vhd; in xm's form a disk begins with phy:, file: or tap:",
                )
            })?
        }
    };
    let suffix = if cdrom { ":cdrom" } else { "" };
    let made = Disk::new(&uname, &format!("{vdev}{suffix}"), mode);
    let mut disk = made.ok_or_else(|| XlDiskError::Disk(DeviceError::Disk(text.to_owned())))?;
    disk.backend = given(&all.backend);
    Ok(disk)
}

/// xm's name for the blocks; none for a format that there is not.
fn uname(target: &str, format: Option<&str>, direct: bool) -> Option<String> {
    let (format, target) = match target.split_once(':') {
        Some((prefix, rest)) if OF_XL.contains(&prefix) && format.is_none() => (Some(prefix), rest),
        // xm's own form, with xl's names of modes.
        Some((prefix, _)) if OF_XM.contains(&prefix) && format.is_none() => {
            return Some(target.to_owned())
        }
        _ => (format, target),
    };
    let path = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/dev/{target}"),
    };
    match format.unwrap_or("raw") {
        "raw" if path.starts_with("/dev/") => Some(format!("phy:{path}")),
        "raw" if direct => Some(format!("tap:aio:{path}")),
        "raw" => Some(format!("file:{path}")),
        format @ ("qcow" | "qcow2" | "vhd") => Some(format!("tap:{format}:{path}")),
        _ => None,
    }
}
