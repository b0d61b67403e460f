//! Page tables of three levels.

use crate::mock::*;
use noxen_monitor_abi::layout::compat::M2P_VA;
use noxen_pv_abi::mmu::MmuextCmd;
use noxen_pv_abi::Hypercall;

const EINVAL: i32 = -22;
/// P, RW, US, A: what long mode needs in an L3 entry.
const UPPER: u64 = 0x27;

fn mmuext(world: &World, seat: &mut Seat, cmd: MmuextCmd, arg1: u32, arg2: u32) -> i32 {
    world.put32(ARGS32, &[cmd.0, arg1, arg2]);
    seat.hypercall32(Hypercall::MMUEXT_OP, &[ARGS32, 1, 0, 0x7ff0])
}

#[test]
fn entries_come_in_two_registers_and_stay_the_supervisors() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let va = KERNEL32 + 100 * 4096;
    // NX is in the upper half; Global goes.
    let args = [va, 200 << 12 | 0x163, 0x8000_0000, 2];
    assert_eq!(seat.hypercall32(Hypercall::UPDATE_VA_MAPPING, &args), 0);
    assert_eq!(
        world.memory.u64((4 << 12) + 100 * 8),
        1 << 63 | 200 << 12 | 0x63
    );
    assert!(seat.m.take_effects().contains(&Effect::Invlpg(va)));
    let nothing = [0x8000_0000, 0, 0, 0];
    assert_eq!(
        seat.hypercall32(Hypercall::UPDATE_VA_MAPPING, &nothing),
        EINVAL
    );
}

#[test]
fn mmu_update_writes_tables_and_the_m2p_of_four_bytes() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let l1 = (4u32 << 12) + 101 * 8;
    world.put32(
        ARGS32,
        &[l1, 0, 210 << 12 | 0x61, 0, 150 << 12 | 1, 0, 33, 0],
    );
    let args = [ARGS32, 2, ARGS32 + 0x80, 0x7ff0];
    assert_eq!(seat.hypercall32(Hypercall::MMU_UPDATE, &args), 0);
    assert_eq!(world.words32(ARGS32 + 0x80, 1), [2]);
    assert_eq!(world.memory.u64(u64::from(l1)), 210 << 12 | 0x61);
    assert_eq!([149, 150, 151].map(|mfn| world.m2p32(mfn)), [149, 33, 151]);
}

/// An L3 at frame 50 whose last entry points to an empty L2 at 51, with the kernel's L1 in it.
fn second_l3(world: &World) {
    world.memory.set_u64((50 << 12) + 3 * 8, 51 << 12 | 1);
    let slot = KERNEL32 >> 21 & 511;
    world.memory.set_u64((51 << 12) + slot * 8, 4 << 12 | 0x63);
}

#[test]
fn new_base_gets_long_modes_bits_the_m2p_and_marks() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // Slot 3 at once: the kernel's L2 with the kernel's L1.
    world.memory.set_u64(50 << 12, 0);
    world.memory.set_u64((50 << 12) + 3 * 8, 51 << 12 | 1);
    let kernel = KERNEL32 >> 21 & 511;
    world
        .memory
        .set_u64((51 << 12) + kernel * 8, 4 << 12 | 0x63);
    assert_eq!(mmuext(&world, &mut seat, MmuextCmd::NEW_BASEPTR, 50, 0), 0);
    assert_eq!(world.memory.u64(COMPAT), 50 << 12 | 0x67);
    assert_eq!(seat.m.state().cr3, COMPAT, "loading it flushes");
    assert_eq!(world.memory.u64((50 << 12) + 3 * 8), 51 << 12 | UPPER);
    let m2p = world.memory.u64((51 << 12) + (M2P_VA >> 21 & 511) * 8);
    assert_eq!(m2p & 0x000f_ffff_ffff_f000, world.dom.info.m2p_gpa);
    assert_eq!(m2p & 0x83, 0x81, "a large page, read-only");
    for frame in [50, 51] {
        let at = world.dom.info.frame_table_gpa + frame;
        assert_eq!(world.memory.get(at, 1)[0] & 1, 1, "{frame} is a table");
    }
    // What is mapped at once stays: the kernel goes on.
    assert!(seat.m.translate(KERNEL32 + 0x9000).is_some());
}

#[test]
fn tables_that_are_none_are_refused() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let outside = MAX_PAGES as u32;
    for cmd in [
        MmuextCmd::NEW_BASEPTR,
        MmuextCmd::PIN_L3_TABLE,
        MmuextCmd::PIN_L1_TABLE,
    ] {
        assert_eq!(mmuext(&world, &mut seat, cmd, outside, 0), EINVAL);
    }
    // There is no fourth level and no second base.
    for cmd in [MmuextCmd::PIN_L4_TABLE, MmuextCmd::NEW_USER_BASEPTR] {
        assert_eq!(mmuext(&world, &mut seat, cmd, 50, 0), EINVAL);
    }
    assert_eq!(world.memory.u64(COMPAT), 1 << 12 | 0x67);
    world.put32(ARGS32, &[MmuextCmd::TLB_FLUSH_LOCAL.0, 0, 0]);
    let foreign = [ARGS32, 1, 0, 5];
    assert_eq!(
        seat.hypercall32(Hypercall::MMUEXT_OP, &foreign),
        -3,
        "another domain's"
    );
}

#[test]
fn list_of_operations_stops_at_the_first_that_fails() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    second_l3(&world);
    let pin = MmuextCmd::PIN_L3_TABLE.0;
    let flush = MmuextCmd::TLB_FLUSH_LOCAL.0;
    world.put32(ARGS32, &[pin, 50, 0, flush, 0, 0, pin, !0, 0, pin, 50, 0]);
    let args = [ARGS32, 4, ARGS32 + 0x80, 0x7ff0];
    assert_eq!(seat.hypercall32(Hypercall::MMUEXT_OP, &args), EINVAL);
    assert_eq!(world.words32(ARGS32 + 0x80, 1), [2]);
}

#[test]
fn other_vcpus_flush_by_a_mask_at_a_32_bit_pointer() {
    let world = World::bits32(2);
    let mut seat = world.running32();
    world.put32(ARGS32 + 0x80, &[2]);
    let mask = (ARGS32 + 0x80) as u32;
    assert_eq!(
        mmuext(&world, &mut seat, MmuextCmd::TLB_FLUSH_MULTI, 0, mask),
        0
    );
    let wanted = &world.dom.vcpus[1].flush_wanted;
    assert_eq!(wanted.load(core::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn fault_on_an_l3_entry_as_pae_has_it_heals_for_both_rings() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // The guest wrote the entry of slot 1 itself, with P alone: user space could not reach it.
    world.memory.set_u64((1 << 12) + 8, 6 << 12 | 1);
    seat.go_user32(USER);
    let before = seat.regs;
    seat.enter(14, 5, (1 << 30) + USER);
    assert_eq!(seat.regs.rip, before.rip, "again, not to the guest");
    assert_eq!(world.memory.u64((1 << 12) + 8), 6 << 12 | UPPER);
    // The second time it is the guest's own fault.
    seat.enter(14, 5, (1 << 30) + USER);
    assert_eq!(seat.regs.rip, handler32(14));
}

#[test]
fn m2p_below_a_new_l2_comes_with_the_first_fault() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    second_l3(&world);
    // set_pgd: the last L3 entry of the table in force.
    world.put32(ARGS32, &[(1 << 12) + 3 * 8, 0, 51 << 12 | 1, 0]);
    assert_eq!(
        seat.hypercall32(Hypercall::MMU_UPDATE, &[ARGS32, 1, 0, 0x7ff0]),
        0
    );
    assert_eq!(seat.m.translate(M2P_VA), None);
    let before = seat.regs;
    seat.enter(14, 0, M2P_VA + 8);
    assert_eq!(seat.regs.rip, before.rip);
    assert!(seat.m.translate(M2P_VA).is_some());
    // Beyond its end nothing helps.
    seat.enter(14, 0, 0xf680_0000);
    assert_eq!(seat.regs.rip, handler32(14));
}

#[test]
fn kernel_write_to_its_table_makes_the_mapping_writable() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let va = KERNEL32 + 4 * 4096 + 8;
    let before = seat.regs;
    seat.enter(14, 3, va);
    assert_eq!(seat.regs.rip, before.rip);
    assert_eq!(world.memory.u64((4 << 12) + 4 * 8) & 2, 2);
    // A process's page that looks like a table stays read-only: it may be copy-on-write.
    let at = world.dom.info.frame_table_gpa + USER_FRAME;
    world.memory.put(at, &[1]);
    let slot = (USER >> 12) & 511;
    world
        .memory
        .set_u64((8 << 12) + slot * 8, USER_FRAME << 12 | 0x25);
    seat.enter(14, 3, USER);
    assert_eq!(seat.regs.rip, handler32(14));
    assert_eq!(world.memory.u64((8 << 12) + slot * 8) & 2, 0);
}

#[test]
fn arguments_reach_memory_behind_an_incomplete_l3_entry() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // What the monitor writes for the guest goes through the same tables.
    world.memory.set_u64((1 << 12) + 8, 6 << 12 | 1);
    let at = (1 << 30) + USER + 0x40;
    assert_eq!(seat.hypercall32(Hypercall::XEN_VERSION, &[1, at]), 0);
    assert_eq!(
        world.memory.get((USER_FRAME << 12) + 0x40, 9),
        b".0-noxen\0"
    );
}
