//! SCHEDOP_yield of a guest that finds no room in its console's ring.

use crate::mock::*;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_monitor_abi::pages::Doorbell;
use noxen_pv_abi::console::{ConsoleInterface, CONSOLE_OUT_SIZE};
use noxen_pv_abi::sched::SchedOp;
use noxen_pv_abi::Hypercall;

/// Machine address of the console's page.
const PAGE: u64 = 100 << 12;

/// A vCPU of a domain whose console ring has `waiting` bytes.
fn printing(waiting: u32) -> (World, Seat) {
    let world = World::with(1, |info| info.console_gpa = PAGE);
    set_ring(&world, u32::MAX - 100, waiting);
    let seat = world.running();
    (world, seat)
}

fn set_ring(world: &World, taken: u32, waiting: u32) {
    for (field, value) in [
        (offset_of!(ConsoleInterface, out_cons), taken),
        (
            offset_of!(ConsoleInterface, out_prod),
            taken.wrapping_add(waiting),
        ),
    ] {
        world.memory.put(PAGE + field as u64, &value.to_le_bytes());
    }
}

fn give_way(seat: &mut Seat) -> Vec<Effect> {
    assert_eq!(
        seat.hypercall(Hypercall::SCHED_OP, &[u64::from(SchedOp::YIELD.0), 0]),
        0
    );
    seat.m.take_effects()
}

#[test]
fn ring_without_room_is_told_of_once_even_if_its_port_is_quiet() {
    let (world, mut seat) = printing(CONSOLE_OUT_SIZE as u32);
    let quiet = world.dom.info.doorbell_gpa + offset_of!(Doorbell, quiet) as u64;
    world.memory.set_u64(quiet, 1 << CONSOLE_PORT);
    assert_eq!(give_way(&mut seat), [Effect::Notify(CONSOLE_PORT)]);
    // Nobody has taken anything: the host is asked, after a while.
    let before = world.bus.tsc.load(Ordering::SeqCst) / 2;
    assert_eq!(give_way(&mut seat), [Effect::Yield(0)]);
    let waited = world.bus.tsc.load(Ordering::SeqCst) / 2 - before;
    assert!((20_000..30_000).contains(&waited), "{waited}");
    assert_eq!(world.counter(0, OTHER + other::CONSOLE_FULL), 1);
    // Taken, and full again.
    set_ring(&world, 1_000, CONSOLE_OUT_SIZE as u32);
    assert_eq!(give_way(&mut seat), [Effect::Notify(CONSOLE_PORT)]);
}

#[test]
fn room_that_is_made_soon_costs_no_exit() {
    let (world, mut seat) = printing(CONSOLE_OUT_SIZE as u32);
    give_way(&mut seat);
    let memory = world.memory.clone();
    world
        .bus
        .while_polling
        .lock()
        .unwrap()
        .push_back(Box::new(move |_| {
            let at = PAGE + offset_of!(ConsoleInterface, out_cons) as u64;
            memory.put(at, &0u32.to_le_bytes());
        }));
    assert_eq!(give_way(&mut seat), []);
}

#[test]
fn ring_with_room_or_with_indices_that_lie_is_left_alone() {
    for waiting in [0, 1, 2047, 2049, u32::MAX] {
        let (_world, mut seat) = printing(waiting);
        assert_eq!(give_way(&mut seat), [Effect::Yield(0)], "{waiting}");
    }
}

#[test]
fn closed_console_port_is_not_notified() {
    let (_world, mut seat) = printing(CONSOLE_OUT_SIZE as u32);
    let close = noxen_pv_abi::event_channel::EvtchnOp::CLOSE;
    assert_eq!(super::events::on_port(&mut seat, close, CONSOLE_PORT), 0);
    assert_eq!(give_way(&mut seat), [Effect::Yield(0)]);
}
