//! IPIs between vCPUs that share one host processor, and those that do not.

use super::events::{bind_ipi, on_port};
use super::iret::{iret, to_user};
use super::sharing::on_processors;
use crate::domain::{attention, place};
use crate::mock::*;
use crate::waking::SOON;
use core::sync::atomic::Ordering;
use noxen_pv_abi::event_channel::EvtchnOp;
use noxen_pv_abi::sched::SchedOp;
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::Hypercall;

/// vCPU 1 is blocked, vCPU 0 has an IPI channel to it, events on or off, and a timer that comes soon.
struct Pair {
    world: World,
    waker: Seat,
    port: u32,
}

fn pair(processors: u64, masked: bool) -> Pair {
    let world = on_processors(processors);
    let mut waker = world.running();
    let _sleeper = world.running_vcpu(1);
    let port = bind_ipi(&mut waker, 1);
    world.dom.vcpus[1]
        .place
        .store(place::HALTED, Ordering::SeqCst);
    waker.v.timers.armed = waker.cpu().now() + SOON;
    waker.cpu().mask_events(masked);
    waker.m.take_effects();
    Pair { world, waker, port }
}

impl Pair {
    /// Sends, and answers what came of it.
    fn send(&mut self) -> Vec<Effect> {
        assert_eq!(on_port(&mut self.waker, EvtchnOp::SEND, self.port), 0);
        self.effects()
    }

    /// What the other vCPU and the host saw.
    fn effects(&mut self) -> Vec<Effect> {
        let seen = |effect: &Effect| {
            matches!(
                effect,
                Effect::Ipi(_) | Effect::Rouse(_) | Effect::Yield(_) | Effect::Halt
            )
        };
        self.waker
            .m
            .take_effects()
            .into_iter()
            .filter(seen)
            .collect()
    }

    fn sched_op(&mut self, op: SchedOp) -> Vec<Effect> {
        self.waker
            .hypercall(Hypercall::SCHED_OP, &[u64::from(op.0), 0]);
        self.effects()
    }
}

#[test]
fn vcpus_with_a_processor_each_are_interrupted() {
    for masked in [false, true] {
        let mut pair = pair(2, masked);
        assert_eq!(pair.send(), [Effect::Ipi(1)], "masked: {masked}");
        assert_eq!(pair.waker.v.owed, 0);
    }
}

#[test]
fn who_may_wait_for_the_answer_lets_the_other_one_run() {
    let mut pair = pair(1, false);
    assert_eq!(pair.send(), [Effect::Rouse(1)]);
    let flags = &pair.world.dom.vcpus[1].attention;
    assert_eq!(flags.load(Ordering::SeqCst), attention::EVENT);
}

#[test]
fn host_that_cannot_do_both_at_once_is_asked_for_one_after_the_other() {
    let mut pair = pair(1, false);
    pair.world.bus.host_rouses.store(false, Ordering::Relaxed);
    assert_eq!(pair.send(), [Effect::Ipi(1), Effect::Yield(1)]);
}

#[test]
fn one_that_lost_its_processor_is_interrupted_and_offered_it() {
    for (masked, seen) in [
        (false, vec![Effect::Ipi(1), Effect::Yield(1)]),
        (true, vec![Effect::Ipi(1)]),
    ] {
        let mut pair = pair(1, masked);
        pair.world.dom.vcpus[1]
            .place
            .store(place::RUNNING, Ordering::SeqCst);
        pair.world.set_info_byte(1, 1, 0);
        assert_eq!(pair.send(), seen, "masked: {masked}");
    }
}

#[test]
fn wake_up_with_events_off_waits_for_the_way_back_to_user_space() {
    let mut pair = pair(1, true);
    assert_eq!(pair.send(), []);
    // Back to the kernel, with events on again: locks may still be held.
    let kernel = noxen_pv_abi::hypercall::IretContext64 {
        cs: 0xe030,
        ss: 0xe028,
        rip: KERNEL + 5,
        rsp: STACK - 8,
        ..to_user()
    };
    iret(&mut pair.waker, kernel);
    assert_eq!(pair.effects(), []);
    iret(&mut pair.waker, to_user());
    assert_eq!(pair.effects(), [Effect::Rouse(1)]);
    assert_eq!(pair.waker.v.owed, 0);
    pair.waker.enter(0xf2, 0, 0);
    assert_eq!(pair.effects(), [], "paid once");
}

#[test]
fn event_that_came_while_the_other_one_ran_is_delivered_before_user_space() {
    let mut pair = pair(1, true);
    assert_eq!(pair.send(), []);
    let memory = pair.waker.m.memory.clone();
    let info = pair.waker.v.vcpu_info;
    pair.world.bus.while_roused(move |_| memory.put(info, &[1]));
    iret(&mut pair.waker, to_user());
    assert_eq!(pair.effects(), [Effect::Rouse(1)]);
    assert_eq!(pair.waker.regs.rip, EVENT);
}

#[test]
fn block_wakes_first_and_a_yield_gives_the_processor_along() {
    let mut blocks = pair(1, true);
    assert_eq!(blocks.send(), []);
    let (memory, info) = (blocks.waker.m.memory.clone(), blocks.waker.v.vcpu_info);
    blocks.world.while_halted(move |_| memory.put(info, &[1]));
    assert_eq!(
        blocks.sched_op(SchedOp::BLOCK),
        [Effect::Ipi(1), Effect::Halt]
    );

    let mut yields = pair(1, true);
    assert_eq!(yields.send(), []);
    assert_eq!(yields.sched_op(SchedOp::YIELD), [Effect::Rouse(1)]);
}

#[test]
fn guest_that_stays_in_its_kernel_wakes_the_other_one_at_its_next_timer() {
    let mut pair = pair(1, true);
    assert_eq!(pair.send(), []);
    pair.world.dom.vcpus[0]
        .attention
        .fetch_or(attention::TIMER, Ordering::SeqCst);
    pair.waker.enter(0xf2, 0, 0);
    assert_eq!(pair.effects(), [Effect::Ipi(1)]);
}

#[test]
fn without_a_timer_that_comes_soon_nothing_is_put_off() {
    let mut pair = pair(1, true);
    pair.waker.v.timers.armed = pair.waker.cpu().now() + 2 * SOON;
    assert_eq!(pair.send(), [Effect::Ipi(1)]);
}

#[test]
fn vcpu_that_goes_down_leaves_nobody_asleep() {
    let mut pair = pair(1, true);
    assert_eq!(pair.send(), []);
    let dom = pair.world.dom.clone();
    pair.world.while_halted(move |_| {
        dom.vcpus[0].up.store(true, Ordering::SeqCst);
    });
    let down = [u64::from(VcpuOp::DOWN.0), 0, 0];
    pair.waker.hypercall(Hypercall::VCPU_OP, &down);
    assert_eq!(pair.effects(), [Effect::Ipi(1), Effect::Halt]);
}

#[test]
fn who_was_woken_by_somebody_else_is_owed_nothing() {
    for (place, flags) in [(place::RUNNING, attention::EVENT), (place::HALTED, 0)] {
        let mut pair = pair(1, true);
        assert_eq!(pair.send(), []);
        let other = &pair.world.dom.vcpus[1];
        other.place.store(place, Ordering::SeqCst);
        other.attention.store(flags, Ordering::SeqCst);
        iret(&mut pair.waker, to_user());
        assert_eq!(pair.effects(), []);
        assert!(!pair.waker.v.kernel_mode);
    }
}
