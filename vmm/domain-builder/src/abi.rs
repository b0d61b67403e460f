//! What depends on the width of the guest.

use std::ops::Range;

use noxen_kernel_image::Class;
use noxen_monitor_abi::layout::{compat, HOLE_END, HOLE_PAGES, HOLE_START, PAGE_SIZE};
use noxen_pv_abi::segment::{FLAT32_RING1_CS, FLAT32_RING1_SS, FLAT_RING3_CS64, FLAT_RING3_SS64};

use crate::spec::MAX_PAGES;
use crate::tables::{bits, TableSet};

/// Largest 32-bit domain in pages: what its M2P, less the hole below 4 GiB, has room for (15.5 GiB).
pub const MAX_PAGES_32: u64 = compat::MAX_FRAMES - HOLE_PAGES;
/// Addresses that a 64-bit guest cannot use.
const UNUSABLE_64: [Range<u64>; 2] = [1 << 47..HOLE_START, HOLE_START..HOLE_END];
/// The same for a 32-bit guest.
const UNUSABLE_32: [Range<u64>; 2] = [compat::M2P_VA..1 << 32, 1 << 32..u64::MAX];
const GIB: u64 = 1 << 30;

/// Rules for one width; made by [`Abi::of`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abi {
    class: Class,
}

impl Abi {
    pub(crate) const fn of(class: Class) -> Self {
        Self { class }
    }

    pub(crate) fn is_32(self) -> bool {
        self.class == Class::Elf32
    }

    /// Bytes of a p2m entry.
    pub(crate) fn word(self) -> usize {
        if self.is_32() {
            4
        } else {
            8
        }
    }

    /// Most pages of a domain.
    pub(crate) fn max_pages(self) -> u64 {
        if self.is_32() {
            MAX_PAGES_32
        } else {
            MAX_PAGES
        }
    }

    /// Whether the kernel may have mappings from `start` to `end`.
    pub(crate) fn usable(self, start: u64, end: u64) -> bool {
        let unusable = if self.is_32() {
            &UNUSABLE_32
        } else {
            &UNUSABLE_64
        };
        unusable
            .iter()
            .all(|range| start >= range.end || end <= range.start)
    }

    /// Tables for a mapping of `bytes` from `va`, and those that no mapping needs: the L4 of a 64-bit guest, the L2 of
    /// the last gigabyte of a 32-bit one.
    pub(crate) fn table_pages(self, va: u64, bytes: u64) -> u64 {
        TableSet::new(va, bytes).pages() + u64::from(!self.is_32() || self.lone_l2(va + bytes))
    }

    /// A 32-bit guest needs an L2 for the last gigabyte, which a mapping that ends at `end` does not bring.
    pub(crate) fn lone_l2(self, end: u64) -> bool {
        self.is_32() && end <= 3 * GIB
    }

    /// CS and SS at entry.
    pub(crate) fn entry_selectors(self) -> (u16, u16) {
        if self.is_32() {
            (FLAT32_RING1_CS, FLAT32_RING1_SS)
        } else {
            (FLAT_RING3_CS64, FLAT_RING3_SS64)
        }
    }

    /// Flags of an entry that maps a frame. libxc leaves USER out, because Xen adds it where the kernel is in ring 3.
    pub(crate) fn leaf(self) -> u64 {
        let user = if self.is_32() { 0 } else { bits::USER };
        bits::PRESENT | bits::WRITE | bits::ACCESSED | user
    }

    /// Entries of the p2m list on a page.
    pub(crate) fn p2m_per_page(self) -> u64 {
        PAGE_SIZE / self.word() as u64
    }
}
