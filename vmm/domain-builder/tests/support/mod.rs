//! What the builder's tests share: sparse guest memory, a page-table walker that knows nothing of the builder, a small
//! kernel made to order, Debian's images.
#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::path::PathBuf;

use noxen_domain_builder::{
    plan, BuildError, DomainSpec, GuestMemory, OutsideMemory, PvLayout, Ramdisk,
};
use noxen_kernel_image::{Class, Features, Kernel, KernelImage, NoteSource, Segment, Source};
use noxen_pv_abi::start_info::StartInfo64;
use noxen_pv_abi::AbiValue;

pub const PAGE: u64 = 4096;
/// Guest-physical 3.5 GiB..4 GiB has no memory.
pub const HOLE: std::ops::Range<u64> = 0xe000_0000..0x1_0000_0000;

/// Guest memory that holds just the pages that were written, and knows which bytes exist.
pub struct Sparse {
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    end: u64,
}

impl Sparse {
    /// Memory of a domain of `nr_pages`, hole included.
    pub fn new(nr_pages: u64) -> Self {
        let below = HOLE.start / PAGE;
        let end = if nr_pages <= below {
            nr_pages
        } else {
            nr_pages + (HOLE.end - HOLE.start) / PAGE
        };
        Self {
            pages: BTreeMap::new(),
            end: end * PAGE,
        }
    }

    pub fn exists(&self, gpa: u64) -> bool {
        gpa < self.end && !HOLE.contains(&gpa)
    }

    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = gpa + done as u64;
            assert!(self.exists(at), "read of {at:#x} outside memory");
            let offset = (at % PAGE) as usize;
            let count = (len - done).min(PAGE as usize - offset);
            if let Some(page) = self.pages.get(&(at / PAGE)) {
                out[done..done + count].copy_from_slice(&page[offset..offset + count]);
            }
            done += count;
        }
        out
    }

    pub fn read_u64(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.read(gpa, 8).try_into().expect("eight bytes"))
    }

    pub fn written_pages(&self) -> usize {
        self.pages.len()
    }
}

impl GuestMemory for Sparse {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory {
            gpa,
            len: bytes.len(),
        };
        let end = gpa.checked_add(bytes.len() as u64).ok_or(outside)?;
        if end > self.end || gpa < HOLE.end && end > HOLE.start {
            return Err(outside);
        }
        let mut rest = bytes;
        let mut at = gpa;
        while !rest.is_empty() {
            let offset = (at % PAGE) as usize;
            let count = rest.len().min(PAGE as usize - offset);
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| Box::new([0; PAGE as usize]));
            page[offset..offset + count].copy_from_slice(&rest[..count]);
            (rest, at) = (&rest[count..], at + count as u64);
        }
        Ok(())
    }
}

/// A translation: guest-physical address and the flags of the last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub va: u64,
    pub gpa: u64,
    pub writable: bool,
}

/// Everything that a CR3 maps outside the monitor's slots, found by walking all four levels, and every table on the way.
pub struct AddressSpace {
    pub pages: BTreeMap<u64, Mapping>,
    /// Guest-physical addresses of the tables with their level.
    pub tables: BTreeMap<u64, u32>,
}

impl AddressSpace {
    /// Walks; panics on an entry without the user bit, on a large page and on a table met twice.
    pub fn walk(memory: &Sparse, cr3: u64) -> Self {
        let mut space = Self {
            pages: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        space.descend(memory, cr3, 4, 0);
        space
    }

    fn descend(&mut self, memory: &Sparse, table: u64, level: u32, va: u64) {
        assert_eq!(table % PAGE, 0);
        assert!(
            self.tables.insert(table, level).is_none(),
            "table {table:#x} is used twice"
        );
        for slot in 0..512_u64 {
            let entry = memory.read_u64(table + slot * 8);
            if level == 4 && (256..272).contains(&slot) || entry & 1 == 0 {
                continue;
            }
            assert_eq!(
                entry & 4,
                4,
                "entry {slot} of the level {level} table {table:#x} lacks the user bit: {entry:#x}"
            );
            assert_eq!(entry >> 52, 0, "high bits set in {entry:#x}");
            let shift = 12 + 9 * (level - 1);
            let mut next = va | slot << shift;
            if level == 4 && slot >= 256 {
                next |= 0xffff << 48;
            }
            let gpa = entry & 0x000f_ffff_ffff_f000;
            assert!(
                memory.exists(gpa),
                "entry {entry:#x} at level {level} leaves memory"
            );
            if level > 1 {
                assert_eq!(entry & 0x80, 0, "large page");
                self.descend(memory, gpa, level - 1, next);
            } else {
                let mapping = Mapping {
                    va: next,
                    gpa,
                    writable: entry & 2 != 0,
                };
                self.pages.insert(next, mapping);
            }
        }
    }

    pub fn gpa(&self, va: u64) -> u64 {
        let page = self
            .pages
            .get(&(va & !(PAGE - 1)))
            .unwrap_or_else(|| panic!("{va:#x} is not mapped"));
        page.gpa + va % PAGE
    }

    /// Reads mapped memory.
    pub fn read(&self, memory: &Sparse, va: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len);
        let mut at = va;
        while out.len() < len {
            let count = (len - out.len()).min((PAGE - at % PAGE) as usize);
            out.extend(memory.read(self.gpa(at), count));
            at += count as u64;
        }
        out
    }
}

/// A built domain and what the tests look at.
pub struct Built {
    pub layout: PvLayout,
    pub memory: Sparse,
    pub space: AddressSpace,
    pub start: StartInfo64,
}

pub const SHARED_INFO: u64 = 0x40_0000_0000;
pub const SLOT_MARK: u64 = 0x7777_0000_0000_0001;

pub fn spec(mib: u64, ramdisk_len: u64) -> DomainSpec<'static> {
    DomainSpec {
        nr_pages: mib * 256,
        max_pages: mib * 256,
        ramdisk_len,
        cmdline: b"root=/dev/xvda1 ro console=hvc0",
        shared_info_gpa: SHARED_INFO,
        console_port: 2,
        store_port: 1,
        flags: 0,
        monitor_slots: std::array::from_fn(|n| SLOT_MARK + ((n as u64) << 12)),
        tune: false,
    }
}

/// Builds into sparse memory and walks the result.
pub fn build(
    image: &KernelImage,
    elf: &dyn Source,
    ramdisk: &[u8],
    mib: u64,
) -> Result<Built, BuildError> {
    build_as(image, elf, ramdisk, spec(mib, ramdisk.len() as u64))
}

/// The same from a spec.
pub fn build_as(
    image: &KernelImage,
    elf: &dyn Source,
    ramdisk: &[u8],
    spec: DomainSpec<'_>,
) -> Result<Built, BuildError> {
    let layout = plan(image, &spec)?;
    let mut memory = Sparse::new(spec.nr_pages);
    let mut reader = ramdisk;
    let source = (!ramdisk.is_empty()).then_some(Ramdisk {
        len: ramdisk.len() as u64,
        reader: &mut reader,
    });
    layout.write(image, elf, source, &spec, &mut memory)?;
    let space = AddressSpace::walk(&memory, layout.entry.cr3);
    let start = space.read(&memory, layout.entry.rsi, StartInfo64::SIZE);
    let start = StartInfo64::read_from(&start, 0).expect("whole");
    Ok(Built {
        layout,
        memory,
        space,
        start,
    })
}

pub fn build_kernel(kernel: &Kernel<'_>, ramdisk: &[u8], mib: u64) -> Built {
    build(&kernel.image, &kernel.elf, ramdisk, mib).unwrap_or_else(|e| panic!("{e}"))
}

/// An image of `bytes` at 1 MiB of VIRT_BASE, Linux-like when `linux` (INIT_P2M, MOD_START_PFN), else old-fashioned.
pub fn small_image(linux: bool) -> (KernelImage, Vec<u8>) {
    let elf: Vec<u8> = (0..0x5000_u32).map(|i| (i % 251) as u8 + 1).collect();
    let virt_base = 0xffff_ffff_8000_0000;
    let image = KernelImage {
        class: Class::Elf64,
        source: NoteSource::ElfNotes,
        entry: virt_base + 0x10_0000,
        virt_base,
        paddr_offset: 0,
        hypercall_page: (!linux).then_some(virt_base + 0x10_2000),
        init_p2m: linux.then_some(0x80_0000_0000),
        mod_start_pfn: linux,
        features: Features::default(),
        guest_os: "test".into(),
        guest_version: String::new(),
        loader: "generic".into(),
        pae: None,
        bsd_symtab: false,
        hv_start_low: None,
        l1_mfn_valid: None,
        suspend_cancel: false,
        phys32_entry: None,
        segments: vec![Segment {
            offset: 0x10_0000,
            file: 0..elf.len(),
            memsz: 0x8000,
            flags: 7,
        }],
    };
    (image, elf)
}

/// Where a file among the fetched Debian images is.
pub fn asset_path(name: &str) -> PathBuf {
    let root = std::env::var_os("NOXEN_ASSETS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"),
        PathBuf::from,
    );
    root.join(name)
}

/// A file among the fetched Debian images.
pub fn asset(name: &str) -> Vec<u8> {
    let path = asset_path(name);
    std::fs::read(&path).unwrap_or_else(|e| {
        panic!(
            "test image {} is missing ({e}); run `cargo xtask assets`",
            path.display()
        )
    })
}
