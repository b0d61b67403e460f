//! The page of hypercall stubs that kernels before CVE-2024-53241 call into.

use noxen_pv_abi::hypercall::{Hypercall, HYPERCALL_STUB_SIZE};

const PAGE: usize = 4096;

/// The 64-bit hypercall page: stub n at 32 * n, the rest `int3`.
///
/// ```text
/// any n            push rcx; push r11; mov eax,n; syscall; pop r11; pop rcx; ret
/// iret (23)        push rcx; push r11; push rax; mov eax,23; syscall           (does not come back)
/// ```
/// Source: Xen public header `arch-x86/xen-x86_64.h` (calling convention, `struct iret_context`).
pub fn hypercall_page_64() -> [u8; PAGE] {
    page_of(|stub, n| {
        let [a, b, c, d] = n.to_le_bytes();
        let code: &[u8] = if n == Hypercall::IRET.0 {
            &[0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05]
        } else {
            &[
                0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3,
            ]
        };
        stub[..code.len()].copy_from_slice(code);
    })
}

/// The 32-bit hypercall page: stub n at 32 * n, the rest `int3`.
///
/// ```text
/// any n            mov eax,n; int 0x82; ret
/// iret (23)        push eax; mov eax,23; int 0x82                              (does not come back)
/// ```
/// Source: Xen public header `arch-x86/xen-x86_32.h`.
pub fn hypercall_page_32() -> [u8; PAGE] {
    page_of(|stub, n| {
        let [a, b, c, d] = n.to_le_bytes();
        let code: &[u8] = if n == Hypercall::IRET.0 {
            &[0x50, 0xb8, a, b, c, d, 0xcd, 0x82]
        } else {
            &[0xb8, a, b, c, d, 0xcd, 0x82, 0xc3]
        };
        stub[..code.len()].copy_from_slice(code);
    })
}

/// A page of `int3` whose stubs `write` fills by their numbers.
fn page_of(write: impl Fn(&mut [u8], u32)) -> [u8; PAGE] {
    let mut page = [0xcc; PAGE];
    let stubs = page.chunks_exact_mut(HYPERCALL_STUB_SIZE as usize);
    for (stub, n) in stubs.zip(0..) {
        write(stub, n);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_of_32_bits_interrupt_and_return_but_for_iret() {
        let page = hypercall_page_32();
        assert_eq!(
            page[26 * 32..26 * 32 + 9],
            *b"\xb8\x1a\0\0\0\xcd\x82\xc3\xcc"
        );
        assert_eq!(
            page[23 * 32..23 * 32 + 9],
            *b"\x50\xb8\x17\0\0\0\xcd\x82\xcc"
        );
    }

    #[test]
    fn stub_of_any_number_loads_it_and_returns() {
        let page = hypercall_page_64();
        assert_eq!(
            page[26 * 32..26 * 32 + 15],
            *b"\x51\x41\x53\xb8\x1a\0\0\0\x0f\x05\x41\x5b\x59\xc3\xcc"
        );
        assert_eq!(page[127 * 32 + 4], 127);
    }

    #[test]
    fn stub_of_iret_pushes_three_registers_and_does_not_return() {
        assert_eq!(
            hypercall_page_64()[23 * 32..23 * 32 + 12],
            *b"\x51\x41\x53\x50\xb8\x17\0\0\0\x0f\x05\xcc"
        );
    }
}
