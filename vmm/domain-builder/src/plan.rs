//! The layout of a fresh domain: pure arithmetic, no memory.

use std::ops::Range;

use noxen_kernel_image::{Class, KernelImage};
use noxen_monitor_abi::layout::{mfn_of_pfn, HOLE_END, HOLE_START, PAGE_SIZE};

use crate::abi::Abi;
use crate::error::BuildError;
use crate::spec::{DomainSpec, MAX_CMDLINE, MAX_PAGES};
use crate::tables::TableSet;

/// Mapped bytes that the kernel may count on behind the boot stack.
pub const SPARE_BYTES: u64 = 512 << 10;
/// The end of the boot mapping is a multiple of this.
const MAPPING_ALIGN: u64 = 4 << 20;
/// First non-canonical address and the first canonical one after it.
const NON_CANONICAL: Range<u64> = 1 << 47..HOLE_START;
/// IF, and the bit that is always 1.
const RFLAGS: u64 = 0x202;

/// Registers of vCPU 0 at entry; all others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryState {
    /// ENTRY.
    pub rip: u64,
    /// Top of the boot stack page, virtual.
    pub rsp: u64,
    /// start_info, virtual.
    pub rsi: u64,
    /// Guest-physical address of the boot L4, or of the L3 of a 32-bit domain.
    pub cr3: u64,
    /// Interrupts on.
    pub rflags: u64,
    /// Flat 64-bit ring-3 code; 32-bit ring-1 code.
    pub cs: u16,
    /// Flat ring-3 data; ring-1 data.
    pub ss: u16,
}

/// Who lies where. All ranges are pseudo-physical frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvLayout {
    /// Width of the guest.
    pub class: Class,
    /// Memory of the domain in pages.
    pub nr_pages: u64,
    /// Virtual address of frame 0.
    pub virt_base: u64,
    /// Frames `0..mapped_pages` are mapped at `virt_base`.
    pub mapped_pages: u64,
    /// From the image's first to its last page.
    pub kernel: Range<u64>,
    /// The ramdisk; empty if there is none.
    pub ramdisk: Range<u64>,
    /// Bytes of the ramdisk.
    pub ramdisk_len: u64,
    /// The ramdisk lies in the mapped part and mod_start is its virtual address; else mod_start is its frame.
    pub ramdisk_mapped: bool,
    /// The p2m list, 8 bytes per page, or 4.
    pub p2m_list: Range<u64>,
    /// Virtual address of the p2m list.
    pub p2m_va: u64,
    /// Frames of the L3, L2 and L1 tables that map the list at INIT_P2M; empty without INIT_P2M.
    pub p2m_tables: Range<u64>,
    /// start_info.
    pub start_info_pfn: u64,
    /// The xenstore ring.
    pub store_pfn: u64,
    /// The console ring.
    pub console_pfn: u64,
    /// Frames of the boot page tables, the L4 first, or the L3 of a 32-bit domain.
    pub page_tables: Range<u64>,
    /// The boot stack.
    pub stack_pfn: u64,
    /// Guest-physical address of the hypercall page, if the kernel has one.
    pub hypercall_page_gpa: Option<u64>,
    /// Where vCPU 0 starts.
    pub entry: EntryState,
    /// First frame that nothing uses at start.
    pub free_pfn: u64,
}

/// Plans a domain.
///
/// # Errors
/// Every [`BuildError`] that does not need the ramdisk's or the kernel's bytes, in particular `TooSmall`, whose
/// `needed_mib` would suffice.
pub fn plan(image: &KernelImage, spec: &DomainSpec<'_>) -> Result<PvLayout, BuildError> {
    image.require_pv()?;
    check_spec(Abi::of(image.class), spec)?;
    let layout = lay_out(image, spec.ramdisk_len, spec.nr_pages)?;
    if layout.free_pfn <= spec.nr_pages {
        return Ok(layout);
    }
    // The p2m list grows with the memory, so enlarge until the demand stands still; it grows by 1/512 of each step.
    let mut needed = layout.free_pfn;
    loop {
        let pages = whole_mib(needed);
        let next = lay_out(image, spec.ramdisk_len, pages)?.free_pfn;
        if next <= pages {
            break;
        }
        needed = next;
    }
    Err(BuildError::TooSmall {
        memory_mib: to_mib(spec.nr_pages),
        kernel_mib: mib(image.end_offset()),
        ramdisk_mib: mib(spec.ramdisk_len),
        needed_mib: to_mib(whole_mib(needed)),
    })
}

fn check_spec(abi: Abi, spec: &DomainSpec<'_>) -> Result<(), BuildError> {
    if spec.nr_pages == 0 {
        return Err(BuildError::NoMemory);
    }
    let most = spec.nr_pages.max(spec.max_pages);
    if most > abi.max_pages() {
        return Err(BuildError::TooLarge {
            pages: most,
            most: abi.max_pages(),
        });
    }
    if abi.is_32() && spec.shared_info_gpa >> 32 != 0 {
        return Err(BuildError::SharedInfoAbove {
            gpa: spec.shared_info_gpa,
        });
    }
    if spec.max_pages < spec.nr_pages {
        return Err(BuildError::AboveMaximum {
            start_mib: to_mib(spec.nr_pages),
            max_mib: to_mib(spec.max_pages),
        });
    }
    if spec.cmdline.len() > MAX_CMDLINE {
        return Err(BuildError::CmdlineTooLong {
            len: spec.cmdline.len(),
        });
    }
    if let Some(at) = spec.cmdline.iter().position(|b| *b == 0) {
        return Err(BuildError::CmdlineNul { at });
    }
    // Twice the largest memory is out of the question, and keeps the sums below far from overflow.
    if spec.ramdisk_len > 2 * MAX_PAGES * PAGE_SIZE {
        return Err(BuildError::TooLarge {
            pages: pages_of(spec.ramdisk_len),
            most: abi.max_pages(),
        });
    }
    Ok(())
}

/// The layout regardless of whether `nr_pages` can hold it.
fn lay_out(image: &KernelImage, ramdisk_len: u64, nr_pages: u64) -> Result<PvLayout, BuildError> {
    let abi = Abi::of(image.class);
    let virt_base = image.virt_base;
    let p2m_pages = nr_pages.div_ceil(abi.p2m_per_page());
    let mut next = pages_of(image.end_offset());
    let mut take = |pages: u64| {
        let range = next..next + pages;
        next = range.end;
        range
    };

    let kernel = image.start_offset() / PAGE_SIZE..take(0).start;
    let ramdisk_mapped = !image.mod_start_pfn;
    let early_ramdisk = ramdisk_mapped.then(|| take(pages_of(ramdisk_len)));
    let early_p2m = image.init_p2m.is_none().then(|| take(p2m_pages));
    let start_info_pfn = take(1).start;
    let store_pfn = take(1).start;
    let console_pfn = take(1).start;

    // The tables lie inside what they map, so their number is a fixed point; it is reached from below.
    let tables_at = take(0).start;
    let mut table_pages = 1;
    let mapped_pages = loop {
        let end = mapping_end(abi, virt_base, tables_at + table_pages + 1)?;
        let needed = abi.table_pages(virt_base, end - virt_base);
        if needed <= table_pages {
            break (end - virt_base) / PAGE_SIZE;
        }
        table_pages = needed;
    };
    let page_tables = take(table_pages);
    let stack_pfn = take(1).start;
    take(mapped_pages - (stack_pfn + 1));

    let ramdisk = early_ramdisk.unwrap_or_else(|| take(pages_of(ramdisk_len)));
    let (p2m_list, p2m_tables, p2m_va) = match (early_p2m, image.init_p2m) {
        (None, Some(va)) => {
            check_p2m_place(va, p2m_pages * PAGE_SIZE, virt_base)?;
            let list = take(p2m_pages);
            (
                list,
                take(TableSet::new(va, p2m_pages * PAGE_SIZE).pages()),
                va,
            )
        }
        (early, _) => {
            let list = early.unwrap_or(0..0);
            let va = virt_base + list.start * PAGE_SIZE;
            (list, 0..0, va)
        }
    };

    let va = |pfn: u64| virt_base + pfn * PAGE_SIZE;
    let (cs, ss) = abi.entry_selectors();
    Ok(PvLayout {
        class: image.class,
        nr_pages,
        virt_base,
        mapped_pages,
        kernel,
        ramdisk,
        ramdisk_len,
        ramdisk_mapped,
        p2m_list,
        p2m_va,
        p2m_tables,
        start_info_pfn,
        store_pfn,
        console_pfn,
        entry: EntryState {
            rip: image.entry,
            rsp: va(stack_pfn) + PAGE_SIZE,
            rsi: va(start_info_pfn),
            cr3: gpa_of_pfn(page_tables.start),
            rflags: RFLAGS,
            cs,
            ss,
        },
        page_tables,
        stack_pfn,
        hypercall_page_gpa: image
            .hypercall_page
            .map(|page| gpa_of_pfn((page - virt_base) / PAGE_SIZE)),
        free_pfn: take(0).start,
    })
}

/// End of the mapping that covers `used` pages and the spare bytes; must stay in the half of the address space where it
/// starts, outside the hypervisor's hole.
fn mapping_end(abi: Abi, virt_base: u64, used: u64) -> Result<u64, BuildError> {
    used.checked_mul(PAGE_SIZE)
        .and_then(|bytes| {
            virt_base
                .checked_add(bytes)?
                .checked_add(SPARE_BYTES)?
                .checked_next_multiple_of(MAPPING_ALIGN)
        })
        .filter(|end| abi.usable(virt_base, *end))
        .ok_or(BuildError::NoAddressSpace {
            virt_base,
            mib: mib(used.saturating_mul(PAGE_SIZE)),
        })
}

fn check_p2m_place(va: u64, bytes: u64, virt_base: u64) -> Result<(), BuildError> {
    const SLOT: u64 = 1 << 39;
    let refuse = |why| {
        Err(BuildError::P2mPlace {
            init_p2m: va,
            mib: mib(bytes),
            why,
        })
    };
    let Some(end) = va.checked_add(bytes) else {
        return refuse("runs past the end of the address space");
    };
    if va < NON_CANONICAL.end && end > NON_CANONICAL.start || va < HOLE_END && end > HOLE_START {
        return refuse("runs into addresses that a guest may not use");
    }
    // Its L3 tables hang into free slots of the L4; sharing one with the kernel's mapping is not supported.
    if (end - 1) / SLOT >= virt_base / SLOT {
        return refuse("is not below the 512 GiB that hold VIRT_BASE");
    }
    Ok(())
}

impl PvLayout {
    /// Guest-physical address of frame `pfn`.
    pub fn gpa(&self, pfn: u64) -> u64 {
        gpa_of_pfn(pfn)
    }

    /// Machine frame of the xenstore ring.
    pub fn store_mfn(&self) -> u64 {
        mfn_of_pfn(self.store_pfn)
    }

    /// Machine frame of the console ring.
    pub fn console_mfn(&self) -> u64 {
        mfn_of_pfn(self.console_pfn)
    }

    /// Every (pfn, mfn) of the domain, for the machine-to-physical table.
    pub fn frames(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.nr_pages).map(|pfn| (pfn, mfn_of_pfn(pfn)))
    }
}

/// Guest-physical address of a frame of a fresh domain.
pub(crate) fn gpa_of_pfn(pfn: u64) -> u64 {
    mfn_of_pfn(pfn) * PAGE_SIZE
}

/// Pages that hold `bytes`.
fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE)
}

/// MiB that hold `bytes`.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// `pages` rounded up to whole MiB.
fn whole_mib(pages: u64) -> u64 {
    pages.next_multiple_of(256)
}

/// Whole MiB in `pages`.
fn to_mib(pages: u64) -> u64 {
    pages / 256
}
