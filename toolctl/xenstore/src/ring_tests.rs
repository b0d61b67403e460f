use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A page of ordinary memory; the test plays the guest.
#[derive(Clone)]
struct Page([u8; 4096]);

impl RingMemory for Page {
    fn load(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
    }

    fn store(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        self.0[offset..offset + from.len()].copy_from_slice(from);
    }
}

impl Page {
    fn starting_at(index: u32) -> Page {
        let mut page = Page([0; 4096]);
        for field in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            page.store(field, index);
        }
        page
    }

    /// The guest sends what fits.
    fn guest_sends(&mut self, bytes: &[u8]) -> usize {
        let (prod, cons) = (self.load(REQ_PROD), self.load(REQ_CONS));
        let n = bytes
            .len()
            .min((RING_SIZE - prod.wrapping_sub(cons)) as usize);
        for (i, b) in bytes[..n].iter().enumerate() {
            self.0[REQ + (prod.wrapping_add(i as u32) % RING_SIZE) as usize] = *b;
        }
        self.store(REQ_PROD, prod.wrapping_add(n as u32));
        n
    }

    /// The guest reads up to `max` bytes.
    fn guest_receives(&mut self, max: usize) -> Vec<u8> {
        let (prod, cons) = (self.load(RSP_PROD), self.load(RSP_CONS));
        let n = max.min(prod.wrapping_sub(cons) as usize);
        let at = |i: usize| self.0[RSP + (cons.wrapping_add(i as u32) % RING_SIZE) as usize];
        let got = (0..n).map(at).collect();
        self.store(RSP_CONS, cons.wrapping_add(n as u32));
        got
    }
}

#[test]
fn layout_is_that_of_the_public_header() {
    assert_eq!(
        (
            REQ,
            RSP,
            REQ_CONS,
            REQ_PROD,
            RSP_CONS,
            RSP_PROD,
            SERVER_FEATURES,
            CONNECTION,
            ERROR
        ),
        (0, 1024, 2048, 2052, 2056, 2060, 2064, 2068, 2072)
    );
}

#[test]
fn empty_ring_moves_nothing_and_stays_quiet() {
    let mut page = Page::starting_at(77);
    let before = page.0;
    assert_eq!(take_requests(&mut page, &mut [0; 64]), Ok(Moved::default()));
    assert_eq!(put_responses(&mut page, b""), Ok(Moved::default()));
    assert_eq!(page.0, before);
}

#[test]
fn full_response_ring_takes_no_more_and_does_not_notify() {
    let mut page = Page::starting_at(u32::MAX - 5);
    assert_eq!(
        put_responses(&mut page, &[1; 2000]),
        Ok(Moved {
            bytes: 1024,
            notify: true
        })
    );
    assert_eq!(put_responses(&mut page, &[1; 10]), Ok(Moved::default()));
    assert_eq!(page.guest_receives(3).len(), 3);
    assert_eq!(
        put_responses(&mut page, &[1; 10]),
        Ok(Moved {
            bytes: 3,
            notify: true
        })
    );
}

#[test]
fn impossible_indices_are_reported_in_the_page_and_move_nothing() {
    let mut page = Page::starting_at(0);
    page.store(REQ_PROD, 1025);
    let want = RingCorrupt {
        producer: 1025,
        consumer: 0,
    };
    assert_eq!(take_requests(&mut page, &mut [0; 8]), Err(want));
    assert_eq!((page.load(ERROR), page.load(REQ_CONS)), (ERROR_RINGIDX, 0));

    let mut page = Page::starting_at(10);
    page.store(RSP_CONS, 11);
    assert_eq!(
        put_responses(&mut page, b"x"),
        Err(RingCorrupt {
            producer: 10,
            consumer: 11
        })
    );
    assert_eq!((page.load(ERROR), page.load(RSP_PROD)), (ERROR_RINGIDX, 10));
}

proptest! {
    #[test]
    fn bytes_arrive_whole_and_in_order_whatever_the_pace(
        start in prop_oneof![Just(0u32), Just(u32::MAX - 700), any::<u32>()],
        sent in prop::collection::vec(any::<u8>(), 0..6000),
        paces in prop::collection::vec((1usize..1500, 1usize..1500), 1..20),
    ) {
        // Everything the guest sends is echoed back to it.
        let mut page = Page::starting_at(start);
        let (mut at, mut between, mut got) = (0, VecDeque::new(), Vec::new());
        for turn in 0.. {
            if got.len() == sent.len() {
                break;
            }
            prop_assert!(turn < 100_000, "stuck after {} of {} bytes", got.len(), sent.len());
            let (a, b) = paces[turn % paces.len()];
            at += page.guest_sends(&sent[at..sent.len().min(at + a)]);
            let mut buffer = vec![0; b];
            let moved = take_requests(&mut page, &mut buffer).unwrap();
            prop_assert_eq!(moved.notify, moved.bytes > 0);
            between.extend(&buffer[..moved.bytes]);
            let moved = put_responses(&mut page, between.make_contiguous()).unwrap();
            between.drain(..moved.bytes);
            got.extend(page.guest_receives(a));
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn hostile_page_never_panics_nor_moves_beyond_the_ring(
        bytes in prop::collection::vec(any::<u8>(), 28),
        small in prop::bool::ANY,
        len in 0usize..3000,
    ) {
        let mut page = Page([0xa5; 4096]);
        page.0[REQ_CONS..REQ_CONS + 28].copy_from_slice(&bytes);
        if small {
            // Near one another, so that the good paths are met as well.
            for (field, byte) in [(REQ_PROD, bytes[0]), (RSP_PROD, bytes[1])] {
                let base = page.load(field - 4);
                let near = if field == REQ_PROD { base.wrapping_add(u32::from(byte) * 5) } else { base.wrapping_sub(u32::from(byte)) };
                page.store(field, near);
            }
        }
        let before = page.clone();
        let mut out = vec![0; len];
        for moved in [take_requests(&mut page, &mut out), put_responses(&mut page, &out)] {
            match moved {
                Ok(m) => prop_assert!(m.bytes <= 1024 && m.bytes <= len),
                Err(_) => prop_assert_eq!(page.load(ERROR), ERROR_RINGIDX),
            }
        }
        // What belongs to the guest stays as it was, and so does the rest of the page.
        prop_assert_eq!(&page.0[..1024], &before.0[..1024]);
        prop_assert_eq!(page.load(REQ_PROD), before.load(REQ_PROD));
        prop_assert_eq!(page.load(RSP_CONS), before.load(RSP_CONS));
        prop_assert_eq!(&page.0[2076..], &before.0[2076..]);
    }
}
