//! memory_op with lists of 4-byte words.

use crate::mock::*;
use noxen_pv_abi::memory::MemoryOp;
use noxen_pv_abi::Hypercall;

const EFAULT: i32 = -14;
const EINVAL: i32 = -22;
const EPERM: i32 = -1;
const LIST: u64 = ARGS32 + 0x1000;

fn op(seat: &mut Seat, op: MemoryOp) -> i32 {
    seat.hypercall32(Hypercall::MEMORY_OP, &[u64::from(op.0), ARGS32])
}

/// A reservation at ARGS32: list, number, order, flags, DOMID_SELF.
fn reservation(world: &World, list: u64, count: u32, order: u32) {
    world.put32(ARGS32, &[list as u32, count, order, 0, 0x7ff0]);
}

#[test]
fn m2p_is_announced_at_its_32_bit_place() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    assert_eq!(op(&mut seat, MemoryOp::MACHPHYS_MAPPING), 0);
    assert_eq!(
        world.words32(ARGS32, 3),
        [0xf580_0000, 0xf680_0000, MAX_PAGES as u32 - 1]
    );
}

#[test]
fn memory_map_is_one_range_of_ram() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[4, LIST as u32, 0x77]);
    assert_eq!(op(&mut seat, MemoryOp::MEMORY_MAP), 0);
    assert_eq!(world.words32(ARGS32, 3), [1, LIST as u32, 0x77]);
    assert_eq!(
        world.words32(LIST, 5),
        [0, 0, (MAX_PAGES << 12) as u32, 0, 1]
    );
    world.put32(ARGS32, &[0, LIST as u32]);
    assert_eq!(op(&mut seat, MemoryOp::MEMORY_MAP), EINVAL);
}

#[test]
fn frames_leave_and_come_back_by_lists_of_words() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(LIST, &[200, 201, 202]);
    reservation(&world, LIST, 3, 0);
    assert_eq!(op(&mut seat, MemoryOp::DECREASE_RESERVATION), 3);
    assert_eq!([200, 201, 202].map(|mfn| world.m2p32(mfn)), [!0; 3]);
    assert_eq!(world.m2p32(203), 203);
    // pfn 201 gets its home frame; what stands behind the list stays.
    world.put32(LIST, &[201, 0x99]);
    reservation(&world, LIST, 1, 0);
    assert_eq!(op(&mut seat, MemoryOp::POPULATE_PHYSMAP), 1);
    assert_eq!(world.words32(LIST, 2), [201, 0x99]);
    assert_eq!(world.m2p32(201), 201);
    // Without a number: which frame it is is the answer.
    reservation(&world, LIST, 1, 0);
    assert_eq!(op(&mut seat, MemoryOp::INCREASE_RESERVATION), 1);
    let given = u64::from(world.words32(LIST, 1)[0]);
    assert!([200, 202].contains(&given), "{given}");
    assert_eq!(world.m2p32(given), !0);
}

#[test]
fn lists_longer_than_scratch_go_in_pieces() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // 600 words: the first 80 are frames to give, then one that is not the domain's.
    let mut list: Vec<u32> = (200..280).collect();
    list.resize(600, 0x7fff_ffff);
    world.put32(LIST, &list);
    reservation(&world, LIST, 600, 0);
    assert_eq!(op(&mut seat, MemoryOp::DECREASE_RESERVATION), 80);
    assert_eq!(world.m2p32(279), !0);
    assert_eq!(world.m2p32(280), 280);
    // 530 frames do not exist: as many as there are, over the border between two pieces if need be.
    world.put32(LIST, &(0..530).map(|i| 200 + i % 312).collect::<Vec<u32>>());
    reservation(&world, LIST, 530, 0);
    assert_eq!(op(&mut seat, MemoryOp::POPULATE_PHYSMAP), 80 + 128);
}

#[test]
fn list_that_ends_in_nothing_ends_the_call_there() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let edge = KERNEL32 + (BOOT_PAGES << 12) - 8;
    world.put32(edge, &[300, 301]);
    reservation(&world, edge, 5, 0);
    assert_eq!(op(&mut seat, MemoryOp::DECREASE_RESERVATION), 2);
    reservation(&world, 0x1000, 5, 0);
    assert_eq!(op(&mut seat, MemoryOp::DECREASE_RESERVATION), 0);
    assert_eq!(
        seat.hypercall32(
            Hypercall::MEMORY_OP,
            &[1, KERNEL32 + (BOOT_PAGES << 12) - 4]
        ),
        EFAULT,
        "the structure itself"
    );
}

fn exchange(world: &World, input: [u32; 3], output: [u32; 3]) {
    let side = |[list, count, order]: [u32; 3]| [list, count, order, 0, 0x7ff0];
    let mut words = [side(input), side(output)].concat();
    words.push(0);
    world.put32(ARGS32, &words);
}

#[test]
fn four_frames_become_one_extent() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let (ins, outs) = (LIST as u32, LIST as u32 + 0x100);
    world.put32(LIST, &[123, 121, 122, 120]);
    world.put32(LIST + 0x100, &[64, 0x99]);
    exchange(&world, [ins, 4, 0], [outs, 1, 2]);
    assert_eq!(op(&mut seat, MemoryOp::EXCHANGE), 0);
    assert_eq!(world.words32(LIST + 0x100, 2), [120, 0x99]);
    assert_eq!(world.words32(ARGS32 + 40, 1), [4]);
    assert_eq!(
        (120..124).map(|mfn| world.m2p32(mfn)).collect::<Vec<_>>(),
        [64, 65, 66, 67]
    );
}

#[test]
fn exchange_of_unequal_sides_or_huge_extents_is_refused() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let list = LIST as u32;
    exchange(&world, [list, 4, 0], [list, 2, 2]);
    assert_eq!(op(&mut seat, MemoryOp::EXCHANGE), EINVAL);
    exchange(&world, [list, 3, 0], [list, 1, 2]);
    assert_eq!(op(&mut seat, MemoryOp::EXCHANGE), EINVAL);
    exchange(&world, [list, 1, 10], [list, 1, 10]);
    assert_eq!(op(&mut seat, MemoryOp::EXCHANGE), EPERM);
    world.put32(LIST, &[500, 501]);
    exchange(&world, [list, 2, 0], [list + 0x100, 1, 1]);
    assert_eq!(op(&mut seat, MemoryOp::EXCHANGE), EINVAL, "not its frames");
    assert_eq!(world.words32(ARGS32 + 40, 1), [0]);
}

#[test]
fn reservations_and_the_last_frame_are_told() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[0x7ff0]);
    assert_eq!(
        op(&mut seat, MemoryOp::CURRENT_RESERVATION),
        BOOT_PAGES as i32
    );
    assert_eq!(
        op(&mut seat, MemoryOp::MAXIMUM_RESERVATION),
        MAX_PAGES as i32
    );
    // arch.max_pfn is at 0x90c of a 32-bit shared_info.
    let info = world.dom.info.shared_info_gpa;
    world.memory.put(info + 0x90c, &300u32.to_le_bytes());
    assert_eq!(op(&mut seat, MemoryOp::MAXIMUM_GPFN), 299);
}
