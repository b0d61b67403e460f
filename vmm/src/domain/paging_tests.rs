use super::*;
use crate::domain::image::flat_image;
use crate::domain::region::{ram_pieces, Needs};
use crate::vstate::memory::DomainMemory;
use noxen_monitor_abi::layout::{mfn_of_pfn, HOLE_START_PFN};

/// What a walk ends at, with permissions taken over all levels as the CPU does.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Found {
    gpa: u64,
    user: bool,
    write: bool,
    execute: bool,
}

/// A page walk of its own (SDM 3A, 4.5), not sharing code with the builder of the tables.
fn walk(memory: &GuestMemory, cr3: u64, va: u64) -> Option<Found> {
    let mut found = Found {
        gpa: cr3,
        user: true,
        write: true,
        execute: true,
    };
    for shift in [39u32, 30, 21, 12] {
        let at = found.gpa + (va >> shift) % 512 * 8;
        let entry: u64 = memory.read_obj(GuestAddress(at)).unwrap();
        if entry & 1 == 0 {
            return None;
        }
        assert_eq!(entry & 0x60, 0x60, "A and D of {va:#x} at shift {shift}");
        found.write &= entry & 2 != 0;
        found.user &= entry & 4 != 0;
        found.execute &= entry >> 63 == 0;
        let size = 1u64 << shift;
        found.gpa = entry & 0xf_ffff_ffff_f000;
        if shift == 21 && entry & 0x80 != 0 || shift == 12 {
            assert_eq!(entry & 0x100, 0x100, "leaf of {va:#x} is not global");
            assert_eq!(found.gpa % size, 0, "leaf of {va:#x} is misaligned");
            found.gpa += va % size;
            return Some(found);
        }
    }
    unreachable!("the last level is a leaf")
}

struct Built {
    memory: DomainMemory,
    region: Region,
    ram: Vec<Piece>,
}

fn built(max_pages: u64, vcpus: u32) -> Built {
    let elf = flat_image(b"code");
    let image = Image::parse(&elf).unwrap();
    let region = Region::plan(Needs {
        max_pages,
        vcpus,
        image_size: image.size(),
        bits32: false,
    })
    .unwrap();
    let ram = ram_pieces(max_pages);
    let memory = DomainMemory::new(None, &ram, region.piece()).unwrap();
    build(&memory.map, &region, &image, vcpus, &ram).unwrap();
    Built {
        memory,
        region,
        ram,
    }
}

impl Built {
    fn at(&self, va: u64) -> Option<Found> {
        walk(&self.memory.map, self.region.tables.l4, va)
    }
}

#[test]
fn direct_map_covers_what_exists_and_nothing_else() {
    let built = built(HOLE_START_PFN + 1000, 3);
    let mut addresses = vec![0xe000_0000 - 4096, 1 << 32];
    for piece in built.ram.iter().chain([&built.region.piece()]) {
        addresses.extend([piece.gpa, piece.gpa + piece.len - PAGE_SIZE]);
    }
    for gpa in addresses {
        let expected = Found {
            gpa,
            user: false,
            write: true,
            execute: false,
        };
        assert_eq!(built.at(DIRECT_MAP_VA + gpa), Some(expected), "{gpa:#x}");
    }
    for gpa in [0xe000_0000, 0xffff_f000, built.region.end()] {
        assert_eq!(built.at(DIRECT_MAP_VA + gpa), None, "{gpa:#x}");
    }
}

#[test]
fn m2p_is_readable_by_guests_and_shows_nothing_else() {
    let built = built(300_000, 1);
    for offset in [0, built.region.m2p_size - 8] {
        let expected = Found {
            gpa: built.region.m2p + offset,
            user: true,
            write: false,
            execute: false,
        };
        assert_eq!(built.at(M2P_VA + offset), Some(expected));
    }
    assert_eq!(built.at(M2P_VA + built.region.m2p_size), None);
    assert!(built.region.m2p_size >= (mfn_of_pfn(299_999) + 1) * 8);
}

#[test]
fn windows_have_guards_and_contiguous_entries() {
    let built = built(10_000, 5);
    let stack = |vcpu: u64| VCPU_VA + vcpu * VCPU_WINDOW + window::STACK;
    let mut seen = Vec::new();
    for vcpu in 0..5 {
        assert_eq!(built.at(stack(vcpu) - PAGE_SIZE), None, "guard below");
        assert_eq!(
            built.at(stack(vcpu) + window::STACK_SIZE),
            None,
            "guard above"
        );
        let found = built.at(stack(vcpu)).unwrap();
        assert!(found.write && !found.user && !found.execute);
        let stubs = built
            .at(VCPU_VA + vcpu * VCPU_WINDOW + window::STUBS)
            .unwrap();
        assert!(stubs.execute && !stubs.write && !stubs.user);
        let page = window::STACK / PAGE_SIZE;
        let entry: u64 = built
            .memory
            .map
            .read_obj(GuestAddress(
                built.region.tables.window_l1() + (vcpu * 256 + page) * 8,
            ))
            .unwrap();
        assert_eq!(entry & ADDRESS, found.gpa);
        seen.extend([found.gpa, stubs.gpa]);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 10, "windows share pages");
    assert_eq!(built.at(stack(5)), None);
}

#[test]
fn gdt_window_is_the_zero_page_and_ldt_window_is_absent() {
    let built = built(10_000, 1);
    for page in 0..16 {
        let found = built.at(VCPU_VA + window::GDT + page * PAGE_SIZE).unwrap();
        assert_eq!(found.gpa, built.region.zero);
    }
    assert_eq!(built.at(VCPU_VA + window::LDT), None);
}

#[test]
fn image_is_mapped_where_it_was_linked() {
    let built = built(10_000, 1);
    let found = built.at(IMAGE_VA).unwrap();
    assert_eq!((found.gpa, found.execute), (built.region.image, true));
    assert_eq!(built.at(IMAGE_VA + 2 * PAGE_SIZE), None);
}

#[test]
fn slots_for_guests_are_those_of_the_monitors_own_root() {
    let built = built(10_000, 1);
    let slots = slots(&built.memory.map, &built.region).unwrap();
    assert!(slots[0] & US != 0 && slots[8] & P != 0 && slots[14] & P != 0);
    assert_eq!(slots[1..8], [0; 7]);
    assert_eq!((slots[8] | slots[14]) & US, 0);
}
