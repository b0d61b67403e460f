//! Where ELF bytes come from: memory, or a file that is read only where it is needed.
//!
//! A bare vmlinux is 60 MB, of which the parser wants some pages and the builder wants each segment once, in guest memory.
//! Reading it whole first would double the memory traffic and cost more than all of the rest of the build.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::KernelError;

/// Random access to the bytes of an ELF file.
pub trait Source {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills the buffer from `offset` on.
    ///
    /// # Errors
    /// An I/O error; `UnexpectedEof` where the bytes end before the buffer does.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The bytes themselves, where they are in memory already; `None` if they are not, or not all inside.
    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let _ = (offset, len);
        None
    }
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self
            .slice(offset, buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        inside(self, offset, len)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        inside(self, offset, len)
    }
}

/// An ELF, in memory or in its file.
#[derive(Debug)]
pub enum ElfBytes<'a> {
    /// Unpacked, or handed over in memory.
    Memory(Cow<'a, [u8]>),
    /// A plain ELF file and its size when it was opened.
    File(&'a File, u64),
    /// Unpacked into memory of the caller's choice.
    Room(Box<dyn Room>),
}

/// Memory of the caller's choice that a kernel is unpacked into, say a mapped file.
pub trait Room: fmt::Debug {
    /// All of it.
    fn bytes(&self) -> &[u8];

    /// All of it, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Whether it is known to read as zero before it is used: the third of a kernel that is zeros is then not written.
    fn is_zeroed(&self) -> bool {
        false
    }
}

impl Source for ElfBytes<'_> {
    fn size(&self) -> u64 {
        match self {
            ElfBytes::Memory(bytes) => bytes.len() as u64,
            ElfBytes::File(_, size) => *size,
            ElfBytes::Room(room) => room.bytes().len() as u64,
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            ElfBytes::Memory(bytes) => (&**bytes).read_at(offset, buffer),
            ElfBytes::File(file, _) => file.read_exact_at(buffer, offset),
            ElfBytes::Room(room) => room.bytes().read_at(offset, buffer),
        }
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        match self {
            ElfBytes::Memory(bytes) => inside(bytes, offset, len),
            ElfBytes::File(..) => None,
            ElfBytes::Room(room) => inside(room.bytes(), offset, len),
        }
    }
}

fn inside(bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(len)?)
}

/// The bytes `offset..offset + size`, or `None` if they are not all inside. The caller bounds `size`.
pub(crate) fn piece(
    source: &dyn Source,
    offset: u64,
    size: u64,
) -> Result<Option<Cow<'_, [u8]>>, KernelError> {
    let inside = offset
        .checked_add(size)
        .is_some_and(|end| end <= source.size());
    let Some(len) = usize::try_from(size).ok().filter(|_| inside) else {
        return Ok(None);
    };
    if let Some(bytes) = source.slice(offset, len) {
        return Ok(Some(Cow::Borrowed(bytes)));
    }
    let mut bytes = vec![0; len];
    source
        .read_at(offset, &mut bytes)
        .map_err(|e| KernelError::Read(e.to_string()))?;
    Ok(Some(Cow::Owned(bytes)))
}
