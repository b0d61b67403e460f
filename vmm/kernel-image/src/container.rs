//! What kind of file it is, where the payload lies and how large it unpacks.
//!
//! ```text
//! offset   bzImage field (protocol >= 2.08)        payload = (setup_sects or 4, +1) * 512 + payload_offset
//! 0x1f1    setup_sects u8                          every packing but gzip ends with the unpacked size, u32 LE,
//! 0x202    "HdrS"                                  appended by the kernel's build; gzip has the same number as its
//! 0x206    version u16                             own trailer (ISIZE)
//! 0x248    payload_offset u32
//! 0x24c    payload_length u32
//! ```
//! Source: Linux `Documentation/x86/boot.rst`.

use std::borrow::Cow;
use std::fmt;

use crate::checksum;
use crate::unpack::{self, Compression};
use crate::KernelError;

/// Largest unpacked kernel that is taken: 1 GiB.
pub const MAX_UNPACKED: u64 = 1 << 30;

pub(crate) const ELF_MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];

/// How the kernel file wraps its ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The file is the ELF.
    Elf,
    /// The file is a packed ELF.
    Packed(Compression),
    /// A Linux bzImage; `None` means that its payload is a bare ELF.
    BzImage(Option<Compression>),
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Container::Elf => f.write_str("ELF"),
            Container::Packed(c) => write!(f, "{c} of an ELF"),
            Container::BzImage(Some(c)) => write!(f, "bzImage ({c})"),
            Container::BzImage(None) => f.write_str("bzImage (not packed)"),
        }
    }
}

/// A kernel file whose wrapping is understood and whose payload is inside the file.
#[derive(Debug, Clone, Copy)]
pub struct KernelFile<'a> {
    container: Container,
    /// Packed bytes without the size suffix, or the ELF itself.
    payload: &'a [u8],
    unpacked_size: u64,
    /// The bzImage around the payload, for its checksum.
    whole: Option<&'a [u8]>,
}

impl<'a> KernelFile<'a> {
    /// Recognises the file and checks what its wrapping declares; unpacks nothing.
    ///
    /// # Errors
    /// `NotAKernel`, `OldBzImage`, `PayloadOutside`, `UnknownCompression`, `BareArchive`, `ClaimsTooMuch` or `Unpack`.
    pub fn open(file: &'a [u8]) -> Result<Self, KernelError> {
        if file.starts_with(&ELF_MAGIC) {
            return Ok(Self {
                container: Container::Elf,
                payload: file,
                unpacked_size: file.len() as u64,
                whole: None,
            });
        }
        if file.get(0x202..0x206) == Some(b"HdrS") {
            return Self::open_bzimage(file);
        }
        match Compression::detect(file) {
            Some(Compression::Gzip) => Self::packed(
                Container::Packed(Compression::Gzip),
                Compression::Gzip,
                file,
            ),
            Some(other) => Err(KernelError::BareArchive(other)),
            None => Err(KernelError::NotAKernel {
                found: describe(file),
            }),
        }
    }

    fn open_bzimage(file: &'a [u8]) -> Result<Self, KernelError> {
        let cut = |end: u64| KernelError::PayloadOutside {
            start: 0,
            end,
            size: file.len() as u64,
        };
        let header = file.get(..0x250).ok_or_else(|| cut(0x250))?;
        let version = u16::from_le_bytes([header[0x206], header[0x207]]);
        if version < 0x208 {
            return Err(KernelError::OldBzImage {
                major: (version >> 8) as u8,
                minor: version as u8,
            });
        }
        let word = |at: usize| {
            u64::from(u32::from_le_bytes([
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
            ]))
        };
        let setup_sects = match header[0x1f1] {
            0 => 4,
            n => u64::from(n),
        };
        let start = (setup_sects + 1) * 512 + word(0x248);
        let end = start + word(0x24c);
        let payload = usize::try_from(start)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(s, e)| file.get(s..e))
            .filter(|p| !p.is_empty())
            .ok_or(KernelError::PayloadOutside {
                start,
                end,
                size: file.len() as u64,
            })?;
        if payload.starts_with(&ELF_MAGIC) {
            return Ok(Self {
                container: Container::BzImage(None),
                payload,
                unpacked_size: payload.len() as u64,
                whole: Some(file),
            });
        }
        let compression =
            Compression::detect(payload).ok_or_else(|| KernelError::UnknownCompression {
                magic: hex(payload),
            })?;
        let packed = Self::packed(Container::BzImage(Some(compression)), compression, payload)?;
        Ok(Self {
            whole: Some(file),
            ..packed
        })
    }

    fn packed(
        container: Container,
        compression: Compression,
        bytes: &'a [u8],
    ) -> Result<Self, KernelError> {
        let (body, tail) = bytes
            .split_last_chunk::<4>()
            .map(|(b, t)| (b, u64::from(u32::from_le_bytes(*t))))
            .ok_or_else(|| KernelError::unpack(compression, "it ends inside its header"))?;
        // The suffix belongs to gzip's own trailer, and follows the stream in all the others.
        let payload = if compression == Compression::Gzip {
            bytes
        } else {
            body
        };
        let limit = compression
            .largest_from(payload.len() as u64)
            .min(MAX_UNPACKED);
        if tail > limit {
            return Err(KernelError::ClaimsTooMuch {
                compression,
                size: tail,
                limit,
            });
        }
        Ok(Self {
            container,
            payload,
            unpacked_size: tail,
            whole: None,
        })
    }

    /// How the file wraps its ELF.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Exact number of bytes that [`KernelFile::unpack_into`] fills; at most [`MAX_UNPACKED`] for packed files.
    pub fn unpacked_size(&self) -> u64 {
        self.unpacked_size
    }

    /// Unpacks into a fresh buffer; a bare ELF is borrowed from the file.
    ///
    /// # Errors
    /// `Unpack` with the compression's name, `Checksum`.
    pub fn unpack(&self) -> Result<Cow<'a, [u8]>, KernelError> {
        if self.compression().is_none() {
            if self.whole.is_some_and(checksum::is_wrong) {
                return Err(KernelError::Checksum);
            }
            return Ok(Cow::Borrowed(self.payload));
        }
        // Bounded by MAX_UNPACKED. A zeroed Vec comes lazily from the kernel: nothing is touched before it is written.
        let mut out = vec![0; self.unpacked_size as usize];
        self.fill(&mut out, true)?;
        Ok(Cow::Owned(out))
    }

    /// Unpacks into memory of the caller's choice (huge pages, say), which must be `unpacked_size()` bytes long.
    ///
    /// # Errors
    /// `Unpack` with the compression's name: on damage, and when the stream holds more or less than it declares.
    /// `Checksum`: it unpacks to something else than was packed.
    pub fn unpack_into(&self, out: &mut [u8]) -> Result<(), KernelError> {
        self.fill(out, false)
    }

    /// Unpacks into a buffer that is known to be zero, or not.
    pub(crate) fn fill(&self, out: &mut [u8], zeroed: bool) -> Result<(), KernelError> {
        self.unpack_payload(out, zeroed)?;
        // Last, because an unpacker that met the damage says more of it.
        match self.whole {
            Some(file) if checksum::is_wrong(file) => Err(KernelError::Checksum),
            _ => Ok(()),
        }
    }

    fn unpack_payload(&self, out: &mut [u8], zeroed: bool) -> Result<(), KernelError> {
        match self.compression() {
            None if out.len() == self.payload.len() => {
                out.copy_from_slice(self.payload);
                Ok(())
            }
            None => Err(KernelError::elf("the buffer given for it has another size")),
            Some(compression) => unpack::unpack(compression, self.payload, out, zeroed),
        }
    }

    fn compression(&self) -> Option<Compression> {
        match self.container {
            Container::Elf | Container::BzImage(None) => None,
            Container::Packed(c) | Container::BzImage(Some(c)) => Some(c),
        }
    }
}

/// Names what people do hand over by mistake.
fn describe(file: &[u8]) -> String {
    if file.is_empty() {
        return "is empty".into();
    }
    let known: [(&[u8], &str); 5] = [
        (b"070701", "is a cpio archive (an initramfs?)"),
        (b"#!", "is a script"),
        (b"MZ", "is a PE/EFI program without a Linux boot header"),
        (b"!<arch>", "is an ar archive or Debian package"),
        (b"QFI\xfb", "is a qcow2 disk image"),
    ];
    for (magic, text) in known {
        if file.starts_with(magic) {
            return text.into();
        }
    }
    format!("starts with {}", hex(file))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}
