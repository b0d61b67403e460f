//! Ring entries to requests, in the layout of the front end's word size; responses back.

use noxen_pv_abi::blkif::{
    BlkifOp, BlkifRequest32, BlkifRequest64, BlkifRequestDiscard32, BlkifRequestDiscard64,
    BlkifRequestIndirect32, BlkifRequestIndirect64, BlkifResponse32, BlkifResponse64, BlkifSegment,
    BlkifStatus, DISCARD_SECURE, MAX_SEGMENTS_PER_REQUEST, PROTOCOL_32, PROTOCOL_64,
    RING_ENTRY_SIZE_32, RING_ENTRY_SIZE_64,
};

/// Longest entry of any protocol, bytes.
pub const MAX_ENTRY: usize = RING_ENTRY_SIZE_64;

/// Layout of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `x86_64-abi`, and the native one: front ends that name none.
    Bits64,
    /// `x86_32-abi`.
    Bits32,
}

/// One request, its numbers as the guest wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read, write, barrier or flush with its segments in the entry.
    Direct {
        /// Echoed.
        id: u64,
        /// Operation.
        op: BlkifOp,
        /// First sector.
        sector: u64,
        /// Parts of pages, at most 11.
        segments: Vec<BlkifSegment>,
    },
    /// The same with its segments in pages of their own.
    Indirect {
        /// Echoed.
        id: u64,
        /// Operation.
        op: BlkifOp,
        /// First sector.
        sector: u64,
        /// Segments in the pages.
        count: u16,
        /// Grants of the pages.
        pages: [u32; 8],
    },
    /// Forget sectors.
    Discard {
        /// Echoed.
        id: u64,
        /// First sector.
        sector: u64,
        /// Sectors.
        count: u64,
        /// Beyond recovery.
        secure: bool,
    },
    /// An entry that cannot be a request; answered with `status`.
    Invalid {
        /// Echoed.
        id: u64,
        /// Echoed.
        op: BlkifOp,
        /// Answer.
        status: BlkifStatus,
    },
}

impl Protocol {
    /// The protocol that a front end's node `protocol` names; absent: the native one.
    pub fn from_node(text: Option<&str>) -> Option<Protocol> {
        match text {
            None => Some(Protocol::Bits64),
            Some(text) if text.as_bytes() == PROTOCOL_64 => Some(Protocol::Bits64),
            Some(text) if text.as_bytes() == PROTOCOL_32 => Some(Protocol::Bits32),
            Some(_) => None,
        }
    }

    /// Bytes of a ring entry.
    pub fn entry_size(self) -> usize {
        match self {
            Protocol::Bits64 => RING_ENTRY_SIZE_64,
            Protocol::Bits32 => RING_ENTRY_SIZE_32,
        }
    }

    /// Reads an entry.
    pub fn parse(self, entry: &[u8; MAX_ENTRY]) -> Request {
        match BlkifOp(entry[0]) {
            BlkifOp::INDIRECT => self.parse_indirect(entry),
            BlkifOp::DISCARD => self.parse_discard(entry),
            op => self.parse_direct(op, entry),
        }
    }

    fn parse_direct(self, op: BlkifOp, entry: &[u8; MAX_ENTRY]) -> Request {
        let (id, sector, count, all) = match self {
            Protocol::Bits64 => {
                let r = BlkifRequest64::from_bytes(entry);
                (r.id, r.sector_number, r.nr_segments, r.seg)
            }
            Protocol::Bits32 => {
                let r = BlkifRequest32::from_bytes(&head(entry));
                (r.id, r.sector_number, r.nr_segments, r.seg)
            }
        };
        let served = [
            BlkifOp::READ,
            BlkifOp::WRITE,
            BlkifOp::WRITE_BARRIER,
            BlkifOp::FLUSH_DISKCACHE,
        ];
        let count = usize::from(count);
        let status = if !served.contains(&op) {
            BlkifStatus::EOPNOTSUPP
        } else if count > MAX_SEGMENTS_PER_REQUEST {
            BlkifStatus::ERROR
        } else {
            let segments = all[..count].to_vec();
            return Request::Direct {
                id,
                op,
                sector,
                segments,
            };
        };
        Request::Invalid { id, op, status }
    }

    fn parse_indirect(self, entry: &[u8; MAX_ENTRY]) -> Request {
        let (id, op, sector, count, pages) = match self {
            Protocol::Bits64 => {
                let r = BlkifRequestIndirect64::from_bytes(&head(entry));
                (
                    r.id,
                    r.indirect_op,
                    r.sector_number,
                    r.nr_segments,
                    r.indirect_grefs,
                )
            }
            Protocol::Bits32 => {
                let r = BlkifRequestIndirect32::from_bytes(&head(entry));
                (
                    r.id,
                    r.indirect_op,
                    r.sector_number,
                    r.nr_segments,
                    r.indirect_grefs,
                )
            }
        };
        let op = BlkifOp(op);
        if op != BlkifOp::READ && op != BlkifOp::WRITE {
            let status = BlkifStatus::EOPNOTSUPP;
            return Request::Invalid { id, op, status };
        }
        Request::Indirect {
            id,
            op,
            sector,
            count,
            pages,
        }
    }

    fn parse_discard(self, entry: &[u8; MAX_ENTRY]) -> Request {
        let (id, sector, count, flag) = match self {
            Protocol::Bits64 => {
                let r = BlkifRequestDiscard64::from_bytes(&head(entry));
                (r.id, r.sector_number, r.nr_sectors, r.flag)
            }
            Protocol::Bits32 => {
                let r = BlkifRequestDiscard32::from_bytes(&head(entry));
                (r.id, r.sector_number, r.nr_sectors, r.flag)
            }
        };
        Request::Discard {
            id,
            sector,
            count,
            secure: flag & DISCARD_SECURE != 0,
        }
    }

    /// Bytes of a response.
    pub fn response(self, id: u64, op: BlkifOp, status: BlkifStatus) -> Vec<u8> {
        let (operation, status) = (op.0, status.0);
        match self {
            Protocol::Bits64 => BlkifResponse64 {
                id,
                operation,
                status,
                ..Default::default()
            }
            .to_bytes()
            .to_vec(),
            Protocol::Bits32 => BlkifResponse32 {
                id,
                operation,
                status,
                ..Default::default()
            }
            .to_bytes()
            .to_vec(),
        }
    }
}

/// The first `N` bytes of an entry.
fn head<const N: usize>(entry: &[u8; MAX_ENTRY]) -> [u8; N] {
    std::array::from_fn(|index| entry.get(index).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: &[(usize, &[u8])]) -> [u8; MAX_ENTRY] {
        let mut entry = [0; MAX_ENTRY];
        for (at, part) in bytes {
            entry[*at..at + part.len()].copy_from_slice(part);
        }
        entry
    }

    #[test]
    fn direct_request_is_read_in_both_layouts() {
        let segment = [5, 0, 0, 0, 1, 3, 0, 0];
        let wide = entry(&[(0, &[1, 1]), (8, &[9]), (16, &[0x40]), (24, &segment)]);
        let narrow = entry(&[(0, &[1, 1]), (4, &[9]), (12, &[0x40]), (20, &segment)]);
        let expected = Request::Direct {
            id: 9,
            op: BlkifOp::WRITE,
            sector: 0x40,
            segments: vec![BlkifSegment {
                gref: 5,
                first_sect: 1,
                last_sect: 3,
                ..Default::default()
            }],
        };
        assert_eq!(Protocol::Bits64.parse(&wide), expected);
        assert_eq!(Protocol::Bits32.parse(&narrow), expected);
    }

    #[test]
    fn indirect_and_discard_are_read_in_both_layouts() {
        let wide = entry(&[(0, &[6, 1, 12]), (8, &[9]), (16, &[0x40]), (28, &[7])]);
        let narrow = entry(&[(0, &[6, 1, 12]), (4, &[9]), (12, &[0x40]), (24, &[7])]);
        let expected = Request::Indirect {
            id: 9,
            op: BlkifOp::WRITE,
            sector: 0x40,
            count: 12,
            pages: [7, 0, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(Protocol::Bits64.parse(&wide), expected);
        assert_eq!(Protocol::Bits32.parse(&narrow), expected);
        let wide = entry(&[(0, &[5, 1]), (8, &[9]), (16, &[0x40]), (24, &[8])]);
        let narrow = entry(&[(0, &[5, 1]), (4, &[9]), (12, &[0x40]), (20, &[8])]);
        let expected = Request::Discard {
            id: 9,
            sector: 0x40,
            count: 8,
            secure: true,
        };
        assert_eq!(Protocol::Bits64.parse(&wide), expected);
        assert_eq!(Protocol::Bits32.parse(&narrow), expected);
    }

    #[test]
    fn unknown_operation_is_answered_as_unsupported_and_too_many_segments_as_error() {
        let unknown = Protocol::Bits64.parse(&entry(&[(0, &[77])]));
        let many = Protocol::Bits64.parse(&entry(&[(0, &[0, 12])]));
        let nested = Protocol::Bits64.parse(&entry(&[(0, &[6, 6])]));
        let status = |request| match request {
            Request::Invalid { status, .. } => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(unknown), BlkifStatus::EOPNOTSUPP);
        assert_eq!(status(many), BlkifStatus::ERROR);
        assert_eq!(status(nested), BlkifStatus::EOPNOTSUPP);
    }

    #[test]
    fn protocol_is_named_or_native() {
        assert_eq!(Protocol::from_node(None), Some(Protocol::Bits64));
        let narrow = Protocol::from_node(Some("x86_32-abi"));
        assert_eq!(narrow, Some(Protocol::Bits32));
        assert_eq!(Protocol::from_node(Some("arm-abi")), None);
    }
}
