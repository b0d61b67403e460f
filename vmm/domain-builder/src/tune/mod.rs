//! What is changed in the domain's own copy of a Linux kernel, so that it starts sooner. The kernel's file is not touched,
//! and a place that is not found, or not exactly as expected, stays as it is.
//!
//! ```text
//!   p2m.rs     how far the p2m list may grow      one operand, once: 1.3 billion instructions less
//!   cpuid.rs   CPUID behind Xen's prefix          seven bytes, once: one exit to KVM less for each use
//! ```

mod cpuid;
mod p2m;

use crate::{BuildError, GuestMemory};
use noxen_kernel_image::{KernelError, KernelImage, Segment, Source};
use std::ops::ControlFlow;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Applies all of it to the copy of the kernel that `memory` holds. `elf` is what `image` was parsed from.
///
/// # Errors
/// `Kernel` if the ELF cannot be read (any more), `Memory` if guest memory ends before the kernel does.
pub(crate) fn tune(
    image: &KernelImage,
    elf: &dyn Source,
    max_pages: u64,
    memory: &mut impl GuestMemory,
) -> Result<(), BuildError> {
    if image.guest_os != "linux" {
        return Ok(());
    }
    p2m::lower_limit(image, elf, max_pages, memory)?;
    cpuid::shorten(image, elf, memory)
}

/// Shows `look` the segment's bytes piece by piece: the offset of the piece in the segment, then the piece, which
/// starts with the last `keep` bytes of the piece before, so that nothing up to `keep + 1` bytes long is cut in two.
fn pieces(
    segment: &Segment,
    elf: &dyn Source,
    keep: usize,
    mut look: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> Result<(), BuildError> {
    if let Some(bytes) = elf.slice(segment.file.start as u64, segment.file.len()) {
        let _ = look(0, bytes);
        return Ok(());
    }
    let mut buffer = Vec::with_capacity(CHUNK + keep);
    let mut done = 0;
    while done < segment.file.len() {
        let len = CHUNK.min(segment.file.len() - done);
        // What was kept of the last piece, then the next.
        let kept = buffer.len().min(keep);
        buffer.drain(..buffer.len() - kept);
        buffer.resize(kept + len, 0);
        elf.read_at((segment.file.start + done) as u64, &mut buffer[kept..])
            .map_err(|source| BuildError::Kernel(KernelError::Read(source.to_string())))?;
        if look(done - kept, &buffer).is_break() {
            break;
        }
        done += len;
    }
    Ok(())
}

/// A segment made of `bytes`, for tests.
#[cfg(test)]
fn segment_of(bytes: &[u8]) -> Segment {
    Segment {
        offset: 0x1000,
        file: 0..bytes.len(),
        memsz: bytes.len() as u64,
        flags: 5,
    }
}

/// Bytes that are not lent, as those of a file: they are read in chunks.
#[cfg(test)]
struct InFile<'a>(&'a [u8]);

#[cfg(test)]
impl Source for InFile<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buffer)
    }
}
