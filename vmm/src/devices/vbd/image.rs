//! The host's side of a disk.
//!
//! ```text
//!   open(descriptor, wanted) --> Opened{ image, size, sectors }     image.perform(job): does it, blocking
//!       Raw: file or block device, preadv/pwritev/fdatasync/fallocate; mapped/ where it is in memory
//!       Format: format.rs (qcow2)      Blocks: vhd.rs, vhdx/, vmdk/      Nbd: nbd.rs
//! ```

use crate::devices::vbd::blocks::{self, Blocks};
use crate::devices::vbd::format::Formatted;
use crate::devices::vbd::mapped::Mapped;
use crate::devices::vbd::nbd::Nbd;
use crate::devices::vbd::vectors::Vectors;
use crate::devices::vbd::vhd::Vhd;
use crate::devices::vbd::vhdx::Vhdx;
use crate::devices::vbd::vmdk::Vmdk;
use crate::vstate::memory::GuestMemory;
use noxen_control::device::{DiskImage, ImageFormat};
use noxen_devices::pv::block::{Job, JobOp, Outcome, SECTOR};
use rustix::fs::{fallocate, fcntl_getfl, fcntl_setfl, fdatasync, fstatfs, FallocateFlags, OFlags};
use rustix::fs::{ioctl_blkpbszget, ioctl_blksszget};
use rustix::io::{pread, Errno};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

/// File systems in memory (linux/magic.h): tmpfs, ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// What is wanted of an image.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Format and the like.
    pub image: &'a DiskImage,
    /// Never written.
    pub readonly: bool,
    /// Logical sector, bytes.
    pub sector_size: Option<u32>,
    /// Physical sector, bytes.
    pub physical_sector_size: Option<u32>,
}

/// An image and what it is like.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub image: Image,
    /// Size in units of 512 bytes.
    pub sectors: u64,
    /// Logical sector, bytes.
    pub sector_size: u32,
    /// Physical sector, bytes.
    pub physical_sector_size: u32,
    /// Ranges can be discarded.
    pub discard: bool,
}

/// Where the bytes of a raw image are.
#[derive(Debug)]
pub enum Place {
    /// On a device, which takes its time.
    Device,
    /// In memory, where nothing is waited for.
    Memory(Option<Mapped>),
}

/// An open image.
#[derive(Debug)]
pub enum Image {
    /// Bytes as they are.
    Raw(File, Place),
    /// Behind a format.
    Format(Formatted),
    /// In blocks: Virtual PC's, Hyper-V's and VMware's formats.
    Blocks(Box<dyn Blocks>),
    /// At an NBD server.
    Nbd(Nbd),
}

/// Opens what is behind `fd`.
pub fn open(wanted: &Wanted<'_>, fd: OwnedFd) -> Result<Opened, String> {
    let mut file = File::from(fd);
    if wanted.image.format == ImageFormat::Nbd {
        return open_nbd(wanted, file);
    }
    check_mode(&file, wanted)?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    let device = about.file_type().is_block_device();
    if !about.is_file() && !device {
        return Err("it is neither a regular file nor a block device".into());
    }
    let logical = match device {
        true => ioctl_blksszget(&file).map_err(|error| error.to_string())?,
        false => 512,
    };
    let mut sector_size = wanted.sector_size.unwrap_or(logical);
    if ![512, 4096].contains(&sector_size) || sector_size < logical {
        return Err(format!(
            "sectors of {sector_size} bytes: give 512 or 4096, and at least the device's {logical}"
        ));
    }
    let mut physical = match wanted.physical_sector_size {
        Some(size) if size.is_power_of_two() && size >= sector_size && size <= 1 << 20 => size,
        Some(size) => {
            return Err(format!(
                "physical sectors of {size} bytes: give a power of two, at least {sector_size}"
            ))
        }
        None if device => ioctl_blkpbszget(&file).unwrap_or(logical).max(sector_size),
        None => sector_size,
    };
    let (image, bytes, discard) = match wanted.image.format {
        ImageFormat::Raw => {
            let bytes = file
                .seek(SeekFrom::End(0))
                .map_err(|error| error.to_string())?;
            if wanted.image.direct && !device && !takes_sectors(&file) {
                // Its file system wants larger units than the front end's sectors.
                let flags = fcntl_getfl(&file).map_err(|errno| errno.to_string())?;
                fcntl_setfl(&file, flags - OFlags::DIRECT).map_err(|errno| errno.to_string())?;
            }
            let in_memory = fstatfs(&file).is_ok_and(|about| IN_MEMORY.contains(&about.f_type));
            let place = match in_memory {
                true => Place::Memory(Mapped::new(&file, bytes, wanted.readonly)),
                false => Place::Device,
            };
            (Image::Raw(file, place), bytes, true)
        }
        ImageFormat::Vhd | ImageFormat::Vhdx | ImageFormat::Vmdk if wanted.image.direct => {
            let line =
                "vhd, vhdx and vmdk images are not used past the page cache: leave direct out";
            return Err(line.into());
        }
        ImageFormat::Vhd => {
            let vhd = Vhd::open(file)?;
            let bytes = vhd.size();
            (Image::Blocks(Box::new(vhd)), bytes, false)
        }
        ImageFormat::Vhdx => {
            let vhdx = Vhdx::open(file, wanted.readonly)?;
            let bytes = vhdx.size();
            // What is on the disk counts in the image's sectors.
            let (logical, own) = vhdx.sectors();
            if wanted.sector_size.is_some_and(|size| size != logical) {
                return Err(format!(
                    "the image has sectors of {logical} bytes: leave the sector's size out"
                ));
            }
            sector_size = logical;
            physical = physical.max(own).max(logical);
            (Image::Blocks(Box::new(vhdx)), bytes, false)
        }
        ImageFormat::Vmdk => {
            let vmdk = Vmdk::open(file, wanted.readonly)?;
            let bytes = vmdk.size();
            (Image::Blocks(Box::new(vmdk)), bytes, false)
        }
        format => {
            let formatted = Formatted::open(format, file, wanted)?;
            let bytes = formatted.size();
            (Image::Format(formatted), bytes, false)
        }
    };
    let unit = u64::from(sector_size);
    Ok(Opened {
        image,
        sectors: bytes / unit * unit / SECTOR,
        sector_size,
        physical_sector_size: physical,
        discard,
    })
}

/// Whether a file that is open for direct transfers takes single sectors.
fn takes_sectors(file: &File) -> bool {
    let mut buffer = [0u8; 2 * SECTOR as usize];
    let skip = buffer.as_ptr().align_offset(SECTOR as usize);
    let Some(sector) = buffer.get_mut(skip..skip + SECTOR as usize) else {
        return true;
    };
    !matches!(pread(file, sector, SECTOR), Err(Errno::INVAL))
}

fn open_nbd(wanted: &Wanted<'_>, socket: File) -> Result<Opened, String> {
    let nbd = Nbd::open(socket, &wanted.image.export, wanted.readonly)?;
    let sector_size = wanted.sector_size.unwrap_or(512);
    if ![512, 4096].contains(&sector_size) {
        return Err(format!("sectors of {sector_size} bytes: give 512 or 4096"));
    }
    Ok(Opened {
        sectors: nbd.size() / u64::from(sector_size) * u64::from(sector_size) / SECTOR,
        image: Image::Nbd(nbd),
        sector_size,
        physical_sector_size: wanted.physical_sector_size.unwrap_or(sector_size),
        discard: false,
    })
}

/// The descriptor must be open the way the disk is to be used.
fn check_mode(file: &File, wanted: &Wanted<'_>) -> Result<(), String> {
    let flags = fcntl_getfl(file).map_err(|errno| errno.to_string())?;
    let mode = flags & OFlags::RWMODE;
    if mode == OFlags::WRONLY || !wanted.readonly && mode != OFlags::RDWR {
        return Err("its descriptor is not open for what the disk is to do".into());
    }
    if wanted.image.direct != flags.contains(OFlags::DIRECT) {
        return Err("direct and the descriptor's O_DIRECT disagree".into());
    }
    Ok(())
}

impl Image {
    /// The file, where bytes are as they are.
    pub fn raw(&self) -> Option<&File> {
        match self {
            Image::Raw(file, _) => Some(file),
            Image::Format(_) | Image::Blocks(_) | Image::Nbd(_) => None,
        }
    }

    /// Whether transfers never wait for a device.
    pub fn is_in_memory(&self) -> bool {
        matches!(self, Image::Raw(_, Place::Memory(_)))
    }

    /// Does `job`, of whose data `done` bytes are done already; blocks.
    pub fn perform(&self, memory: &GuestMemory, job: &Job, done: usize) -> Outcome {
        match self {
            Image::Raw(file, Place::Memory(Some(mapped))) => {
                outcome(perform_mapped(mapped, file, memory, job, done))
            }
            Image::Raw(file, _) => outcome(perform_raw(file, memory, job, done)),
            Image::Format(formatted) => outcome(formatted.perform(memory, job)),
            Image::Blocks(image) => outcome(blocks::perform(&**image, memory, job)),
            Image::Nbd(nbd) => outcome(nbd.perform(memory, job)),
        }
    }
}

fn outcome(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => failure(error.raw_os_error().unwrap_or(0)),
    }
}

/// What an errno means to a front end.
pub fn failure(errno: i32) -> Outcome {
    match errno {
        libc::EOPNOTSUPP => Outcome::Unsupported,
        _ => Outcome::Failed,
    }
}

fn perform_mapped(
    mapped: &Mapped,
    file: &File,
    memory: &GuestMemory,
    job: &Job,
    done: usize,
) -> io::Result<()> {
    let moves = matches!(job.op, JobOp::Read | JobOp::Write);
    if matches!(job.op, JobOp::Discard(_)) {
        mapped.discards();
    }
    match moves && done == 0 && mapped.serves() {
        true => mapped.transfer(memory, job),
        false => perform_raw(file, memory, job, done),
    }
}

fn perform_raw(file: &File, memory: &GuestMemory, job: &Job, done: usize) -> io::Result<()> {
    match job.op {
        JobOp::Flush => Ok(fdatasync(file)?),
        JobOp::Discard(length) => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(fallocate(file, flags, job.offset, length)?)
        }
        JobOp::Read | JobOp::Write => transfer(file, memory, job, done),
    }
}

fn transfer(file: &File, memory: &GuestMemory, job: &Job, done: usize) -> io::Result<()> {
    let mut done = done;
    loop {
        let vectors = Vectors::new(memory, &job.pieces, done).ok_or(io::ErrorKind::InvalidInput)?;
        if vectors.bytes() == 0 {
            return Ok(());
        }
        let at = i64::try_from(job.offset + done as u64).map_err(io::Error::other)?;
        match move_once(file, &vectors, at, job.op) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[allow(unsafe_code)]
fn move_once(file: &File, vectors: &Vectors, at: i64, op: JobOp) -> io::Result<usize> {
    let (list, count) = vectors.parts();
    let fd = file.as_raw_fd();
    // SAFETY: the vectors point at guest memory, which stays mapped, and are alive during the call; the
    // kernel's access races with the guest's as any device's DMA does. Safe wrappers want slices, which
    // memory that the guest changes at any time must not be made into.
    let moved = unsafe {
        match op {
            JobOp::Read => libc::preadv(fd, list, count as i32, at),
            _ => libc::pwritev(fd, list, count as i32, at),
        }
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
