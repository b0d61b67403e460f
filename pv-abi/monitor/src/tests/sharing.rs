//! vCPUs of a domain that share one host processor, and those that do not.

use crate::cpu::PATIENCE;
use crate::domain::{attention, place};
use crate::mock::*;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_monitor_abi::pages::{DomainPublic, DOMAIN_PUBLIC};
use noxen_pv_abi::sched::SchedOp;
use noxen_pv_abi::Hypercall;

/// A world of two vCPUs whose threads noxen-vmm has counted so many processors for.
pub(super) fn on_processors(count: u64) -> World {
    let world = World::new(2);
    let at =
        world.dom.info.public_gpa + DOMAIN_PUBLIC + offset_of!(DomainPublic, processors) as u64;
    world.memory.set_u64(at, count);
    world
}

#[test]
fn single_vcpu_shares_with_nobody() {
    let world = World::new(1);
    let at =
        world.dom.info.public_gpa + DOMAIN_PUBLIC + offset_of!(DomainPublic, processors) as u64;
    world.memory.set_u64(at, 1);
    let mut seat = world.running();
    assert!(!seat.cpu().shares_processor());
    assert_eq!(seat.cpu().patience(), PATIENCE);
}

#[test]
fn who_waits_gives_way_at_once_to_a_vcpu_that_cannot_run_beside_it() {
    for (count, patience, given) in [
        (1, 1, vec![Effect::Yield(1)]),
        (2, PATIENCE, Vec::new()),
        (0, PATIENCE, Vec::new()),
    ] {
        let world = on_processors(count);
        let mut seat = world.running();
        // Not marked by the host: it lost its processor in the middle of an exit.
        world.dom.vcpus[1]
            .place
            .store(place::RUNNING, Ordering::SeqCst);
        seat.m.take_effects();
        seat.cpu().give_way(1);
        assert_eq!(seat.cpu().patience(), patience);
        assert_eq!(seat.m.take_effects(), given, "{count}");
    }
}

#[test]
fn nobody_polls_for_a_vcpu_that_cannot_run_meanwhile() {
    for (count, polls) in [(1, 0), (2, 1)] {
        let world = on_processors(count);
        let mut seat = world.running();
        seat.v.polling.halted(1);
        // It was woken, and the host has not marked it: it looks as if it were at work.
        let other = &world.dom.vcpus[1];
        other.place.store(place::HALTED, Ordering::SeqCst);
        other.attention.store(attention::EVENT, Ordering::SeqCst);
        let (dom, memory) = (world.dom.clone(), world.memory.clone());
        world.while_halted(move |_| {
            assert_eq!(dom.vcpus[0].place.load(Ordering::SeqCst), place::HALTED);
            memory.put(dom.info.shared_info_gpa, &[1]);
            let attention = &dom.vcpus[0].attention;
            attention.fetch_or(attention::EVENT, Ordering::SeqCst);
        });
        assert_eq!(
            seat.hypercall(Hypercall::SCHED_OP, &[u64::from(SchedOp::BLOCK.0), 0]),
            0
        );
        assert_eq!(world.counter(0, OTHER + other::POLL), polls, "{count}");
        assert_eq!(world.counter(0, OTHER + other::HALT), 1, "{count}");
    }
}
