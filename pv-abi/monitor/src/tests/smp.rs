//! Two vCPUs in two threads: flush handshakes, down and up, events, ports.

use super::events::{bind_ipi, on_port};
use crate::domain::place;
use crate::mock::*;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use noxen_pv_abi::event_channel::EvtchnOp;
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::Hypercall;
use std::sync::Arc;
use std::time::Duration;

/// How long a thread waits for an interrupt before it looks whether the test is over.
const PATIENCE: Duration = Duration::from_millis(20);

/// A vCPU that computes in its guest: interrupts enter the monitor, everything else does not.
/// Answers how many upcalls it got.
fn guest_loop(mut seat: Seat, over: &AtomicBool) -> u64 {
    let id = seat.v.id;
    let mut upcalls = 0;
    while !over.load(Ordering::SeqCst) {
        // Who unmasks events looks whether one came meanwhile: it brings no interrupt.
        if !seat.cpu().events_pending() && !seat.m.bus.take_ipi(id, PATIENCE) {
            continue;
        }
        seat.enter(0xf2, 0, 0);
        if seat.regs.rip == EVENT {
            upcalls += 1;
            // The guest's handler: takes all events and returns with events on.
            let info = seat.v.vcpu_info;
            seat.m.memory.put(info, &[0]);
            seat.m.memory.set_u64(info + 8, 0);
            for word in 0..64 {
                seat.m
                    .memory
                    .set_u64(seat.m.dom.info.shared_info_gpa + 0x800 + word * 8, 0);
            }
            seat.cpu().mask_events(false);
            seat.regs = kernel_regs();
        }
    }
    upcalls
}

/// Ends the other thread's guest, however the test ends.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn mmuext(seat: &mut Seat, cmd: u64) -> i64 {
    seat.put(ARGS, &[cmd.to_le_bytes(), [0; 8], [0; 8]].concat());
    seat.hypercall(Hypercall::MMUEXT_OP, &[ARGS, 1, 0, 0x7ff0])
}

const FLUSH_ALL: u64 = 10;

#[test]
fn flush_is_done_when_it_returns() {
    let world = World::new(2);
    let mut seat = world.running();
    let other = world.running_vcpu(1);
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let done = over.clone();
        let thread = scope.spawn(move || guest_loop(other, &done));
        for round in 1..=200 {
            assert_eq!(mmuext(&mut seat, FLUSH_ALL), 0);
            let target = &world.dom.vcpus[1];
            assert_eq!(target.flush_done.load(Ordering::SeqCst), round);
        }
        over.store(true, Ordering::SeqCst);
        assert_eq!(thread.join().unwrap(), 0);
    });
}

#[test]
fn vcpus_that_flush_each_other_do_not_lock_up() {
    let world = World::new(2);
    let finished = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for id in 0..2 {
            let mut seat = world.running_vcpu(id);
            let finished = &finished;
            scope.spawn(move || {
                for _ in 0..500 {
                    // Each thread has its own argument page.
                    let at = ARGS + 0x1000 * u64::from(id);
                    seat.put(at, &[FLUSH_ALL.to_le_bytes(), [0; 8], [0; 8]].concat());
                    assert_eq!(seat.hypercall(Hypercall::MMUEXT_OP, &[at, 1, 0, 0x7ff0]), 0);
                    seat.enter(0xf2, 0, 0);
                }
                finished.fetch_add(1, Ordering::SeqCst);
                // Whoever is first keeps answering for the other.
                while finished.load(Ordering::SeqCst) < 2 {
                    seat.m.bus.take_ipi(id, Duration::from_millis(1));
                    seat.enter(0xf2, 0, 0);
                }
            });
        }
    });
    assert_eq!(finished.load(Ordering::SeqCst), 2);
}

#[test]
fn flush_of_a_vcpu_that_does_not_run_is_left_to_the_host() {
    let world = World::new(3);
    let mut seat = world.running();
    let _others = [world.running_vcpu(1), world.running_vcpu(2)];
    for vcpu in &world.dom.vcpus[1..3] {
        vcpu.place.store(place::RUNNING, Ordering::SeqCst);
    }
    seat.m.bus.preempted.store(0b110, Ordering::SeqCst);
    assert_eq!(mmuext(&mut seat, FLUSH_ALL), 0);
    let effects = seat.m.take_effects();
    assert!(effects.contains(&Effect::FlushLeft(1)) && effects.contains(&Effect::FlushLeft(2)));
    assert!(!effects
        .iter()
        .any(|effect| matches!(effect, Effect::Ipi(_))));
    for vcpu in &world.dom.vcpus[1..3] {
        assert_eq!(vcpu.flush_wanted.load(Ordering::SeqCst), 0);
        assert_eq!(vcpu.attention.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn halted_vcpu_is_not_waited_for_and_flushes_when_it_wakes() {
    let world = World::new(2);
    let mut seat = world.running();
    let mut other = world.running_vcpu(1);
    let target = &world.dom.vcpus[1];
    target.place.store(place::HALTED, Ordering::SeqCst);
    assert_eq!(mmuext(&mut seat, FLUSH_ALL), 0);
    assert_eq!(
        (
            target.flush_wanted.load(Ordering::SeqCst),
            target.flush_done.load(Ordering::SeqCst)
        ),
        (1, 0)
    );
    assert!(!seat.m.take_effects().contains(&Effect::Ipi(1)));
    target.place.store(place::RUNNING, Ordering::SeqCst);
    other.enter(0xf2, 0, 0);
    assert_eq!(target.flush_done.load(Ordering::SeqCst), 1);
    assert!(other.m.take_effects().contains(&Effect::Cr3(L4 << 12)));
}

#[test]
fn down_of_a_running_vcpu_is_complete_when_it_returns() {
    let world = World::new(2);
    let mut seat = world.running();
    let other = world.running_vcpu(1);
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let done = over.clone();
        scope.spawn(move || guest_loop(other, &done));
        for _ in 0..50 {
            assert_eq!(
                seat.hypercall(Hypercall::VCPU_OP, &[u64::from(VcpuOp::DOWN.0), 1, 0]),
                0
            );
            assert_eq!(world.dom.vcpus[1].place.load(Ordering::SeqCst), place::DOWN);
            assert_eq!(
                seat.hypercall(Hypercall::VCPU_OP, &[u64::from(VcpuOp::IS_UP.0), 1, 0]),
                0
            );
            assert_eq!(
                seat.hypercall(Hypercall::VCPU_OP, &[u64::from(VcpuOp::UP.0), 1, 0]),
                0
            );
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        world.dom.vcpus[1].place.load(Ordering::SeqCst),
        place::RUNNING
    );
}

#[test]
fn every_ipi_event_reaches_the_other_vcpu() {
    let world = World::new(2);
    let mut seat = world.running();
    let other = world.running_vcpu(1);
    let port = bind_ipi(&mut seat, 1);
    let pending = world.dom.info.shared_info_gpa + 0x800;
    let over = Arc::new(AtomicBool::new(false));
    let upcalls = std::thread::scope(|scope| {
        let done = over.clone();
        let over = Over(over);
        let thread = scope.spawn(move || guest_loop(other, &done));
        for _ in 0..200 {
            assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while world.memory.u64(pending) != 0 {
                assert!(std::time::Instant::now() < deadline, "the event was lost");
                std::thread::yield_now();
            }
        }
        drop(over);
        thread.join().unwrap()
    });
    assert_eq!(upcalls, 200);
}

#[test]
fn ports_taken_by_two_vcpus_at_once_are_different() {
    let world = World::new(2);
    let mut taken: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2u32)
            .map(|id| {
                let mut seat = world.running_vcpu(id);
                scope.spawn(move || {
                    let at = ARGS + 0x1000 * u64::from(id);
                    (0..100)
                        .map(|_| {
                            seat.put(at, &[0; 8]);
                            assert_eq!(seat.hypercall(Hypercall::EVENT_CHANNEL_OP, &[7, at]), 0);
                            seat.get_u32(at + 4)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (3..203).collect::<Vec<_>>());
}

#[test]
fn frames_ballooned_by_two_vcpus_at_once_are_given_once() {
    use noxen_pv_abi::memory::MemoryReservation64;
    let world = World::new(2);
    let given: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2u32)
            .map(|id| {
                let mut seat = world.running_vcpu(id);
                scope.spawn(move || {
                    let at = ARGS + 0x2000 * u64::from(id);
                    let list = at + 0x1000;
                    let mut given = Vec::new();
                    for pfn in 0..100u64 {
                        seat.put(list, &(1000 + pfn).to_le_bytes());
                        let asked = MemoryReservation64 {
                            extent_start: list,
                            nr_extents: 1,
                            domid: 0x7ff0,
                            ..Default::default()
                        };
                        seat.put(at, &asked.to_bytes());
                        if seat.hypercall(Hypercall::MEMORY_OP, &[6, at]) == 1 {
                            given.push(seat.get_u64(list));
                        }
                    }
                    given
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut unique = given.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(
        (given.len(), unique.len()),
        (128, 128),
        "the 128 frames of the balloon, each once"
    );
    assert_eq!(world.dom.pages.load(Ordering::SeqCst), MAX_PAGES);
}
