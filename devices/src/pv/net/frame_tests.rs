use super::*;
use proptest::prelude::*;

/// Ethernet with `tags` VLAN tags, IPv6 with a hop-by-hop header if asked, TCP.
fn v6(tags: usize, hop_by_hop: bool) -> Vec<u8> {
    let mut frame = vec![0; 12];
    for _ in 0..tags {
        frame.extend([0x81, 0, 0, 1]);
    }
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0]);
    frame.extend([if hop_by_hop { 0 } else { 6 }, 64]);
    frame.extend([1; 32]);
    if hop_by_hop {
        frame.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    }
    frame.extend([0; 12]);
    frame.extend([0x50, 0, 0, 0, 0, 0, 0, 0]);
    frame
}

#[test]
fn transport_header_is_found_behind_tags_and_extension_headers() {
    for (tags, hop_by_hop, start) in [(0, false, 54), (2, false, 62), (1, true, 66)] {
        let mut frame = v6(tags, hop_by_hop);
        let total = frame.len() + 5000;
        let gso = Some(Gso {
            v6: true,
            size: 1428,
        });
        let vnet = describe(&mut frame, total, true, gso).unwrap();
        assert_eq!(vnet.checksum, Checksum::Blank { start, offset: 16 });
        assert_eq!(vnet.header_len, start + 20);
        assert_eq!(Vnet::decode(&vnet.encode()), Some(vnet));
    }
}

#[test]
fn fragment_has_no_checksum_to_fill_in() {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x20, 0, 64, 17]);
    frame.extend([0; 40]);
    let total = frame.len();
    assert_eq!(describe(&mut frame, total, true, None), None);
    frame[20] = 0x40;
    assert!(describe(&mut frame, total, true, None).is_some());
}

proptest! {
    #[test]
    fn any_header_is_described_within_its_bytes_or_not_at_all(
        mut head in prop::collection::vec(any::<u8>(), 0..256),
        kind in 0usize..4, blank: bool, v6: bool, size in 1u16.., more in 0usize..65_000,
    ) {
        if head.len() > 14 {
            let types = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6]];
            head[12..14].copy_from_slice(&types[kind]);
            head[14] = [0x45, 0x60, 0, 0x4f][kind];
        }
        let (length, total) = (head.len(), head.len() + more);
        let gso = Some(Gso { v6, size }).filter(|_| size % 2 == 0);
        if let Some(vnet) = describe(&mut head, total, blank, gso) {
            if let Checksum::Blank { start, offset } = vnet.checksum {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= length);
            }
            prop_assert!(usize::from(vnet.header_len) <= length);
            prop_assert_eq!(Vnet::decode(&vnet.encode()), Some(vnet));
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes: [u8; 10], mut frame in prop::collection::vec(any::<u8>(), 0..99), start: u16, offset: u16) {
        let _ = Vnet::decode(&bytes);
        let _ = finish_checksum(&mut frame, start, offset);
    }
}
