//! May a domain have this disk? (xm-reference: "Sharing checks")
//!
//! ```text
//!                 asked for w           asked for r              w!
//!   host          mounted               mounted read-write       -
//!   other guest   has it                has it writable          -
//! ```
//! The same machine by UUID may have a disk twice: one that is being restarted has it still.

use super::device::Identity;
use noxen_xend_api::device::{Image, Mode};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A disk that somebody has.
#[derive(Clone, Debug)]
pub struct Holder {
    /// UUID of the machine.
    pub uuid: String,
    /// What it is.
    pub identity: Identity,
    /// May it write?
    pub writes: bool,
}

/// Who is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflict {
    Host,
    Guest,
}

/// The sentence that says who has it; none when it may be had.
pub fn refusal(
    image: &Image,
    mode: Mode,
    identity: Identity,
    uuid: &str,
    holders: &[Holder],
) -> Option<String> {
    if mode == Mode::Force {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Identity::File { .. } = identity {
        for name in loops_of(identity) {
            let device = device_of(Path::new(&name));
            if device.is_some_and(|device| mounted(&mounts, device, mode)) {
                return Some(loop_text(image, &name, mode));
            }
        }
    }
    let conflict = if let Identity::Block { major, minor } = identity {
        mounted(&mounts, (major, minor), mode).then_some(Conflict::Host)
    } else {
        None
    };
    let conflict =
        conflict.or_else(|| held(mode, identity, uuid, holders).then_some(Conflict::Guest));
    conflict.map(|conflict| text(image, mode, conflict))
}

fn held(mode: Mode, identity: Identity, uuid: &str, holders: &[Holder]) -> bool {
    holders.iter().any(|holder| {
        holder.identity == identity && holder.uuid != uuid && (mode.writes() || holder.writes)
    })
}

/// Does a line of mountinfo (proc(5)) hold the device, in a way that forbids `mode`?
fn mounted(mountinfo: &str, device: (u32, u32), mode: Mode) -> bool {
    mountinfo.lines().any(|line| {
        let Some((front, back)) = line.split_once(" - ") else {
            return false;
        };
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        let (Some(numbers), Some(options)) = (front.get(2), front.get(5)) else {
            return false;
        };
        let source = back.get(1).copied().unwrap_or("");
        let by_number = *numbers == format!("{}:{}", device.0, device.1);
        // Some file systems have a number of their own; their source still is the device.
        let same =
            by_number || (source.starts_with('/') && device_of(Path::new(source)) == Some(device));
        let read_only = |options: &str| options.split(',').any(|o| o == "ro");
        let only_read = read_only(options) || back.get(2).is_some_and(|o| read_only(o));
        same && (mode.writes() || !only_read)
    })
}

/// Major and minor number of a block device.
fn device_of(path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = path.metadata().ok()?;
    let rdev = metadata.rdev();
    metadata
        .file_type()
        .is_block_device()
        .then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev)))
}

/// Loop devices that have the file behind them.
fn loops_of(identity: Identity) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("loop/backing_file"))
                .ok()
                .and_then(|file| fs::metadata(file.trim_end_matches('\n')).ok())
                .is_some_and(|m| {
                    identity
                        == Identity::File {
                            device: m.dev(),
                            inode: m.ino(),
                        }
                })
        })
        .filter_map(|entry| Some(format!("/dev/{}", entry.file_name().to_str()?)))
        .collect()
}

fn loop_text(image: &Image, device: &str, mode: Mode) -> String {
    let (a, b) = asked(mode);
    format!(
        "File {} is loopback-mounted through {device},\n\
         which is mounted {a}in the privileged domain,\nand so cannot be mounted {b}by a guest.",
        path(image)
    )
}

/// What is said of the use that is in the way, and of the one that is asked for.
fn asked(mode: Mode) -> (&'static str, &'static str) {
    match mode.writes() {
        true => ("", ""),
        false => ("read-write ", "read-only "),
    }
}

fn text(image: &Image, mode: Mode, conflict: Conflict) -> String {
    let (a, b) = asked(mode);
    let path = path(image);
    let what = match image {
        Image::Tap(..) if conflict == Conflict::Guest => {
            return format!("{path} already in use by other domain")
        }
        Image::File(_) => "File",
        _ => "Device",
    };
    let (who, when) = match conflict {
        Conflict::Host => ("the privileged", "by a guest"),
        Conflict::Guest => ("a guest", "now"),
    };
    format!("{what} {path} is mounted {a}in {who} domain,\nand so cannot be mounted {b}{when}.")
}

fn path(image: &Image) -> &str {
    match image {
        Image::Phy(path) | Image::File(path) | Image::Tap(_, path) | Image::Script(_, path) => path,
        Image::Empty => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        26 1 8:2 / /cd ro,relatime - iso9660 /dev/sda2 ro\n\
        27 1 8:3 / /bind ro,relatime - ext4 /dev/sda3 rw\n\
        28 1 0:44 / /b rw - btrfs /dev/none rw\nnonsense\n";

    #[test]
    fn mounted_devices_are_found_by_number_and_by_how_they_are_mounted() {
        for (minor, write, read) in [
            (1, true, true),
            (2, true, false),
            (3, true, false),
            (4, false, false),
        ] {
            assert_eq!(mounted(MOUNTS, (8, minor), Mode::Write), write, "8:{minor}");
            assert_eq!(mounted(MOUNTS, (8, minor), Mode::Read), read, "8:{minor}");
        }
    }

    fn holder(uuid: &str, minor: u32, writes: bool) -> Holder {
        Holder {
            uuid: uuid.into(),
            identity: Identity::Block { major: 200, minor },
            writes,
        }
    }

    #[test]
    fn guests_share_only_what_nobody_writes() {
        let holders = [holder("a", 1, false), holder("b", 2, true)];
        let ask = |mode: Mode, minor: u32, uuid: &str| {
            let identity = Identity::Block { major: 200, minor };
            refusal(&Image::Phy("/dev/x".into()), mode, identity, uuid, &holders)
        };
        assert_eq!(ask(Mode::Read, 1, "c"), None);
        assert_eq!(
            ask(Mode::Write, 1, "c").as_deref(),
            Some("Device /dev/x is mounted in a guest domain,\nand so cannot be mounted now.")
        );
        assert_eq!(
            ask(Mode::Read, 2, "c").as_deref(),
            Some("Device /dev/x is mounted read-write in a guest domain,\nand so cannot be mounted read-only now.")
        );
        assert!(ask(Mode::Write, 2, "c").is_some());
        assert_eq!(ask(Mode::Force, 2, "c"), None);
        assert_eq!(ask(Mode::Write, 2, "b"), None);
        assert_eq!(ask(Mode::Write, 3, "c"), None);
    }

    #[test]
    fn texts_are_those_of_each_kind_of_image() {
        let file = Image::File("/f".into());
        assert_eq!(
            text(&file, Mode::Write, Conflict::Guest),
            "File /f is mounted in a guest domain,\nand so cannot be mounted now."
        );
        let tap = Image::Tap(noxen_xend_api::device::TapDriver::Aio, "/f".into());
        assert_eq!(
            text(&tap, Mode::Write, Conflict::Guest),
            "/f already in use by other domain"
        );
        let phy = Image::Phy("/dev/sda1".into());
        assert_eq!(
            text(&phy, Mode::Read, Conflict::Host),
            "Device /dev/sda1 is mounted read-write in the privileged domain,\nand so cannot be mounted read-only by a guest."
        );
        assert_eq!(
            loop_text(&file, "/dev/loop0", Mode::Write),
            "File /f is loopback-mounted through /dev/loop0,\nwhich is mounted in the privileged domain,\nand so cannot be mounted by a guest."
        );
    }
}
