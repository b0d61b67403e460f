//! Making, binding and closing ports.

use super::error;
use super::events::{alloc_unbound, bind_ipi, bind_virq, on_port, op, Bits, SELF};
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::*;

fn status(seat: &mut Seat, port: u32) -> EvtchnStatus {
    let asked = EvtchnStatus {
        dom: SELF,
        port,
        ..Default::default()
    };
    assert_eq!(op(seat, EvtchnOp::STATUS, &asked.to_bytes()), 0);
    EvtchnStatus::from_bytes(&seat.get(ARGS, EvtchnStatus::SIZE).try_into().unwrap())
}

#[test]
fn virqs_are_bound_once_per_vcpu() {
    let mut seat = World::new(2).running();
    let timer = bind_virq(&mut seat, 0, 0).unwrap();
    assert_eq!(bind_virq(&mut seat, 0, 0), Err(error(Errno::EEXIST)));
    assert_ne!(bind_virq(&mut seat, 0, 1).unwrap(), timer);
    assert_eq!(bind_virq(&mut seat, 0, 2), Err(error(Errno::ENOENT)));
    assert_eq!(bind_virq(&mut seat, 24, 0), Err(error(Errno::EINVAL)));
    // CONSOLE is a global VIRQ: vCPU 0 only.
    assert_eq!(bind_virq(&mut seat, 2, 1), Err(error(Errno::EINVAL)));
    assert_eq!(on_port(&mut seat, EvtchnOp::CLOSE, timer), 0);
    assert_eq!(bind_virq(&mut seat, 0, 0), Ok(timer));
}

#[test]
fn status_tells_what_a_port_is() {
    let mut seat = World::new(2).running();
    let ipi = bind_ipi(&mut seat, 1);
    let virq = bind_virq(&mut seat, 1, 1).unwrap();
    let unbound = alloc_unbound(&mut seat, 3);
    let got = status(&mut seat, ipi);
    assert_eq!((got.status, got.vcpu), (EvtchnState::IPI.0, 1));
    let got = status(&mut seat, virq);
    assert_eq!(
        (got.status, got.vcpu, got.detail),
        (EvtchnState::VIRQ.0, 1, 1)
    );
    let got = status(&mut seat, unbound);
    assert_eq!((got.status, got.detail), (EvtchnState::UNBOUND.0, 3));
    assert_eq!(status(&mut seat, 100).status, EvtchnState::CLOSED.0);
    let got = status(&mut seat, STORE_PORT);
    assert_eq!((got.status, got.detail), (EvtchnState::INTERDOMAIN.0, 0));
    let beyond = EvtchnStatus {
        dom: SELF,
        port: 4096,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, EvtchnOp::STATUS, &beyond.to_bytes()),
        error(Errno::EINVAL)
    );
    let other = EvtchnStatus {
        dom: 3,
        port: 1,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, EvtchnOp::STATUS, &other.to_bytes()),
        error(Errno::EPERM)
    );
}

#[test]
fn interdomain_within_the_domain_connects_both_ends() {
    let world = World::new(1);
    let bits = Bits(&world);
    let mut seat = world.running();
    let remote = alloc_unbound(&mut seat, SELF);
    let asked = EvtchnBindInterdomain {
        remote_dom: SELF,
        remote_port: remote,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, EvtchnOp::BIND_INTERDOMAIN, &asked.to_bytes()),
        0
    );
    let local = seat.get_u32(ARGS + 8);
    assert!(bits.pending(local), "the binder looks once");
    assert_eq!(on_port(&mut seat, EvtchnOp::SEND, local), 0);
    assert!(bits.pending(remote));
    // Taken ports cannot be bound again; other domains' ports not at all.
    assert_eq!(
        op(&mut seat, EvtchnOp::BIND_INTERDOMAIN, &asked.to_bytes()),
        error(Errno::EINVAL)
    );
    let other = EvtchnBindInterdomain {
        remote_dom: 3,
        remote_port: 1,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, EvtchnOp::BIND_INTERDOMAIN, &other.to_bytes()),
        error(Errno::ESRCH)
    );
    // Closing one end leaves the other unbound.
    assert_eq!(on_port(&mut seat, EvtchnOp::CLOSE, local), 0);
    assert_eq!(status(&mut seat, remote).status, EvtchnState::UNBOUND.0);
    assert!(!bits.pending(local));
}

#[test]
fn bind_vcpu_moves_what_may_move() {
    let world = World::new(2);
    let bits = Bits(&world);
    let mut seat = world.running();
    let port = alloc_unbound(&mut seat, 0);
    let ipi = bind_ipi(&mut seat, 0);
    let timer = bind_virq(&mut seat, 0, 0).unwrap();
    let console = bind_virq(&mut seat, 2, 0).unwrap();
    let bind = |port, vcpu| EvtchnBindVcpu { port, vcpu }.to_bytes();
    assert_eq!(op(&mut seat, EvtchnOp::BIND_VCPU, &bind(port, 1)), 0);
    assert_eq!(op(&mut seat, EvtchnOp::BIND_VCPU, &bind(console, 1)), 0);
    assert_eq!(
        op(&mut seat, EvtchnOp::BIND_VCPU, &bind(port, 2)),
        error(Errno::ENOENT)
    );
    for fixed in [ipi, timer, 100] {
        assert_eq!(
            op(&mut seat, EvtchnOp::BIND_VCPU, &bind(fixed, 1)),
            error(Errno::EINVAL),
            "{fixed}"
        );
    }
    seat.cpu().raise(port);
    assert_eq!((bits.selector(0), bits.selector(1)), (0, 1));
}

#[test]
fn reset_closes_everything() {
    let mut seat = World::new(1).running();
    let ipi = bind_ipi(&mut seat, 0);
    let virq = bind_virq(&mut seat, 0, 0).unwrap();
    assert_eq!(
        op(
            &mut seat,
            EvtchnOp::RESET,
            &EvtchnReset { dom: 3 }.to_bytes()
        ),
        error(Errno::EPERM)
    );
    assert_eq!(
        op(
            &mut seat,
            EvtchnOp::RESET,
            &EvtchnReset { dom: SELF }.to_bytes()
        ),
        0
    );
    for port in [ipi, virq] {
        assert_eq!(status(&mut seat, port).status, EvtchnState::CLOSED.0);
    }
    assert!(bind_virq(&mut seat, 0, 0).is_ok());
}

#[test]
fn table_of_ports_ends() {
    let mut seat = World::new(1).running();
    for _ in 3..4096 {
        bind_ipi(&mut seat, 0);
    }
    let answer = op(
        &mut seat,
        EvtchnOp::BIND_IPI,
        &EvtchnBindIpi { vcpu: 0, port: 0 }.to_bytes(),
    );
    assert_eq!(answer, error(Errno::ENOSPC));
}

#[test]
fn close_of_a_closed_port_and_unknown_operations_are_refused() {
    let mut seat = World::new(1).running();
    assert_eq!(
        on_port(&mut seat, EvtchnOp::CLOSE, 77),
        error(Errno::EINVAL)
    );
    assert_eq!(on_port(&mut seat, EvtchnOp::CLOSE, 0), error(Errno::EINVAL));
    assert_eq!(
        on_port(&mut seat, EvtchnOp::BIND_PIRQ, 0),
        error(Errno::EPERM)
    );
    assert_eq!(on_port(&mut seat, EvtchnOp(99), 0), error(Errno::ENOSYS));
    let unbound = EvtchnAllocUnbound {
        dom: 3,
        remote_dom: 0,
        port: 0,
    };
    assert_eq!(
        op(&mut seat, EvtchnOp::ALLOC_UNBOUND, &unbound.to_bytes()),
        error(Errno::EPERM)
    );
    let answer = op(
        &mut seat,
        EvtchnOp::BIND_IPI,
        &EvtchnBindIpi { vcpu: 1, port: 0 }.to_bytes(),
    );
    assert_eq!(answer, error(Errno::ENOENT));
}

#[test]
fn ports_are_handed_out_lowest_first() {
    let mut seat = World::new(1).running();
    // 1 and 2 are the store and the console.
    assert_eq!(
        [
            bind_ipi(&mut seat, 0),
            bind_ipi(&mut seat, 0),
            bind_ipi(&mut seat, 0)
        ],
        [3, 4, 5]
    );
    assert_eq!(on_port(&mut seat, EvtchnOp::CLOSE, 4), 0);
    assert_eq!(
        [alloc_unbound(&mut seat, 0), alloc_unbound(&mut seat, 0)],
        [4, 6]
    );
}
