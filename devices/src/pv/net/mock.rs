//! The driver's side, and a host that remembers: for the tests.

use super::front::Features;
use super::rate::Credit;
use super::receive::Receive;
use super::transmit::Transmit;
use super::{Effect, Host, Memory, NetError, Shared};
use crate::pv::grant::GrantTable;
use noxen_pv_abi::codec::AbiValue;
use noxen_pv_abi::grant_table::{GTF_READONLY, GTF_SUB_PAGE};
use noxen_pv_abi::netif::{NetifRxRequest, NetifTxRequest, NetifTxResponse};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

const TABLE: u64 = 0;
pub const TX: u64 = 0x1000;
pub const RX: u64 = 0x2000;
/// First page that is granted: reference 8 + n is page n from here.
const BUFFERS: u64 = 0x4000;
const PAGES: u64 = 256;
const FIRST_GREF: u32 = 8;
pub const PERMIT: u16 = 1;

/// A host that takes frames and hands out prepared ones.
#[derive(Debug, Default)]
pub struct FakeHost {
    pub sent: Vec<Vec<u8>>,
    pub incoming: VecDeque<Vec<u8>>,
    pub refuses: bool,
}

impl Host for FakeHost {
    fn send(&mut self, head: &[u8], rest: &[VolatileSlice<'_>]) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut frame = head.to_vec();
        for part in rest {
            let start = frame.len();
            frame.resize(start + part.len(), 0);
            part.copy_to(&mut frame[start..]);
        }
        self.sent.push(frame);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(self.incoming.pop_front().map(|frame| {
            buffer[..frame.len()].copy_from_slice(&frame);
            frame.len()
        }))
    }
}

/// A guest with one queue of a device.
pub struct Guest {
    pub memory: Memory,
    pub host: FakeHost,
    pub shared: Shared,
    pub transmit: Transmit,
    pub receive: Receive,
    tx_prod: u32,
    rx_prod: u32,
}

pub const ALL: Features = Features {
    sg: true,
    gso_v4: true,
    gso_v6: true,
    csum_v4: true,
    csum_v6: true,
    multicast: false,
};

impl Guest {
    pub fn new() -> Guest {
        Guest::with(ALL, None)
    }

    pub fn with(features: Features, credit: Option<Credit>) -> Guest {
        let end = BUFFERS + PAGES * 0x1000;
        let memory = Memory::from_ranges(&[(GuestAddress(0), end as usize)]).unwrap();
        for (ring, event) in [(TX, 1u32), (RX, 1)] {
            memory.write_obj(event, GuestAddress(ring + 4)).unwrap();
            memory.write_obj(event, GuestAddress(ring + 12)).unwrap();
        }
        let shared = Shared::new(
            GrantTable::new(GuestAddress(TABLE), 1, end >> 12),
            features,
            credit,
        );
        let guest = Guest {
            transmit: Transmit::new(&memory, GuestAddress(TX)).unwrap(),
            receive: Receive::new(&memory, GuestAddress(RX)).unwrap(),
            memory,
            host: FakeHost::default(),
            shared,
            tx_prod: 0,
            rx_prod: 0,
        };
        for page in 0..PAGES as u32 {
            guest.grant(page, PERMIT | if page < 128 { GTF_READONLY } else { 0 });
        }
        guest
    }

    /// Writes the entry of a page's grant.
    pub fn grant(&self, page: u32, flags: u16) {
        let at = TABLE + u64::from(FIRST_GREF + page) * 8;
        let word = u32::from(flags & !GTF_SUB_PAGE);
        self.memory.write_obj(word, GuestAddress(at)).unwrap();
        let frame = (BUFFERS >> 12) as u32 + page;
        self.memory.write_obj(frame, GuestAddress(at + 4)).unwrap();
    }

    /// No grant is marked as in use.
    pub fn grants_are_free(&self) -> bool {
        (0..PAGES).all(|page| {
            let at = TABLE + (u64::from(FIRST_GREF) + page) * 8;
            let word: u32 = self.memory.read_obj(GuestAddress(at)).unwrap();
            word & 0x18 == 0
        })
    }

    pub fn fill(&self, page: u32, offset: u64, bytes: &[u8]) {
        let at = BUFFERS + u64::from(page) * 0x1000 + offset;
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub fn page(&self, page: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let at = BUFFERS + u64::from(page) * 0x1000;
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    /// A slot on `page` (its id, too).
    pub fn slot(page: u32, offset: u16, size: usize, flags: u16) -> NetifTxRequest {
        NetifTxRequest {
            gref: FIRST_GREF + page,
            offset,
            flags,
            id: page as u16,
            size: size as u16,
        }
    }

    /// Puts entries on the transmit ring.
    pub fn push_tx<T: AbiValue>(&mut self, entry: &T) {
        let mut bytes = [0; 12];
        entry.encode(&mut bytes);
        let at = TX + 64 + u64::from(self.tx_prod & 255) * 12;
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
        self.tx_prod = self.tx_prod.wrapping_add(1);
        self.memory
            .write_obj(self.tx_prod, GuestAddress(TX))
            .unwrap();
    }

    /// Offers pages 128.. to receive into.
    pub fn offer(&mut self, count: u32) {
        for _ in 0..count {
            let page = 128 + self.rx_prod % 128;
            let request = NetifRxRequest {
                id: self.rx_prod as u16 & 255,
                pad: 0,
                gref: FIRST_GREF + page,
            };
            let at = RX + 64 + u64::from(self.rx_prod & 255) * 8;
            self.memory
                .write_slice(&request.to_bytes(), GuestAddress(at))
                .unwrap();
            self.rx_prod = self.rx_prod.wrapping_add(1);
        }
        self.memory
            .write_obj(self.rx_prod, GuestAddress(RX))
            .unwrap();
    }

    pub fn memory_write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub fn word(&self, at: u64) -> u32 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// Entry `index` of a ring, as it is now.
    pub fn entry<T: AbiValue>(&self, ring: u64, index: u32, size: u64) -> T {
        let mut bytes = [0; 12];
        let at = ring + 64 + u64::from(index & 255) * size;
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        T::decode(&bytes)
    }

    /// Answers on the transmit ring from `first` on.
    pub fn tx_answers(&self, first: u32) -> Vec<NetifTxResponse> {
        (first..self.word(TX + 8))
            .map(|index| self.entry(TX, index, 12))
            .collect()
    }

    pub fn send(&mut self) -> Result<Effect, NetError> {
        self.send_at(Duration::ZERO)
    }

    pub fn send_at(&mut self, now: Duration) -> Result<Effect, NetError> {
        self.transmit
            .service(&self.memory, &self.shared, &mut self.host, now)
    }

    pub fn deliver(&mut self) -> Result<Effect, NetError> {
        self.receive
            .service(&self.memory, &self.shared, &mut self.host)
    }
}
