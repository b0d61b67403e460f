//! A shorter start for Linux: how far its p2m list may grow.
//!
//! A Linux kernel with XEN_MEMORY_HOTPLUG_LIMIT (Debian: 512 GiB) reserves p2m space for that much memory at boot and
//! looks at each of the 134 million entries once: 1.3 billion instructions, most of a second on metal, for a domain of
//! any size. The limit is an immediate operand in `xen_vmalloc_p2m_tree` (arch/x86/xen/p2m.c):
//!
//! ```text
//!   mov $0x8000000,%edx ... cmp %rdx,%rax ... cmovb %rdx,%rax; lea 0x1fffff(,%rax,8),%rax; and $~0x1fffff,%rax
//! ```
//!
//! In the domain's own copy of the kernel it is lowered to what this domain can reach. A kernel in which this sequence is
//! not found exactly once starts as it is.

use super::pieces;
use crate::{BuildError, GuestMemory};
use noxen_kernel_image::{KernelImage, Segment, Source};
use std::ops::ControlFlow;

/// cmovb %rdx,%rax; lea 0x1fffff(,%rax,8),%rax; and $0xffffffffffe00000,%rax.
const TAIL: &[u8] = &[
    0x48, 0x0f, 0x42, 0xc2, 0x48, 0x8d, 0x04, 0xc5, 0xff, 0xff, 0x1f, 0x00, 0x48, 0x25, 0x00, 0x00,
    0xe0, 0xff,
];
/// mov $0x8000000,%edx: 512 GiB in pages.
const LIMIT: &[u8] = &[0xba, 0x00, 0x00, 0x00, 0x08];
/// cmp %rdx,%rax, between the two.
const COMPARE: &[u8] = &[0x48, 0x39, 0xd0];
/// How far before the tail the limit may stand, bytes.
const WINDOW: usize = 48;
/// Pages that the kernel reserves for.
const KERNEL_LIMIT: u64 = 0x800_0000;
/// Least that is left to the kernel, pages: 16 GiB, room for foreign mappings.
const LEAST: u64 = 16 << 18;

/// Lowers the limit.
pub(super) fn lower_limit(
    image: &KernelImage,
    elf: &dyn Source,
    max_pages: u64,
    memory: &mut impl GuestMemory,
) -> Result<(), BuildError> {
    let limit = max_pages.saturating_mul(4).max(LEAST);
    if limit >= KERNEL_LIMIT {
        return Ok(());
    }
    // Start-up code lies in the segment of the entry point.
    let entry = image.entry.wrapping_sub(image.virt_base);
    let Some(segment) = image
        .segments
        .iter()
        .find(|s| (s.offset..s.offset + s.memsz).contains(&entry))
    else {
        return Ok(());
    };
    let Some(at) = find(segment, elf)? else {
        return Ok(());
    };
    // Below 2^27, so it fits the operand.
    let operand = (limit as u32).to_le_bytes();
    memory.write(segment.offset + at as u64 + 1, &operand)?;
    Ok(())
}

/// Offset of the limit's instruction in the segment, if there is exactly one.
fn find(segment: &Segment, elf: &dyn Source) -> Result<Option<usize>, BuildError> {
    let finder = memchr::memmem::Finder::new(TAIL);
    let (mut found, mut twice) = (None, false);
    pieces(segment, elf, WINDOW + TAIL.len(), |offset, piece| {
        for tail in finder.find_iter(piece) {
            let start = tail.saturating_sub(WINDOW);
            let Some(limit) = memchr::memmem::rfind(&piece[start..tail], LIMIT) else {
                continue;
            };
            let at = offset + start + limit;
            if memchr::memmem::find(&piece[start + limit..tail], COMPARE).is_none()
                || found == Some(at)
            {
                continue;
            }
            twice |= found.is_some();
            found = Some(at);
        }
        if twice {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found.filter(|_| !twice))
}

#[cfg(test)]
mod tests {
    use super::super::{segment_of, InFile, CHUNK};
    use super::*;

    fn code() -> Vec<u8> {
        let mut code = LIMIT.to_vec();
        code.extend([0x90; 11]);
        code.extend(COMPARE);
        code.extend([0x90; 7]);
        code.extend(TAIL);
        code
    }

    fn found(bytes: &[u8]) -> Option<usize> {
        let segment = segment_of(bytes);
        let whole = find(&segment, &bytes).expect("a slice can be read");
        let in_chunks = find(&segment, &InFile(bytes)).expect("a slice can be read");
        assert_eq!(whole, in_chunks);
        whole
    }

    #[test]
    fn limit_is_found_wherever_a_chunk_ends() {
        for at in [
            0,
            1,
            CHUNK - 60,
            CHUNK - 20,
            CHUNK - 3,
            CHUNK,
            2 * CHUNK - 30,
        ] {
            let mut bytes = vec![0xcc; 3 * CHUNK];
            bytes[at..at + code().len()].copy_from_slice(&code());
            assert_eq!(found(&bytes), Some(at));
        }
    }

    #[test]
    fn limit_twice_is_left_alone() {
        let mut bytes = code();
        bytes.extend([0x90; 100]);
        bytes.extend(code());
        assert_eq!(found(&bytes), None);
    }

    #[test]
    fn other_code_is_left_alone() {
        let mut no_compare = code();
        no_compare[16..19].fill(0x90);
        assert_eq!(found(&no_compare), None);
        assert_eq!(found(TAIL), None);
        assert_eq!(found(LIMIT), None);
    }
}
