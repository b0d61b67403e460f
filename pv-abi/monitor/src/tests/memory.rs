use super::error;
use crate::mock::*;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::pages::{call, DomainPublic, DOMAIN_PUBLIC};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::memory::*;
use noxen_pv_abi::Hypercall;

pub(super) const SELF: u16 = 0x7ff0;
/// Where lists of frames lie.
pub(super) const LIST: u64 = ARGS + 0x1000;

pub(super) fn reservation(list: u64, nr: u64, order: u32) -> MemoryReservation64 {
    MemoryReservation64 {
        extent_start: list,
        nr_extents: nr,
        extent_order: order,
        domid: SELF,
        ..Default::default()
    }
}

pub(super) fn op(seat: &mut Seat, cmd: MemoryOp, bytes: &[u8]) -> i64 {
    seat.hypercall_with(Hypercall::MEMORY_OP, u64::from(cmd.0), bytes)
}

pub(super) fn list(seat: &Seat, frames: &[u64]) {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.to_le_bytes())
        .collect();
    seat.put(LIST, &bytes);
}

fn decrease(seat: &mut Seat, frames: &[u64]) -> i64 {
    list(seat, frames);
    op(
        seat,
        MemoryOp::DECREASE_RESERVATION,
        &reservation(LIST, frames.len() as u64, 0).to_bytes(),
    )
}

fn populate(seat: &mut Seat, frames: &[u64]) -> i64 {
    list(seat, frames);
    op(
        seat,
        MemoryOp::POPULATE_PHYSMAP,
        &reservation(LIST, frames.len() as u64, 0).to_bytes(),
    )
}

pub(super) fn released(seat: &Seat) -> Vec<u64> {
    let calls = seat.calls(call::RELEASE_FRAMES);
    let words = calls.iter().flat_map(|(args, data)| {
        assert_eq!(args[0] as usize * 8, data.len());
        data.chunks_exact(8)
    });
    words
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

pub(super) fn pages(world: &World) -> u64 {
    world.dom.pages.load(Ordering::Relaxed)
}

#[test]
fn machphys_mapping_names_the_table() {
    let mut seat = World::new(1).running();
    assert_eq!(op(&mut seat, MemoryOp::MACHPHYS_MAPPING, &[]), 0);
    assert_eq!(
        seat.words(ARGS, 3),
        [0xffff_8000_0000_0000, 0xffff_8040_0000_0000, MAX_PAGES - 1]
    );
}

#[test]
fn memory_map_is_one_region_up_to_the_ceiling() {
    let mut seat = World::new(1).running();
    let asked = MemoryMap64 {
        nr_entries: 128,
        buffer: LIST,
        ..Default::default()
    };
    assert_eq!(op(&mut seat, MemoryOp::MEMORY_MAP, &asked.to_bytes()), 0);
    assert_eq!(seat.get_u32(ARGS), 1);
    let entry = E820Entry::from_bytes(&seat.get(LIST, 20).try_into().unwrap());
    assert_eq!(
        entry,
        E820Entry {
            addr: 0,
            size: MAX_PAGES << 12,
            kind: 1
        }
    );
}

#[test]
fn memory_map_without_room_is_refused() {
    let mut seat = World::new(1).running();
    let asked = MemoryMap64 {
        nr_entries: 0,
        buffer: LIST,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, MemoryOp::MEMORY_MAP, &asked.to_bytes()),
        error(Errno::EINVAL)
    );
    let asked = MemoryMap64 {
        nr_entries: 1,
        buffer: UNMAPPED,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, MemoryOp::MEMORY_MAP, &asked.to_bytes()),
        error(Errno::EFAULT)
    );
}

#[test]
fn reservations_and_limits_are_answered() {
    let world = World::new(1);
    let mut seat = world.running();
    let me = SELF.to_le_bytes();
    assert_eq!(
        op(&mut seat, MemoryOp::CURRENT_RESERVATION, &me),
        BOOT_PAGES as i64
    );
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::MAXIMUM_RESERVATION,
            &DOMID.to_le_bytes()
        ),
        MAX_PAGES as i64
    );
    assert_eq!(
        op(&mut seat, MemoryOp::MAXIMUM_RAM_PAGE, &me),
        MAX_PAGES as i64 - 1
    );
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::CURRENT_RESERVATION,
            &9u16.to_le_bytes()
        ),
        error(Errno::EPERM)
    );
    world
        .memory
        .set_u64(world.dom.info.shared_info_gpa + 0xc10, 100);
    assert_eq!(op(&mut seat, MemoryOp::MAXIMUM_GPFN, &me), 99);
    world
        .memory
        .set_u64(world.dom.info.shared_info_gpa + 0xc10, !0);
    assert_eq!(
        op(&mut seat, MemoryOp::MAXIMUM_GPFN, &me),
        MAX_PAGES as i64 - 1
    );
}

#[test]
fn toolstack_operations_are_refused() {
    let mut seat = World::new(1).running();
    for (cmd, errno) in [
        (10, Errno::EPERM),
        (13, Errno::EPERM),
        (28, Errno::EPERM),
        (5, Errno::ENOSYS),
        (7, Errno::ENOSYS),
        (0x2a, Errno::ENOSYS),
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::MEMORY_OP, &[cmd, ARGS]),
            error(errno),
            "{cmd}"
        );
    }
}

#[test]
fn decrease_gives_frames_to_the_host_once() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(decrease(&mut seat, &[0, 100, 101]), 3);
    assert_eq!(released(&seat), [0, 100, 101]);
    assert_eq!(pages(&world), BOOT_PAGES - 3);
    assert_eq!((world.m2p(100), world.m2p(102)), (!0, 102));
    // Once gone they cannot go again, and what was never there cannot go at all.
    for frame in [100, BOOT_PAGES, MAX_PAGES, !0] {
        assert_eq!(decrease(&mut seat, &[frame]), 0, "{frame:#x}");
    }
    assert!(released(&seat).is_empty());
}

#[test]
fn decrease_stops_at_the_first_bad_extent() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(decrease(&mut seat, &[200, 200, 201]), 1);
    assert_eq!(released(&seat), [200]);
    assert_eq!(pages(&world), BOOT_PAGES - 1);
}

#[test]
fn decrease_of_large_extents_and_long_lists_is_batched() {
    let world = World::new(1);
    let mut seat = world.running();
    list(&seat, &[320, 336]);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::DECREASE_RESERVATION,
            &reservation(LIST, 2, 4).to_bytes()
        ),
        2
    );
    assert_eq!(released(&seat), (320..352).collect::<Vec<_>>());
    // More than one call takes.
    let frames: Vec<u64> = (64..300).collect();
    assert_eq!(decrease(&mut seat, &frames), frames.len() as i64);
    assert_eq!(released(&seat), frames);
    assert_eq!(pages(&world), BOOT_PAGES - 32 - frames.len() as u64);
}

#[test]
fn decrease_with_bad_list_or_order_does_nothing() {
    let mut seat = World::new(1).running();
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::DECREASE_RESERVATION,
            &reservation(UNMAPPED, 5, 0).to_bytes()
        ),
        0
    );
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::DECREASE_RESERVATION,
            &reservation(LIST, !0, 10).to_bytes()
        ),
        0
    );
    let other = MemoryReservation64 {
        domid: 3,
        ..reservation(LIST, 1, 0)
    };
    assert_eq!(
        op(&mut seat, MemoryOp::DECREASE_RESERVATION, &other.to_bytes()),
        0
    );
    assert!(released(&seat).is_empty());
    assert_eq!(
        seat.hypercall(Hypercall::MEMORY_OP, &[1, UNMAPPED]),
        error(Errno::EFAULT)
    );
}

#[test]
fn populate_after_decrease_restores_the_identity() {
    let world = World::new(1);
    let mut seat = world.running();
    decrease(&mut seat, &[100, 101]);
    assert_eq!(populate(&mut seat, &[101, 100]), 2);
    assert_eq!(seat.words(LIST, 2), [101, 100]);
    assert_eq!((world.m2p(100), world.m2p(101)), (100, 101));
    assert_eq!(pages(&world), BOOT_PAGES);
}

#[test]
fn populate_above_the_boot_reservation_uses_the_home_frame() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(populate(&mut seat, &[400]), 1);
    assert_eq!((seat.get_u64(LIST), world.m2p(400)), (400, 400));
    assert_eq!(pages(&world), BOOT_PAGES + 1);
}

#[test]
fn populate_of_a_taken_or_foreign_number_finds_another_frame() {
    let world = World::new(1);
    let mut seat = world.running();
    // Frame 5 is in use; pfn 1 << 40 has no home frame (memory hotplug numbers).
    assert_eq!(populate(&mut seat, &[5, 1 << 40]), 2);
    let given = seat.words(LIST, 2);
    assert!(
        given
            .iter()
            .all(|mfn| (BOOT_PAGES..MAX_PAGES).contains(mfn))
            && given[0] != given[1],
        "{given:?}"
    );
    assert_eq!((world.m2p(given[0]), world.m2p(given[1])), (5, 1 << 40));
}

#[test]
fn populate_stops_at_the_ceiling() {
    let world = World::new(1);
    let mut seat = world.running();
    let frames: Vec<u64> = (BOOT_PAGES..MAX_PAGES + 3).collect();
    assert_eq!(
        populate(&mut seat, &frames),
        (MAX_PAGES - BOOT_PAGES) as i64
    );
    assert_eq!(pages(&world), MAX_PAGES);
}

#[test]
fn populate_into_unwritable_list_leaves_no_frame_behind() {
    let world = World::new(1);
    let mut seat = world.running();
    let readonly = KERNEL + 9 * 4096;
    world.memory.set_u64((L1 << 12) + 9 * 8, 9 << 12 | 0x25);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::POPULATE_PHYSMAP,
            &reservation(readonly, 1, 0).to_bytes()
        ),
        0
    );
    assert_eq!(pages(&world), BOOT_PAGES);
    assert_eq!(
        populate(&mut seat, &(BOOT_PAGES..MAX_PAGES).collect::<Vec<_>>()),
        (MAX_PAGES - BOOT_PAGES) as i64
    );
}

#[test]
fn populate_of_large_extent_is_contiguous() {
    let world = World::new(1);
    let mut seat = world.running();
    list(&seat, &[3]);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::POPULATE_PHYSMAP,
            &reservation(LIST, 1, 4).to_bytes()
        ),
        1
    );
    let first = seat.get_u64(LIST);
    assert!(first >= BOOT_PAGES && first.is_multiple_of(16), "{first}");
    assert_eq!((world.m2p(first), world.m2p(first + 15)), (3, 18));
    assert_eq!(pages(&world), BOOT_PAGES + 16);
}

#[test]
fn increase_reservation_answers_frames_without_numbers() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::INCREASE_RESERVATION,
            &reservation(LIST, 2, 0).to_bytes()
        ),
        2
    );
    let given = seat.words(LIST, 2);
    assert!(given
        .iter()
        .all(|mfn| (BOOT_PAGES..MAX_PAGES).contains(mfn)));
    assert_eq!(world.m2p(given[0]), !0);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::INCREASE_RESERVATION,
            &reservation(0, 1000, 0).to_bytes()
        ),
        126
    );
    assert_eq!(pages(&world), MAX_PAGES);
}

fn public(offset: usize, world: &World) -> u64 {
    world.dom.info.public_gpa + DOMAIN_PUBLIC + offset as u64
}

#[test]
fn reservation_is_published_for_the_tools() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = public(core::mem::offset_of!(DomainPublic, pages), &world);
    let before = world.memory.u64(at);
    assert_eq!(decrease(&mut seat, &[40, 41]), 2);
    assert_eq!(world.memory.u64(at), before.wrapping_sub(2));
    assert_eq!(populate(&mut seat, &[40]), 1);
    assert_eq!(world.memory.u64(at), before.wrapping_sub(1));
}

#[test]
fn ceiling_set_from_outside_bounds_the_domain() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = public(core::mem::offset_of!(DomainPublic, ceiling), &world);
    world.memory.set_u64(at, BOOT_PAGES);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::MAXIMUM_RESERVATION,
            &SELF.to_le_bytes()
        ),
        BOOT_PAGES as i64
    );
    assert_eq!(populate(&mut seat, &[BOOT_PAGES]), 0, "no frame more");
    assert_eq!(decrease(&mut seat, &[40]), 1);
    assert_eq!(populate(&mut seat, &[BOOT_PAGES]), 1, "one for one");
    world.memory.set_u64(at, u64::MAX);
    assert_eq!(
        op(
            &mut seat,
            MemoryOp::MAXIMUM_RESERVATION,
            &SELF.to_le_bytes()
        ),
        MAX_PAGES as i64,
        "never more than there is room for"
    );
}
