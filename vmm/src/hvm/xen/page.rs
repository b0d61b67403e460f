//! The hypercall page, for guests that call through one: older Linux, the BSDs, Windows' drivers.
//!
//! ```text
//!   wrmsr PAGE_MSR, address --> 128 entries of 32 bytes:  mov eax, n; out HYPERCALL, al; ret
//! ```

use super::HYPERCALL_PORT;
use noxen_pv_abi::hypercall::Hypercall;

/// Bytes of an entry, and of the page.
const ENTRY: usize = 32;
const PAGE: usize = 4096;
/// int3
const FILL: u8 = 0xcc;

/// What the page holds. The code is the same in 32-bit and 64-bit mode.
pub fn hypercall_page() -> Vec<u8> {
    let mut page = vec![FILL; PAGE];
    for (number, entry) in (0u32..).zip(page.chunks_exact_mut(ENTRY)) {
        if number == Hypercall::IRET.0 {
            // ud2: no HVM guest has it.
            entry[..2].copy_from_slice(&[0x0f, 0x0b]);
            continue;
        }
        entry[0] = 0xb8;
        entry[1..5].copy_from_slice(&number.to_le_bytes());
        entry[5..8].copy_from_slice(&[0xe6, HYPERCALL_PORT, 0xc3]);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_loads_its_number_and_goes_out() {
        let page = hypercall_page();
        assert_eq!(page.len(), 4096);
        assert_eq!(
            page[32 * 29..32 * 29 + 9],
            [0xb8, 29, 0, 0, 0, 0xe6, HYPERCALL_PORT, 0xc3, 0xcc]
        );
        assert_eq!(page[32 * 23..32 * 23 + 2], [0x0f, 0x0b]);
    }
}
