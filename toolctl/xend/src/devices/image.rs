//! A disk's image, opened for noxen-vmm, which opens nothing by itself.
//!
//! ```text
//!   phy:   block device, past the cache          tap:aio:, tap:sync:   file, past the cache where it can be
//!   file:  file through the cache                tap:qcow2: vhd vmdk   file in a format
//!   nbd:   a socket, connected                   (nothing)             an empty file in memory
//!   tap:vmdk: in two files   the one that has the data (vmdk.rs)
//! ```

use super::device::Identity;
use super::{nbd, vmdk};
use noxen_control::device::{DiskImage, Engine, ImageFormat};
use noxen_xend_api::device::{Image, TapDriver};
use noxen_xend_api::DeviceConfig;
use rustix::fs::{FileType, OFlags};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// An open image.
#[derive(Debug)]
pub struct Opened {
    /// The file, or the socket.
    pub fd: OwnedFd,
    /// As noxen-vmm is told of it.
    pub image: DiskImage,
    /// What must not be shared; none of a server.
    pub identity: Option<Identity>,
    /// What has to be done before a guest may write.
    pub begin: Option<vmdk::NewContent>,
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug)]
struct Way {
    format: ImageFormat,
    /// Past the cache, where the file system can.
    direct: bool,
    /// Each write on the medium before it is answered.
    sync: bool,
    /// Nothing but a block device will do.
    block: bool,
}

impl Way {
    const FILE: Way = Way {
        format: ImageFormat::Raw,
        direct: false,
        sync: false,
        block: false,
    };
    const PHY: Way = Way {
        direct: true,
        block: true,
        ..Way::FILE
    };

    fn of(driver: TapDriver) -> Result<Way, String> {
        let format = |format| Way {
            format,
            ..Way::FILE
        };
        Ok(match driver {
            TapDriver::Aio => Way {
                direct: true,
                ..Way::FILE
            },
            TapDriver::Sync => Way {
                direct: true,
                sync: true,
                ..Way::FILE
            },
            TapDriver::Ram | TapDriver::Ioemu => Way::FILE,
            TapDriver::Qcow2 => format(ImageFormat::Qcow2),
            TapDriver::Vmdk => format(ImageFormat::Vmdk),
            TapDriver::Vhd => format(ImageFormat::Vhd),
            TapDriver::Vhdx => format(ImageFormat::Vhdx),
            TapDriver::Qcow => {
                return Err(
                    "The first qcow format is not supported; convert it: qemu-img convert -O qcow2 OLD NEW".into(),
                )
            }
        })
    }
}

/// Opens `image`, for writing too if `writes`. The error is the sentence after "could not be connected.".
pub fn open(image: &Image, writes: bool) -> Result<Opened, String> {
    match image {
        Image::Empty => empty().map_err(|e| format!("No memory for an empty medium: {e}")),
        Image::Phy(path) => open_file(path, Way::PHY, writes),
        Image::File(path) => open_file(path, Way::FILE, writes),
        Image::Tap(TapDriver::Vmdk, path) => open_vmdk(path, writes),
        Image::Tap(driver, path) => open_file(path, Way::of(*driver)?, writes),
        Image::Script(kind, params) if kind == "nbd" => {
            let (fd, export) = nbd::connect(params)?;
            Ok(Opened {
                fd,
                image: DiskImage {
                    path: format!("nbd:{params}"),
                    format: ImageFormat::Nbd,
                    direct: false,
                    engine: Engine::Auto,
                    export,
                },
                identity: None,
                begin: None,
            })
        }
        Image::Script(kind, _) => Err(format!("Block device type \"{kind}\" is invalid.")),
    }
}

/// Opens the block device that a script has made.
pub fn open_made_by_script(path: &str, writes: bool) -> Result<Opened, String> {
    open_file(path, Way::PHY, writes)
}

/// A drive without a medium: no sectors.
fn empty() -> io::Result<Opened> {
    let fd = rustix::fs::memfd_create("empty-medium", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(Opened {
        fd,
        image: DiskImage {
            path: "no medium".into(),
            format: ImageFormat::Raw,
            direct: false,
            engine: Engine::Auto,
            export: String::new(),
        },
        identity: None,
        begin: None,
    })
}

fn open_vmdk(path: &str, writes: bool) -> Result<Opened, String> {
    let way = Way::of(TapDriver::Vmdk)?;
    judge(Path::new(path), way, writes)?;
    let Some(flat) = vmdk::open(path, writes)? else {
        return open_file(path, way, writes);
    };
    let metadata = flat
        .data
        .metadata()
        .map_err(|e| format!("the data of {path} cannot be read: {e}"))?;
    Ok(Opened {
        identity: Some(identity(&metadata)),
        fd: flat.data.into(),
        image: DiskImage {
            path: path.to_owned(),
            format: ImageFormat::Raw,
            direct: false,
            engine: Engine::Auto,
            export: String::new(),
        },
        begin: flat.begin,
    })
}

fn open_file(path: &str, way: Way, writes: bool) -> Result<Opened, String> {
    judge(Path::new(path), way, writes)?;
    let (file, direct) = open_either_way(path, way, writes).map_err(|e| match e.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied if writes => {
            read_only(path)
        }
        _ => format!("{path} cannot be opened: {e}"),
    })?;
    // What was judged may have been replaced since; what is open counts.
    let metadata = file
        .metadata()
        .map_err(|e| format!("{path} cannot be read: {e}"))?;
    judge_type(path, &metadata, way)?;
    Ok(Opened {
        identity: Some(identity(&metadata)),
        fd: file.into(),
        image: DiskImage {
            path: path.to_owned(),
            format: way.format,
            direct,
            engine: Engine::Auto,
            export: String::new(),
        },
        begin: None,
    })
}

/// A file system without O_DIRECT answers EINVAL.
fn open_either_way(path: &str, way: Way, writes: bool) -> io::Result<(File, bool)> {
    let open = |direct: bool| {
        let mut flags = OFlags::empty();
        flags.set(OFlags::DIRECT, direct);
        flags.set(OFlags::DSYNC, way.sync);
        File::options()
            .read(true)
            .write(writes)
            .custom_flags(flags.bits() as i32)
            .open(path)
    };
    match open(way.direct) {
        Err(e)
            if way.direct && e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) =>
        {
            Ok((open(false)?, false))
        }
        opened => Ok((opened?, way.direct)),
    }
}

fn judge(path: &Path, way: Way, writes: bool) -> Result<(), String> {
    let shown = path.display();
    if !path.is_absolute() {
        // xend's own directory says nothing to whoever wrote this.
        return Err(format!(
            "{shown} is not a whole path; begin it with a slash."
        ));
    }
    let metadata = path.metadata().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound if way.block && path.symlink_metadata().is_ok() => {
            format!("{shown} link does not exist.")
        }
        io::ErrorKind::NotFound => format!("{shown} does not exist."),
        _ => format!("{shown} cannot be read: {e}"),
    })?;
    judge_type(&shown.to_string(), &metadata, way)?;
    // A file without any right to write is not written, even where root could.
    if writes && metadata.is_file() && metadata.mode() & 0o222 == 0 {
        return Err(read_only(&shown.to_string()));
    }
    Ok(())
}

fn judge_type(path: &str, metadata: &Metadata, way: Way) -> Result<(), String> {
    let block = metadata.file_type().is_block_device();
    if way.block && !block {
        return Err(format!("{path} is not a block device."));
    }
    if !block && !metadata.is_file() {
        let kind = FileType::from_raw_mode(metadata.mode());
        return Err(format!(
            "{path} is neither a file nor a block device ({kind:?})."
        ));
    }
    Ok(())
}

/// The sentence about a file that may not be written.
pub fn read_only(path: &str) -> String {
    format!("File {path} is read-only, and so I will not\nmount it read-write in a guest domain.")
}

/// The identity of a disk that is open already; none when nothing is there any more.
pub fn identity_of(config: &DeviceConfig) -> Option<Identity> {
    let DeviceConfig::Disk(disk) = config else {
        return None;
    };
    match disk.image().ok()? {
        Image::Tap(TapDriver::Vmdk, path) => open_vmdk(&path, false).ok()?.identity,
        Image::Phy(path) | Image::File(path) | Image::Tap(_, path) => {
            Some(identity(&Path::new(&path).metadata().ok()?))
        }
        Image::Empty | Image::Script(..) => None,
    }
}

fn identity(metadata: &Metadata) -> Identity {
    match metadata.file_type().is_block_device() {
        true => Identity::Block {
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
        },
        false => Identity::File {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn file(dir: &TempDir, name: &str) -> String {
        let path = dir.path().join(name);
        fs::write(&path, [0; 4096]).unwrap();
        path.display().to_string()
    }

    #[test]
    fn file_is_opened_as_asked_and_known_by_its_inode() {
        let dir = TempDir::new("image");
        let path = file(&dir, "a");
        let link = dir.path().join("b").display().to_string();
        fs::hard_link(&path, &link).unwrap();
        let first = open(&Image::File(path), true).unwrap();
        let second = open(&Image::Tap(TapDriver::Qcow2, link), false).unwrap();
        assert_eq!(first.identity, second.identity);
        assert!(!first.image.direct);
        assert_eq!(second.image.format, ImageFormat::Qcow2);
        assert!(rustix::io::write(&first.fd, b"x").is_ok());
        assert!(rustix::io::write(&second.fd, b"x").is_err());
    }

    #[test]
    fn image_that_is_none_is_named() {
        let dir = TempDir::new("image");
        let path = file(&dir, "a");
        let gone = dir.path().join("gone");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&gone, &link).unwrap();
        let (gone, link) = (gone.display().to_string(), link.display().to_string());
        let refused = |image: Image| open(&image, true).unwrap_err();
        assert_eq!(
            refused(Image::File(gone.clone())),
            format!("{gone} does not exist.")
        );
        assert_eq!(
            refused(Image::Phy(link.clone())),
            format!("{link} link does not exist.")
        );
        assert_eq!(
            refused(Image::Phy(path.clone())),
            format!("{path} is not a block device.")
        );
        let directory = dir.path().display().to_string();
        assert!(refused(Image::File(directory)).contains("neither a file nor a block device"));
        assert!(refused(Image::File("a".into())).contains("begin it with a slash"));
        assert!(refused(Image::Tap(TapDriver::Qcow, path.clone())).contains("qemu-img convert"));
        assert!(refused(Image::Script("drbd".into(), "r0".into())).contains("\"drbd\" is invalid"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let text = refused(Image::File(path.clone()));
        assert!(
            text.starts_with(&format!("File {path} is read-only, and so I will not\n")),
            "{text}"
        );
        assert!(open(&Image::File(path), false).is_ok());
    }

    fn qemu_img(args: &[&str]) {
        let out = std::process::Command::new("qemu-img").args(args).output();
        let out = out.expect("qemu-img (package qemu-utils)");
        assert!(out.status.success(), "qemu-img {args:?}: {out:?}");
    }

    const FLAT: [&str; 6] = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-o",
        "subformat=monolithicFlat",
    ];

    #[test]
    fn vmdk_in_two_files_is_its_data_raw_and_says_that_it_changes() {
        let dir = TempDir::new("flat");
        let path = dir.path().join("disk.vmdk");
        let data = dir.path().join("disk-flat.vmdk");
        let name = path.display().to_string();
        qemu_img(&[&FLAT[..], &[&name, "1M"]].concat());
        let before = fs::read_to_string(&path).unwrap();
        let vmdk = |writes| open(&Image::Tap(TapDriver::Vmdk, name.clone()), writes);
        let read = vmdk(false).unwrap();
        assert!(read.begin.is_none());
        assert_eq!(read.image.format, ImageFormat::Raw);
        assert!(rustix::io::write(&read.fd, b"x").is_err());
        let opened = vmdk(true).unwrap();
        // Who wants the data by their own name finds them taken.
        let raw = open(&Image::File(data.display().to_string()), false).unwrap();
        assert_eq!(opened.identity, raw.identity);
        assert!(opened.identity.is_some());
        let config = |uname: String| {
            DeviceConfig::Disk(noxen_xend_api::device::Disk {
                uname,
                dev: "xvda".into(),
                cdrom: false,
                mode: noxen_xend_api::device::Mode::Write,
                backend: None,
                protocol: None,
            })
        };
        assert_eq!(
            identity_of(&config(format!("tap:vmdk:{name}"))),
            opened.identity
        );
        // Nothing is said before it is this domain's; then a child of the image knows, and nothing else is changed.
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        opened.begin.unwrap().say().unwrap();
        let after = fs::read_to_string(&path).unwrap();
        let changed: Vec<(&str, &str)> = before
            .lines()
            .zip(after.lines())
            .filter(|(old, new)| old != new)
            .collect();
        assert_eq!(after.len(), before.len());
        assert!(
            matches!(changed[..], [(old, new)] if old.starts_with("CID=") && new.starts_with("CID=")),
            "{changed:?}"
        );
        let written = File::from(opened.fd);
        std::os::unix::fs::FileExt::write_all_at(&written, &[7; 512], 4096).unwrap();
        drop(written);
        let plain = dir.path().join("plain").display().to_string();
        qemu_img(&["convert", "-f", "vmdk", "-O", "raw", &name, &plain]);
        let bytes = fs::read(&plain).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert!(bytes[4096..4608].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn vmdk_that_wants_what_it_should_not_have_is_refused() {
        let dir = TempDir::new("flat");
        let path = dir.path().join("disk.vmdk");
        let data = dir.path().join("disk-flat.vmdk");
        let name = path.display().to_string();
        qemu_img(&[&FLAT[..], &[&name, "1M"]].concat());
        let good = fs::read_to_string(&path).unwrap();
        let refused = |writes| {
            let image = Image::Tap(TapDriver::Vmdk, name.clone());
            open(&image, writes).unwrap_err()
        };
        let with = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            fs::write(&path, good.replace(from, to)).unwrap();
        };
        let secret = dir.path().join("secret-flat.vmdk");
        fs::write(&secret, [0; 1 << 20]).unwrap();
        for wild in [
            secret.display().to_string(),
            "../secret-flat.vmdk".into(),
            "/etc/passwd".into(),
            "passwd".into(),
        ] {
            with("disk-flat.vmdk", &wild);
            let line = refused(false);
            assert!(line.contains("same directory"), "{line}");
        }
        // A link by a name that would do.
        let link = dir.path().join("link-flat.vmdk");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        with("disk-flat.vmdk", "link-flat.vmdk");
        assert!(refused(false).contains("are not a file"));
        with("disk-flat.vmdk", "gone-flat.vmdk");
        assert!(refused(false).contains("gone-flat.vmdk, cannot be opened"));
        with("RW 2048", "RW 2047");
        assert!(refused(false).contains("1048576 bytes where it says 2047"));
        with("RW 2048", "RW 18446744073709551615");
        assert!(refused(false).contains("1048576 bytes"));
        with("RW 2048", "RDONLY 2048");
        assert!(refused(true).starts_with(&format!("File {} is read-only", data.display())));
        let image = Image::Tap(TapDriver::Vmdk, name.clone());
        assert!(open(&image, false).is_ok());
        with("monolithicFlat", "twoGbMaxExtentFlat");
        assert!(refused(false).contains("qemu-img convert"));
        fs::write(&path, [good.as_bytes(), &vec![b'#'; 1 << 20]].concat()).unwrap();
        assert!(refused(false).contains("a descriptor of"));
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(refused(true).contains("disk-flat.vmdk is read-only"));
        assert!(open(&image, false).is_ok());
        fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(refused(true).contains("disk.vmdk is read-only"));
    }

    #[test]
    fn raw_image_is_never_taken_for_a_format_that_a_guest_has_written_into_it() {
        let dir = TempDir::new("image");
        let path = file(&dir, "a");
        let flat = b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nCID=1\nparentCID=ffffffff\nRW 1 FLAT \"b-flat.vmdk\" 0\n";
        for head in [&b"QFI\xfb\0\0\0\x03"[..], b"KDMV", b"vhdxfile", flat] {
            fs::write(&path, [head, &[0; 4096]].concat()).unwrap();
            for image in [
                Image::File(path.clone()),
                Image::Tap(TapDriver::Aio, path.clone()),
                Image::Tap(TapDriver::Sync, path.clone()),
                Image::Tap(TapDriver::Ram, path.clone()),
                Image::Tap(TapDriver::Ioemu, path.clone()),
            ] {
                let opened = open(&image, true).unwrap();
                assert_eq!(opened.image.format, ImageFormat::Raw, "{image:?}");
            }
        }
    }

    #[test]
    fn empty_drive_has_no_sectors_and_belongs_to_nobody() {
        let opened = open(&Image::Empty, false).unwrap();
        assert_eq!(opened.identity, None);
        assert_eq!(File::from(opened.fd).metadata().unwrap().len(), 0);
    }
}
