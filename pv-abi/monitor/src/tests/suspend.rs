//! A guest that suspends itself: what it finds where it runs on, and what of it is forgotten where it came out of an image.

use super::events::{bind_ipi, bind_virq};
use crate::domain::attention;
use crate::mock::*;
use crate::time::NEVER;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::event_channel::EvtchnState;
use noxen_pv_abi::sched::{SchedOp, ShutdownReason};
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::Hypercall;

/// Frame of start_info, and what the guest has put there of its rings.
const START_INFO: u64 = 9;
const STORE_PFN: u64 = 70;
const CONSOLE_PFN: u64 = 71;
/// Where vcpu_info was registered.
const INFO_FRAME: u64 = 80;

fn suspend(seat: &mut Seat) -> i64 {
    let reason = ShutdownReason::SUSPEND.0.to_le_bytes();
    seat.put(ARGS, &reason);
    seat.hypercall(
        Hypercall::SCHED_OP,
        &[u64::from(SchedOp::SHUTDOWN.0), ARGS, START_INFO],
    )
}

fn register_info(seat: &mut Seat, vcpu: u64) -> i64 {
    let offset = 64 * vcpu as u32;
    seat.put(
        ARGS,
        &[INFO_FRAME.to_le_bytes(), u64::from(offset).to_le_bytes()].concat(),
    );
    let cmd = u64::from(VcpuOp::REGISTER_VCPU_INFO.0);
    seat.hypercall(Hypercall::VCPU_OP, &[cmd, vcpu, ARGS])
}

/// A guest with an event channel of each kind, its own vcpu_info, a timer and a grant; start_info as it leaves it.
fn prepared(world: &World) -> (Seat, u32) {
    let mut seat = world.running();
    assert_eq!(register_info(&mut seat, 0), 0);
    assert_eq!(register_info(&mut seat, 1), 0);
    let ipi = bind_ipi(&mut seat, 1);
    bind_virq(&mut seat, 0, 0).unwrap();
    seat.cpu().raise(ipi);
    seat.v.timers.singleshot = 1 << 40;
    let info = world.dom.info;
    seat.m.memory.set_u64(info.grant_gpa + 8, 0x11);
    seat.m.memory.set_u64(info.grant_gpa + 16, 0x22);
    let at = START_INFO << 12;
    for (offset, value) in [
        (0x28, 1),
        (0x38, STORE_PFN),
        (0x40, 99),
        (0x48, CONSOLE_PFN),
        (0x50, 99),
    ] {
        seat.m.memory.set_u64(at + offset, value);
    }
    seat.m.take_effects();
    (seat, ipi)
}

#[test]
fn guest_that_runs_on_where_it_was_has_all_that_it_had() {
    let world = World::new(2);
    let (mut seat, ipi) = prepared(&world);
    world.bus.answer.store(1, Ordering::Relaxed);
    assert_eq!(suspend(&mut seat), 1);
    assert_eq!(seat.calls(call::SUSPEND).len(), 1);
    assert_eq!(seat.cpu().port(ipi).state, EvtchnState::IPI);
    assert_eq!(seat.v.vcpu_info, INFO_FRAME << 12);
    assert_eq!(seat.v.timers.singleshot, 1 << 40);
    let info = world.dom.info;
    assert_eq!(world.memory.u64(info.grant_gpa + 16), 0x22);
    assert_eq!(world.memory.u64((START_INFO << 12) + 0x38), STORE_PFN);
}

#[test]
fn guest_out_of_an_image_has_its_rings_and_nothing_else() {
    let world = World::new(2);
    let (mut seat, ipi) = prepared(&world);
    assert_eq!(suspend(&mut seat), 0);
    let info = world.dom.info;
    assert_eq!(seat.cpu().port(ipi).state, EvtchnState::CLOSED);
    for port in [STORE_PORT, CONSOLE_PORT] {
        assert_eq!(seat.cpu().port(port).state, EvtchnState::INTERDOMAIN);
    }
    assert_eq!(world.memory.u64(info.shared_info_gpa + 0x800), 0);
    assert_eq!(world.memory.u64(info.shared_info_gpa + 0xa00), !0);
    let virqs = world.dom.vcpus.iter().flat_map(|vcpu| &vcpu.virq);
    assert!(virqs
        .into_iter()
        .all(|port| port.load(Ordering::Relaxed) == 0));
    // The other vCPU does the same for itself before anything else.
    let attention = world.dom.vcpus[1].attention.load(Ordering::SeqCst);
    assert_ne!(attention & attention::ANEW, 0);
    assert_eq!(seat.v.vcpu_info, info.shared_info_gpa);
    assert_eq!((seat.v.timers.singleshot, seat.v.timers.period), (NEVER, 0));
    // The grants of console and store are noxen-vmm's.
    assert_eq!(world.memory.u64(info.grant_gpa + 8), 0x11);
    assert_eq!(world.memory.u64(info.grant_gpa + 16), 0);
    let start = |offset| world.memory.u64((START_INFO << 12) + offset);
    assert_eq!(start(0x28), info.shared_info_gpa);
    assert_eq!((start(0x38), start(0x48)), (STORE_PFN, CONSOLE_PFN));
    assert_eq!(
        (start(0x40), start(0x50)),
        (u64::from(STORE_PORT), u64::from(CONSOLE_PORT))
    );
    // It registers all of it again.
    assert_eq!(register_info(&mut seat, 0), 0);
    assert_eq!(register_info(&mut seat, 1), 0);
    assert_eq!(bind_ipi(&mut seat, 1), STORE_PORT.max(CONSOLE_PORT) + 1);
}

#[test]
fn other_vcpu_forgets_its_own_when_it_is_told() {
    let world = World::new(2);
    let (mut seat, _) = prepared(&world);
    let mut other = world.running_vcpu(1);
    other.v.timers.singleshot = 5;
    other.v.time_area = ARGS;
    assert_eq!(suspend(&mut seat), 0);
    other.enter(0xf2, 0, 0);
    assert_eq!((other.v.timers.singleshot, other.v.time_area), (NEVER, 0));
    assert_eq!(other.v.vcpu_info, world.dom.info.shared_info_gpa + 64);
}

#[test]
fn frame_of_start_info_that_is_no_memory_is_left_alone() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.put(ARGS, &ShutdownReason::SUSPEND.0.to_le_bytes());
    let cmd = u64::from(SchedOp::SHUTDOWN.0);
    for frame in [u64::MAX, MAX_PAGES, u64::MAX >> 12] {
        assert_eq!(seat.hypercall(Hypercall::SCHED_OP, &[cmd, ARGS, frame]), 0);
    }
}
