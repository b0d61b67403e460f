//! Descriptors and tables of segments.

use crate::compat::check_descriptor;
use crate::mock::*;
use noxen_pv_abi::Hypercall;

const EINVAL: i32 = -22;

#[test]
fn ring_0_becomes_ring_1_and_the_others_stay() {
    // Code and data of DPL 0; ring 3 data.
    assert_eq!(
        check_descriptor(0x00cf_9a00_0000_ffff),
        Some(0x00cf_ba00_0000_ffff)
    );
    assert_eq!(
        check_descriptor(0x00cf_9200_0000_ffff),
        Some(0x00cf_b200_0000_ffff)
    );
    assert_eq!(
        check_descriptor(0x00cf_f200_0000_ffff),
        Some(0x00cf_f200_0000_ffff)
    );
    assert_eq!(
        check_descriptor(0x00cf_d200_0000_ffff),
        Some(0x00cf_d200_0000_ffff)
    );
}

#[test]
fn long_mode_code_is_refused_and_absent_descriptors_are_free() {
    assert_eq!(check_descriptor(0x00af_9a00_0000_ffff), None);
    assert_eq!(
        check_descriptor(0x00af_1a00_0000_ffff),
        Some(0x00af_1a00_0000_ffff)
    );
    assert_eq!(check_descriptor(0), Some(0));
}

#[test]
fn system_descriptors_are_refused_but_for_call_gates_which_nobody_may_use() {
    for kind in [0x2u64, 0x5, 0x9, 0xb, 0xe, 0xf] {
        assert_eq!(
            check_descriptor(1 << 47 | kind << 40),
            None,
            "type {kind:#x}"
        );
    }
    assert_eq!(
        check_descriptor(1 << 47 | 3 << 45 | 0xc << 40),
        Some(1 << 47 | 0xc << 40)
    );
    assert_eq!(
        check_descriptor(1 << 47),
        Some(1 << 47),
        "second half of a gate"
    );
}

#[test]
fn flat_segments_that_end_below_the_hypervisor_reach_the_m2p() {
    // Limit 0xf67ff pages: XenLinux's. With a base, or shorter, it stays.
    assert_eq!(
        check_descriptor(0x00cf_9a00_0000_ffff & !0xf_0000_0000_ffff | 0xf_0000_0000_67ff),
        Some(0x00cf_ba00_0000_ffff)
    );
    let based = 0x10cf_b200_0000_67ff;
    assert_eq!(check_descriptor(based), Some(based));
    let short = 0x00c3_b200_0000_ffff;
    assert_eq!(check_descriptor(short), Some(short));
}

#[test]
fn gdt_comes_as_frames_of_four_bytes_and_is_fixed_in_place() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.memory.set_u64((60 << 12) + 16, 0x00cf_9a00_0000_ffff);
    world.put32(ARGS32, &[60, GDT_FRAME as u32, 99]);
    assert_eq!(seat.hypercall32(Hypercall::SET_GDT, &[ARGS32, 1024]), 0);
    assert_eq!(seat.v.gdt[..3], [60, GDT_FRAME, 0]);
    assert_eq!(world.memory.u64((60 << 12) + 16), 0x00cf_ba00_0000_ffff);
    world.memory.set_u64((60 << 12) + 24, 0x00af_9a00_0000_ffff);
    assert_eq!(seat.hypercall32(Hypercall::SET_GDT, &[ARGS32, 512]), EINVAL);
    assert_eq!(
        seat.hypercall32(Hypercall::SET_GDT, &[ARGS32, 7169]),
        EINVAL
    );
}

#[test]
fn descriptor_is_updated_by_four_registers() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let at = (GDT_FRAME << 12) + 40;
    let args = [at, 0, 0x0000_ffff, 0x00cf_9200];
    assert_eq!(seat.hypercall32(Hypercall::UPDATE_DESCRIPTOR, &args), 0);
    assert_eq!(world.memory.u64(at), 0x00cf_b200_0000_ffff);
    let long = [at, 0, 0x0000_ffff, 0x00af_9a00];
    assert_eq!(
        seat.hypercall32(Hypercall::UPDATE_DESCRIPTOR, &long),
        EINVAL
    );
    let high = [at, 1, 0, 0];
    assert_eq!(
        seat.hypercall32(Hypercall::UPDATE_DESCRIPTOR, &high),
        EINVAL
    );
}

#[test]
fn stack_in_the_ldt_is_found_by_its_base() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // LDT at frame 70: descriptor 1 is data at BASED.
    seat.v.ldt_base = KERNEL32 + 70 * 4096;
    seat.v.ldt_entries = 2;
    world.memory.set_u64((70 << 12) + 8, 0x10cf_b300_0000_ffff);
    seat.regs.ss = 0xd;
    seat.regs.rsp -= BASED;
    let (sp, eip) = (seat.regs.rsp, seat.regs.rip);
    seat.enter(6, 0, 0);
    assert_eq!(world.words32(BASED + sp - 12, 1), [eip as u32]);
}
