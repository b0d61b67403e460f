//! Image formats, by the imago library: qcow2, read and written.
//!
//! A qcow2 image's backing files are opened by the paths in it, as QEMU does; the library caches the
//! image's tables, so that a flush writes those first and then has the file synchronised.

use crate::devices::vbd::image::Wanted;
use crate::devices::vbd::vectors::slices;
use crate::vstate::memory::GuestMemory;
use imago::file::File as ImageFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::storage::StorageOpenOptions;
use imago::{FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate};
use noxen_control::device::ImageFormat;
use noxen_devices::pv::block::{Job, JobOp};
use std::fs::File;
use std::io;

/// An image behind a format.
#[derive(Debug)]
pub struct Formatted {
    access: FormatAccess<ImageFile>,
}

impl Formatted {
    /// Opens `file` as `format`.
    pub fn open(format: ImageFormat, file: File, wanted: &Wanted<'_>) -> Result<Formatted, String> {
        let writable = !wanted.readonly;
        let options = StorageOpenOptions::new()
            .filename(&wanted.image.path)
            .write(writable)
            .direct(wanted.image.direct);
        let storage = ImageFile::from_open_file(file, options).map_err(|e| e.to_string())?;
        let gate = PermissiveImplicitOpenGate::default();
        let access = match format {
            ImageFormat::Qcow2 => Qcow2::<ImageFile>::builder(storage)
                .write(writable)
                .open(gate)
                .map(FormatAccess::new)
                .map_err(|error| format!("cannot be opened as qcow2: {error}"))?,
            ImageFormat::Raw
            | ImageFormat::Vhd
            | ImageFormat::Vhdx
            | ImageFormat::Vmdk
            | ImageFormat::Nbd => {
                return Err(format!("{format:?} is not one of the library's formats"))
            }
        };
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
