//! Start of day and secondary vCPUs.

use crate::mock::*;
use crate::regs::flags;
use noxen_monitor_abi::layout::compat::{KERNEL_CS, KERNEL_DS, M2P_VA};
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::vcpu_context::{CpuUserRegs32, VcpuGuestContext32, CTRLREG_CR3};
use noxen_pv_abi::Hypercall;

#[test]
fn first_entry_is_in_flat_ring_1_segments() {
    let world = World::bits32(1);
    let mut seat = world.seat(0);
    let regs = seat.cpu().first_entry();
    assert_eq!(
        (regs.rip, regs.rsp, regs.rsi),
        (KERNEL32 + 0x10_0000, STACK32, KERNEL32 + 0x9000)
    );
    assert_eq!(
        (regs.cs, regs.ss),
        (u64::from(KERNEL_CS), u64::from(KERNEL_DS))
    );
    assert_eq!(regs.rflags, flags::IF | 2);
    let loaded = Effect::Segments([KERNEL_DS; 4]);
    assert!(seat.m.take_effects().contains(&loaded));
}

#[test]
fn cr3_is_the_monitors_l4_over_the_guests_l3() {
    let world = World::bits32(1);
    let seat = world.boot();
    assert_eq!(seat.m.state().cr3, COMPAT);
    assert_eq!(world.memory.u64(COMPAT), 1 << 12 | 0x67);
    for (i, slot) in slots().into_iter().enumerate() {
        assert_eq!(world.memory.u64(COMPAT + (256 + i as u64) * 8), slot);
    }
    // Kernel and M2P are there, the kernel as supervisor, the M2P read-only.
    assert_eq!(
        seat.m.translate(KERNEL32 + 0x9123),
        Some((0x9123, false, true))
    );
    let m2p = world.dom.info.m2p_gpa & !0x1f_ffff | (M2P_VA + 0x40) & 0x1f_ffff;
    assert_eq!(
        seat.m
            .translate(M2P_VA + 0x40)
            .map(|(at, _, writable)| (at, writable)),
        Some((m2p, false))
    );
}

#[test]
fn wall_clock_is_where_32_bit_guests_look() {
    let world = World::bits32(1);
    world.boot();
    let info = world.dom.info.shared_info_gpa;
    let word = |at: u64| u32::from_le_bytes(world.memory.get(info + at, 4).try_into().unwrap());
    assert_eq!(word(0x904), 1_700_000_000);
    assert_eq!((word(0x900), word(0x908), word(0x924)), (2, 5, 0));
}

fn context() -> VcpuGuestContext32 {
    let mut context = VcpuGuestContext32 {
        user_regs: CpuUserRegs32 {
            eip: (KERNEL32 + 0x1234) as u32,
            esp: STACK32 as u32,
            ebp: 7,
            cs: 0x10,
            ss: 0x18,
            ds: 0x2b,
            fs: 0x18,
            eflags: 0x1000,
            ..CpuUserRegs32::default()
        },
        kernel_ss: 0x18,
        kernel_sp: STACK32 as u32,
        event_callback_cs: 0x10,
        event_callback_eip: EVENT32 as u32,
        ..VcpuGuestContext32::default()
    };
    context.gdt_frames[0] = GDT_FRAME as u32;
    context.ctrlreg[CTRLREG_CR3] = 1 << 12;
    context.trap_ctxt[14].address = handler32(14) as u32;
    context.trap_ctxt[14].cs = 0x10;
    context
}

#[test]
fn initialised_vcpu_starts_from_its_context_with_rings_fixed() {
    let world = World::bits32(2);
    let mut seat = world.running32();
    world.put_bytes32(ARGS32, &context().to_bytes());
    let init = [u64::from(VcpuOp::INITIALISE.0), 1, ARGS32];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &init), 0);
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &init), -17);
    let fresh = world.bus.fresh[1].lock().unwrap();
    let regs = fresh.first.regs;
    assert_eq!(
        (regs.rip, regs.rsp, regs.rbp),
        (KERNEL32 + 0x1234, STACK32, 7)
    );
    assert_eq!((regs.cs, regs.ss), (0x11, 0x19));
    assert_eq!(fresh.first.selectors, [0x2b, 0, 0x19, 0]);
    assert_eq!((fresh.iopl, regs.rflags), (1, flags::IF | 2));
    assert_eq!(
        (fresh.traps[14].cs, fresh.traps[14].address),
        (0x11, handler32(14))
    );
    assert_eq!(
        (fresh.callbacks.event.cs, fresh.callbacks.event.address),
        (0x11, EVENT32)
    );
    // It has an L4 of its own over the same L3.
    assert_eq!(fresh.kernel_cr3, COMPAT + (4 << 12));
    assert_eq!(world.memory.u64(fresh.kernel_cr3), 1 << 12 | 0x67);
}

#[test]
fn context_with_a_table_outside_memory_is_refused() {
    let world = World::bits32(2);
    let mut seat = world.running32();
    let mut bad = context();
    bad.ctrlreg[CTRLREG_CR3] = 0x7_0000 << 12;
    world.put_bytes32(ARGS32, &bad.to_bytes());
    let init = [u64::from(VcpuOp::INITIALISE.0), 1, ARGS32];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &init), -22);
    assert_eq!(
        seat.hypercall32(Hypercall::VCPU_OP, &[0, 1, KERNEL32 + 0x1f_f000]),
        -14,
        "half of it is not mapped"
    );
}
