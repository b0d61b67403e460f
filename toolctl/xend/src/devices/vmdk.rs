//! A disk of VMware's in two files, `monolithicFlat`: a descriptor, and beside it the disk's bytes as they are.
//!
//! ```text
//!   tap:vmdk:/d/disk.vmdk   "KDMV.."                   noxen-vmm reads and writes the format
//!                           "# Disk DescriptorFile"    checked here ── /d/disk-flat.vmdk, opened: a raw image for noxen-vmm
//! ```
//! noxen-vmm thus opens nothing that an image names, and whoever else wants the bytes (under whatever name) is in the way by
//! their file's inode. The descriptor may be anybody's: the file is one in the same directory that is called like such a
//! file, is no link, and is exactly as long as the descriptor says.

use noxen_control::vmdk::{new_cid, Data, Descriptor, ALONE, CONVERT, LONGEST};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// The two files of a disk, open.
#[derive(Debug)]
pub struct Flat {
    /// The disk's bytes.
    pub data: File,
    /// What has to be done before a guest writes to them.
    pub begin: Option<NewContent>,
}

/// A descriptor that is to say that its disk is not what it was: whatever holds only the difference to it is void from then on.
#[derive(Debug)]
pub struct NewContent {
    descriptor: File,
    cid: Range<usize>,
}

impl NewContent {
    /// Says it.
    ///
    /// # Errors
    /// The descriptor cannot be written.
    pub fn say(&self) -> io::Result<()> {
        let mut random = vec![0; self.cid.len()];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        self.descriptor
            .write_all_at(&new_cid(&random), self.cid.start as u64)?;
        self.descriptor.sync_data()
    }
}

/// Opens the disk that the file at `path` describes, for writing too if `writes`; none when it is the disk itself.
///
/// # Errors
/// The sentence after "could not be connected.".
pub fn open(path: &str, writes: bool) -> Result<Option<Flat>, String> {
    let fails = |error: io::Error| format!("{path} cannot be read: {error}");
    let descriptor = File::open(path).map_err(fails)?;
    let mut text = vec![0; ALONE.len()];
    if descriptor.read_exact_at(&mut text, 0).is_err() || text != ALONE {
        return Ok(None);
    }
    let length = descriptor.metadata().map_err(fails)?.len();
    if length > LONGEST {
        return Err(format!(
            "{path} cannot be used as vmdk: a descriptor of {length} bytes."
        ));
    }
    text.resize(length as usize, 0);
    descriptor.read_exact_at(&mut text, 0).map_err(fails)?;
    flat(path, &text, writes)
        .map(Some)
        .map_err(|why| match why {
            Why::Format(line) => format!("{path} cannot be used as vmdk: {line}"),
            Why::ReadOnly(which) => super::image::read_only(&which),
        })
}

/// Why a disk cannot be had.
enum Why {
    /// A line about the descriptor.
    Format(String),
    /// That file may not be written.
    ReadOnly(String),
}

impl From<String> for Why {
    fn from(line: String) -> Why {
        Why::Format(line)
    }
}

fn flat(path: &str, text: &[u8], writes: bool) -> Result<Flat, Why> {
    let about = Descriptor::parse(text)?;
    let Data::Flat(name) = about.data else {
        return Err(format!("it has no data of its own; {CONVERT}").into());
    };
    // Beside the file itself, not beside a link to it.
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let extent = real.with_file_name(&name);
    let shown = extent.display();
    let fails = |error: io::Error| format!("its data, {shown}, cannot be opened: {error}");
    let named = extent.symlink_metadata().map_err(fails)?;
    if !named.is_file() {
        return Err(format!("its data, {shown}, are not a file").into());
    }
    if writes && (!about.writable || named.mode() & 0o222 == 0) {
        return Err(Why::ReadOnly(shown.to_string()));
    }
    // What was looked at may have been replaced since; what is open counts.
    let data = File::options()
        .read(true)
        .write(writes)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&extent)
        .map_err(|error| match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem if writes => Why::ReadOnly(shown.to_string()),
            _ => fails(error).into(),
        })?;
    let metadata = data.metadata().map_err(fails)?;
    if !metadata.is_file() || Some(metadata.len()) != about.sectors.checked_mul(SECTOR) {
        return Err(format!(
            "its data, {shown}, are {} bytes where it says {} sectors",
            metadata.len(),
            about.sectors
        )
        .into());
    }
    let begin = match writes {
        true => Some(NewContent {
            descriptor: writable(&real).ok_or_else(|| Why::ReadOnly(path.to_owned()))?,
            cid: about.cid,
        }),
        false => None,
    };
    Ok(Flat { data, begin })
}

/// A descriptor that may be written, open for it; where nobody may, not even root does.
fn writable(path: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    let allowed = file.metadata().ok()?.mode() & 0o222 != 0;
    allowed.then_some(file)
}
