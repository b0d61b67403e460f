//! Image formats, by the imago library: qcow2, read and written.
//!
//! ```text
//!   image (open already) ── header names a backing file? ── its format, too? ── opened, read only ── its own backing file? ..
//! ```
//! A qcow2 image's backing files are opened by the paths in it, relative ones from its own directory, as QEMU and Xen do: whoever
//! gives the format gives that right. What a backing file is, is never guessed from its bytes: the guest that once had it as a raw
//! disk may have written them. An image whose data is in yet another file, which it would have written, is refused.
//!
//! The library caches the image's tables, so that a flush writes those first and then has the file synchronised.

use crate::devices::vbd::image::Wanted;
use crate::devices::vbd::vectors::slices;
use crate::vstate::memory::GuestMemory;
use imago::file::File as ImageFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::storage::StorageOpenOptions;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};
use noxen_control::device::ImageFormat;
use noxen_devices::pv::block::{Job, JobOp};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Most images behind one another: a chain may lead back to its beginning.
const MAX_CHAIN: usize = 32;

/// An image behind a format.
#[derive(Debug)]
pub struct Formatted {
    access: FormatAccess<ImageFile>,
}

impl Formatted {
    /// Opens `file` as `format`.
    pub fn open(format: ImageFormat, file: File, wanted: &Wanted<'_>) -> Result<Formatted, String> {
        if format != ImageFormat::Qcow2 {
            return Err(format!("{format:?} is not one of the library's formats"));
        }
        let link = Link {
            path: PathBuf::from(&wanted.image.path),
            writable: !wanted.readonly,
            direct: wanted.image.direct,
        };
        let access = qcow2(file, &link, MAX_CHAIN)
            .map_err(|line| format!("cannot be opened as qcow2: {line}"))?;
        Ok(Formatted { access })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.access.size()
    }

    /// Does `job`; blocks.
    pub fn perform(&self, memory: &GuestMemory, job: &Job) -> io::Result<()> {
        let slices = slices(memory, &job.pieces).ok_or(io::ErrorKind::InvalidInput)?;
        match job.op {
            JobOp::Read => {
                let (vector, _guard) = IoVectorMut::from_volatile_slice(&slices);
                self.access.readv(vector, job.offset)
            }
            JobOp::Write => {
                let (vector, _guard) = IoVector::from_volatile_slice(&slices);
                self.access.writev(vector, job.offset)
            }
            JobOp::Flush => {
                self.access.flush()?;
                self.access.sync()
            }
            JobOp::Discard(_) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }
}

/// An image of a chain.
#[derive(Debug)]
struct Link {
    path: PathBuf,
    writable: bool,
    direct: bool,
}

impl Link {
    fn storage(&self, file: File) -> Result<ImageFile, String> {
        let options = StorageOpenOptions::new()
            .filename(&self.path)
            .write(self.writable)
            .direct(self.direct);
        ImageFile::from_open_file(file, options).map_err(|e| e.to_string())
    }
}

/// Opens `file`, behind which up to `more` others may be.
fn qcow2(file: File, link: &Link, more: usize) -> Result<FormatAccess<ImageFile>, String> {
    let storage = link.storage(file)?;
    let mut image = Qcow2::<ImageFile>::builder(storage)
        .write(link.writable)
        .backing(None)
        .data_file(None)
        .open(DenyImplicitOpenGate::default())
        .map_err(|error| error.to_string())?;
    if image.requires_external_data_file() {
        return Err(
            "its data are in another file; make one file of it: qemu-img convert -O qcow2 OLD NEW"
                .into(),
        );
    }
    if let Some(name) = image.implicit_backing_file() {
        let path = match link.path.parent() {
            Some(directory) => directory.join(name),
            None => PathBuf::from(name),
        };
        let format = image.implicit_backing_format().map(String::as_str);
        let backing = backing(&path, format, more)
            .map_err(|line| format!("its backing file {}: {line}", path.display()))?;
        image.set_backing(Some(backing));
    }
    Ok(FormatAccess::new(image))
}

/// Opens the file that an image names as the one behind it.
/// It is read through the page cache, which the images of several domains have in common.
fn backing(
    path: &Path,
    format: Option<&str>,
    more: usize,
) -> Result<FormatAccess<ImageFile>, String> {
    let more = more
        .checked_sub(1)
        .ok_or_else(|| format!("there are more than {MAX_CHAIN} behind one another"))?;
    let raw = match format {
        Some("qcow2") => false,
        Some("raw" | "file") => true,
        Some(other) => return Err(format!("its format is {other:?}, neither qcow2 nor raw")),
        None => {
            return Err(
                "the image does not say its format, and nothing is guessed; \
                 say it: qemu-img rebase -u -F FORMAT -b BACKING IMAGE"
                    .into(),
            )
        }
    };
    // Before it is opened, for that alone does something to some kinds of file, or takes its time.
    let usable = |about: &fs::Metadata| about.is_file() || about.file_type().is_block_device();
    let text = |error: io::Error| error.to_string();
    if !usable(&path.metadata().map_err(text)?) {
        return Err("it is neither a regular file nor a block device".into());
    }
    let link = Link {
        path: path.to_owned(),
        writable: false,
        direct: false,
    };
    let file = File::open(path).map_err(text)?;
    if !usable(&file.metadata().map_err(text)?) {
        return Err("it is neither a regular file nor a block device".into());
    }
    match raw {
        false => qcow2(file, &link, more),
        true => Raw::builder(link.storage(file)?)
            .write(false)
            .open(DenyImplicitOpenGate::default())
            .map(FormatAccess::new)
            .map_err(|error| error.to_string()),
    }
}
