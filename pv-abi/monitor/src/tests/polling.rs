//! Polls before halts, and what could be lost between a vCPU that goes to sleep and one that wakes it.

use super::events::{bind_ipi, on_port};
use crate::domain::{attention, place};
use crate::mock::*;
use crate::polling::{GRACE, MAX, START};
use core::sync::atomic::{AtomicU32, Ordering};
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_pv_abi::event_channel::EvtchnOp;
use noxen_pv_abi::sched::SchedOp;
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::Hypercall;
use std::sync::Arc;
use std::time::Duration;

fn block(seat: &mut Seat) {
    assert_eq!(
        seat.hypercall(Hypercall::SCHED_OP, &[u64::from(SchedOp::BLOCK.0), 0]),
        0
    );
}

/// Polls, those that paid, those that the host ended, halts.
fn counts(world: &World, vcpu: u32) -> [u64; 4] {
    [
        other::POLL,
        other::POLL_WOKEN,
        other::POLL_TAKEN,
        other::HALT,
    ]
    .map(|kind| world.counter(vcpu, OTHER + kind))
}

/// A vCPU whose blocks have ended soon lately, one that is at work, and a port by which it wakes the first.
fn pair(world: &World) -> (Seat, Seat, u32) {
    let mut sleeper = world.running();
    let other = world.running_vcpu(1);
    sleeper.v.polling.halted(1);
    let port = bind_ipi(&mut sleeper, 0);
    sleeper.m.take_effects();
    (sleeper, other, port)
}

/// Takes the event as the guest's handler does.
fn take(world: &World) {
    let shared = world.dom.info.shared_info_gpa;
    world.set_info_byte(0, 0, 0);
    world.memory.set_u64(shared + 8, 0);
    world.memory.set_u64(shared + 0x800, 0);
}

/// The next halt ends with an event from outside.
fn wake_from_halt(world: &World) {
    let (dom, memory) = (world.dom.clone(), world.memory.clone());
    world.while_halted(move |_| {
        assert_eq!(dom.vcpus[0].place.load(Ordering::SeqCst), place::HALTED);
        memory.put(dom.info.shared_info_gpa, &[1]);
        dom.vcpus[0]
            .attention
            .fetch_or(attention::EVENT, Ordering::SeqCst);
    });
}

fn while_polling(world: &World, event: impl FnOnce(&Mock) + Send + 'static) {
    let mut turns = world.bus.while_polling.lock().unwrap();
    turns.push_back(Box::new(event));
}

#[test]
fn vcpu_that_polls_is_woken_without_an_interrupt() {
    let world = World::new(2);
    let (mut sleeper, mut waker, port) = pair(&world);
    let dom = world.dom.clone();
    while_polling(&world, move |_| {
        assert_eq!(dom.vcpus[0].place.load(Ordering::SeqCst), place::POLLING);
        assert_eq!(on_port(&mut waker, EvtchnOp::SEND, port), 0);
        assert_eq!(waker.m.take_effects(), []);
    });
    block(&mut sleeper);
    assert_eq!(sleeper.m.take_effects(), []);
    assert_eq!(counts(&world, 0), [1, 1, 0, 0]);
    assert_eq!(world.info_byte(0, 0), 1);
    let vcpu = &world.dom.vcpus[0];
    assert_eq!(vcpu.place.load(Ordering::SeqCst), place::RUNNING);
    assert_eq!(vcpu.attention.load(Ordering::SeqCst), 0);
}

#[test]
fn masked_port_wakes_a_vcpu_that_polls_it() {
    let world = World::new(2);
    let (mut sleeper, mut waker, port) = pair(&world);
    let mask = world.dom.info.shared_info_gpa + 0xa00;
    world.memory.set_u64(mask, 1 << port);
    while_polling(&world, move |_| {
        assert_eq!(on_port(&mut waker, EvtchnOp::SEND, port), 0);
        assert_eq!(waker.m.take_effects(), []);
    });
    let mut seat = sleeper.cpu();
    seat.sleep(|cpu| cpu.is_pending(port));
    assert_eq!(sleeper.m.take_effects(), []);
    assert_eq!(counts(&world, 0), [1, 1, 0, 0]);
}

#[test]
fn where_nobody_could_wake_it_a_vcpu_halts_at_once() {
    // Alone; the other one sleeps, too; it lost its processor, which may be the one that this vCPU is on.
    for (vcpus, elsewhere, preempted) in [
        (1, place::RUNNING, 0),
        (2, place::HALTED, 0),
        (2, place::POLLING, 0),
        (2, place::DOWN, 0),
        (2, place::RUNNING, 0b10),
    ] {
        let world = World::new(vcpus);
        let mut seat = world.running();
        seat.v.polling.halted(1);
        world.dom.vcpus[1].place.store(elsewhere, Ordering::SeqCst);
        world.bus.preempted.store(preempted, Ordering::SeqCst);
        wake_from_halt(&world);
        block(&mut seat);
        assert_eq!(counts(&world, 0), [0, 0, 0, 1], "{elsewhere} {preempted}");
    }
}

#[test]
fn poll_ends_with_its_window_and_with_the_last_one_at_work() {
    let world = World::new(2);
    let (mut seat, _other, _) = pair(&world);
    wake_from_halt(&world);
    let before = world.bus.tsc.load(Ordering::SeqCst) / 2;
    block(&mut seat);
    let after = world.bus.tsc.load(Ordering::SeqCst) / 2;
    assert!((START..START + 1_000).contains(&(after - before)));
    assert_eq!(counts(&world, 0), [1, 0, 0, 1]);

    take(&world);
    let dom = world.dom.clone();
    while_polling(&world, move |_| {
        dom.vcpus[1].place.store(place::HALTED, Ordering::SeqCst);
    });
    wake_from_halt(&world);
    block(&mut seat);
    let again = world.bus.tsc.load(Ordering::SeqCst) / 2;
    assert!(again - after < 1_000, "{}", again - after);
    assert_eq!(counts(&world, 0), [2, 0, 0, 2]);
}

#[test]
fn poll_from_which_the_host_takes_the_processor_ends_and_is_not_tried_again_soon() {
    let world = World::new(2);
    let (mut seat, _other, _) = pair(&world);
    let bus = world.bus.clone();
    while_polling(&world, move |_| {
        bus.stolen.store(1, Ordering::SeqCst);
    });
    for _ in 0..3 {
        wake_from_halt(&world);
        block(&mut seat);
        take(&world);
    }
    assert_eq!(counts(&world, 0), [1, 0, 1, 3]);
}

#[test]
fn vcpu_that_does_not_come_out_of_its_halt_is_not_waited_for_long() {
    // Whether or not the host has marked it: newer ones do not mark a vCPU that halts.
    for marked in [0, 0b10] {
        let world = World::new(2);
        let (mut seat, _other, _) = pair(&world);
        for _ in 0..4 {
            seat.v.polling.halted(1);
        }
        let other_one = &world.dom.vcpus[1];
        other_one.place.store(place::HALTED, Ordering::SeqCst);
        other_one.attention.store(1, Ordering::SeqCst);
        world.bus.preempted.store(marked, Ordering::SeqCst);
        wake_from_halt(&world);
        let before = world.bus.tsc.load(Ordering::SeqCst) / 2;
        block(&mut seat);
        let spent = world.bus.tsc.load(Ordering::SeqCst) / 2 - before;
        assert!((GRACE..MAX).contains(&spent), "{marked} {spent}");
        assert_eq!(counts(&world, 0), [1, 0, 1, 1], "{marked}");
    }
}

#[test]
fn flush_during_a_poll_is_not_waited_for_and_is_done_before_the_guest_goes_on() {
    let world = World::new(2);
    let (mut sleeper, mut waker, port) = pair(&world);
    let dom = world.dom.clone();
    while_polling(&world, move |_| {
        waker.cpu().flush_vcpus(0b01);
        assert_eq!(dom.vcpus[0].flush_wanted.load(Ordering::SeqCst), 1);
        assert_eq!(on_port(&mut waker, EvtchnOp::SEND, port), 0);
        assert_eq!(waker.m.take_effects(), [], "no interrupt");
    });
    block(&mut sleeper);
    assert_eq!(sleeper.m.take_effects(), [Effect::Cr3(L4 << 12)]);
    assert_eq!(world.dom.vcpus[0].flush_done.load(Ordering::SeqCst), 1);
}

#[test]
fn vcpu_taken_down_while_it_polls_is_down() {
    let world = World::new(2);
    let (mut sleeper, _waker, _) = pair(&world);
    let dom = world.dom.clone();
    while_polling(&world, move |_| {
        dom.vcpus[0].up.store(false, Ordering::SeqCst);
        dom.vcpus[0]
            .attention
            .fetch_or(attention::DOWN, Ordering::SeqCst);
    });
    let (dom, memory) = (world.dom.clone(), world.memory.clone());
    world.while_halted(move |_| {
        assert_eq!(dom.vcpus[0].place.load(Ordering::SeqCst), place::DOWN);
        dom.vcpus[0].up.store(true, Ordering::SeqCst);
        dom.vcpus[0]
            .attention
            .fetch_or(attention::UP, Ordering::SeqCst);
        memory.put(dom.info.shared_info_gpa, &[1]);
    });
    block(&mut sleeper);
    assert_eq!(counts(&world, 0), [1, 1, 0, 0]);
}

/// Whatever a vCPU on its way to sleep does next when it is woken, it wakes: `wake` strikes before each of its looks at the world
/// in turn.
fn woken_wherever_it_is(wake: fn(&mut Seat, u32)) {
    const NOT_YET: u32 = u32::MAX;
    let mut places = [0u32; 5];
    for number in 0..10_000 {
        let world = World::new(2);
        let (mut sleeper, mut waker, port) = pair(&world);
        for _ in 0..4 {
            sleeper.v.polling.halted(MAX + 1);
        }
        let struck = Arc::new(AtomicU32::new(NOT_YET));
        let (dom, place) = (world.dom.clone(), struck.clone());
        world.bus.before_look(0, number, move |_| {
            place.store(dom.vcpus[0].place.load(Ordering::SeqCst), Ordering::SeqCst);
            wake(&mut waker, port);
        });
        let (bus, dom, place) = (world.bus.clone(), world.dom.clone(), struck.clone());
        world.while_halted(move |m| {
            if place.load(Ordering::SeqCst) == NOT_YET {
                m.memory.put(dom.info.shared_info_gpa, &[1]);
            } else {
                // It halts all the same: then an interrupt waits for it.
                let ends = bus.take_ipi(0, Duration::ZERO);
                assert!(ends, "missed before look {number}");
            }
        });
        block(&mut sleeper);
        if world.bus.never_looked() {
            break;
        }
        places[struck.load(Ordering::SeqCst) as usize] += 1;
    }
    for place in [place::RUNNING, place::POLLING, place::HALTED] {
        assert!(places[place as usize] > 0, "{places:?}");
    }
}

#[test]
fn event_wakes_a_vcpu_wherever_it_is_on_its_way_to_sleep() {
    woken_wherever_it_is(|waker, port| waker.cpu().send(port).unwrap());
}

#[test]
fn nmi_wakes_a_vcpu_wherever_it_is_on_its_way_to_sleep() {
    woken_wherever_it_is(|waker, _| waker.cpu().poke(0, attention::NMI));
}

#[test]
fn waker_and_sleeper_never_miss_each_other() {
    let world = World::new(2);
    let (mut sleeper, other, port) = pair(&world);
    let rounds = 1_000;
    let back = bind_ipi(&mut sleeper, 1);
    // Masked, so that only the place of the sleeper says whether it is to be woken.
    let mask = world.dom.info.shared_info_gpa + 0xa00;
    world.memory.set_u64(mask, 1 << port | 1 << back);
    // Each blocks until the other one sends, which then blocks itself.
    let play = move |mut seat: Seat, mine: u32, theirs: u32, first: bool| {
        for round in 0..rounds {
            if first || round > 0 {
                seat.cpu().send(theirs).unwrap();
            }
            // Windows of all lengths, so that the event meets polls, their ends and halts.
            seat.v.polling = crate::polling::Polling::NEW;
            for _ in 0..round % 4 {
                seat.v.polling.halted(1);
            }
            seat.cpu().sleep(|cpu| cpu.is_pending(mine));
            let cpu = seat.cpu();
            let _lock = cpu.lock_events();
            cpu.clear_pending(mine);
        }
        if !first {
            seat.cpu().send(theirs).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(move || play(sleeper, port, back, true));
        scope.spawn(move || play(other, back, port, false));
    });
    let [polls, woken, _, halts] = counts(&world, 0);
    assert!(polls >= woken && polls + halts > 0);
}

#[test]
fn interrupt_lost_before_the_local_apic_was_on_is_not_waited_for() {
    let world = World::new(2);
    let mut boot = world.running();
    let mut late = world.seat(1);
    let shared = &world.dom.vcpus[1];
    shared.initialised.store(true, Ordering::SeqCst);
    assert_eq!(
        boot.hypercall(Hypercall::VCPU_OP, &[u64::from(VcpuOp::UP.0), 1, 0]),
        0
    );
    // The interrupt goes nowhere: the other vCPU has not run yet.
    shared.kicked.store(true, Ordering::SeqCst);
    late.v.kernel_cr3 = L4 << 12;
    late.cpu().first_entry();
    boot.m.take_effects();
    boot.cpu().poke(1, attention::NMI);
    assert_eq!(boot.m.take_effects(), [Effect::Ipi(1)]);
}
