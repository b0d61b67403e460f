//! Page faults: what the monitor heals and what the guest gets.

use crate::mock::*;
use noxen_monitor_abi::counters::{other, OTHER};

const PAGE: u64 = 100;
const VA: u64 = KERNEL + PAGE * 4096;
const ENTRY: u64 = (L1 << 12) + PAGE * 8;
/// P, W, U.
const READ: u64 = 5;
const WRITE: u64 = 7;

/// A fault at `va`; true when the guest goes on where it was.
fn fault(seat: &mut Seat, error: u64, va: u64) -> bool {
    let before = seat.regs;
    seat.enter(14, error, va);
    let healed = seat.regs.rip == before.rip;
    seat.regs = before;
    healed
}

#[test]
fn missing_user_bit_is_healed_for_the_whole_table() {
    let world = World::new(1);
    let mut seat = world.running();
    world.memory.set_u64(ENTRY, PAGE << 12 | 0x3);
    world.memory.set_u64(ENTRY + 8, (PAGE + 1) << 12 | 0x3);
    world.memory.set_u64(ENTRY + 16, 0x77_0002);
    assert!(fault(&mut seat, READ, VA));
    assert_eq!(world.memory.u64(ENTRY), PAGE << 12 | 0x7);
    assert_eq!(world.memory.u64(ENTRY + 8), (PAGE + 1) << 12 | 0x7);
    assert_eq!(world.memory.u64(ENTRY + 16), 0x77_0002, "not present");
    assert_eq!(seat.m.take_effects(), [Effect::Invlpg(VA)]);
    assert_eq!(world.counter(0, OTHER + other::PF_USER_BIT), 1);
}

#[test]
fn missing_user_bits_on_the_way_are_healed_too() {
    let world = World::new(1);
    let mut seat = world.running();
    for (table, index) in [(L4, KERNEL >> 39 & 511), (2, 0), (3, 0)] {
        let at = (table << 12) + index * 8;
        world.memory.set_u64(at, world.memory.u64(at) & !4);
    }
    let slots_before: Vec<u64> = (256..272)
        .map(|slot| world.memory.u64((L4 << 12) + slot * 8))
        .collect();
    world
        .memory
        .set_u64((L4 << 12) + 256 * 8, slots_before[0] & !4);
    assert!(fault(&mut seat, READ, VA));
    assert!(seat.m.translate(VA).unwrap().1);
    assert_eq!(
        world.memory.u64((L4 << 12) + 256 * 8),
        slots_before[0] & !4,
        "the monitor's slots stay as they are"
    );
}

#[test]
fn user_space_does_not_get_its_missing_user_bit() {
    let world = World::new(1);
    let mut seat = world.running();
    world.memory.set_u64(ENTRY, PAGE << 12 | 0x3);
    seat.go_user(USER);
    assert!(!fault(&mut seat, READ, VA));
    assert_eq!(world.memory.u64(ENTRY), PAGE << 12 | 0x3);
}

#[test]
fn write_to_a_readonly_table_page_is_promoted() {
    let world = World::new(1);
    let mut seat = world.running();
    // The builder's tables are marked at boot: frame 4 is the kernel's own L1.
    let at = (L1 << 12) + L1 * 8;
    assert!(fault(&mut seat, WRITE, KERNEL + L1 * 4096 + 0x88));
    assert_eq!(world.memory.u64(at) & 2, 2);
    assert_eq!(world.counter(0, OTHER + other::PF_PROMOTE), 1);
    assert_eq!(
        seat.m.take_effects(),
        [Effect::Invlpg(KERNEL + L1 * 4096 + 0x88)]
    );
}

#[test]
fn write_to_a_readonly_ordinary_page_is_the_guests_fault() {
    let world = World::new(1);
    let mut seat = world.running();
    world.memory.set_u64(ENTRY, PAGE << 12 | 0x5);
    assert!(!fault(&mut seat, WRITE, VA));
    assert_eq!(world.memory.u64(ENTRY), PAGE << 12 | 0x5);
}

#[test]
fn unpinned_table_is_an_ordinary_page() {
    let world = World::new(1);
    let mut seat = world.running();
    let flags = world.dom.info.frame_table_gpa + PAGE;
    world.memory.set_u64(ENTRY, PAGE << 12 | 0x5);
    world.memory.put(flags, &[1]);
    assert!(fault(&mut seat, WRITE, VA));
    world.memory.set_u64(ENTRY, PAGE << 12 | 0x5);
    world.memory.put(flags, &[0]);
    assert!(!fault(&mut seat, WRITE, VA));
}

#[test]
fn user_mapping_of_a_table_page_is_not_promoted() {
    let world = World::new(1);
    let mut seat = world.running();
    // A process maps a page that holds a page table, read-only, below the hole.
    let at = (8u64 << 12) + (USER >> 12 & 511) * 8;
    world.memory.set_u64(at, L1 << 12 | 0x25);
    assert!(!fault(&mut seat, WRITE, USER));
    assert_eq!(world.memory.u64(at), L1 << 12 | 0x25);
}

#[test]
fn table_page_of_a_kernel_that_lives_below_the_hole_is_promoted_there() {
    let world = World::with(1, |info| info.start_rip = 0x4000_0000);
    let mut seat = world.running();
    let at = (8u64 << 12) + (USER >> 12 & 511) * 8;
    world.memory.set_u64(at, L1 << 12 | 0x25);
    assert!(fault(&mut seat, WRITE, USER));
    assert_eq!(world.memory.u64(at) & 2, 2);
}

#[test]
fn permitted_access_is_a_stale_translation() {
    let world = World::new(1);
    let mut seat = world.running();
    assert!(fault(&mut seat, WRITE, VA));
    assert_eq!(seat.m.take_effects(), [Effect::Invlpg(VA)]);
    assert_eq!(world.counter(0, OTHER + other::PF_SPURIOUS), 1);
}

#[test]
fn fetch_from_a_no_execute_page_is_the_guests_fault() {
    let world = World::new(1);
    let mut seat = world.running();
    world.memory.set_u64(ENTRY, 1 << 63 | PAGE << 12 | 0x7);
    assert!(!fault(&mut seat, 0x15, VA));
    assert!(fault(&mut seat, READ, VA));
}

#[test]
fn absent_page_and_reserved_bits_are_the_guests_fault() {
    let world = World::new(1);
    let mut seat = world.running();
    assert!(!fault(&mut seat, 4, UNMAPPED));
    assert!(!fault(&mut seat, READ, UNMAPPED));
    assert!(!fault(&mut seat, 0xd, VA));
}

#[test]
fn monitor_tables_are_never_opened() {
    let world = World::new(1);
    let mut seat = world.running();
    // Tables of the monitor without U, reachable through slot 264 of the guest's L4.
    let table = |page: u64| REGION + (170 + page) * 4096;
    world.memory.set_u64((L4 << 12) + 264 * 8, table(0) | 0x63);
    world.memory.set_u64(table(0), table(1) | 0x63);
    world.memory.set_u64(table(1), 0xe3);
    let direct_map = noxen_monitor_abi::layout::DIRECT_MAP_VA + 0x1000;
    assert!(!fault(&mut seat, READ, direct_map));
    assert!(!fault(&mut seat, WRITE, direct_map));
    assert_eq!(
        [
            world.memory.u64(table(0)) & 4,
            world.memory.u64(table(1)) & 4
        ],
        [0, 0]
    );
}

#[test]
fn fault_of_the_guest_says_its_mode_and_address() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.enter(14, 0x6, UNMAPPED + 0x123);
    assert_eq!(seat.regs.rip, handler(14));
    assert_eq!(
        seat.get_u64(seat.regs.rsp + 16),
        0x2,
        "kernel mode: U clear"
    );
    assert_eq!(
        world.memory.u64(world.dom.info.shared_info_gpa + 16),
        UNMAPPED + 0x123
    );
    let mut seat = World::new(1).running();
    seat.go_user(USER);
    seat.enter(14, 0x6, 0x1000);
    assert_eq!(seat.get_u64(seat.regs.rsp + 16), 0x6, "user mode: U set");
}
