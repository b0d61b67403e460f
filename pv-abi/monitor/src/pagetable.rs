//! The guest's page tables: walking them, the user bit, and writable-again page-table pages.
//!
//! Nothing is validated: second-level paging confines every entry to the domain. What remains
//! (`docs/architecture.md`, "Page tables"):
//! * every present entry needs U, because the guest kernel runs in ring 3: set eagerly on hypercalls,
//!   lazily when a fault shows that it is missing;
//! * a kernel write to a page-table page that the guest itself mapped read-only makes that mapping
//!   writable again;
//! * every loaded L4 carries the monitor's slots.

use crate::cpu::Cpu;
use crate::domain::Domain;
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::{FIRST_SLOT, HOLE_END, HOLE_START, NR_SLOTS};

pub use noxen_monitor_abi::pte;

/// Page-fault error code bits (SDM volume 3, 4.7).
pub mod fault {
    /// The page was present.
    pub const P: u64 = 1;
    /// Write.
    pub const W: u64 = 2;
    /// From ring 3.
    pub const U: u64 = 4;
    /// A reserved bit was set.
    pub const RSVD: u64 = 8;
    /// Instruction fetch.
    pub const I: u64 = 16;
}

/// Flags in the frame table (one byte per machine frame).
pub mod frame {
    /// Seen as a page table.
    pub const TABLE: u8 = 1;
    /// Seen as an L4: holds the monitor's slots.
    pub const L4: u8 = 2;
}

/// What a page fault in the guest kernel turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healed {
    /// Entries lacked U; they have it now.
    UserBit,
    /// A page-table page was made writable.
    Promoted,
    /// The tables allow the access: a stale TLB entry.
    Stale,
    /// The guest's own fault.
    No,
}

/// Where a walk ended.
pub struct Walk {
    /// Machine address of each entry visited, L4 first.
    pub at: [u64; 4],
    /// Its value.
    pub value: [u64; 4],
    /// Entries visited.
    pub depth: usize,
    /// The last one maps a page (else: not present, or a table outside memory).
    pub mapped: bool,
}

/// The domain's page tables, seen from a vCPU that may be in the middle of anything: borrows no
/// private vCPU state, so the monitor's own fault handler can use it.
pub struct Tables<'a, M: Machine> {
    /// The processor.
    pub m: &'a M,
    /// The domain.
    pub dom: &'a Domain,
}

impl<M: Machine> Cpu<'_, M> {
    /// The page tables.
    pub fn tables(&self) -> Tables<'_, M> {
        Tables {
            m: self.m,
            dom: self.dom,
        }
    }
}

/// The value that really goes into a table for the `value` of a 64-bit guest.
pub fn adjust(value: u64) -> u64 {
    if value & pte::P != 0 {
        (value | pte::US) & !pte::G
    } else {
        value
    }
}

impl<M: Machine> Tables<'_, M> {
    /// The value that really goes into a table for the guest's `value`. A 32-bit kernel runs in ring 1, which is a
    /// supervisor to paging: only Global goes, because loading CR3 has to flush all that is the guest's.
    pub fn stored(&self, value: u64) -> u64 {
        match (self.dom.shape.bits32, value & pte::P) {
            (false, _) => adjust(value),
            (true, 0) => value,
            (true, _) => value & !pte::G,
        }
    }

    /// Walks `va` from `cr3`.
    pub fn walk(&self, cr3: u64, va: u64) -> Walk {
        let mut walk = Walk {
            at: [0; 4],
            value: [0; 4],
            depth: 0,
            mapped: false,
        };
        let mut table = cr3 & pte::ADDRESS;
        for level in 0..4 {
            let index = va >> (39 - 9 * level) & 511;
            let at = table + index * 8;
            let Some(word) = self.m.word(at) else {
                return walk;
            };
            let value = word.load(Ordering::Relaxed);
            walk.at[level] = at;
            walk.value[level] = value;
            walk.depth = level + 1;
            if value & pte::P == 0 {
                return walk;
            }
            if level == 3 || (value & pte::PS != 0 && level > 0) {
                walk.mapped = true;
                return walk;
            }
            table = value & pte::ADDRESS;
        }
        walk
    }

    /// Machine address of the L1 entry of `va`, if all tables above it exist.
    pub fn l1_entry(&self, cr3: u64, va: u64) -> Option<u64> {
        let mut table = cr3 & pte::ADDRESS;
        for level in 0..3 {
            let value = self
                .m
                .word(table + (va >> (39 - 9 * level) & 511) * 8)?
                .load(Ordering::Relaxed);
            if value & (pte::P | pte::PS) != pte::P {
                return None;
            }
            table = value & pte::ADDRESS;
        }
        Some(table + (va >> 12 & 511) * 8)
    }

    /// Frame-table byte of a frame.
    fn frame_flags(&self, mfn: u64) -> u8 {
        if mfn >= self.dom.info.ram_end_mfn {
            return 0;
        }
        self.m
            .byte(self.dom.info.frame_table_gpa + mfn)
            .map_or(0, |flags| flags.load(Ordering::Relaxed))
    }

    /// Marks a frame; false when it is not guest RAM.
    pub fn mark_frame(&self, mfn: u64, set: u8, clear: u8) -> bool {
        if mfn >= self.dom.info.ram_end_mfn {
            return false;
        }
        match self.m.byte(self.dom.info.frame_table_gpa + mfn) {
            Some(flags) => {
                flags.store(
                    flags.load(Ordering::Relaxed) & !clear | set,
                    Ordering::Relaxed,
                );
                true
            }
            None => false,
        }
    }

    /// True when the entry at `maddr` is one of the monitor's slots of an L4.
    pub fn is_monitor_slot(&self, maddr: u64) -> bool {
        let index = (maddr & 0xfff) as usize / 8;
        (FIRST_SLOT..FIRST_SLOT + NR_SLOTS).contains(&index)
            && self.frame_flags(maddr >> 12) & frame::L4 != 0
    }

    /// Makes an L4 fit to be loaded: the monitor's slots are in it. False when the frame is not guest RAM.
    pub fn install_l4(&self, mfn: u64) -> bool {
        let base = mfn << 12;
        // The slot of the image is never empty in our own set: one comparison tells whether all are there.
        const LAST: usize = 14;
        let image = self
            .m
            .word(base + (FIRST_SLOT + LAST) as u64 * 8)
            .map(|word| word.load(Ordering::Relaxed));
        if image == Some(self.dom.slots[LAST]) && self.frame_flags(mfn) & frame::L4 != 0 {
            return true;
        }
        if !self.mark_frame(mfn, frame::TABLE | frame::L4, 0) {
            return false;
        }
        for (i, slot) in self.dom.slots.iter().enumerate() {
            if let Some(word) = self.m.word(base + (FIRST_SLOT + i) as u64 * 8) {
                word.store(*slot, Ordering::Relaxed);
            }
        }
        true
    }

    /// The kernel lives in the lower half, among what other guests use for processes (GNU Mach).
    fn kernel_is_low(&self) -> bool {
        self.dom.info.start_rip < HOLE_START
    }

    /// Below are processes.
    fn kernel_start(&self) -> u64 {
        match (self.dom.shape.bits32, self.kernel_is_low()) {
            (true, _) => self.kernel_start32(),
            (false, true) => 0,
            (false, false) => HOLE_END,
        }
    }

    /// Marks the tables of an L4 that map the kernel: those of the upper half, or all where the kernel is in the
    /// lower one.
    pub fn mark_kernel_tables(&self, l4: u64) {
        if self.kernel_is_low() {
            return self.mark_boot_tables(l4);
        }
        for index in (FIRST_SLOT + NR_SLOTS) as u64..512 {
            self.mark_below((l4 << 12) + index * 8, 3);
        }
    }

    /// A table base that was never pinned: Linux pins each one, GNU Mach loads it right away.
    pub fn mark_tables_of_low_kernel(&self, l4: u64) {
        if self.kernel_is_low() {
            self.mark_boot_tables(l4);
        }
    }

    /// Marks every table below an L4 of the domain builder, which holds nothing but the kernel.
    pub fn mark_boot_tables(&self, l4: u64) {
        for index in 0..512 {
            if !(FIRST_SLOT..FIRST_SLOT + NR_SLOTS).contains(&(index as usize)) {
                self.mark_below((l4 << 12) + index * 8, 3);
            }
        }
    }

    /// Marks the table (of level `level`) that the entry at `maddr` points to, and those below it.
    /// Stops at tables already marked, so self-referring tables end too.
    pub(crate) fn mark_below(&self, maddr: u64, level: u32) {
        let Some(entry) = self.m.word(maddr) else {
            return;
        };
        let value = entry.load(Ordering::Relaxed);
        if value & (pte::P | pte::PS) != pte::P {
            return;
        }
        let mfn = (value & pte::ADDRESS) >> 12;
        if mfn >= self.dom.info.ram_end_mfn || self.frame_flags(mfn) & frame::TABLE != 0 {
            return;
        }
        self.mark_frame(mfn, frame::TABLE, 0);
        if level > 1 {
            for index in 0..512 {
                self.mark_below((mfn << 12) + index * 8, level - 1);
            }
        }
    }

    /// Sets U in every present entry of the table that holds the entry at `maddr`.
    fn sweep_table(&self, maddr: u64) {
        let base = maddr & !0xfff;
        for index in 0..512 {
            if let Some(word) = self.m.word(base + index * 8) {
                let value = word.load(Ordering::Relaxed);
                if value & (pte::P | pte::US) == pte::P && !self.is_monitor_slot(base + index * 8) {
                    word.fetch_or(pte::US, Ordering::Relaxed);
                }
            }
        }
    }

    /// Looks at a page fault of the guest *kernel* on a present page, and heals it if it is ours.
    ///
    /// `error` is the hardware's error code. Also used for the monitor's own accesses to guest memory
    /// (then without [`fault::U`]).
    pub fn heal(&self, cr3: u64, va: u64, error: u64) -> Healed {
        if error & fault::P == 0 || error & fault::RSVD != 0 {
            return Healed::No;
        }
        // The monitor's own tables lack U on purpose.
        if (HOLE_START..HOLE_END).contains(&va) {
            return Healed::No;
        }
        if self.dom.shape.bits32 && self.repair_l3(cr3, va) {
            self.m.invlpg(va);
            return Healed::UserBit;
        }
        let walk = self.walk(cr3, va);
        if !walk.mapped {
            return Healed::No;
        }
        let mut lacked = false;
        for level in 0..walk.depth {
            if walk.value[level] & pte::US == 0 && error & fault::U != 0 {
                lacked = true;
                self.sweep_table(walk.at[level]);
            }
        }
        if lacked {
            self.m.invlpg(va);
            return Healed::UserBit;
        }
        let values = &walk.value[..walk.depth];
        let writable = values.iter().all(|value| value & pte::RW != 0);
        if error & fault::W != 0 && !writable {
            return self.promote(va, &walk);
        }
        let executable = values.iter().all(|value| value & pte::NX == 0);
        if error & fault::I != 0 && !executable {
            return Healed::No;
        }
        self.m.invlpg(va);
        Healed::Stale
    }

    /// The kernel's mapping of a page-table page becomes writable again.
    ///
    /// Below the hole that is only for kernels that live there themselves (GNU Mach): under another one these are a
    /// process's pages, read-only for copy-on-write perhaps, and frames keep the mark of a table longer than its use.
    fn promote(&self, va: u64, walk: &Walk) -> Healed {
        let l1 = walk.value[3];
        let processes = va < self.kernel_start();
        if walk.depth != 4
            || processes
            || walk.value[..3].iter().any(|value| value & pte::RW == 0)
            || self.frame_flags((l1 & pte::ADDRESS) >> 12) & frame::TABLE == 0
        {
            return Healed::No;
        }
        if let Some(word) = self.m.word(walk.at[3]) {
            word.fetch_or(pte::RW, Ordering::Relaxed);
        }
        self.m.invlpg(va);
        Healed::Promoted
    }
}
