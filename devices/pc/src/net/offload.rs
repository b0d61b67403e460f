//! What a card does to a frame before it leaves: checksums (RFC 791, 793, 768, 2460) and cutting a large TCP segment into
//! frames.

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// TCP flags that only the last (FIN, PSH) or the first (CWR) piece keeps.
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;
/// No network has a smaller segment (RFC 879 has 536, IPv4 itself 68 bytes for a packet).
const MIN_SEGMENT: usize = 28;

/// Where the layers of an IP packet in a frame begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layers {
    ip: usize,
    v6: bool,
    transport: usize,
    protocol: u8,
    /// Behind the packet; a frame may be padded.
    end: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Ones' complement sum, not folded.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(0, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u64::from(u16::from_be_bytes([pair[0], low]))
    })
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Layers {
    /// Those of `frame`; none if it is no IP packet or not all there.
    pub(super) fn of(frame: &[u8]) -> Option<Layers> {
        let mut ip = ETHERNET;
        let mut kind = word(frame, 12)?;
        if kind == 0x8100 {
            kind = word(frame, 16)?;
            ip += 4;
        }
        match kind {
            0x0800 => {
                let header = usize::from(frame.get(ip)? & 0x0f) * 4;
                let end = ip + usize::from(word(frame, ip + 2)?);
                // Of a large segment the length may not be set yet.
                let end = if end <= ip { frame.len() } else { end };
                (header >= 20 && ip + header <= frame.len()).then_some(Layers {
                    ip,
                    v6: false,
                    transport: ip + header,
                    protocol: *frame.get(ip + 9)?,
                    end: end.min(frame.len()),
                })
            }
            // Extension headers are not walked: drivers ask only for plain TCP and UDP.
            0x86dd => {
                let end = ip + 40 + usize::from(word(frame, ip + 4)?);
                let end = if end <= ip + 40 { frame.len() } else { end };
                (ip + 40 <= frame.len()).then_some(Layers {
                    ip,
                    v6: true,
                    transport: ip + 40,
                    protocol: *frame.get(ip + 6)?,
                    end: end.min(frame.len()),
                })
            }
            _ => None,
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == UDP
    }

    /// Sets the IPv4 header's checksum.
    pub(super) fn fill_ip(&self, frame: &mut [u8]) {
        if !self.v6 {
            put(frame, self.ip + 10, 0);
            let value = fold(sum(&frame[self.ip..self.transport]));
            put(frame, self.ip + 10, value);
        }
    }

    /// The sum of the pseudo header for `length` bytes of transport.
    fn pseudo(&self, frame: &[u8], length: usize) -> u64 {
        let addresses = match self.v6 {
            false => &frame[self.ip + 12..self.ip + 20],
            true => &frame[self.ip + 8..self.ip + 40],
        };
        sum(addresses) + u64::from(self.protocol) + length as u64
    }

    /// Sets the checksum of TCP or UDP.
    pub(super) fn fill_transport(&self, frame: &mut [u8]) {
        let place = match self.protocol {
            TCP => self.transport + 16,
            UDP => self.transport + 6,
            _ => return,
        };
        if place + 2 > self.end || self.transport > self.end {
            return;
        }
        put(frame, place, 0);
        let length = self.end - self.transport;
        let value = fold(self.pseudo(frame, length) + sum(&frame[self.transport..self.end]));
        // A UDP checksum of 0 would mean none (RFC 768).
        let value = if value == 0 && self.protocol == UDP {
            0xffff
        } else {
            value
        };
        put(frame, place, value);
    }

    /// Cuts a TCP segment into pieces of `size` bytes of data, each with headers and checksums of its own.
    pub(super) fn cut(&self, frame: &[u8], size: usize) -> Vec<Vec<u8>> {
        let header = match frame.get(self.transport + 12) {
            Some(offset) if self.protocol == TCP && offset >> 4 >= 5 => {
                usize::from(offset >> 4) * 4
            }
            _ => return Vec::new(),
        };
        let start = self.transport + header;
        if start > frame.len() || size < MIN_SEGMENT {
            return Vec::new();
        }
        let headers = &frame[..start];
        // What the headers say of the length may be anything: all of the frame is data.
        let data = &frame[start..];
        let Some(sequence) = headers.get(self.transport + 4..self.transport + 8) else {
            return Vec::new();
        };
        let sequence = sequence
            .iter()
            .fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        let identification = word(headers, self.ip + 4).unwrap_or(0);
        let pieces = data.len().div_ceil(size).max(1);
        (0..pieces)
            .map(|index| {
                let part = &data[index * size..((index + 1) * size).min(data.len())];
                let mut piece = [headers, part].concat();
                let length = piece.len() - self.ip;
                if self.v6 {
                    put(&mut piece, self.ip + 4, (length - 40) as u16);
                } else {
                    put(&mut piece, self.ip + 2, length as u16);
                    put(
                        &mut piece,
                        self.ip + 4,
                        identification.wrapping_add(index as u16),
                    );
                }
                let at = sequence.wrapping_add((index * size) as u32).to_be_bytes();
                piece[self.transport + 4..self.transport + 8].copy_from_slice(&at);
                let flags = &mut piece[self.transport + 13];
                if index + 1 < pieces {
                    *flags &= !LAST_ONLY;
                }
                if index > 0 {
                    *flags &= !FIRST_ONLY;
                }
                let layers = Layers {
                    end: piece.len(),
                    ..*self
                };
                layers.fill_ip(&mut piece);
                layers.fill_transport(&mut piece);
                piece
            })
            .collect()
    }
}

/// Sets the ones' complement sum of `frame[from..=to]` (all behind `from` if `to` is 0) at `place`, as cards do that are told
/// where (82540EM).
pub(super) fn insert(frame: &mut [u8], from: usize, to: usize, place: usize) {
    let end = if to == 0 {
        frame.len()
    } else {
        (to + 1).min(frame.len())
    };
    if from < end && place + 2 <= frame.len() {
        let value = fold(sum(&frame[from..end]));
        put(frame, place, value);
    }
}

/// The sum that a pseudo header adds to what stands in a checksum field, for cards that want it there.
#[cfg(test)]
pub(super) fn is_right(frame: &[u8]) -> bool {
    let Some(layers) = Layers::of(frame) else {
        return false;
    };
    let length = layers.end - layers.transport;
    let transport = fold(layers.pseudo(frame, length) + sum(&frame[layers.transport..layers.end]));
    let header = layers.v6 || fold(sum(&frame[layers.ip..layers.transport])) == 0;
    header && transport == 0
}

/// A TCP segment of `data` bytes over IPv4, without checksums.
#[cfg(any(test, feature = "conformance"))]
pub(super) fn tcp(data: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let length = (40 + data).min(0xffff) as u16;
    frame.extend([
        0x45,
        0,
        (length >> 8) as u8,
        length as u8,
        0x12,
        0x34,
        0x40,
        0,
        64,
        6,
        0,
        0,
    ]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([
        0x10, 0x00, 0x20, 0x00, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 0x99, 0x10, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..data).map(|at| at as u8));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_set_and_right() {
        for data in [0, 1, 7, 100] {
            let mut frame = tcp(data);
            let layers = Layers::of(&frame).unwrap();
            assert!(layers.is_tcp() && !layers.is_udp());
            layers.fill_ip(&mut frame);
            layers.fill_transport(&mut frame);
            // What pads the frame is not counted.
            frame.extend([0; 9]);
            assert!(is_right(&frame), "{data} bytes");
            frame[40] ^= 1;
            assert!(!is_right(&frame));
        }
    }

    #[test]
    fn large_segment_is_cut_in_order_and_only_the_last_piece_pushes() {
        let frame = tcp(2500);
        let pieces = Layers::of(&frame).unwrap().cut(&frame, 1000);
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len() - 54).collect();
        assert_eq!(lengths, [1000, 1000, 500]);
        for (index, piece) in pieces.iter().enumerate() {
            assert!(is_right(piece));
            assert_eq!(piece[41], 100u8.wrapping_add((index * 1000) as u8));
            assert_eq!(word(piece, 18), Some(0x1234 + index as u16));
            assert_eq!(piece[47], [0x90, 0x10, 0x19][index]);
            assert_eq!(piece[54..], frame[54 + index * 1000..][..piece.len() - 54]);
        }
    }

    #[test]
    fn nonsense_is_left_alone() {
        assert_eq!(Layers::of(&[0; 13]), None);
        assert_eq!(Layers::of(&[8; 60]), None);
        let mut frame = tcp(10);
        frame[14] = 0x4f;
        assert!(Layers::of(&frame[..60]).is_none());
        frame[14] = 0x45;
        let layers = Layers::of(&frame).unwrap();
        assert!(layers.cut(&frame, 0).is_empty());
        frame[46] = 0xf0;
        assert!(
            layers.cut(&frame, 100).is_empty(),
            "its header is longer than it"
        );
        insert(&mut frame, 14, 0, 4000);
        insert(&mut frame, 4000, 0, 4);
    }
}
