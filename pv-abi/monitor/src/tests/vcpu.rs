//! vcpu_op: initialise, up, down, vcpu_info, runstate; trap table and callbacks.

use super::error;
use super::events::{bind_ipi, on_port};
use crate::domain::{attention, place};
use crate::machine::{Base, Machine};
use crate::mock::*;
use crate::regs::flags;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::pages::{call, DomainPublic, DOMAIN_PUBLIC};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::EvtchnOp;
use noxen_pv_abi::trap::TrapInfo64;
use noxen_pv_abi::vcpu::*;
use noxen_pv_abi::vcpu_context::VcpuGuestContext64 as Context;
use noxen_pv_abi::Hypercall;

fn op(seat: &mut Seat, cmd: VcpuOp, vcpu: u64) -> i64 {
    seat.hypercall(Hypercall::VCPU_OP, &[u64::from(cmd.0), vcpu, ARGS])
}

fn op_with(seat: &mut Seat, cmd: VcpuOp, vcpu: u64, bytes: &[u8]) -> i64 {
    seat.put(ARGS, bytes);
    op(seat, cmd, vcpu)
}

/// What Linux passes for a secondary CPU.
fn context(change: impl FnOnce(&mut dyn FnMut(usize, u64))) -> Vec<u8> {
    let mut bytes = vec![0u8; Context::SIZE];
    let mut set =
        |offset: usize, value: u64| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    set(offset_of!(Context, flags), 4);
    set(offset_of!(Context, user_regs.rip), KERNEL + 0x15_0000);
    set(offset_of!(Context, user_regs.rsp), STACK - 0x400);
    set(offset_of!(Context, user_regs.rdi), 0x1234);
    set(offset_of!(Context, user_regs.cs), 0x10);
    set(offset_of!(Context, user_regs.ss), 0x18);
    set(offset_of!(Context, user_regs.ds), 0x2b);
    set(offset_of!(Context, user_regs.es), 0x2b);
    set(offset_of!(Context, user_regs.rflags), 0x1000);
    set(offset_of!(Context, gdt_frames), GDT_FRAME);
    set(offset_of!(Context, gdt_ents), 16);
    set(offset_of!(Context, kernel_ss), 0x18);
    set(offset_of!(Context, kernel_sp), STACK - 0x800);
    set(offset_of!(Context, ctrlreg) + 24, L4 << 12);
    set(offset_of!(Context, gs_base_kernel), KERNEL + 0x7000);
    set(offset_of!(Context, event_callback_eip), EVENT);
    set(offset_of!(Context, failsafe_callback_eip), FAILSAFE);
    // Vector 13: flags 0, cs 0xe033.
    set(
        offset_of!(Context, trap_ctxt) + 13 * TrapInfo64::SIZE,
        13 | 0xe033 << 16,
    );
    set(
        offset_of!(Context, trap_ctxt) + 13 * TrapInfo64::SIZE + 8,
        handler(13),
    );
    change(&mut set);
    bytes
}

#[test]
fn initialised_vcpu_starts_where_its_context_says() {
    let world = World::new(2);
    let mut seat = world.running();
    assert_eq!(
        op_with(&mut seat, VcpuOp::INITIALISE, 1, &context(|_| {})),
        0
    );
    assert_eq!(op(&mut seat, VcpuOp::IS_UP, 1), 0);
    assert_eq!(op(&mut seat, VcpuOp::INITIALISE, 1), error(Errno::EEXIST));
    assert_eq!(op(&mut seat, VcpuOp::UP, 1), 0);
    assert_eq!(op(&mut seat, VcpuOp::IS_UP, 1), 1);
    assert!(seat
        .calls(call::VCPU_ONLINE)
        .contains(&(vec![1, 1], vec![])));
    let mut second = world.seat(1);
    *second.v = core::mem::replace(
        &mut *world.bus.fresh[1].lock().unwrap(),
        crate::vcpu::Vcpu::new(1),
    );
    let regs = second.cpu().first_entry();
    assert_eq!(
        (regs.rip, regs.rsp, regs.rdi),
        (KERNEL + 0x15_0000, STACK - 0x400, 0x1234)
    );
    assert_eq!((regs.cs, regs.ss), (0x13, 0x1b), "ring 3");
    assert_eq!(regs.rflags & (flags::IF | flags::IOPL), flags::IF);
    assert_eq!(second.m.cr3(), L4 << 12);
    assert_eq!(second.m.base(Base::Gs), KERNEL + 0x7000);
    assert_eq!(second.v.traps[13].address, handler(13));
    assert_eq!(
        (
            second.v.callbacks.event.address,
            second.v.callbacks.failsafe.address
        ),
        (EVENT, FAILSAFE)
    );
    assert_eq!(second.v.kernel_sp, STACK - 0x800);
    assert_eq!(second.v.iopl, 1, "from the flags 0x1000 that Linux passes");
    assert!(second
        .m
        .take_effects()
        .contains(&Effect::Segments([0x2b, 0x2b, 0, 0])));
    assert_eq!(
        world.dom.vcpus[1].place.load(Ordering::SeqCst),
        place::RUNNING
    );
}

#[test]
fn initialise_refuses_what_cannot_run() {
    let world = World::new(2);
    let mut seat = world.running();
    for (offset, value) in [
        (offset_of!(Context, ctrlreg) + 24, MAX_PAGES << 12),
        (offset_of!(Context, ctrlreg) + 8, MAX_PAGES << 12),
        (offset_of!(Context, user_regs.rip), 0x8000_0000_0000),
        (offset_of!(Context, kernel_sp), HOLE),
        (offset_of!(Context, gs_base_user), 0x8000_0000_0000),
        (offset_of!(Context, event_callback_eip), 0x8000_0000_0000),
        (offset_of!(Context, ldt_ents), 8193),
    ] {
        let bytes = context(|set| set(offset, value));
        assert_eq!(
            op_with(&mut seat, VcpuOp::INITIALISE, 1, &bytes),
            error(Errno::EINVAL),
            "{offset:#x}"
        );
    }
    assert_eq!(
        seat.hypercall(Hypercall::VCPU_OP, &[0, 1, UNMAPPED - 0x1000]),
        error(Errno::EFAULT)
    );
    assert_eq!(
        op(&mut seat, VcpuOp::UP, 1),
        error(Errno::EINVAL),
        "still not initialised"
    );
}

#[test]
fn vcpus_that_do_not_exist_are_enoent() {
    let mut seat = World::new(2).running();
    for id in [2, 31, 32, 8191, 0xffff_ffff, 1 << 32] {
        for cmd in [0, 1, 2, 3, 4, 7, 10] {
            assert_eq!(
                op(&mut seat, VcpuOp(cmd), id),
                error(Errno::ENOENT),
                "{id} {cmd}"
            );
        }
    }
    assert_eq!(op(&mut seat, VcpuOp::IS_UP, 0), 1);
    assert_eq!(op(&mut seat, VcpuOp::GET_PHYSID, 0), error(Errno::EINVAL));
    assert_eq!(op(&mut seat, VcpuOp(99), 0), error(Errno::ENOSYS));
}

#[test]
fn down_of_itself_waits_for_up() {
    let world = World::new(2);
    let mut seat = world.running_vcpu(1);
    let dom = world.dom.clone();
    world.while_halted(move |_| {
        assert_eq!(dom.vcpus[1].place.load(Ordering::SeqCst), place::DOWN);
        assert!(!dom.vcpus[1].up.load(Ordering::SeqCst));
        // An event does not wake it.
        dom.vcpus[1]
            .attention
            .fetch_or(attention::EVENT, Ordering::SeqCst);
    });
    let dom = world.dom.clone();
    world.while_halted(move |_| {
        dom.vcpus[1].up.store(true, Ordering::SeqCst);
        dom.vcpus[1]
            .attention
            .fetch_or(attention::UP, Ordering::SeqCst);
    });
    assert_eq!(op(&mut seat, VcpuOp::DOWN, 1), 0);
    assert_eq!(
        seat.m
            .take_effects()
            .iter()
            .filter(|effect| **effect == Effect::Halt)
            .count(),
        2
    );
    assert_eq!(
        world.dom.vcpus[1].place.load(Ordering::SeqCst),
        place::RUNNING
    );
}

#[test]
fn down_right_after_up_leaves_a_parked_vcpu_down() {
    let world = World::new(2);
    let mut seat = world.running_vcpu(1);
    world.dom.vcpus[1].up.store(false, Ordering::SeqCst);
    let dom = world.dom.clone();
    // Up and down again before it looked: the flag is down, both bits are set.
    world.while_halted(move |_| {
        dom.vcpus[1]
            .attention
            .fetch_or(attention::UP | attention::DOWN, Ordering::SeqCst);
    });
    let dom = world.dom.clone();
    world.while_halted(move |_| {
        assert_eq!(
            dom.vcpus[1].place.load(Ordering::SeqCst),
            place::DOWN,
            "whoever waits for it goes on"
        );
        dom.vcpus[1].up.store(true, Ordering::SeqCst);
        dom.vcpus[1]
            .attention
            .fetch_or(attention::UP, Ordering::SeqCst);
    });
    seat.cpu().park(place::FRESH);
    assert_eq!(
        world.dom.vcpus[1].place.load(Ordering::SeqCst),
        place::RUNNING
    );
}

#[test]
fn down_of_a_vcpu_that_never_ran_is_nothing() {
    let mut seat = World::new(2).running();
    assert_eq!(
        op_with(&mut seat, VcpuOp::INITIALISE, 1, &context(|_| {})),
        0
    );
    assert_eq!(op(&mut seat, VcpuOp::DOWN, 1), 0);
    assert_eq!(op(&mut seat, VcpuOp::UP, 1), 0);
}

#[test]
fn registered_vcpu_info_takes_over_and_everything_counts_as_pending() {
    let world = World::new(2);
    let mut seat = world.running();
    world.set_info_byte(0, 1, 1);
    world
        .memory
        .set_u64(world.dom.info.shared_info_gpa + 16, 0x1234);
    let asked = RegisterVcpuInfo {
        mfn: 150,
        offset: 0x340,
        ..Default::default()
    };
    assert_eq!(
        op_with(&mut seat, VcpuOp::REGISTER_VCPU_INFO, 0, &asked.to_bytes()),
        0
    );
    let at = (150 << 12) + 0x340;
    assert_eq!(seat.v.vcpu_info, at);
    assert_eq!(world.memory.get(at, 2), [1, 1]);
    assert_eq!(
        (world.memory.u64(at + 8), world.memory.u64(at + 16)),
        (!0, 0x1234)
    );
    assert_ne!(world.memory.u64(at + 56), 0, "time is there");
    assert_eq!(
        op(&mut seat, VcpuOp::REGISTER_VCPU_INFO, 0),
        error(Errno::EINVAL),
        "once only"
    );
    // Events go there from now on.
    world.memory.put(at, &[0; 16]);
    let port = bind_ipi(&mut seat, 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    assert_eq!(
        (world.memory.get(at, 1)[0], world.memory.u64(at + 8)),
        (1, 1)
    );
    // So for another vCPU, before it runs.
    let asked = RegisterVcpuInfo {
        mfn: 150,
        offset: 0x380,
        ..Default::default()
    };
    assert_eq!(
        op_with(&mut seat, VcpuOp::REGISTER_VCPU_INFO, 1, &asked.to_bytes()),
        0
    );
    assert_eq!(
        world.dom.vcpus[1].vcpu_info.load(Ordering::SeqCst),
        (150 << 12) + 0x380
    );
}

#[test]
fn vcpu_info_must_lie_in_one_page_of_guest_memory() {
    let mut seat = World::new(1).running();
    for (mfn, offset) in [
        (MAX_PAGES, 0),
        (REGION >> 12, 0),
        (!0, 0),
        (150, 4096 - 56),
        (150, 4),
        (150, !0),
    ] {
        let asked = RegisterVcpuInfo {
            mfn,
            offset,
            ..Default::default()
        };
        let answer = op_with(&mut seat, VcpuOp::REGISTER_VCPU_INFO, 0, &asked.to_bytes());
        assert_eq!(answer, error(Errno::EINVAL), "{mfn:#x} {offset}");
    }
}

#[test]
fn runstate_area_of_another_vcpu_is_written() {
    let world = World::new(2);
    let mut seat = world.running();
    let area = ARGS + 0x200;
    assert_eq!(
        op_with(
            &mut seat,
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA,
            1,
            &area.to_le_bytes()
        ),
        0
    );
    assert_eq!(seat.get_u32(area), Runstate::OFFLINE.0);
    let area0 = ARGS + 0x300;
    assert_eq!(
        op_with(
            &mut seat,
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA,
            0,
            &area0.to_le_bytes()
        ),
        0
    );
    world.set_time(1_000_000);
    seat.cpu().set_runstate(Runstate::BLOCKED.0);
    assert_eq!(
        (seat.get_u32(area0), seat.get_u64(area0 + 8)),
        (Runstate::BLOCKED.0, 1_000_000)
    );
    world.set_time(1_500_000);
    seat.cpu().set_runstate(Runstate::RUNNING.0);
    assert_eq!(seat.get_u64(area0 + 16 + 16), 500_000);
    // What the other one asks for is the same.
    let mut second = world.running_vcpu(1);
    assert_eq!(op(&mut second, VcpuOp::GET_RUNSTATE_INFO, 0), 0);
    assert_eq!(
        (second.get_u32(ARGS), second.get_u64(ARGS + 32)),
        (Runstate::RUNNING.0, 500_000)
    );
}

#[test]
fn time_for_which_a_vcpu_had_to_wait_for_a_processor_is_runnable() {
    for state in [Runstate::RUNNING, Runstate::BLOCKED] {
        let world = World::new(1);
        let mut seat = world.running();
        world.set_time(2_000_000);
        seat.cpu().set_runstate(state.0);
        let before = seat.v.runstate.time;
        // Awake, or woken, for 300 us before it came to run.
        world.set_time(3_000_000);
        world.bus.stolen.fetch_add(300_000, Ordering::SeqCst);
        seat.cpu().set_runstate(Runstate::RUNNING.0);
        let spent = |of: Runstate| seat.v.runstate.time[of.0 as usize] - before[of.0 as usize];
        assert_eq!(spent(Runstate::RUNNABLE), 300_000, "{state:?}");
        assert_eq!(spent(state), 700_000, "{state:?}");
    }
}

#[test]
fn runstate_update_flag_is_clear_at_the_end() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(seat.hypercall(Hypercall::VM_ASSIST, &[0, 5]), 0);
    let area = ARGS + 0x300;
    assert_eq!(
        op_with(
            &mut seat,
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA,
            0,
            &area.to_le_bytes()
        ),
        0
    );
    world.set_time(77);
    seat.cpu().set_runstate(0);
    assert_eq!(seat.get_u64(area + 8), 77);
}

#[test]
fn time_area_gets_a_copy() {
    let world = World::new(1);
    let mut seat = world.running();
    let area = ARGS + 0x300;
    assert_eq!(
        op_with(
            &mut seat,
            VcpuOp::REGISTER_VCPU_TIME_MEMORY_AREA,
            0,
            &area.to_le_bytes()
        ),
        0
    );
    let there = seat.get(area + 8, 24);
    assert_eq!(
        there,
        world
            .memory
            .get(world.dom.info.shared_info_gpa + 32 + 8, 24)
    );
    assert_eq!(seat.get_u32(area) % 2, 0);
}

#[test]
fn nmi_to_another_vcpu_and_to_itself() {
    let world = World::new(2);
    let mut seat = world.running();
    let mut second = world.running_vcpu(1);
    assert_eq!(op(&mut seat, VcpuOp::SEND_NMI, 1), 0);
    assert!(seat.m.take_effects().contains(&Effect::Ipi(1)));
    second.enter(0xf2, 0, 0);
    assert_eq!(second.regs.rip, handler(2));
    assert_eq!(op(&mut seat, VcpuOp::SEND_NMI, 0), 0);
    seat.enter(0xf2, 0, 0);
    assert_eq!(seat.regs.rip, handler(2));
}

#[test]
fn nmi_from_outside_reaches_each_vcpu_asked_for() {
    let world = World::new(3);
    let mut seat = world.running();
    let mut second = world.running_vcpu(1);
    let word = world.dom.info.public_gpa + DOMAIN_PUBLIC + offset_of!(DomainPublic, nmi) as u64;
    world.memory.set_u64(word, 0b011 | 1 << 40);
    world.dom.vcpus[0]
        .attention
        .fetch_or(attention::DOORBELL, Ordering::SeqCst);
    seat.enter(0xf0, 0, 0);
    assert_eq!(seat.regs.rip, handler(2));
    assert_eq!(seat.m.take_effects(), [Effect::Ipi(1)], "and no vCPU 40");
    second.enter(0xf2, 0, 0);
    assert_eq!(second.regs.rip, handler(2));
    assert_eq!(world.memory.u64(word), 0);
}
