//! Frames and their virtio-net header (virtio 1.2, 5.1.6.1, legacy layout without num_buffers).
//!
//! ```text
//!   0 flags  1 gso_type  2 hdr_len  4 gso_size  6 csum_start  8 csum_offset  10 the frame
//! ```
//! netif says only *that* a checksum is blank; virtio-net wants to know where it is. So headers of guests
//! are parsed here, from a copy that is also what is sent on.

/// Bytes of the header.
pub const VNET_HEADER: usize = 10;
/// Bytes of a frame that are copied and looked at: Ethernet, two VLAN tags, IP with options, TCP with options fit.
pub const HEAD: usize = 256;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// Set along with a type where the segments carry ECN's mark; netif has no word for it.
const GSO_ECN: u8 = 0x80;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Segmentation of a TCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Over IPv6.
    pub v6: bool,
    /// Bytes of data per segment, not 0.
    pub size: u16,
}

/// What is known about a frame's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is there and may be wrong.
    Unknown,
    /// It was checked, or never left a memory.
    Valid,
    /// It holds the pseudo header's sum; the rest is missing.
    Blank {
        /// First byte to sum, in the frame.
        start: u16,
        /// The field, from there.
        offset: u16,
    },
}

/// The header's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vnet {
    /// Checksum.
    pub checksum: Checksum,
    /// Segmentation; only with a blank checksum.
    pub gso: Option<Gso>,
    /// Bytes of all headers (with segmentation).
    pub header_len: u16,
}

impl Vnet {
    /// A frame about which there is nothing to say.
    pub const PLAIN: Vnet = Vnet {
        checksum: Checksum::Unknown,
        gso: None,
        header_len: 0,
    };

    /// As bytes.
    pub fn encode(&self) -> [u8; VNET_HEADER] {
        let mut bytes = [0; VNET_HEADER];
        match self.checksum {
            Checksum::Unknown => {}
            Checksum::Valid => bytes[0] = DATA_VALID,
            Checksum::Blank { start, offset } => {
                bytes[0] = NEEDS_CSUM;
                bytes[6..8].copy_from_slice(&start.to_le_bytes());
                bytes[8..10].copy_from_slice(&offset.to_le_bytes());
            }
        }
        if let Some(gso) = self.gso {
            bytes[1] = if gso.v6 { GSO_TCPV6 } else { GSO_TCPV4 };
            bytes[2..4].copy_from_slice(&self.header_len.to_le_bytes());
            bytes[4..6].copy_from_slice(&gso.size.to_le_bytes());
        }
        bytes
    }

    /// From the host's bytes; `None`: segmentation that was never asked for.
    pub fn decode(bytes: &[u8; VNET_HEADER]) -> Option<Vnet> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let checksum = if bytes[0] & NEEDS_CSUM != 0 {
            Checksum::Blank {
                start: half(6),
                offset: half(8),
            }
        } else if bytes[0] & DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unknown
        };
        let size = half(4);
        let gso = match bytes[1] & !GSO_ECN {
            GSO_NONE => None,
            kind @ (GSO_TCPV4 | GSO_TCPV6) if size > 0 => Some(Gso {
                v6: kind == GSO_TCPV6,
                size,
            }),
            _ => return None,
        };
        Some(Vnet {
            checksum,
            gso,
            header_len: half(2),
        })
    }
}

/// Where the headers of an IP packet with TCP or UDP are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layers {
    v6: bool,
    ip: usize,
    transport: usize,
    protocol: u8,
}

fn layers(head: &[u8]) -> Option<Layers> {
    let half = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let mut at = 12;
    let mut kind = half(at)?;
    for _ in 0..2 {
        if matches!(kind, 0x8100 | 0x88a8) {
            at += 4;
            kind = half(at)?;
        }
    }
    let ip = at + 2;
    let first = *head.get(ip)?;
    match kind {
        0x0800 if first >> 4 == 4 && first & 15 >= 5 => {
            // A fragment has no checksum of its own.
            if half(ip + 6)? & 0x3fff != 0 {
                return None;
            }
            Some(Layers {
                v6: false,
                ip,
                transport: ip + usize::from(first & 15) * 4,
                protocol: *head.get(ip + 9)?,
            })
        }
        0x86dd if first >> 4 == 6 => {
            let mut protocol = *head.get(ip + 6)?;
            let mut transport = ip + 40;
            // Hop-by-hop options, routing, destination options; each names the next and its own length.
            while matches!(protocol, 0 | 43 | 60) {
                protocol = *head.get(transport)?;
                transport += (usize::from(*head.get(transport + 1)?) + 1) * 8;
            }
            Some(Layers {
                v6: true,
                ip,
                transport,
                protocol,
            })
        }
        _ => None,
    }
}

/// Says about a frame of `total` bytes that begins with `head` what a guest said of it; `None`: it cannot be
/// so. A segmented packet whose checksum the guest did not call blank gets a blank one.
pub fn describe(head: &mut [u8], total: usize, blank: bool, gso: Option<Gso>) -> Option<Vnet> {
    if !blank && gso.is_none() {
        return Some(Vnet::PLAIN);
    }
    let layers = layers(head)?;
    let offset = match layers.protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let field = layers.transport + offset;
    if field + 2 > head.len() {
        return None;
    }
    let mut header_len = 0;
    if let Some(gso) = gso {
        let words = usize::from(*head.get(layers.transport + 12)? >> 4);
        header_len = layers.transport + words * 4;
        let fits = words >= 5 && header_len <= head.len() && header_len < total;
        if layers.protocol != TCP || gso.v6 != layers.v6 || !fits {
            return None;
        }
        if !blank {
            let sum = pseudo_header(head, layers, total - layers.transport)?;
            head[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
    Some(Vnet {
        checksum: Checksum::Blank {
            start: u16::try_from(layers.transport).ok()?,
            offset: offset as u16,
        },
        gso,
        header_len: u16::try_from(header_len).ok()?,
    })
}

fn pseudo_header(head: &[u8], layers: Layers, length: usize) -> Option<u16> {
    let addresses = match layers.v6 {
        false => head.get(layers.ip + 12..layers.ip + 20)?,
        true => head.get(layers.ip + 8..layers.ip + 40)?,
    };
    Some(fold(
        sum(addresses) + u64::from(layers.protocol) + length as u64,
    ))
}

/// Fills in a blank checksum; false: it lies outside of the frame.
pub fn finish_checksum(frame: &mut [u8], start: u16, offset: u16) -> bool {
    let start = usize::from(start);
    let field = start + usize::from(offset);
    if field + 2 > frame.len() {
        return false;
    }
    let value = match !fold(sum(&frame[start..])) {
        // UDP's word for "none"; the other zero means the same sum.
        0 => 0xffff,
        value => value,
    };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    true
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let whole: u64 = pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)))
        .sum();
    whole + last.first().map_or(0, |byte| u64::from(*byte) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
