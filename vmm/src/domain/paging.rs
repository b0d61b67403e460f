//! Page tables of the hypervisor's L4 slots, 256 to 271 (layout: crate noxen-monitor-abi).
//!
//! ```text
//!   256      M2P          2 MiB pages, read-only for guests (U=1)
//!   264..    direct map   2 MiB pages of all guest-physical memory that exists, RW NX U=0
//!   270      image        4 KiB pages, permissions of each segment
//!            windows      4 KiB pages, one MiB per vCPU; their L1 tables are contiguous
//! ```
//! Every entry has A and D set, so that the CPU never writes to these tables, and leaves are global:
//! all address spaces of the domain share them.

use crate::domain::image::Image;
use crate::domain::region::{window_pages, Region};
use crate::vstate::memory::{GuestMemory, Piece};
use noxen_monitor_abi::layout::{
    window, DIRECT_MAP_VA, FIRST_SLOT, IMAGE_VA, M2P_VA, NR_SLOTS, PAGE_SIZE, VCPU_VA, VCPU_WINDOW,
};
use noxen_monitor_abi::pte::{A, ADDRESS, D, G, NX, P, PS, RW, US};
use vm_memory::{Bytes, GuestAddress};

const HUGE: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
const SLOT: u64 = 1 << 39;
/// Window entries in one L1 table.
const WINDOWS_PER_TABLE: u32 = (HUGE / VCPU_WINDOW) as u32;

/// Where the tables go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TablePlan {
    /// First page; the windows' L1 tables, then the L4, then the others.
    pub start: u64,
    /// Pages.
    pub pages: u64,
    /// The root of the monitor's own address space.
    pub l4: u64,
}

impl TablePlan {
    /// `pages` pages at `start` for `vcpus` vCPUs.
    pub fn new(start: u64, pages: u64, vcpus: u32) -> TablePlan {
        TablePlan {
            start,
            pages,
            l4: start + u64::from(vcpus.div_ceil(WINDOWS_PER_TABLE)) * PAGE_SIZE,
        }
    }

    /// L1 entries of the windows.
    pub fn window_l1(&self) -> u64 {
        self.start
    }
}

/// Tables needed to map `[0, end)`, an M2P of `m2p_size` bytes, the image and `vcpus` windows.
pub fn pages_needed(end: u64, m2p_size: u64, vcpus: u32) -> u64 {
    let windows = u64::from(vcpus.div_ceil(WINDOWS_PER_TABLE));
    let m2p = m2p_size.div_ceil(SLOT) + m2p_size.div_ceil(GIB);
    let direct = end.div_ceil(SLOT) + end.div_ceil(GIB);
    // The L4; L3, L2 and L1 of the image; L2 of the windows.
    windows + 1 + m2p + direct + 3 + 1
}

/// A fault of the layout: the plan has too few pages, or they are not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the monitor's page tables do not fit their plan at {0:#x}")]
pub struct PagingError(u64);

/// Writes the tables; memory must be zero.
pub fn build(
    memory: &GuestMemory,
    region: &Region,
    image: &Image<'_>,
    vcpus: u32,
    ram: &[Piece],
) -> Result<(), PagingError> {
    let plan = region.tables;
    let mut tables = Tables {
        memory,
        next: plan.l4 + PAGE_SIZE,
        end: plan.start + plan.pages * PAGE_SIZE,
        l4: plan.l4,
    };
    for offset in (0..region.m2p_size).step_by(HUGE as usize) {
        tables.map_huge(M2P_VA + offset, region.m2p + offset, US | NX)?;
    }
    for piece in ram.iter().chain([&region.piece()]) {
        let end = (piece.gpa + piece.len).next_multiple_of(HUGE);
        for gpa in (piece.gpa..end).step_by(HUGE as usize) {
            tables.map_huge(DIRECT_MAP_VA + gpa, gpa, RW | NX)?;
        }
    }
    for part in &image.parts {
        let flags = if part.write { RW } else { 0 } | if part.execute { 0 } else { NX };
        for page in (part.page..part.end).step_by(PAGE_SIZE as usize) {
            tables.map_small(IMAGE_VA + page, region.image + page, flags)?;
        }
    }
    for table in 0..u64::from(vcpus.div_ceil(WINDOWS_PER_TABLE)) {
        tables.hang_l1(VCPU_VA + table * HUGE, plan.window_l1() + table * PAGE_SIZE)?;
    }
    for vcpu in 0..u64::from(vcpus) {
        map_window(&mut tables, region, vcpu)?;
    }
    Ok(())
}

/// The entries of slots 256 to 271, to be copied into the boot L4 of the guest.
pub fn slots(memory: &GuestMemory, region: &Region) -> Result<[u64; NR_SLOTS], PagingError> {
    let mut slots = [0; NR_SLOTS];
    for (index, slot) in slots.iter_mut().enumerate() {
        let at = region.tables.l4 + (FIRST_SLOT + index) as u64 * 8;
        *slot = memory
            .read_obj(GuestAddress(at))
            .map_err(|_| PagingError(at))?;
    }
    Ok(slots)
}

fn map_window(tables: &mut Tables<'_>, region: &Region, vcpu: u64) -> Result<(), PagingError> {
    let va = VCPU_VA + vcpu * VCPU_WINDOW;
    for page in 0..16 {
        tables.map_small(va + window::GDT + page * PAGE_SIZE, region.zero, RW | NX)?;
    }
    let mut gpa = region.windows + vcpu * window_pages() * PAGE_SIZE;
    for (offset, bytes, execute) in window::RANGES {
        let flags = if *execute { 0 } else { RW | NX };
        for page in (0..*bytes).step_by(PAGE_SIZE as usize) {
            tables.map_small(va + offset + page, gpa, flags)?;
            gpa += PAGE_SIZE;
        }
    }
    Ok(())
}

struct Tables<'m> {
    memory: &'m GuestMemory,
    next: u64,
    end: u64,
    l4: u64,
}

/// Index of `va` at `level` (4 is the root).
fn index(va: u64, level: u32) -> u64 {
    va >> (12 + 9 * (level - 1)) & 0x1ff
}

impl Tables<'_> {
    fn map_huge(&mut self, va: u64, gpa: u64, flags: u64) -> Result<(), PagingError> {
        let table = self.descend(va, 2, flags & US)?;
        self.set(table, index(va, 2), gpa | flags | P | A | D | G | PS)
    }

    fn map_small(&mut self, va: u64, gpa: u64, flags: u64) -> Result<(), PagingError> {
        let table = self.descend(va, 1, flags & US)?;
        self.set(table, index(va, 1), gpa | flags | P | A | D | G)
    }

    /// Uses the table at `gpa` as the L1 of `va`.
    fn hang_l1(&mut self, va: u64, gpa: u64) -> Result<(), PagingError> {
        let table = self.descend(va, 2, 0)?;
        self.set(table, index(va, 2), gpa | P | RW | A | D)
    }

    /// The table of `level` for `va`, made on the way where there is none.
    fn descend(&mut self, va: u64, level: u32, user: u64) -> Result<u64, PagingError> {
        let mut table = self.l4;
        for above in (level + 1..=4).rev() {
            let at = table + index(va, above) * 8;
            let entry: u64 = self
                .memory
                .read_obj(GuestAddress(at))
                .map_err(|_| PagingError(at))?;
            table = match entry & P {
                0 => {
                    let new = self.next;
                    if new + PAGE_SIZE > self.end {
                        return Err(PagingError(new));
                    }
                    self.next += PAGE_SIZE;
                    self.set(table, index(va, above), new | user | P | RW | A | D)?;
                    new
                }
                _ => entry & ADDRESS,
            };
        }
        Ok(table)
    }

    fn set(&self, table: u64, index: u64, entry: u64) -> Result<(), PagingError> {
        let at = table + index * 8;
        self.memory
            .write_obj(entry, GuestAddress(at))
            .map_err(|_| PagingError(at))
    }
}

#[cfg(test)]
#[path = "paging_tests.rs"]
mod tests;
