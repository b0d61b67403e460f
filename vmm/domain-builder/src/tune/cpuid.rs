//! CPUID of a Linux kernel without a detour through KVM.
//!
//! A PV kernel asks Xen for CPUID by `ud2; .ascii "xen"; cpuid` (public/arch-x86/xen.h, XEN_CPUID). The processor raises
//! #UD for it, and KVM intercepts every #UD of a guest: an exit each, several hundred of them in a boot. In the domain's
//! own copy of the kernel the seven bytes become
//!
//! ```text
//!   int $0x83; nopl 0(%rax,%rax,1)        cd 83 | 0f 1f 44 00 00
//! ```
//!
//! The gate of that vector is closed to ring 3, so the processor raises #GP, which KVM leaves to the monitor. The monitor
//! knows the seven bytes, in kernel mode only (`noxen_monitor::emulate`), and gives the answer that the prefix gives. The
//! prefix itself goes on working, for kernels that are started as they are.

use super::pieces;
use crate::{BuildError, GuestMemory};
use noxen_kernel_image::{KernelImage, Segment, Source};
use noxen_monitor_abi::layout::{FORCED_CPUID, TUNED_CPUID};
use std::ops::ControlFlow;

/// ELF's PF_X.
const EXECUTABLE: u32 = 1;
/// Replaces the prefixed instruction.
pub(super) fn shorten(
    image: &KernelImage,
    elf: &dyn Source,
    memory: &mut impl GuestMemory,
) -> Result<(), BuildError> {
    for segment in image.segments.iter().filter(|s| s.flags & EXECUTABLE != 0) {
        if let Some(place) = find(segment, elf)? {
            memory.write(place, &TUNED_CPUID)?;
            break;
        }
    }
    Ok(())
}

/// Pseudo-physical address of the first prefixed instruction in the segment. Linux has one, in a function near its
/// start; more would go on as they are.
fn find(segment: &Segment, elf: &dyn Source) -> Result<Option<u64>, BuildError> {
    let finder = memchr::memmem::Finder::new(&FORCED_CPUID);
    let mut place = None;
    pieces(segment, elf, FORCED_CPUID.len() - 1, |offset, piece| {
        place = finder
            .find(piece)
            .map(|at| segment.offset + (offset + at) as u64);
        match place {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::super::{segment_of, InFile, CHUNK};
    use super::*;

    #[test]
    fn instruction_is_found_wherever_a_chunk_ends() {
        for at in [0, CHUNK - 7, CHUNK - 3, CHUNK, 2 * CHUNK - 1, 3 * CHUNK - 7] {
            let mut bytes = vec![0xcc; 3 * CHUNK];
            bytes[at..at + 7].copy_from_slice(&FORCED_CPUID);
            let segment = segment_of(&bytes);
            let expected = Some(0x1000 + at as u64);
            assert_eq!(find(&segment, &InFile(&bytes)).unwrap(), expected);
            assert_eq!(find(&segment, &bytes.as_slice()).unwrap(), expected);
        }
    }

    #[test]
    fn prefix_without_cpuid_is_left_alone() {
        let bytes = [&FORCED_CPUID[..5], &[0x0f, 0x30]].concat();
        let found = find(&segment_of(&bytes), &bytes.as_slice()).unwrap();
        assert_eq!(found, None);
    }

    #[test]
    fn both_forms_are_seven_bytes_and_the_new_one_is_closed_to_user_space() {
        assert_eq!(FORCED_CPUID.len(), TUNED_CPUID.len());
        assert_eq!(
            TUNED_CPUID[..2],
            [0xcd, noxen_monitor_abi::layout::TUNED_CPUID_VECTOR]
        );
    }
}
