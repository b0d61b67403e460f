//! XENMEM_exchange.

use super::error;
use super::memory::{list, op, pages, released, reservation, LIST};
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::memory::*;

fn exchange(seat: &mut Seat, input: MemoryReservation64, output: MemoryReservation64) -> i64 {
    op(
        seat,
        MemoryOp::EXCHANGE,
        &MemoryExchange64 {
            input,
            output,
            nr_exchanged: 0,
        }
        .to_bytes(),
    )
}

const OUT: u64 = ARGS + 0x3000;

#[test]
fn exchange_of_a_permuted_run_keeps_its_frames() {
    let world = World::new(1);
    let mut seat = world.running();
    list(&seat, &[66, 64, 67, 65]);
    seat.put(OUT, &200u64.to_le_bytes());
    assert_eq!(
        exchange(&mut seat, reservation(LIST, 4, 0), reservation(OUT, 1, 2)),
        0
    );
    assert_eq!(seat.get_u64(OUT), 64);
    assert_eq!(
        (64..68).map(|mfn| world.m2p(mfn)).collect::<Vec<_>>(),
        [200, 201, 202, 203]
    );
    assert_eq!(seat.get_u64(ARGS + 64), 4);
    assert!(released(&seat).is_empty());
}

#[test]
fn exchange_of_scattered_frames_gives_a_free_run() {
    let world = World::new(1);
    let mut seat = world.running();
    list(&seat, &[64, 70, 80, 90]);
    seat.put(OUT, &64u64.to_le_bytes());
    assert_eq!(
        exchange(&mut seat, reservation(LIST, 4, 0), reservation(OUT, 1, 2)),
        0
    );
    let first = seat.get_u64(OUT);
    assert!(first >= BOOT_PAGES && first.is_multiple_of(4));
    assert_eq!(
        (world.m2p(first), world.m2p(first + 3), world.m2p(70)),
        (64, 67, !0)
    );
    assert_eq!(released(&seat), [64, 70, 80, 90]);
    assert_eq!(pages(&world), BOOT_PAGES);
}

#[test]
fn exchange_of_a_run_for_single_frames_numbers_them() {
    let world = World::new(1);
    let mut seat = world.running();
    list(&seat, &[64]);
    for (i, pfn) in [9u64, 8, 7, 6].into_iter().enumerate() {
        seat.put(OUT + i as u64 * 8, &pfn.to_le_bytes());
    }
    assert_eq!(
        exchange(&mut seat, reservation(LIST, 1, 2), reservation(OUT, 4, 0)),
        0
    );
    assert_eq!(seat.words(OUT, 4), [64, 65, 66, 67]);
    assert_eq!(
        (64..68).map(|mfn| world.m2p(mfn)).collect::<Vec<_>>(),
        [9, 8, 7, 6]
    );
}

#[test]
fn exchange_without_free_run_is_enomem_and_counts_what_was_done() {
    let world = World::with(1, |info| info.max_pages = BOOT_PAGES);
    let mut seat = world.running();
    list(&seat, &[64, 65, 80, 90]);
    assert_eq!(
        exchange(&mut seat, reservation(LIST, 4, 0), reservation(OUT, 2, 1)),
        error(Errno::ENOMEM)
    );
    assert_eq!(seat.get_u64(ARGS + 64), 2);
    assert_eq!(pages(&world), BOOT_PAGES);
}

#[test]
fn exchange_respects_address_bits() {
    let mut seat = World::new(1).running();
    list(&seat, &[300, 301]);
    let output = MemoryReservation64 {
        mem_flags: 20,
        ..reservation(OUT, 1, 1)
    };
    // 20 address bits: frames below 256, none of which is free.
    assert_eq!(
        exchange(&mut seat, reservation(LIST, 2, 0), output),
        error(Errno::ENOMEM)
    );
}

#[test]
fn exchange_refuses_mismatched_or_foreign_requests() {
    let mut seat = World::new(1).running();
    list(&seat, &[64, 65]);
    let one = reservation(LIST, 2, 0);
    assert_eq!(
        exchange(&mut seat, one, reservation(OUT, 1, 2)),
        error(Errno::EINVAL)
    );
    assert_eq!(
        exchange(&mut seat, reservation(LIST, !0, 1), reservation(OUT, !0, 1)),
        error(Errno::EINVAL)
    );
    assert_eq!(
        exchange(&mut seat, one, reservation(OUT, 1, 10)),
        error(Errno::EPERM)
    );
    let other = MemoryReservation64 { domid: 3, ..one };
    assert_eq!(
        exchange(
            &mut seat,
            other,
            MemoryReservation64 {
                domid: 3,
                ..reservation(OUT, 1, 1)
            }
        ),
        error(Errno::EPERM)
    );
    list(&seat, &[64, MAX_PAGES]);
    assert_eq!(
        exchange(&mut seat, one, reservation(OUT, 1, 1)),
        error(Errno::EINVAL)
    );
}
