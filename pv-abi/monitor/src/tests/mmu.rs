//! mmu_update, update_va_mapping, mmuext_op.

use super::error;
use crate::machine::Machine;
use crate::mock::*;
use crate::pagetable::frame;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::Hypercall;

const SELF: u64 = 0x7ff0;
const DONE: u64 = ARGS + 0x800;

/// One mmu_update request; (answer, done).
fn update(seat: &mut Seat, requests: &[(u64, u64)]) -> (i64, u32) {
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|(ptr, val)| [ptr.to_le_bytes(), val.to_le_bytes()].concat())
        .collect();
    seat.put(ARGS, &bytes);
    seat.put(DONE, &[0xee; 4]);
    let answer = seat.hypercall(
        Hypercall::MMU_UPDATE,
        &[ARGS, requests.len() as u64, DONE, SELF],
    );
    (answer, seat.get_u32(DONE))
}

/// One mmuext operation.
fn ext(seat: &mut Seat, cmd: u32, arg1: u64, arg2: u64) -> i64 {
    let bytes = [
        u64::from(cmd).to_le_bytes(),
        arg1.to_le_bytes(),
        arg2.to_le_bytes(),
    ]
    .concat();
    seat.put(ARGS, &bytes);
    seat.hypercall(Hypercall::MMUEXT_OP, &[ARGS, 1, 0, SELF])
}

fn flags(world: &World, mfn: u64) -> u8 {
    world.memory.get(world.dom.info.frame_table_gpa + mfn, 1)[0]
}

#[test]
fn update_sets_user_and_clears_global_in_present_entries() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = (L1 << 12) + 100 * 8;
    assert_eq!(
        update(&mut seat, &[(at, 100 << 12 | 0x163), (at + 8, 0x1234_5000)]),
        (0, 2)
    );
    assert_eq!(world.memory.u64(at), 100 << 12 | 0x67);
    assert_eq!(
        world.memory.u64(at + 8),
        0x1234_5000,
        "not present: stored as given"
    );
}

#[test]
fn update_preserving_ad_keeps_only_those_bits() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = (L1 << 12) + 100 * 8;
    world.memory.set_u64(at, 100 << 12 | 0x67);
    assert_eq!(update(&mut seat, &[(at | 2, 101 << 12 | 0x1)]), (0, 1));
    assert_eq!(world.memory.u64(at), 101 << 12 | 0x65);
    world.memory.set_u64(at, 100 << 12 | 0x7);
    assert_eq!(update(&mut seat, &[(at | 2, 101 << 12 | 0x3)]), (0, 1));
    assert_eq!(world.memory.u64(at), 101 << 12 | 0x7);
}

#[test]
fn machphys_update_sets_the_table_for_guest_frames_only() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(update(&mut seat, &[(77 << 12 | 1, 0x1234)]), (0, 1));
    assert_eq!(world.m2p(77), 0x1234);
    assert_eq!(
        update(&mut seat, &[(MAX_PAGES << 12 | 1, 5)]),
        (error(Errno::EINVAL), 0)
    );
}

#[test]
fn update_of_a_monitor_slot_is_ignored() {
    let world = World::new(1);
    let mut seat = world.running();
    for slot in [256u64, 270, 271] {
        assert_eq!(update(&mut seat, &[((L4 << 12) + slot * 8, 0)]), (0, 1));
        assert_eq!(
            world.memory.u64((L4 << 12) + slot * 8),
            slots()[slot as usize - 256]
        );
    }
    // The neighbours are the guest's.
    for slot in [255u64, 272] {
        assert_eq!(
            update(&mut seat, &[((L4 << 12) + slot * 8, 0x5000)]),
            (0, 1)
        );
        assert_eq!(world.memory.u64((L4 << 12) + slot * 8), 0x5000);
    }
    // In a frame that is no L4 the same offsets mean nothing.
    assert_eq!(
        update(&mut seat, &[((100 << 12) + 256 * 8, 0x9000)]),
        (0, 1)
    );
    assert_eq!(world.memory.u64((100 << 12) + 256 * 8), 0x9000);
}

#[test]
fn update_outside_guest_memory_stops_with_the_count_so_far() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = (L1 << 12) + 100 * 8;
    for bad in [REGION, MAX_PAGES << 12, !7] {
        assert_eq!(
            update(&mut seat, &[(at, 0), (bad, 1), (at, 3)]),
            (error(Errno::EINVAL), 1),
            "{bad:#x}"
        );
    }
    assert_eq!(world.memory.u64(at), 0);
}

#[test]
fn update_for_other_domains_is_refused() {
    let mut seat = World::new(1).running();
    for dom in [0x7ff1, 3, (3 + 1) << 16 | SELF] {
        assert_eq!(
            seat.hypercall(Hypercall::MMU_UPDATE, &[ARGS, 0, 0, dom]),
            error(Errno::ESRCH),
            "{dom:#x}"
        );
    }
    for dom in [SELF, u64::from(DOMID), (u64::from(DOMID) + 1) << 16 | SELF] {
        assert_eq!(
            seat.hypercall(Hypercall::MMU_UPDATE, &[ARGS, 0, 0, dom]),
            0,
            "{dom:#x}"
        );
    }
}

#[test]
fn update_list_that_ends_in_nowhere_reports_what_was_done() {
    let world = World::new(1);
    let mut seat = world.running();
    let at = (L1 << 12) + 100 * 8;
    let list = UNMAPPED - 16;
    seat.put(list, &[at.to_le_bytes(), 0x42u64.to_le_bytes()].concat());
    let answer = seat.hypercall(Hypercall::MMU_UPDATE, &[list, 0x8000_0002, DONE, SELF]);
    assert_eq!((answer, seat.get_u32(DONE)), (error(Errno::EFAULT), 1));
    assert_eq!(world.memory.u64(at), 0x42);
}

#[test]
fn va_mapping_changes_the_entry_and_flushes_as_asked() {
    let world = World::new(2);
    let mut seat = world.running();
    let va = KERNEL + 100 * 4096;
    let at = (L1 << 12) + 100 * 8;
    seat.m.take_effects();
    assert_eq!(
        seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 100 << 12 | 0x161, 0]),
        0
    );
    assert_eq!(world.memory.u64(at), 100 << 12 | 0x65);
    assert!(seat.m.take_effects().is_empty());
    assert_eq!(seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 0, 2]), 0);
    assert_eq!(seat.m.take_effects(), [Effect::Invlpg(va)]);
    assert_eq!(seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 0, 1]), 0);
    assert_eq!(seat.m.take_effects(), [Effect::Cr3(L4 << 12)]);
    // vCPU 1 never ran: it is told, not waited for.
    assert_eq!(
        seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 0, 2 | 4]),
        0
    );
    assert_eq!(seat.m.take_effects(), [Effect::Cr3(L4 << 12)]);
    let wanted = world.dom.vcpus[1]
        .flush_wanted
        .load(core::sync::atomic::Ordering::SeqCst);
    assert_eq!(wanted, 1);
}

#[test]
fn va_mapping_with_vcpu_bitmap_flushes_those_vcpus() {
    let world = World::new(4);
    let mut seat = world.running();
    seat.put(ARGS, &[0b1110_1010]);
    let va = KERNEL + 100 * 4096;
    assert_eq!(
        seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 0, ARGS | 2]),
        0
    );
    let wanted: Vec<u64> = (0..4)
        .map(|id| {
            world.dom.vcpus[id]
                .flush_wanted
                .load(core::sync::atomic::Ordering::SeqCst)
        })
        .collect();
    assert_eq!(wanted, [0, 1, 0, 1]);
    assert_eq!(
        seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 0, UNMAPPED | 2]),
        error(Errno::EFAULT)
    );
}

#[test]
fn va_mapping_without_tables_is_refused() {
    let mut seat = World::new(1).running();
    for va in [0x7000_0000_0000, HOLE, 0xffff_8000_0000_0000] {
        assert_eq!(
            seat.hypercall(Hypercall::UPDATE_VA_MAPPING, &[va, 1, 0]),
            error(Errno::EINVAL),
            "{va:#x}"
        );
    }
}

#[test]
fn pin_l4_installs_slots_and_marks_the_tables_below() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.m.copy_frame(100, L4);
    for slot in 256..272 {
        world.memory.set_u64((100 << 12) + slot * 8, 0);
    }
    // A kernel half of its own: L3 101, L2 102, L1 103.
    world
        .memory
        .set_u64((100 << 12) + 300 * 8, 101 << 12 | 0x67);
    world.memory.set_u64(101 << 12, 102 << 12 | 0x67);
    world.memory.set_u64(102 << 12, 103 << 12 | 0x67);
    world.memory.set_u64(103 << 12, 104 << 12 | 0x67);
    assert_eq!(ext(&mut seat, 3, 100, 0), 0);
    let got: Vec<u64> = (256..272)
        .map(|slot| world.memory.u64((100 << 12) + slot * 8))
        .collect();
    assert_eq!(got, slots());
    assert_eq!(flags(&world, 100), frame::TABLE | frame::L4);
    assert_eq!(
        [
            flags(&world, 101),
            flags(&world, 102),
            flags(&world, 103),
            flags(&world, 104)
        ],
        [1, 1, 1, 0]
    );
    // Unpinned it is an ordinary frame again.
    assert_eq!(ext(&mut seat, 4, 100, 0), 0);
    assert_eq!(flags(&world, 100), 0);
}

#[test]
fn pin_of_a_table_that_refers_to_itself_ends() {
    let world = World::new(1);
    let mut seat = world.running();
    for index in 272..512 {
        world
            .memory
            .set_u64((100 << 12) + index * 8, 100 << 12 | 0x67);
    }
    assert_eq!(ext(&mut seat, 3, 100, 0), 0);
}

#[test]
fn base_pointers_are_loaded_with_slots() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.m.take_effects();
    assert_eq!(ext(&mut seat, 5, 100, 0), 0);
    assert_eq!(seat.m.take_effects().last(), Some(&Effect::Cr3(100 << 12)));
    assert_eq!(world.memory.u64((100 << 12) + 270 * 8), slots()[14]);
    // The argument page is not mapped any more; go back by hand.
    seat.v.kernel_cr3 = L4 << 12;
    seat.m.set_cr3(L4 << 12);
    seat.m.take_effects();
    assert_eq!(ext(&mut seat, 15, 101, 0), 0);
    assert_eq!(seat.v.user_cr3, 101 << 12);
    assert_eq!(world.memory.u64((101 << 12) + 256 * 8), slots()[0]);
    assert!(
        !seat.m.take_effects().contains(&Effect::Cr3(101 << 12)),
        "loaded on the way to user space"
    );
    assert_eq!(ext(&mut seat, 15, 0, 0), 0);
    assert_eq!(seat.v.user_cr3, 0);
}

#[test]
fn bad_frames_are_refused_by_every_operation() {
    let mut seat = World::new(1).running();
    for bad in [MAX_PAGES, REGION >> 12, !0] {
        for cmd in [0, 1, 2, 3, 4, 5, 15, 16] {
            assert_eq!(
                ext(&mut seat, cmd, bad, 0),
                error(Errno::EINVAL),
                "{cmd} {bad:#x}"
            );
        }
        assert_eq!(
            ext(&mut seat, 17, 64, bad),
            error(Errno::EINVAL),
            "copy from {bad:#x}"
        );
        assert_eq!(
            ext(&mut seat, 17, bad, 64),
            error(Errno::EINVAL),
            "copy to {bad:#x}"
        );
    }
}

#[test]
fn local_flushes_reach_the_processor() {
    let mut seat = World::new(1).running();
    seat.m.take_effects();
    assert_eq!(ext(&mut seat, 6, 0, 0), 0);
    assert_eq!(ext(&mut seat, 7, 0x1234_5000, 0), 0);
    assert_eq!(ext(&mut seat, 12, 0, 0), 0);
    assert_eq!(
        seat.m.take_effects(),
        [Effect::Cr3(L4 << 12), Effect::Invlpg(0x1234_5000)]
    );
}

#[test]
fn pages_are_cleared_and_copied() {
    let world = World::new(1);
    let mut seat = world.running();
    world.memory.put(100 << 12, &[7; 4096]);
    assert_eq!(ext(&mut seat, 17, 101, 100), 0);
    assert_eq!(world.memory.get(101 << 12, 4096), [7; 4096]);
    assert_eq!(ext(&mut seat, 16, 100, 0), 0);
    assert_eq!(world.memory.get(100 << 12, 4096), [0; 4096]);
}

#[test]
fn ldt_is_mapped_when_it_is_used() {
    let world = World::new(1);
    let mut seat = world.running();
    let base = KERNEL + 100 * 4096;
    assert_eq!(ext(&mut seat, 13, base + 8, 1), error(Errno::EINVAL));
    assert_eq!(ext(&mut seat, 13, base, 8193), error(Errno::EINVAL));
    seat.m.take_effects();
    assert_eq!(ext(&mut seat, 13, base, 600), 0);
    let effects = seat.m.take_effects();
    assert!(effects.contains(&Effect::Ldt(600)) && effects.contains(&Effect::LdtPage(15, None)));
    // A selector load touches the second page of the window: a descriptor of ring 0 is fixed on the way.
    world.memory.set_u64(101 << 12, 0x00af_9b00_0000_ffff);
    let window = noxen_monitor_abi::layout::VCPU_VA + noxen_monitor_abi::layout::window::LDT;
    let before = seat.regs;
    seat.enter(14, 0, window + 0x1008);
    assert_eq!(seat.regs.rip, before.rip, "the guest does not notice");
    assert_eq!(seat.m.take_effects(), [Effect::LdtPage(1, Some(101))]);
    assert_eq!(world.memory.u64(101 << 12), 0x00af_fb00_0000_ffff);
    // Beyond its end it is the guest's fault.
    seat.enter(14, 0, window + 0x2000);
    assert_eq!(seat.regs.rip, handler(14));
}

#[test]
fn operations_stop_at_the_first_error_with_their_count() {
    let mut seat = World::new(1).running();
    let op = |cmd: u64| [cmd.to_le_bytes(), [0; 8], [0; 8]].concat();
    seat.put(ARGS, &[op(6), op(6), op(19), op(6)].concat());
    let answer = seat.hypercall(Hypercall::MMUEXT_OP, &[ARGS, 4, DONE, SELF]);
    assert_eq!((answer, seat.get_u32(DONE)), (error(Errno::EOPNOTSUPP), 2));
    assert_eq!(ext(&mut seat, 99, 0, 0), error(Errno::ENOSYS));
    assert_eq!(
        seat.hypercall(Hypercall::MMUEXT_OP, &[ARGS, 1, 0, 9]),
        error(Errno::ESRCH)
    );
}
