//! The FIFO event-channel ABI, with the guest's side of the queue as Linux does it.

use super::error;
use super::events::{bind_ipi, on_port, op};
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::*;

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const LINK: u32 = (1 << 17) - 1;

/// Frames of the control blocks (vCPU n: +n) and of the first event-array page.
const CONTROL: u64 = 200;
const ARRAY: u64 = 210;

struct Queue<'a> {
    world: &'a World,
    heads: [u32; 16],
}

impl<'a> Queue<'a> {
    fn new(world: &'a World) -> Queue<'a> {
        Queue {
            world,
            heads: [0; 16],
        }
    }

    fn u32(&self, maddr: u64) -> u32 {
        u32::from_le_bytes(self.world.memory.get(maddr, 4).try_into().unwrap())
    }

    fn set(&self, maddr: u64, value: u32) {
        self.world.memory.put(maddr, &value.to_le_bytes());
    }

    fn at(port: u32) -> u64 {
        ((ARRAY + u64::from(port / 1024)) << 12) + u64::from(port % 1024) * 4
    }

    fn word(&self, port: u32) -> u32 {
        self.u32(Queue::at(port))
    }

    fn set_word(&self, port: u32, value: u32) {
        self.set(Queue::at(port), value);
    }

    fn ready(&self, vcpu: u64) -> u32 {
        self.u32((CONTROL + vcpu) << 12)
    }

    /// Takes one port off queue `q` of a vCPU, as the guest does; `None` when the queue is empty.
    fn take(&mut self, vcpu: u64, q: u32) -> Option<u32> {
        let control = (CONTROL + vcpu) << 12;
        let mut head = self.heads[q as usize];
        if head == 0 {
            self.set(control, self.ready(vcpu) & !(1 << q));
            head = self.u32(control + 8 + u64::from(q) * 4);
        }
        if head == 0 || self.word(head) & LINKED == 0 {
            return None;
        }
        let word = self.word(head);
        self.heads[q as usize] = word & LINK;
        self.set_word(head, word & !(LINKED | LINK | PENDING));
        Some(head)
    }

    fn drain(&mut self, vcpu: u64, q: u32) -> Vec<u32> {
        std::iter::from_fn(|| self.take(vcpu, q)).collect()
    }
}

fn init(seat: &mut Seat, vcpu: u32, frame: u64, offset: u32) -> i64 {
    let asked = EvtchnInitControl {
        control_gfn: frame,
        offset,
        vcpu,
        ..Default::default()
    };
    op(seat, EvtchnOp::INIT_CONTROL, &asked.to_bytes())
}

fn expand(seat: &mut Seat, frame: u64) -> i64 {
    op(seat, EvtchnOp::EXPAND_ARRAY, &frame.to_le_bytes())
}

fn priority(seat: &mut Seat, port: u32, priority: u32) -> i64 {
    op(
        seat,
        EvtchnOp::SET_PRIORITY,
        &EvtchnSetPriority { port, priority }.to_bytes(),
    )
}

/// FIFO in force for two vCPUs, `ports` IPIs of vCPU 0.
fn setup(world: &World, ports: usize) -> (Seat, Vec<u32>) {
    let mut seat = world.running();
    assert_eq!(init(&mut seat, 0, CONTROL, 0), 0);
    assert_eq!(seat.get(ARGS + 16, 1), [17], "link bits");
    assert_eq!(init(&mut seat, 1, CONTROL + 1, 0), 0);
    assert_eq!(expand(&mut seat, ARRAY), 0);
    let ports = (0..ports).map(|_| bind_ipi(&mut seat, 0)).collect();
    (seat, ports)
}

/// As many ports as noxen-vmm gives (`region::EVTCHN_PORTS`), which are as many as the ABI has.
#[test]
fn last_of_131072_ports_is_bound_and_raised() {
    const PORTS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;
    assert_eq!(PORTS, 131_072);
    let world = World::with(2, |info| {
        info.evtchn_gpa = info.region_gpa + info.region_size;
        info.nr_evtchns = PORTS;
        info.region_size += u64::from(PORTS) * 32;
    });
    let (mut seat, _) = setup(&world, 0);
    for page in 1..PORTS / EVTCHN_FIFO_EVENTS_PER_PAGE {
        assert_eq!(expand(&mut seat, ARRAY + u64::from(page)), 0, "page {page}");
    }
    assert_eq!(expand(&mut seat, ARRAY), error(Errno::ENOSPC), "page 128");
    // All others are taken: binding them one by one would look at each 131072 times.
    let first = bind_ipi(&mut seat, 0);
    let taken = seat.cpu().port(first);
    for port in first + 1..PORTS - 1 {
        seat.cpu().set_port(port, taken);
    }
    let last = bind_ipi(&mut seat, 1);
    assert_eq!(last, PORTS - 1);
    let another = EvtchnBindIpi { vcpu: 0, port: 0 };
    assert_eq!(
        op(&mut seat, EvtchnOp::BIND_IPI, &another.to_bytes()),
        error(Errno::ENOSPC)
    );
    let mut queue = Queue::new(&world);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, last), 0);
    assert_eq!(queue.drain(1, 7), [last]);
    assert_eq!(
        on_port(&mut seat, EvtchnOp::SEND, PORTS),
        error(Errno::EINVAL)
    );
}

#[test]
fn ports_come_in_the_order_they_were_raised() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 4);
    let mut queue = Queue::new(&world);
    for port in [ports[2], ports[0], ports[3]] {
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    }
    assert_eq!(queue.ready(0), 1 << 7);
    assert_eq!(world.info_byte(0, 0), 1);
    assert_eq!(queue.word(ports[2]), PENDING | LINKED | ports[0]);
    assert_eq!(queue.drain(0, 7), [ports[2], ports[0], ports[3]]);
    // Again, after the queue ran empty: its old tail is nobody's predecessor.
    for port in [ports[1], ports[3]] {
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    }
    assert_eq!(queue.ready(0), 1 << 7);
    assert_eq!(queue.drain(0, 7), [ports[1], ports[3]]);
}

#[test]
fn raising_twice_queues_once() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 1);
    let mut queue = Queue::new(&world);
    for _ in 0..3 {
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    }
    assert_eq!(queue.drain(0, 7), [ports[0]]);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(
        queue.drain(0, 7),
        [ports[0]],
        "the tail itself, raised again, is a new head"
    );
}

#[test]
fn raise_while_the_guest_drains_joins_the_queue() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 3);
    let mut queue = Queue::new(&world);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[1]), 0);
    assert_eq!(queue.take(0, 7), Some(ports[0]));
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[2]), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(queue.drain(0, 7), [ports[1], ports[2], ports[0]]);
}

#[test]
fn priorities_have_queues_of_their_own() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 3);
    let mut queue = Queue::new(&world);
    assert_eq!(priority(&mut seat, ports[0], 0), 0);
    assert_eq!(priority(&mut seat, ports[2], 15), 0);
    for port in &ports {
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, *port), 0);
    }
    assert_eq!(queue.ready(0), 1 | 1 << 7 | 1 << 15);
    assert_eq!(
        [queue.drain(0, 0), queue.drain(0, 7), queue.drain(0, 15)],
        [[ports[0]], [ports[1]], [ports[2]]]
    );
    assert_eq!(priority(&mut seat, ports[0], 16), error(Errno::EINVAL));
    assert_eq!(priority(&mut seat, 999, 1), error(Errno::EINVAL));
}

#[test]
fn masked_port_waits_for_unmask() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 1);
    let mut queue = Queue::new(&world);
    queue.set_word(ports[0], MASKED);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(queue.word(ports[0]), PENDING | MASKED);
    assert_eq!((queue.ready(0), world.info_byte(0, 0)), (0, 0));
    assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, ports[0]), 0);
    assert_eq!(queue.word(ports[0]), PENDING | LINKED);
    assert_eq!(queue.drain(0, 7), [ports[0]]);
}

#[test]
fn unmask_of_an_idle_port_queues_nothing() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 1);
    let queue = Queue::new(&world);
    queue.set_word(ports[0], MASKED);
    assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, ports[0]), 0);
    assert_eq!(queue.word(ports[0]), 0);
}

#[test]
fn port_still_linked_is_not_queued_twice() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 2);
    let mut queue = Queue::new(&world);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[1]), 0);
    // The guest handled the event by polling, without taking it off its queue.
    queue.set_word(ports[0], queue.word(ports[0]) & !PENDING);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(queue.drain(0, 7), ports);
}

#[test]
fn moved_port_leaves_its_old_queue_first() {
    let world = World::new(2);
    let (mut seat, _) = setup(&world, 0);
    let asked = EvtchnAllocUnbound {
        dom: 0x7ff0,
        remote_dom: 0,
        port: 0,
    };
    let mut ports = [0; 2];
    for port in &mut ports {
        assert_eq!(op(&mut seat, EvtchnOp::ALLOC_UNBOUND, &asked.to_bytes()), 0);
        *port = seat.get_u32(ARGS + 4);
    }
    let mut queue = Queue::new(&world);
    let mut queue1 = Queue::new(&world);
    seat.cpu().raise(ports[0]);
    assert_eq!(
        op(
            &mut seat,
            EvtchnOp::BIND_VCPU,
            &EvtchnBindVcpu {
                port: ports[0],
                vcpu: 1
            }
            .to_bytes()
        ),
        0
    );
    // Still linked on vCPU 0: that is where it is found.
    seat.cpu().raise(ports[0]);
    assert_eq!(queue1.drain(1, 7), []);
    assert_eq!(queue.drain(0, 7), [ports[0]]);
    // From now on it comes to vCPU 1, and vCPU 0's queue does not hang on it as its tail.
    seat.cpu().raise(ports[0]);
    seat.cpu().raise(ports[1]);
    assert_eq!(queue1.drain(1, 7), [ports[0]]);
    assert_eq!(queue.drain(0, 7), [ports[1]]);
}

#[test]
fn changed_priority_takes_effect_with_the_next_event() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 2);
    let mut queue = Queue::new(&world);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(priority(&mut seat, ports[0], 3), 0);
    assert_eq!(queue.drain(0, 7), [ports[0]]);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[1]), 0);
    assert_eq!(
        (queue.drain(0, 3), queue.drain(0, 7)),
        (vec![ports[0]], vec![ports[1]])
    );
}

#[test]
fn events_pending_at_the_switch_are_carried_over() {
    let world = World::new(1);
    let mut seat = world.running();
    let port = bind_ipi(&mut seat, 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    assert_eq!(init(&mut seat, 0, CONTROL, 0), 0);
    let mut queue = Queue::new(&world);
    assert_eq!(queue.ready(0), 0);
    assert_eq!(expand(&mut seat, ARRAY), 0);
    assert_eq!(queue.drain(0, 7), [port]);
}

#[test]
fn event_before_its_page_exists_comes_with_the_page() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(init(&mut seat, 0, CONTROL, 0), 0);
    let port = bind_ipi(&mut seat, 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
    // Linux masks all events of a new page before it gives it.
    let mut queue = Queue::new(&world);
    queue.set_word(port, MASKED);
    assert_eq!(expand(&mut seat, ARRAY), 0);
    assert_eq!(queue.drain(0, 7), []);
    assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, port), 0);
    assert_eq!(queue.drain(0, 7), [port]);
}

#[test]
fn ports_of_the_second_page_work() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 1100);
    assert_eq!(expand(&mut seat, ARRAY + 1), 0);
    let mut queue = Queue::new(&world);
    let last = *ports.last().unwrap();
    assert!(last > 1024);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, last), 0);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(queue.drain(0, 7), [last, ports[0]]);
}

#[test]
fn control_block_and_array_must_be_guest_memory() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(
        expand(&mut seat, ARRAY),
        error(Errno::EOPNOTSUPP),
        "2-level is in force"
    );
    for (frame, offset) in [
        (CONTROL, 4),
        (CONTROL, 4096 - 64),
        (MAX_PAGES, 0),
        (REGION >> 12, 0),
    ] {
        assert_eq!(
            init(&mut seat, 0, frame, offset),
            error(Errno::EINVAL),
            "{frame:#x} {offset}"
        );
    }
    assert_eq!(init(&mut seat, 1, CONTROL, 0), error(Errno::ENOENT));
    assert_eq!(priority(&mut seat, 1, 1), error(Errno::ENOSYS));
    assert_eq!(init(&mut seat, 0, CONTROL, 4096 - 72), 0);
    for frame in [MAX_PAGES, REGION >> 12, !0] {
        assert_eq!(expand(&mut seat, frame), error(Errno::EINVAL));
    }
}

#[test]
fn reset_goes_back_to_two_levels() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 1);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, ports[0]), 0);
    assert_eq!(
        op(
            &mut seat,
            EvtchnOp::RESET,
            &EvtchnReset { dom: 0x7ff0 }.to_bytes()
        ),
        0
    );
    assert_eq!(bind_ipi(&mut seat, 0), 1, "all ports are free");
    world.memory.put(ARRAY << 12, &[0; 4096]);
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, 1), 0);
    assert_eq!(world.memory.u64(world.dom.info.shared_info_gpa + 0x800), 2);
    assert_eq!(world.memory.get(ARRAY << 12, 64), [0; 64]);
}

#[test]
fn hostile_event_words_do_not_hold_the_monitor() {
    let world = World::new(2);
    let (mut seat, ports) = setup(&world, 3);
    // Queues that point anywhere, link to themselves, have every bit set.
    for junk in [
        !0,
        LINKED | 5,
        PENDING | LINK,
        MASKED | LINKED | PENDING | 3,
    ] {
        world.memory.put(CONTROL << 12, &[0xff; 72]);
        for port in 0..1024 {
            Queue::new(&world).set_word(port, junk);
        }
        for port in &ports {
            assert_eq!(on_port(&mut seat, EvtchnOp::SEND, *port), 0);
            assert_eq!(on_port(&mut seat, EvtchnOp::UNMASK, *port), 0);
            Queue::new(&world).set_word(*port, 0);
            assert_eq!(on_port(&mut seat, EvtchnOp::SEND, *port), 0);
        }
    }
}

#[test]
fn masked_port_wakes_a_vcpu_that_may_be_polling_it() {
    use crate::domain::place;
    use core::sync::atomic::Ordering;
    let world = World::new(2);
    let (mut seat, _) = setup(&world, 0);
    let port = bind_ipi(&mut seat, 1);
    for (place, told) in [(place::HALTED, true), (place::RUNNING, false)] {
        world.dom.vcpus[1].place.store(place, Ordering::SeqCst);
        Queue::new(&world).set_word(port, MASKED);
        seat.m.take_effects();
        assert_eq!(on_port(&mut seat, EvtchnOp::SEND, port), 0);
        assert_eq!(seat.m.take_effects().contains(&Effect::Ipi(1)), told);
    }
}
