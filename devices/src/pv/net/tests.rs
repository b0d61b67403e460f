use super::front::Features;
use super::mock::{Guest, ALL, PERMIT, RX, TX};
use super::rate::Credit;
use super::NetError;
use noxen_pv_abi::netif::{
    NetifExtraGso, NetifExtraInfo, NetifExtraMcast, NetifRxResponse, NetifTxRequest,
    RXF_CSUM_BLANK, RXF_DATA_VALIDATED, RXF_EXTRA_INFO, RXF_MORE_DATA, TXF_CSUM_BLANK,
    TXF_EXTRA_INFO, TXF_MORE_DATA,
};
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Ethernet, IPv4, TCP with `data` bytes; the checksum field holds `check`.
fn tcp_frame(data: usize, check: u16) -> Vec<u8> {
    let mut frame = vec![0u8; 14 + 20 + 20 + data];
    frame[..6].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[14 + 9] = 6;
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34 + 12] = 0x50;
    frame[34 + 16..34 + 18].copy_from_slice(&check.to_be_bytes());
    for (i, byte) in frame[54..].iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    frame
}

/// Puts `frame` on the transmit ring in parts of at most a page, with an extra if given.
fn push(guest: &mut Guest, frame: &[u8], flags: u16, extra: Option<NetifExtraGso>) {
    let parts: Vec<&[u8]> = frame.chunks(4096).collect();
    for (i, part) in parts.iter().enumerate() {
        guest.fill(i as u32, 0, part);
        let more = if i + 1 < parts.len() {
            TXF_MORE_DATA
        } else {
            0
        };
        if i == 0 {
            let extra_flag = if extra.is_some() { TXF_EXTRA_INFO } else { 0 };
            guest.push_tx(&Guest::slot(0, 0, frame.len(), flags | more | extra_flag));
            if let Some(extra) = extra {
                guest.push_tx(&extra);
            }
        } else {
            guest.push_tx(&Guest::slot(i as u32, 0, part.len(), more));
        }
    }
}

fn gso(kind: u8, size: u16) -> NetifExtraGso {
    NetifExtraGso {
        kind: 1,
        flags: 0,
        size,
        gso_type: kind,
        pad: 0,
        features: 0,
    }
}

#[test]
fn plain_frame_is_sent_as_it_is_and_answered() {
    let mut guest = Guest::new();
    let frame = tcp_frame(10, 0x1234);
    push(&mut guest, &frame, 0, None);
    let effect = guest.send().unwrap();
    assert!(effect.notify && !effect.again);
    assert_eq!(guest.host.sent[0][..10], [0; 10]);
    assert_eq!(guest.host.sent[0][10..], frame);
    let answers = guest.tx_answers(0);
    assert_eq!((answers[0].id, answers[0].status), (0, 0));
    // The next request is asked for.
    assert_eq!(guest.word(TX + 4), 2);
    assert!(guest.grants_are_free());
    assert!(!guest.send().unwrap().notify);
}

#[test]
fn segmented_packet_of_64_kib_goes_out_whole_with_its_header() {
    let mut guest = Guest::new();
    let frame = tcp_frame(65_535 - 54, 0x1234);
    push(&mut guest, &frame, TXF_CSUM_BLANK, Some(gso(1, 1448)));
    guest.send().unwrap();
    let sent = &guest.host.sent[0];
    // NEEDS_CSUM, TCPV4, 54 bytes of headers, 1448 per segment, sum from 34 on into 34 + 16.
    assert_eq!(sent[..10], [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0]);
    assert_eq!(sent[10..], frame);
    let answers = guest.tx_answers(0);
    assert_eq!(answers.len(), 17);
    assert_eq!((answers[0].status, answers[1].status), (0, 1));
    assert_eq!((answers[2].id, answers[2].status), (1, 0));
    assert_eq!(
        guest.shared.counters.tx_bytes.load(Ordering::Relaxed),
        65_535
    );
    assert!(guest.grants_are_free());
}

#[test]
fn segmented_packet_with_a_full_checksum_gets_a_blank_one() {
    let mut guest = Guest::new();
    push(&mut guest, &tcp_frame(3000, 0x1234), 0, Some(gso(1, 1000)));
    guest.send().unwrap();
    // 10.0.0.1 + 10.0.0.2 + protocol 6 + 3020 bytes of TCP.
    let expected: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 3020;
    assert_eq!(guest.host.sent[0][10 + 50..10 + 52], expected.to_be_bytes());
}

#[test]
fn packet_that_is_not_what_its_flags_say_is_dropped_and_answered() {
    let mut guest = Guest::new();
    let mut arp = tcp_frame(10, 0);
    arp[12..14].copy_from_slice(&[8, 6]);
    push(&mut guest, &arp, TXF_CSUM_BLANK, None);
    guest.send().unwrap();
    push(&mut guest, &[0; 13], 0, None);
    guest.send().unwrap();
    // TCPv6 over IPv4.
    push(
        &mut guest,
        &tcp_frame(3000, 0),
        TXF_CSUM_BLANK,
        Some(gso(2, 1000)),
    );
    // Parts larger than the whole.
    guest.push_tx(&Guest::slot(0, 0, 100, TXF_MORE_DATA));
    guest.push_tx(&Guest::slot(1, 0, 200, 0));
    guest.send().unwrap();
    assert!(guest.host.sent.is_empty());
    let statuses: Vec<i16> = guest.tx_answers(0).iter().map(|a| a.status).collect();
    assert_eq!(statuses, [-1, -1, -1, 1, -1, -1]);
    assert_eq!(guest.shared.counters.tx_dropped.load(Ordering::Relaxed), 4);
    assert!(guest.grants_are_free());
}

#[test]
fn host_that_takes_nothing_costs_the_packet_only() {
    let mut guest = Guest::new();
    guest.host.refuses = true;
    push(&mut guest, &tcp_frame(9000, 0), 0, None);
    guest.send().unwrap();
    assert!(guest.tx_answers(0).iter().all(|answer| answer.status == -1));
    assert!(guest.grants_are_free());
}

#[test]
fn front_end_that_breaks_the_protocol_is_told_apart() {
    type Push = fn(&mut Guest);
    let cases: [(Push, &str); 9] = [
        (|g| g.push_tx(&Guest::slot(0, 4000, 97, 0)), "crosses"),
        (
            |g| g.push_tx(&Guest::slot(0, 0, 60, TXF_MORE_DATA)),
            "ends in the middle",
        ),
        (
            |g| g.push_tx(&Guest::slot(0, 0, 60, TXF_EXTRA_INFO)),
            "ends in the middle",
        ),
        (
            |g| (0..22).for_each(|i| g.push_tx(&Guest::slot(i, 0, 60, TXF_MORE_DATA))),
            "more than 20 slots",
        ),
        (
            |g| push(g, &tcp_frame(99, 0), 0, Some(gso(7, 9))),
            "segmentation of type 7",
        ),
        (
            |g| push(g, &tcp_frame(99, 0), 0, Some(gso(1, 0))),
            "of 0 bytes",
        ),
        (
            |g| {
                g.push_tx(&Guest::slot(0, 0, 60, TXF_EXTRA_INFO));
                g.push_tx(&NetifExtraInfo {
                    kind: 9,
                    flags: 0,
                    value: [0; 3],
                });
            },
            "extra info of type 9",
        ),
        (
            |g| {
                let beyond = NetifTxRequest {
                    gref: 512,
                    ..Guest::slot(0, 0, 60, 0)
                };
                g.push_tx(&beyond);
            },
            "beyond the table",
        ),
        (
            |g| {
                g.grant(0, 0);
                g.push_tx(&Guest::slot(0, 0, 60, 0));
            },
            "does not give",
        ),
    ];
    for (make, part) in cases {
        let mut guest = Guest::new();
        make(&mut guest);
        let error = guest.send().unwrap_err().to_string();
        assert!(error.contains(part), "{error}, not {part}");
        assert!(guest.grants_are_free(), "{part}");
    }
}

#[test]
fn rate_holds_a_packet_back_until_its_time() {
    let credit = Credit::new(4000, 1000, Duration::ZERO);
    let mut guest = Guest::with(ALL, credit);
    for _ in 0..3 {
        push(&mut guest, &tcp_frame(2000, 0), 0, None);
    }
    let effect = guest.send().unwrap();
    assert_eq!((guest.host.sent.len(), effect.again), (1, false));
    let at = effect.at.unwrap();
    assert_eq!(at, Duration::from_millis(1));
    guest.send_at(at / 2).unwrap();
    assert_eq!(guest.host.sent.len(), 1);
    guest.send_at(at).unwrap();
    assert_eq!(guest.host.sent.len(), 3);
    assert_eq!(guest.tx_answers(0).len(), 3);
}

/// A frame as the host hands it out.
fn from_host(header: [u8; 10], frame: &[u8]) -> Vec<u8> {
    [&header[..], frame].concat()
}

#[test]
fn segmented_frame_is_delivered_over_pages_with_its_extra() {
    let mut guest = Guest::new();
    guest.offer(128);
    let frame = tcp_frame(65_535 - 40, 0x4321);
    guest
        .host
        .incoming
        .push_back(from_host([1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0], &frame));
    let effect = guest.deliver().unwrap();
    assert!(effect.notify && !effect.stalled && !effect.again);
    // 65549 bytes: 17 pages, one extra.
    assert_eq!(guest.word(RX + 8), 18);
    let first: NetifRxResponse = guest.entry(RX, 0, 8);
    let flags = RXF_CSUM_BLANK | RXF_DATA_VALIDATED | RXF_EXTRA_INFO | RXF_MORE_DATA;
    assert_eq!((first.id, first.flags, first.status), (0, flags, 4096));
    let extra: NetifExtraGso = guest.entry(RX, 1, 8);
    assert_eq!(
        (extra.kind, extra.flags, extra.size, extra.gso_type),
        (1, 0, 1448, 1)
    );
    let last: NetifRxResponse = guest.entry(RX, 17, 8);
    assert_eq!((last.id, last.flags, last.status), (17, 0, 13));
    let mut got = guest.page(128, 4096);
    for index in 2..18 {
        let part: NetifRxResponse = guest.entry(RX, index, 8);
        got.extend(guest.page(128 + index, part.status as usize));
    }
    assert_eq!(got, frame);
    assert!(guest.grants_are_free());
}

#[test]
fn frame_without_room_waits_and_asks_for_all_slots_that_it_needs() {
    let mut guest = Guest::new();
    guest.offer(2);
    guest
        .host
        .incoming
        .push_back(from_host([0; 10], &tcp_frame(9000, 1)));
    guest
        .host
        .incoming
        .push_back(from_host([2, 0, 0, 0, 0, 0, 0, 0, 0, 0], &tcp_frame(1, 1)));
    let effect = guest.deliver().unwrap();
    assert!(effect.stalled && !effect.notify && !effect.again);
    assert_eq!((guest.word(RX + 8), guest.word(RX + 4)), (0, 3));
    guest.offer(2);
    let effect = guest.deliver().unwrap();
    assert!(effect.notify && !effect.stalled);
    assert_eq!(guest.word(RX + 8), 4);
    let second: NetifRxResponse = guest.entry(RX, 3, 8);
    assert_eq!((second.flags, second.status), (RXF_DATA_VALIDATED, 55));
}

#[test]
fn frame_that_the_guest_cannot_take_is_dropped_or_made_fit() {
    let mut guest = Guest::with(Features::default(), None);
    guest.offer(8);
    let blank = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0];
    guest.host.incoming.push_back(from_host(
        [1, 1, 54, 0, 9, 0, 34, 0, 16, 0],
        &tcp_frame(99, 0),
    ));
    guest
        .host
        .incoming
        .push_back(from_host([0; 10], &tcp_frame(5000, 0)));
    // A kind of segmentation that was never asked for; a checksum outside.
    guest
        .host
        .incoming
        .push_back(from_host([0, 3, 0, 0, 9, 0, 0, 0, 0, 0], &tcp_frame(9, 0)));
    guest.host.incoming.push_back(from_host(
        [1, 0, 0, 0, 0, 0, 0xff, 0, 9, 0],
        &tcp_frame(9, 0),
    ));
    guest
        .host
        .incoming
        .push_back(from_host(blank, &tcp_frame(100, 0x1415)));
    guest.deliver().unwrap();
    assert_eq!(guest.word(RX + 8), 1);
    let only: NetifRxResponse = guest.entry(RX, 0, 8);
    assert_eq!((only.flags, only.status), (0, 154));
    // With the pseudo header, the sum over TCP and its field is now all ones.
    let frame = guest.page(128, 154);
    let mut sum: u32 = frame[34..]
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
        .sum();
    sum += 0x1415;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    assert_eq!(sum, 0xffff);
    assert_eq!(guest.shared.counters.rx_dropped.load(Ordering::Relaxed), 4);
}

#[test]
fn multicast_reaches_only_whom_asked_for_it() {
    let mut guest = Guest::with(
        Features {
            multicast: true,
            ..ALL
        },
        None,
    );
    guest.offer(8);
    let group = [1, 0, 0x5e, 0, 0, 5];
    let mut frame = tcp_frame(9, 0);
    frame[..6].copy_from_slice(&group);
    guest.host.incoming.push_back(from_host([0; 10], &frame));
    guest.deliver().unwrap();
    assert_eq!(guest.word(RX + 8), 0);
    for (kind, addr, status) in [(2, group, 0), (2, [2; 6], -1), (3, [1; 6], 0)] {
        let before = guest.word(TX + 8);
        guest.push_tx(&Guest::slot(0, 0, 0, TXF_EXTRA_INFO));
        guest.push_tx(&NetifExtraMcast {
            kind,
            flags: 0,
            addr,
        });
        guest.send().unwrap();
        let answers = guest.tx_answers(before);
        assert_eq!((answers[0].status, answers[1].status), (status, 1));
    }
    assert!(guest.host.sent.is_empty());
    guest.host.incoming.push_back(from_host([0; 10], &frame));
    guest.deliver().unwrap();
    assert_eq!(guest.word(RX + 8), 1);
}

#[test]
fn read_only_page_to_receive_into_breaks_the_device() {
    let mut guest = Guest::new();
    guest.grant(128, PERMIT | 4);
    guest.offer(1);
    guest
        .host
        .incoming
        .push_back(from_host([0; 10], &tcp_frame(9, 0)));
    assert!(matches!(guest.deliver(), Err(NetError::Grant(_))));
    assert!(guest.grants_are_free());
}

proptest! {
    /// Whatever stands on the rings: no panic, bounded work, no grant left marked, no frame longer than can be.
    #[test]
    fn any_rings_break_the_device_or_move_bounded_frames(
        entries in prop::collection::vec((0u32..300, any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>()), 1..64),
        tx_prod in prop_oneof![any::<u32>(), 0u32..300],
        rx in prop::collection::vec(any::<[u8; 8]>(), 1..32),
        rx_prod in prop_oneof![any::<u32>(), 0u32..300],
        header: [u8; 10],
        length in 0usize..65_000,
    ) {
        let mut guest = Guest::new();
        for (gref, offset, flags, id, size) in entries {
            // Mostly plausible, so that the checks behind the first one are reached.
            let request = NetifTxRequest { gref, offset: offset & 0xfff, flags: flags & 0xf, id, size: size & 0x1fff };
            guest.push_tx(&request);
        }
        for (i, bytes) in rx.iter().enumerate() {
            guest.memory_write(RX + 64 + 8 * i as u64, bytes);
        }
        guest.memory_write(TX, &tx_prod.to_le_bytes());
        guest.memory_write(RX, &rx_prod.to_le_bytes());
        guest.host.incoming.push_back(from_host(header, &vec![7; length]));
        for _ in 0..4 {
            let sent = guest.send().is_ok();
            let delivered = guest.deliver().is_ok();
            prop_assert!(guest.grants_are_free());
            if !sent || !delivered {
                break;
            }
        }
        prop_assert!(guest.host.sent.iter().all(|frame| frame.len() <= 10 + 0xffff));
    }

    /// The frames that a guest sends arrive byte for byte, however they are cut.
    #[test]
    fn any_cut_of_a_packet_gives_the_same_frame(cuts in prop::collection::vec((0u16..4096, 1usize..4096), 1..18), seed: u8) {
        let mut guest = Guest::new();
        let mut whole = Vec::new();
        let mut slots = Vec::new();
        for (i, (offset, size)) in cuts.iter().enumerate() {
            let size = (*size).min(4096 - usize::from(*offset));
            let part: Vec<u8> = (0..size).map(|b| (b as u8).wrapping_mul(7).wrapping_add(seed).wrapping_add(i as u8)).collect();
            guest.fill(i as u32, u64::from(*offset), &part);
            whole.extend_from_slice(&part);
            slots.push((i as u32, *offset, size));
        }
        let last = slots.len() - 1;
        for (i, (page, offset, size)) in slots.into_iter().enumerate() {
            let more = if i < last { TXF_MORE_DATA } else { 0 };
            let size = if i == 0 { whole.len() } else { size };
            guest.push_tx(&Guest::slot(page, offset, size, more));
        }
        guest.send().unwrap();
        let good = (14..=0xffff).contains(&whole.len());
        prop_assert_eq!(guest.host.sent.len(), usize::from(good));
        if good {
            prop_assert_eq!(&guest.host.sent[0][10..], &whole[..]);
        }
    }
}
