//! sched_op, set_timer_op, timers.

use super::error;
use super::events::{bind_ipi, bind_virq, on_port};
use crate::domain::{attention, place};
use crate::mock::*;
use crate::time::{tsc_at, NEVER};
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::EvtchnOp;
use noxen_pv_abi::sched::*;
use noxen_pv_abi::vcpu::{Runstate, SetSingleshotTimer64, SSHOTTMR_FUTURE};
use noxen_pv_abi::Hypercall;

const SECOND: u64 = 1_000_000_000;

fn op(seat: &mut Seat, cmd: SchedOp, bytes: &[u8]) -> i64 {
    seat.hypercall_with(Hypercall::SCHED_OP, u64::from(cmd.0), bytes)
}

fn halts(seat: &Seat) -> usize {
    seat.m
        .take_effects()
        .iter()
        .filter(|effect| **effect == Effect::Halt)
        .count()
}

/// Something outside raises `port` of vCPU 0 while it halts.
fn event_while_halted(world: &World, port: u32) {
    let base = world.dom.info.doorbell_gpa;
    let dom = world.dom.clone();
    world.while_halted(move |m| {
        assert_eq!(dom.vcpus[0].place.load(Ordering::SeqCst), place::HALTED);
        m.memory.set_u64(base, 1);
        m.memory.set_u64(base + 64, 1 << port);
        dom.vcpus[0]
            .attention
            .fetch_or(attention::DOORBELL, Ordering::SeqCst);
    });
}

#[test]
fn block_unmasks_and_waits_for_an_event() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.cpu().mask_events(true);
    event_while_halted(&world, STORE_PORT);
    assert_eq!(op(&mut seat, SchedOp::BLOCK, &[]), 0);
    assert_eq!(halts(&seat), 1);
    assert_eq!((world.info_byte(0, 0), world.info_byte(0, 1)), (1, 0));
    assert_eq!(
        world.dom.vcpus[0].place.load(Ordering::SeqCst),
        place::RUNNING
    );
    assert_eq!(world.counter(0, OTHER + other::HALT), 1);
}

#[test]
fn block_with_a_pending_event_returns_at_once() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_info_byte(0, 0, 1);
    assert_eq!(op(&mut seat, SchedOp::BLOCK, &[]), 0);
    assert_eq!(halts(&seat), 0);
}

#[test]
fn block_goes_on_waiting_after_an_interrupt_without_event() {
    let world = World::new(1);
    let mut seat = world.running();
    for _ in 0..3 {
        let dom = world.dom.clone();
        world.while_halted(move |_| {
            dom.vcpus[0]
                .attention
                .fetch_or(attention::FLUSH, Ordering::SeqCst);
        });
    }
    event_while_halted(&world, CONSOLE_PORT);
    assert_eq!(op(&mut seat, SchedOp::BLOCK, &[]), 0);
    assert_eq!(halts(&seat), 4);
}

#[test]
fn blocked_time_is_accounted() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(10 * SECOND);
    seat.cpu().set_runstate(0);
    let tsc = world.bus.clone();
    let (base, dom) = (world.dom.info.doorbell_gpa, world.dom.clone());
    world.while_halted(move |m| {
        assert_eq!(m.memory.get(dom.info.public_gpa, 1), [2], "blocked");
        tsc.tsc.fetch_add(2 * SECOND, Ordering::SeqCst);
        m.memory.set_u64(base, 1);
        m.memory.set_u64(base + 64, 2);
        dom.vcpus[0]
            .attention
            .fetch_or(attention::DOORBELL, Ordering::SeqCst);
    });
    assert_eq!(op(&mut seat, SchedOp::BLOCK, &[]), 0);
    assert_eq!(seat.v.runstate.time[2], SECOND);
    assert_eq!(world.memory.u64(world.dom.info.public_gpa + 8), SECOND);
}

fn poll(seat: &mut Seat, ports: &[u32], timeout: u64) -> i64 {
    let at = ARGS + 0x400;
    seat.put(
        at,
        &ports
            .iter()
            .flat_map(|port| port.to_le_bytes())
            .collect::<Vec<_>>(),
    );
    let asked = SchedPoll64 {
        ports: at,
        nr_ports: ports.len() as u32,
        timeout,
        ..Default::default()
    };
    op(seat, SchedOp::POLL, &asked.to_bytes())
}

#[test]
fn poll_sees_a_masked_port() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 0);
    let mask = world.dom.info.shared_info_gpa + 0xa00;
    world.memory.set_u64(mask, !0);
    seat.cpu().mask_events(true);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    assert_eq!(poll(&mut seat, &[port], 0), 0);
    assert_eq!(halts(&seat), 0);
    // Nothing pending: it waits for the port, however masked.
    world
        .memory
        .set_u64(world.dom.info.shared_info_gpa + 0x800, 0);
    event_while_halted(&world, STORE_PORT);
    assert_eq!(poll(&mut seat, &[port, STORE_PORT], 0), 0);
    assert_eq!(halts(&seat), 1);
    assert_eq!(world.info_byte(0, 1), 1, "events stay masked");
}

#[test]
fn poll_ends_with_its_timeout() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(SECOND);
    assert_eq!(poll(&mut seat, &[STORE_PORT], 3 * SECOND), 0);
    assert_eq!(halts(&seat), 1);
    assert!(seat.cpu().now() >= 3 * SECOND);
    assert_eq!(seat.v.timers.poll, NEVER);
    assert_eq!(poll(&mut seat, &[STORE_PORT], SECOND), 0);
    assert_eq!(halts(&seat), 0, "past already");
}

#[test]
fn poll_bounds_its_list() {
    let mut seat = World::new(1).running();
    assert_eq!(poll(&mut seat, &[1; 129], 0), error(Errno::EINVAL));
    assert_eq!(poll(&mut seat, &[4096], 0), error(Errno::EINVAL));
    let asked = SchedPoll64 {
        ports: UNMAPPED,
        nr_ports: 1,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, SchedOp::POLL, &asked.to_bytes()),
        error(Errno::EFAULT)
    );
}

#[test]
fn shutdown_reasons_reach_the_vmm() {
    let mut seat = World::new(1).running();
    for reason in [0u32, 1, 4, 5] {
        op(&mut seat, SchedOp::SHUTDOWN, &reason.to_le_bytes());
        assert_eq!(
            seat.calls(call::SHUTDOWN),
            [(vec![u64::from(reason)], vec![])]
        );
    }
    op(&mut seat, SchedOp::SHUTDOWN, &3u32.to_le_bytes());
    assert_eq!(seat.calls(call::CRASH).len(), 1);
    seat.hypercall(Hypercall::SCHED_OP_COMPAT, &[2, 1]);
    assert_eq!(seat.calls(call::SHUTDOWN), [(vec![1], vec![])]);
    seat.hypercall(Hypercall::SCHED_OP_COMPAT, &[2, 0x4000_1f01]);
    assert_eq!(seat.calls(call::SHUTDOWN), [(vec![1], vec![])]);
}

#[test]
fn shutdown_for_a_reason_without_a_name_ends_the_domain() {
    let mut seat = World::new(1).running();
    op(&mut seat, SchedOp::SHUTDOWN, &6u32.to_le_bytes());
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

#[test]
fn shutdown_of_others_and_pinning_are_refused() {
    let mut seat = World::new(1).running();
    assert_eq!(
        op(&mut seat, SchedOp::REMOTE_SHUTDOWN, &[0; 8]),
        error(Errno::EPERM)
    );
    assert_eq!(
        op(&mut seat, SchedOp::PIN_OVERRIDE, &[0; 8]),
        error(Errno::EPERM)
    );
    assert_eq!(op(&mut seat, SchedOp(8), &[0; 8]), error(Errno::ENOSYS));
    assert_eq!(
        seat.hypercall(Hypercall::SCHED_OP_COMPAT, &[3, 0]),
        error(Errno::ENOSYS)
    );
}

#[test]
fn yield_gives_way_to_the_next_vcpu_that_lost_its_processor() {
    let world = World::new(4);
    let mut seat = world.running();
    let yields = |seat: &mut Seat| {
        assert_eq!(op(seat, SchedOp::YIELD, &[]), 0);
        assert_eq!(seat.hypercall(Hypercall::SCHED_OP_COMPAT, &[0, 0]), 0);
        seat.m.take_effects()
    };
    for (id, place) in [(1, place::HALTED), (2, place::RUNNING), (3, place::RUNNING)] {
        world.dom.vcpus[id].place.store(place, Ordering::SeqCst);
    }
    seat.m.bus.preempted.store(0b1010, Ordering::SeqCst);
    assert_eq!(yields(&mut seat), [Effect::Yield(3), Effect::Yield(3)]);
    // One that halts but has been woken wants to run, too.
    world.dom.vcpus[1].attention.store(1, Ordering::SeqCst);
    assert_eq!(yields(&mut seat), [Effect::Yield(1), Effect::Yield(1)]);
}

#[test]
fn yield_without_such_a_vcpu_lets_the_host_look() {
    let world = World::new(2);
    let mut seat = world.running();
    world.dom.vcpus[1]
        .place
        .store(place::RUNNING, Ordering::SeqCst);
    assert_eq!(op(&mut seat, SchedOp::YIELD, &[]), 0);
    assert_eq!(seat.m.take_effects(), [Effect::Yield(0)]);
}

#[test]
fn watchdog_that_is_not_fed_ends_the_domain() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(SECOND);
    let ask = |id, timeout| SchedWatchdog { id, timeout }.to_bytes();
    assert_eq!(op(&mut seat, SchedOp::WATCHDOG, &ask(0, 5)), 1);
    assert_eq!(op(&mut seat, SchedOp::WATCHDOG, &ask(0, 9)), 2);
    assert_eq!(
        op(&mut seat, SchedOp::WATCHDOG, &ask(0, 9)),
        error(Errno::ENOSPC)
    );
    assert_eq!(
        op(&mut seat, SchedOp::WATCHDOG, &ask(3, 1)),
        error(Errno::EINVAL)
    );
    world.set_time(4 * SECOND);
    assert_eq!(op(&mut seat, SchedOp::WATCHDOG, &ask(1, 5)), 0, "fed");
    assert_eq!(op(&mut seat, SchedOp::WATCHDOG, &ask(2, 0)), 0, "ended");
    assert_eq!(
        op(&mut seat, SchedOp::WATCHDOG, &ask(2, 0)),
        error(Errno::ENOENT)
    );
    world.set_time(8 * SECOND);
    seat.cpu().run_timers();
    assert!(seat.calls(call::SHUTDOWN).is_empty());
    world.set_time(9 * SECOND);
    seat.cpu().run_timers();
    assert_eq!(seat.calls(call::SHUTDOWN)[0].0, [4]);
}

fn singleshot(seat: &mut Seat, at: u64, flags: u32) -> i64 {
    let timer = SetSingleshotTimer64 {
        timeout_abs_ns: at,
        flags,
        ..Default::default()
    };
    seat.put(ARGS, &timer.to_bytes());
    seat.hypercall(Hypercall::VCPU_OP, &[8, 0, ARGS])
}

/// The timer interrupt comes.
fn timer_interrupt(seat: &mut Seat) {
    seat.m.dom.vcpus[0]
        .attention
        .fetch_or(attention::TIMER, Ordering::SeqCst);
    seat.enter(0xf1, 0, 0);
}

#[test]
fn singleshot_timer_arms_the_deadline_and_raises_the_virq() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    world.set_time(SECOND);
    assert_eq!(singleshot(&mut seat, 2 * SECOND, 0), 0);
    let deadline = seat.m.state().deadline;
    assert!(
        (4 * SECOND..4 * SECOND + 100).contains(&deadline),
        "{deadline}"
    );
    world.set_time(2 * SECOND - 10);
    timer_interrupt(&mut seat);
    assert!(!seat.cpu().is_pending(port), "too early: armed again");
    world.set_time(2 * SECOND + 1);
    timer_interrupt(&mut seat);
    assert!(seat.cpu().is_pending(port));
    assert_eq!(seat.regs.rip, EVENT);
    assert_eq!(seat.v.timers.singleshot, NEVER);
}

/// A guest that ticks every 4 ms: at each interrupt it asks for the next one, `ask_ns` after the last deadline.
fn tick_on(world: &World, seat: &mut Seat, port: u32, from: u64, ticks: u64) -> u64 {
    let pending = world.dom.info.shared_info_gpa + 0x800;
    for n in 0..ticks {
        let at = from + n * 4_000_000;
        world.set_time(at + 10_000);
        world.memory.set_u64(pending, 0);
        timer_interrupt(seat);
        assert!(seat.cpu().is_pending(port), "tick {n}");
        world.set_time(at + 30_000);
        assert_eq!(singleshot(seat, at + 4_000_000, 0), 0);
    }
    from + ticks * 4_000_000
}

fn timer_effects(seat: &Seat) -> Vec<Effect> {
    let mut effects = seat.m.take_effects();
    effects.retain(|effect| matches!(effect, Effect::Deadline(_) | Effect::Ticking(_)));
    effects
}

/// A guest whose local APIC ticks; its next deadline.
fn ticking(world: &World) -> (Seat, u32, u64) {
    let mut seat = world.running();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    world.set_time(SECOND - 1_000_000);
    assert_eq!(singleshot(&mut seat, SECOND, 0), 0);
    let next = tick_on(world, &mut seat, port, SECOND, 4);
    let effects = timer_effects(&seat);
    assert_eq!(effects.len(), 5);
    assert_eq!(effects[4], Effect::Ticking(4_000_000));
    (seat, port, next)
}

#[test]
fn guest_that_ticks_is_served_by_a_ticking_apic() {
    let world = World::new(1);
    let (mut seat, port, next) = ticking(&world);
    tick_on(&world, &mut seat, port, next, 100);
    assert_eq!(timer_effects(&seat), []);
}

#[test]
fn earlier_deadline_ends_the_ticking() {
    let world = World::new(1);
    let (mut seat, _, next) = ticking(&world);
    assert_eq!(singleshot(&mut seat, next - 1_000_000, 0), 0);
    assert!(matches!(
        timer_effects(&seat)[..],
        [Effect::Ticking(0), Effect::Deadline(_)]
    ));
    assert_eq!(seat.v.timers.armed, next - 1_000_000);
}

/// Lets `ticks` ticks of a guest pass that wants none before the second after `next`.
fn ticks_for_nothing(world: &World, seat: &mut Seat, next: u64, state: Runstate, ticks: u64) {
    for n in 0..ticks {
        world.set_time(next + n * 4_000_000 + 30_000);
        seat.v.runstate.state = state.0;
        timer_interrupt(seat);
    }
}

#[test]
fn idle_guest_is_left_alone_after_a_few_ticks_for_nothing() {
    for (state, borne) in [(Runstate::RUNNING, 8), (Runstate::BLOCKED, 1)] {
        let world = World::new(1);
        let (mut seat, port, next) = ticking(&world);
        let pending = world.dom.info.shared_info_gpa + 0x800;
        world.memory.set_u64(pending, 0);
        assert_eq!(singleshot(&mut seat, next + SECOND, 0), 0);
        ticks_for_nothing(&world, &mut seat, next, state, borne);
        assert_eq!(timer_effects(&seat), []);
        ticks_for_nothing(&world, &mut seat, next + borne * 4_000_000, state, 1);
        assert!(!seat.cpu().is_pending(port));
        assert!(matches!(
            timer_effects(&seat)[..],
            [Effect::Ticking(0), Effect::Deadline(_)]
        ));
        assert_eq!(seat.v.timers.armed, next + SECOND);
    }
}

#[test]
fn deadline_between_two_ticks_is_armed_at_the_first_of_them() {
    let world = World::new(1);
    let (mut seat, _, next) = ticking(&world);
    assert_eq!(singleshot(&mut seat, next + 2_000_000, 0), 0);
    assert_eq!(timer_effects(&seat), []);
    ticks_for_nothing(&world, &mut seat, next, Runstate::RUNNING, 1);
    assert!(matches!(
        timer_effects(&seat)[..],
        [Effect::Ticking(0), Effect::Deadline(_)]
    ));
    assert_eq!(seat.v.timers.armed, next + 2_000_000);
}

#[test]
fn vmm_is_told_once_when_the_ticks_of_a_settled_clock_are_due() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    let told = |seat: &Seat| -> Vec<Vec<u64>> {
        let calls = seat.calls(call::TICKS).into_iter();
        calls.map(|(args, _)| args).collect()
    };
    let first = SECOND + 321_000;
    assert_eq!(singleshot(&mut seat, first, 0), 0);
    let next = tick_on(&world, &mut seat, port, first, 16);
    assert_eq!(told(&seat), Vec::<Vec<u64>>::new());
    let next = tick_on(&world, &mut seat, port, next, 1);
    let due = tsc_at(&world.dom.info, next - 4_000_000);
    assert_eq!(told(&seat), [[due, 4_000_000]]);
    tick_on(&world, &mut seat, port, next, 100);
    assert_eq!(told(&seat), Vec::<Vec<u64>>::new());
}

#[test]
fn timer_that_is_stopped_ends_the_ticking_with_the_next_tick() {
    let world = World::new(1);
    let (mut seat, _, next) = ticking(&world);
    assert_eq!(seat.hypercall(Hypercall::VCPU_OP, &[9, 0, 0]), 0);
    world.set_time(next + 30_000);
    timer_interrupt(&mut seat);
    assert_eq!(timer_effects(&seat), [Effect::Ticking(0)]);
    assert_eq!(seat.v.timers.armed, NEVER);
}

/// Another vCPU has set a watchdog, which vCPU 0 keeps.
fn watched(seat: &mut Seat, at: u64) {
    seat.m.dom.watchdog[0].store(at, Ordering::SeqCst);
    seat.m.dom.vcpus[0]
        .attention
        .fetch_or(attention::WATCH, Ordering::SeqCst);
    seat.enter(0xf2, 0, 0);
}

#[test]
fn watchdog_of_another_vcpu_between_ticks_changes_nothing_until_it_is_near() {
    let world = World::new(1);
    let (mut seat, port, next) = ticking(&world);
    let armed = seat.v.timers.armed;
    world.set_time(next - 2_000_000);
    watched(&mut seat, next + SECOND);
    assert_eq!((timer_effects(&seat), seat.v.timers.armed), (vec![], armed));
    tick_on(&world, &mut seat, port, next, 3);
    assert_eq!(timer_effects(&seat), []);
    let near = seat.v.timers.armed - 1_000_000;
    watched(&mut seat, near);
    assert!(matches!(
        timer_effects(&seat)[..],
        [Effect::Ticking(0), Effect::Deadline(_)]
    ));
    assert_eq!(seat.v.timers.armed, near);
}

#[test]
fn deadline_is_armed_exactly_where_the_ticks_have_moved() {
    let world = World::new(1);
    let (mut seat, port, next) = ticking(&world);
    // A restored local APIC may tick at another phase: this tick is early, and no deadline is served before its time.
    world
        .memory
        .set_u64(world.dom.info.shared_info_gpa + 0x800, 0);
    world.set_time(next - 1_500_000);
    timer_interrupt(&mut seat);
    assert!(!seat.cpu().is_pending(port));
    assert!(matches!(
        timer_effects(&seat)[..],
        [Effect::Ticking(0), Effect::Deadline(_)]
    ));
    assert_eq!(seat.v.timers.armed, next);
}

#[test]
fn ticks_that_come_late_to_a_vcpu_without_a_processor_go_on() {
    let world = World::new(1);
    let (mut seat, _, next) = ticking(&world);
    for n in 0..10 {
        let at = next + n * 4_000_000;
        world
            .memory
            .set_u64(world.dom.info.shared_info_gpa + 0x800, 0);
        world.set_time(at + 1_500_000);
        world.bus.stolen.fetch_add(1_500_000, Ordering::SeqCst);
        timer_interrupt(&mut seat);
        assert_eq!(singleshot(&mut seat, at + 4_000_000, 0), 0);
        assert_eq!(timer_effects(&seat), [], "tick {n}");
    }
}

#[test]
fn ticks_that_come_late_end() {
    let world = World::new(1);
    let (mut seat, port, next) = ticking(&world);
    for n in 0..3 {
        let at = next + n * 4_000_000;
        assert_eq!(timer_effects(&seat), [], "tick {n}");
        world
            .memory
            .set_u64(world.dom.info.shared_info_gpa + 0x800, 0);
        world.set_time(at + 150_000);
        timer_interrupt(&mut seat);
        assert!(seat.cpu().is_pending(port), "tick {n}");
        if n < 2 {
            assert_eq!(singleshot(&mut seat, at + 4_000_000, 0), 0);
        }
    }
    assert_eq!(timer_effects(&seat), [Effect::Ticking(0)]);
    let after = next + 3 * 4_000_000;
    assert_eq!(singleshot(&mut seat, after, 0), 0);
    assert!(matches!(timer_effects(&seat)[..], [Effect::Deadline(_)]));
}

#[test]
fn later_deadline_is_left_to_the_earlier_interrupt() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(SECOND);
    assert_eq!(singleshot(&mut seat, 2 * SECOND, 0), 0);
    assert_eq!(singleshot(&mut seat, 3 * SECOND, 0), 0);
    assert_eq!(timer_effects(&seat).len(), 1, "left at the earlier one");
    world.set_time(2 * SECOND);
    timer_interrupt(&mut seat);
    assert_eq!(timer_effects(&seat).len(), 1, "armed for the later one");
    assert_eq!(seat.v.timers.armed, 3 * SECOND);
}

#[test]
fn singleshot_in_the_past_fires_or_is_refused() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    world.set_time(5 * SECOND);
    assert_eq!(
        singleshot(&mut seat, SECOND, SSHOTTMR_FUTURE),
        error(Errno::ETIME)
    );
    assert_eq!(singleshot(&mut seat, SECOND, 0), 0);
    assert!(seat.m.state().deadline <= 10 * SECOND + 100);
    timer_interrupt(&mut seat);
    assert!(seat.cpu().is_pending(port));
}

#[test]
fn stopped_timers_stay_quiet() {
    let world = World::new(1);
    let mut seat = world.boot();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    assert_eq!(singleshot(&mut seat, 10, 0), 0);
    assert_eq!(seat.hypercall(Hypercall::VCPU_OP, &[9, 0, 0]), 0);
    assert_eq!(seat.hypercall(Hypercall::VCPU_OP, &[7, 0, 0]), 0);
    world.set_time(100 * SECOND);
    timer_interrupt(&mut seat);
    assert!(!seat.cpu().is_pending(port));
}

#[test]
fn fresh_domain_ticks_a_hundred_times_a_second() {
    let world = World::new(1);
    let mut seat = world.boot();
    let port = bind_virq(&mut seat, 0, 0).unwrap();
    let pending = world.dom.info.shared_info_gpa + 0x800;
    let start = seat.cpu().now();
    for tick in 1..=3u64 {
        world.memory.set_u64(pending, 0);
        world.set_time(start + tick * 10_000_000 + 10);
        timer_interrupt(&mut seat);
        assert!(seat.cpu().is_pending(port), "{tick}");
    }
}

#[test]
fn periodic_timer_has_a_shortest_period() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.put(ARGS, &999_999u64.to_le_bytes());
    assert_eq!(
        seat.hypercall(Hypercall::VCPU_OP, &[6, 0, ARGS]),
        error(Errno::EINVAL)
    );
    seat.put(ARGS, &1_000_000u64.to_le_bytes());
    assert_eq!(seat.hypercall(Hypercall::VCPU_OP, &[6, 0, ARGS]), 0);
    assert_eq!(seat.v.timers.period, 1_000_000);
}

#[test]
fn set_timer_op_arms_cancels_and_mends_absurd_values() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(SECOND);
    assert_eq!(seat.hypercall(Hypercall::SET_TIMER_OP, &[3 * SECOND]), 0);
    assert_eq!(seat.v.timers.singleshot, 3 * SECOND);
    assert_eq!(seat.hypercall(Hypercall::SET_TIMER_OP, &[0]), 0);
    assert_eq!(seat.v.timers.singleshot, NEVER);
    for absurd in [!0, 1 << 63, 1 << 52] {
        assert_eq!(seat.hypercall(Hypercall::SET_TIMER_OP, &[absurd]), 0);
        assert_eq!(
            seat.v.timers.singleshot,
            SECOND + 100_000_000,
            "{absurd:#x}"
        );
    }
}

#[test]
fn published_time_lets_the_guest_compute_system_time() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(SECOND);
    seat.cpu().publish_time();
    let at = world.dom.info.shared_info_gpa + 32;
    let version = u32::from_le_bytes(world.memory.get(at, 4).try_into().unwrap());
    assert!(version != 0 && version % 2 == 0);
    let (tsc_stamp, system) = (world.memory.u64(at + 8), world.memory.u64(at + 16));
    let packed = world.memory.u64(at + 24);
    let (mul, shift, flags) = (packed as u32, (packed >> 32) as i8, packed >> 40 & 0xff);
    let tsc = 7 * SECOND;
    let delta = if shift < 0 {
        (tsc - tsc_stamp) >> -shift
    } else {
        (tsc - tsc_stamp) << shift
    };
    let guest = system + ((u128::from(delta) * u128::from(mul)) >> 32) as u64;
    assert_eq!(guest, 7 * SECOND / 2);
    assert_eq!(flags, 1, "stable");
    seat.cpu().publish_time();
    let again = u32::from_le_bytes(world.memory.get(at, 4).try_into().unwrap());
    assert_eq!(again, version + 2);
}

#[test]
fn wall_clock_is_there_at_boot() {
    let world = World::new(1);
    world.boot();
    let at = world.dom.info.shared_info_gpa + 0xc00;
    let word =
        |offset: u64| u32::from_le_bytes(world.memory.get(at + offset, 4).try_into().unwrap());
    assert_eq!(
        [word(0) % 2, word(4), word(8), word(12)],
        [0, 1_700_000_000, 5, 0]
    );
}
