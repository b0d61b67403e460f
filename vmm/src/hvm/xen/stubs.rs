//! Linux' own hypercall stubs, which newer kernels (XSA-466) have in place of a hypercall page.
//!
//! ```text
//!   16-byte aligned:  [endbr64]  vmmcall  ret | jmp return_thunk        out HYPERCALL, al; nop   ...
//!   16 bytes on:      [endbr64]  vmcall   ret | jmp return_thunk  -->   the same
//! ```
//! Neither instruction leaves KVM. The kernel reads the microcode's revision (an MSR that is left to us) before it makes its first
//! hypercall, when it has unpacked itself and its page tables map it: then the stubs are looked for in the memory around the
//! instruction that reads it, and patched. What is found is checked as a whole, so that nothing else is ever written to.

use super::HYPERCALL_PORT;

/// Bytes of a stub's place.
const STUB: usize = 16;
const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const RET: u8 = 0xc3;
const JMP: u8 = 0xe9;
/// out HYPERCALL, al; nop
pub const PATCH: [u8; 3] = [0xe6, HYPERCALL_PORT, 0x90];

/// Offset of the instruction in a stub for `instruction`, and where the stub goes on to (`None`: it returns).
fn stub(bytes: &[u8], instruction: [u8; 3]) -> Option<(usize, Option<i64>)> {
    let skip = if bytes.starts_with(&ENDBR64) {
        ENDBR64.len()
    } else {
        0
    };
    let rest = bytes.get(skip..)?.strip_prefix(&instruction)?;
    match rest {
        [RET, ..] => Some((skip, None)),
        [JMP, a, b, c, d, ..] => {
            let offset = i64::from(i32::from_le_bytes([*a, *b, *c, *d]));
            Some((skip, Some((skip + 8) as i64 + offset)))
        }
        _ => None,
    }
}

/// Offsets of both stubs' instructions in `memory`, which begins at a multiple of 16.
pub fn find(memory: &[u8]) -> Option<[usize; 2]> {
    let places = memory.len().checked_sub(2 * STUB)? / STUB;
    (0..=places).find_map(|place| {
        let at = place * STUB;
        let first = memory.get(at..at + STUB)?;
        // Most places are told by their first byte.
        if !matches!(first[0], 0x0f | 0xf3) {
            return None;
        }
        let (skip, to) = stub(first, VMMCALL)?;
        let (other, from_other) = stub(memory.get(at + STUB..at + 2 * STUB)?, VMCALL)?;
        // Both go on to the same place.
        let same = to == from_other.map(|to| to + STUB as i64);
        same.then_some([at + skip, at + STUB + other])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(instruction: [u8; 3], offset: i32) -> Vec<u8> {
        let mut code = instruction.to_vec();
        code.push(JMP);
        code.extend(offset.to_le_bytes());
        code.resize(STUB, 0xcc);
        code
    }

    fn pair(one: i32, other: i32) -> Vec<u8> {
        let mut memory = vec![0x90; 4 * STUB];
        memory.extend(jump(VMMCALL, one));
        memory.extend(jump(VMCALL, other));
        memory.extend([0x90; STUB]);
        memory
    }

    #[test]
    fn stubs_of_debians_kernel_are_found() {
        assert_eq!(find(&pair(0x5bc, 0x5ac)), Some([64, 80]));
    }

    #[test]
    fn stubs_that_return_by_themselves_are_found_with_their_landing_pads() {
        let mut memory = vec![0; STUB];
        for instruction in [VMMCALL, VMCALL] {
            let mut code = ENDBR64.to_vec();
            code.extend(instruction);
            code.push(RET);
            code.resize(STUB, 0xcc);
            memory.extend(code);
        }
        assert_eq!(find(&memory), Some([20, 36]));
    }

    #[test]
    fn what_only_looks_like_it_is_left_alone() {
        // Other places to go on to; one alone; not aligned; cut off.
        assert_eq!(find(&pair(0x5bc, 0x5bc)), None);
        assert_eq!(find(&jump(VMMCALL, 16)), None);
        assert_eq!(find(&pair(0x5bc, 0x5ac)[1..]), None);
        assert_eq!(find(&pair(0x5bc, 0x5ac)[..90]), None);
        assert_eq!(find(&[]), None);
        let mut patched = pair(0x5bc, 0x5ac);
        patched[64..67].copy_from_slice(&PATCH);
        assert_eq!(find(&patched), None);
    }

    proptest::proptest! {
        #[test]
        fn any_memory_is_searched_without_harm(bytes: Vec<u8>) {
            if let Some([one, other]) = find(&bytes) {
                proptest::prop_assert!(one < other && other + 3 <= bytes.len());
            }
        }
    }
}
