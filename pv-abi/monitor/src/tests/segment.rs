use super::error;
use crate::machine::{Base, Machine};
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::Hypercall;

/// Linux's kernel code segment: 64-bit, DPL 0.
const KERNEL_CS: u64 = 0x00af_9b00_0000_ffff;
/// A 32-bit TSS.
const TSS: u64 = 0x0000_8900_0000_0067;
const CALL_GATE: u64 = 0x0000_ec00_0008_0000;

fn descriptor(seat: &Seat, frame: u64, index: u64) -> u64 {
    seat.m.memory.u64((frame << 12) + index * 8)
}

#[test]
fn set_gdt_maps_frames_and_raises_privilege_levels() {
    let mut seat = World::new(1).running();
    seat.m.memory.set_u64((64 << 12) + 16, KERNEL_CS);
    seat.put(ARGS, &[64u64.to_le_bytes(), 65u64.to_le_bytes()].concat());
    assert_eq!(seat.hypercall(Hypercall::SET_GDT, &[ARGS, 513]), 0);
    assert_eq!(descriptor(&seat, 64, 2), KERNEL_CS | 3 << 45);
    assert_eq!(seat.v.gdt[..3], [64, 65, 0]);
    let effects = seat.m.take_effects();
    let expected =
        (0..14).map(|page| Effect::GdtPage(page, [64, 65].get(page).copied().unwrap_or(0)));
    assert_eq!(
        effects,
        expected.chain([Effect::ReloadGdt]).collect::<Vec<_>>()
    );
}

#[test]
fn set_gdt_with_foreign_descriptor_changes_nothing() {
    let mut seat = World::new(1).running();
    seat.m.memory.set_u64((64 << 12) + 8, TSS);
    seat.put(ARGS, &64u64.to_le_bytes());
    assert_eq!(
        seat.hypercall(Hypercall::SET_GDT, &[ARGS, 16]),
        error(Errno::EINVAL)
    );
    assert_eq!(seat.v.gdt[0], GDT_FRAME);
    assert!(seat.m.take_effects().is_empty());
}

#[test]
fn set_gdt_bounds_entries_and_frames() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::SET_GDT, &[ARGS, 14 * 512 + 1]),
        error(Errno::EINVAL)
    );
    for frame in [MAX_PAGES, REGION >> 12, !0] {
        seat.put(ARGS, &frame.to_le_bytes());
        assert_eq!(
            seat.hypercall(Hypercall::SET_GDT, &[ARGS, 1]),
            error(Errno::EINVAL),
            "{frame:#x}"
        );
    }
    assert_eq!(
        seat.hypercall(Hypercall::SET_GDT, &[UNMAPPED, 1]),
        error(Errno::EFAULT)
    );
}

#[test]
fn set_gdt_of_nothing_unmaps_all_pages() {
    let mut seat = World::new(1).running();
    seat.put(ARGS, &64u64.to_le_bytes());
    assert_eq!(seat.hypercall(Hypercall::SET_GDT, &[ARGS, 16]), 0);
    assert_eq!(seat.hypercall(Hypercall::SET_GDT, &[0, 0]), 0);
    assert_eq!(seat.v.gdt, [0; 14]);
}

#[test]
fn update_descriptor_writes_fixed_descriptor() {
    let mut seat = World::new(1).running();
    let maddr = (64 << 12) + 24;
    for (given, stored) in [
        (KERNEL_CS, KERNEL_CS | 3 << 45),
        (0x00cf_f300_0000_ffff, 0x00cf_f300_0000_ffff),
        (CALL_GATE, CALL_GATE & !(3 << 45)),
        // Not present: free. Type 0: second half of a call gate.
        (TSS & !(1 << 47), TSS & !(1 << 47)),
        (0x0000_8000_ffff_8880, 0x0000_8000_ffff_8880),
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::UPDATE_DESCRIPTOR, &[maddr, given]),
            0,
            "{given:#x}"
        );
        assert_eq!(seat.m.memory.u64(maddr), stored, "{given:#x}");
    }
}

#[test]
fn update_descriptor_refuses_system_segments_and_bad_addresses() {
    let mut seat = World::new(1).running();
    let maddr = (64 << 12) + 24;
    let ldt = 0x0000_8200_0000_0fff;
    let interrupt_gate = 0x0000_8e00_0008_0000;
    for bad in [TSS, ldt, interrupt_gate] {
        assert_eq!(
            seat.hypercall(Hypercall::UPDATE_DESCRIPTOR, &[maddr, bad]),
            error(Errno::EINVAL),
            "{bad:#x}"
        );
    }
    assert_eq!(seat.m.memory.u64(maddr), 0);
    for bad in [maddr + 4, MAX_PAGES << 12, REGION, !7] {
        assert_eq!(
            seat.hypercall(Hypercall::UPDATE_DESCRIPTOR, &[bad, 0]),
            error(Errno::EINVAL),
            "{bad:#x}"
        );
    }
}

#[test]
fn segment_bases_go_to_their_registers() {
    let mut seat = World::new(1).running();
    for (which, base, value) in [
        (0, Base::Fs, 0x7000),
        (1, Base::OtherGs, 0x8000),
        (2, Base::Gs, KERNEL + 0x9000),
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[which, value]),
            0
        );
        assert_eq!(seat.m.base(base), value);
    }
}

#[test]
fn segment_base_that_is_not_canonical_is_refused() {
    let mut seat = World::new(1).running();
    for which in 0..3 {
        let answer = seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[which, 0x8000_0000_0000_0000]);
        assert_eq!(answer, error(Errno::EINVAL));
    }
    assert_eq!(
        seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[4, 0]),
        error(Errno::EINVAL)
    );
}

#[test]
fn user_gs_selector_gets_ring_three_and_faulting_one_becomes_null() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[3, 0x60]), 0);
    assert_eq!(seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[3, 0]), 0);
    assert_eq!(
        seat.hypercall(Hypercall::SET_SEGMENT_BASE, &[3, u64::from(BAD_SELECTOR)]),
        0
    );
    let effects = seat.m.take_effects();
    let expected = [0x63, 0, BAD_SELECTOR, 0].map(Effect::UserGs);
    assert_eq!(effects, expected);
}

#[test]
fn stack_switch_is_where_user_entries_land() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::STACK_SWITCH, &[0x18, STACK - 0x1000]),
        0
    );
    assert_eq!((seat.v.kernel_ss, seat.v.kernel_sp), (0x1b, STACK - 0x1000));
}

#[test]
fn stack_in_the_hole_is_refused() {
    let mut seat = World::new(1).running();
    let before = seat.v.kernel_sp;
    for sp in [
        HOLE,
        0xffff_8000_0000_0000,
        0xffff_8800_0000_0000,
        0x8000_0000_0000,
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::STACK_SWITCH, &[0x18, sp]),
            error(Errno::EINVAL),
            "{sp:#x}"
        );
    }
    assert_eq!(seat.v.kernel_sp, before);
}
