//! Event channels in the 2-level ABI, and what is common to both.

use super::error;
use crate::domain::{attention, place};
use crate::machine::Machine;
use crate::mock::*;
use core::sync::atomic::Ordering;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::*;
use noxen_pv_abi::Hypercall;

pub(super) const SELF: u16 = 0x7ff0;

/// event_channel_op with `bytes` as argument.
pub(super) fn op(seat: &mut Seat, cmd: EvtchnOp, bytes: &[u8]) -> i64 {
    seat.hypercall_with(Hypercall::EVENT_CHANNEL_OP, u64::from(cmd.0), bytes)
}

/// The same for operations on one port.
pub(super) fn on_port(seat: &mut Seat, cmd: EvtchnOp, port: u32) -> i64 {
    op(seat, cmd, &port.to_le_bytes())
}

pub(super) fn bind_ipi(seat: &mut Seat, vcpu: u32) -> u32 {
    assert_eq!(
        op(
            seat,
            EvtchnOp::BIND_IPI,
            &EvtchnBindIpi { vcpu, port: 0 }.to_bytes()
        ),
        0
    );
    seat.get_u32(ARGS + 4)
}

pub(super) fn bind_virq(seat: &mut Seat, virq: u32, vcpu: u32) -> Result<u32, i64> {
    match op(
        seat,
        EvtchnOp::BIND_VIRQ,
        &EvtchnBindVirq {
            virq,
            vcpu,
            port: 0,
        }
        .to_bytes(),
    ) {
        0 => Ok(seat.get_u32(ARGS + 8)),
        refused => Err(refused),
    }
}

pub(super) fn alloc_unbound(seat: &mut Seat, remote: u16) -> u32 {
    let asked = EvtchnAllocUnbound {
        dom: SELF,
        remote_dom: remote,
        port: 0,
    };
    assert_eq!(op(seat, EvtchnOp::ALLOC_UNBOUND, &asked.to_bytes()), 0);
    seat.get_u32(ARGS + 4)
}

pub(super) struct Bits<'a>(pub(super) &'a World);

impl Bits<'_> {
    fn at(&self, base: u64, port: u32) -> u64 {
        self.0.dom.info.shared_info_gpa + base + u64::from(port / 64) * 8
    }

    pub(super) fn pending(&self, port: u32) -> bool {
        self.0.memory.u64(self.at(0x800, port)) >> (port % 64) & 1 != 0
    }

    fn mask(&self, port: u32) {
        let at = self.at(0xa00, port);
        self.0
            .memory
            .set_u64(at, self.0.memory.u64(at) | 1 << (port % 64));
    }

    fn masked(&self, port: u32) -> bool {
        self.0.memory.u64(self.at(0xa00, port)) >> (port % 64) & 1 != 0
    }

    pub(super) fn selector(&self, vcpu: u32) -> u64 {
        self.0.memory.u64(
            self.0.dom.vcpus[vcpu as usize]
                .vcpu_info
                .load(Ordering::SeqCst)
                + 8,
        )
    }
}

#[test]
fn send_sets_pending_selector_and_upcall_and_is_delivered_on_the_way_out() {
    let world = World::new(1);
    let bits = Bits(&world);
    let mut seat = world.running();
    let port = (0..70).map(|_| bind_ipi(&mut seat, 0)).last().unwrap();
    seat.put(ARGS, &port.to_le_bytes());
    let before = seat.regs;
    seat.regs = crate::regs::Regs {
        rax: 32,
        rdi: 4,
        rsi: ARGS,
        ..before
    };
    seat.enter(crate::regs::entry::SYSCALL, 0, 0);
    assert!(bits.pending(port));
    assert_eq!(bits.selector(0), 1 << (port / 64));
    assert_eq!((world.info_byte(0, 0), world.info_byte(0, 1)), (1, 1));
    assert_eq!((seat.regs.rip, seat.regs.rax), (EVENT, 0));
    assert_eq!(seat.get_u64(seat.regs.rsp + 24), 0xe030, "events were on");
}

#[test]
fn masked_port_is_only_pending_until_it_is_unmasked() {
    let world = World::new(1);
    let bits = Bits(&world);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 0);
    bits.mask(port);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    assert!(bits.pending(port));
    assert_eq!((bits.selector(0), world.info_byte(0, 0)), (0, 0));
    assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, port), 0);
    assert!(!bits.masked(port));
    assert_eq!((bits.selector(0), world.info_byte(0, 0)), (1, 1));
}

#[test]
fn unmask_of_an_idle_port_raises_nothing() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 0);
    Bits(&world).mask(port);
    assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, port), 0);
    assert_eq!(world.info_byte(0, 0), 0);
    assert_eq!(
        on_port(&mut seat, EvtchnOp::UNMASK, 4096),
        error(Errno::EINVAL)
    );
}

#[test]
fn masked_vcpu_gets_no_upcall_but_keeps_it() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 0);
    // GNU Mach stores 0xff.
    world.set_info_byte(0, 1, 0xff);
    seat.put(ARGS, &port.to_le_bytes());
    seat.regs = crate::regs::Regs {
        rax: 32,
        rdi: 4,
        rsi: ARGS,
        ..seat.regs
    };
    let rip = seat.regs.rip;
    seat.enter(crate::regs::entry::SYSCALL, 0, 0);
    assert_eq!(seat.regs.rip, rip);
    assert_eq!((world.info_byte(0, 0), world.info_byte(0, 1)), (1, 0xff));
}

#[test]
fn external_ports_leave_through_the_notify_port() {
    let mut seat = World::new(1).running();
    let port = alloc_unbound(&mut seat, 0);
    seat.m.take_effects();
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, STORE_PORT), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    assert_eq!(
        seat.m.take_effects(),
        [Effect::Notify(STORE_PORT), Effect::Notify(port)]
    );
}

#[test]
fn port_that_the_outside_looks_at_anyway_is_not_notified() {
    let world = World::new(1);
    let mut seat = world.running();
    let quiet = world.dom.info.doorbell_gpa
        + std::mem::offset_of!(noxen_monitor_abi::pages::Doorbell, quiet) as u64;
    Machine::word(&seat.m, quiet)
        .unwrap()
        .fetch_or(1 << STORE_PORT, Ordering::SeqCst);
    seat.m.take_effects();
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, STORE_PORT), 0);
    assert_eq!(seat.m.take_effects(), []);
    Machine::word(&seat.m, quiet)
        .unwrap()
        .fetch_and(!(1 << STORE_PORT), Ordering::SeqCst);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, STORE_PORT), 0);
    assert_eq!(seat.m.take_effects(), [Effect::Notify(STORE_PORT)]);
}

#[test]
fn send_on_closed_or_virq_port_is_refused() {
    let mut seat = World::new(1).running();
    let virq = bind_virq(&mut seat, 0, 0).unwrap();
    for port in [0, virq, 200, 4095, 4096, !0] {
        assert_eq!(
            on_port(&mut seat, EvtchnOp::SEND, port),
            error(Errno::EINVAL),
            "{port}"
        );
    }
}

#[test]
fn doorbell_raises_external_ports_only() {
    let world = World::new(1);
    let bits = Bits(&world);
    let mut seat = world.running();
    let external = alloc_unbound(&mut seat, 0);
    let ipi = bind_ipi(&mut seat, 0);
    let base = world.dom.info.doorbell_gpa;
    world.memory.set_u64(base, 1 | 1 << 63);
    world.memory.set_u64(
        base + 64,
        1 << external | 1 << ipi | 1 << CONSOLE_PORT | 1 << 50,
    );
    world.memory.set_u64(base + 64 + 63 * 8, !0);
    world.dom.vcpus[0]
        .attention
        .fetch_or(attention::DOORBELL, Ordering::SeqCst);
    seat.enter(0xf0, 0, 0);
    assert!(bits.pending(external) && bits.pending(CONSOLE_PORT));
    assert!(!bits.pending(ipi) && !bits.pending(50) && !bits.pending(4095));
    assert_eq!(
        [
            world.memory.u64(base),
            world.memory.u64(base + 64),
            world.memory.u64(base + 64 + 63 * 8)
        ],
        [0; 3]
    );
    assert_eq!(seat.regs.rip, EVENT);
}

#[test]
fn event_for_another_vcpu_interrupts_it_where_needed() {
    let world = World::new(2);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 1);
    let other = &world.dom.vcpus[1];
    let clear = |place: u32, mask: u8| {
        other.place.store(place, Ordering::SeqCst);
        other.attention.store(0, Ordering::SeqCst);
        world
            .memory
            .put(world.dom.info.shared_info_gpa + 0x800, &[0; 8]);
        world
            .memory
            .put(world.dom.info.shared_info_gpa + 64, &[0, mask]);
        world
            .memory
            .put(world.dom.info.shared_info_gpa + 64 + 8, &[0; 8]);
    };
    for (place, mask, told) in [
        (place::RUNNING, 0, true),
        (place::RUNNING, 1, false),
        (place::HALTED, 1, true),
        (place::HALTED, 0, true),
    ] {
        clear(place, mask);
        seat.m.take_effects();
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
        assert_eq!(world.info_byte(1, 0), 1);
        assert_eq!(
            seat.m.take_effects().contains(&Effect::Ipi(1)),
            told,
            "{place} {mask}"
        );
        assert_eq!(other.attention.load(Ordering::SeqCst) != 0, told);
    }
}

#[test]
fn compat_form_takes_command_and_argument_in_one_structure() {
    let mut seat = World::new(1).running();
    seat.put(
        ARGS,
        &[7u32.to_le_bytes(), 0u32.to_le_bytes(), 0u32.to_le_bytes()].concat(),
    );
    assert_eq!(
        seat.hypercall(Hypercall::EVENT_CHANNEL_OP_COMPAT, &[ARGS]),
        0
    );
    assert_eq!(seat.get_u32(ARGS + 8), 3);
    seat.put(ARGS, &11u32.to_le_bytes());
    assert_eq!(
        seat.hypercall(Hypercall::EVENT_CHANNEL_OP_COMPAT, &[ARGS]),
        error(Errno::ENOSYS)
    );
}

#[test]
fn masked_port_wakes_a_vcpu_that_may_be_polling_it() {
    let world = World::new(2);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 1);
    Bits(&world).mask(port);
    for (place, told) in [(place::HALTED, true), (place::RUNNING, false)] {
        world.dom.vcpus[1].place.store(place, Ordering::SeqCst);
        world
            .memory
            .set_u64(world.dom.info.shared_info_gpa + 0x800, 0);
        seat.m.take_effects();
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
        assert_eq!(seat.m.take_effects().contains(&Effect::Ipi(1)), told);
        assert_eq!(world.info_byte(1, 0), 0, "no upcall");
    }
}
