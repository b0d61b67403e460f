use super::*;
use proptest::prelude::*;

#[test]
fn header_encodes_as_four_little_endian_words() {
    let h = Header {
        kind: 2,
        req_id: 0x0102_0304,
        tx_id: 7,
        len: 3,
    };
    assert_eq!(h.encode(), [2, 0, 0, 0, 4, 3, 2, 1, 7, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(Header::decode(&h.encode()), h);
}

#[test]
fn op_numbers_are_those_of_the_public_header() {
    assert_eq!(Op::from_raw(0), Some(Op::Control));
    assert_eq!(Op::from_raw(15), Some(Op::WatchEvent));
    assert_eq!(Op::from_raw(20), None, "XS_RESTRICT was removed");
    assert_eq!(Op::from_raw(22), Some(Op::DirectoryPart));
    assert_eq!(Op::from_raw(0xffff), None);
}

#[test]
fn decoder_too_long_payload_stays_in_error() {
    let mut d = Decoder::new();
    d.feed(
        &Header {
            kind: 11,
            req_id: 0,
            tx_id: 0,
            len: 4097,
        }
        .encode(),
    );
    assert!(d.ready());
    for _ in 0..2 {
        assert_eq!(
            d.next_message(),
            Err(WireError::TooLong {
                kind: 11,
                len: 4097
            })
        );
    }
}

#[test]
fn decoder_drained_memory_stays_small() {
    let mut d = Decoder::new();
    let mut m = Vec::new();
    append_message(&mut m, 11, 1, 0, &[&[7; PAYLOAD_MAX]]);
    for _ in 0..1000 {
        d.feed(&m);
        assert!(d.next_message().unwrap().is_some());
    }
    assert!(d.buffer.len() <= 2 * m.len());
}

#[test]
fn strings_needs_the_last_terminator() {
    let got = |p: &'static [u8]| strings(p).map(|s| s.collect::<Vec<_>>());
    assert_eq!(got(b""), Some(vec![]));
    assert_eq!(got(b"\0"), Some(vec![&b""[..]]));
    assert_eq!(got(b"a\0bc\0"), Some(vec![&b"a"[..], b"bc"]));
    assert_eq!(got(b"a\0\0"), Some(vec![&b"a"[..], b""]));
    assert_eq!(got(b"a\0b"), None);
}

proptest! {
    #[test]
    fn decoder_any_split_finds_the_same_messages(
        messages in prop::collection::vec((any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
        cuts in prop::collection::vec(1usize..64, 1..50),
    ) {
        let mut stream = Vec::new();
        for (kind, id, payload) in &messages {
            append_message(&mut stream, *kind, *id, 9, &[payload]);
        }
        let (mut d, mut got, mut at, mut turn) = (Decoder::new(), Vec::new(), 0, 0);
        while at < stream.len() {
            let n = cuts[turn % cuts.len()].min(stream.len() - at);
            d.feed(&stream[at..at + n]);
            at += n;
            turn += 1;
            while let Some((h, p)) = d.next_message().unwrap() {
                prop_assert_eq!(h.tx_id, 9);
                got.push((h.kind, h.req_id, p.to_vec()));
            }
        }
        prop_assert_eq!(got, messages);
        prop_assert_eq!(d.pending(), 0);
    }

    #[test]
    fn decoder_arbitrary_bytes_never_panics_nor_hoards(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        let mut d = Decoder::new();
        for piece in bytes.chunks(333) {
            d.feed(piece);
            while let Ok(Some(_)) = d.next_message() {}
            prop_assert!(d.pending() <= bytes.len());
        }
    }
}
