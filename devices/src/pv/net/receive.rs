//! To the guest: frames go into the pages that the receive ring offers.
//!
//! ```text
//!   frame of n bytes --> n / 4096 slots (rounded up), after the first one an extra where it is segmented:
//!   response 0  bytes, flags     response 1  GSO extra (its page goes back unused)     response 2..  bytes
//! ```
//! A frame for which there is no room yet is kept: the guest asks to be heard when it has offered more
//! (feature-rx-notify), and meanwhile frames wait in the host's queue, which drops what is too much.

use super::frame::{finish_checksum, Checksum, Gso, Vnet, VNET_HEADER};
use super::{Effect, Host, Memory, NetError, Shared, ETH_HEADER, MAX_FRAME};
use crate::pv::grant::{Access, PAGE_SIZE};
use crate::pv::sring::{BackRing, SringError};
use noxen_pv_abi::codec::AbiValue;
use noxen_pv_abi::netif::{
    NetifExtraGso, NetifExtraType, NetifGsoType, NetifRxRequest, NetifRxResponse, RXF_CSUM_BLANK,
    RXF_DATA_VALIDATED, RXF_EXTRA_INFO, RXF_MORE_DATA, RX_RING_ENTRY_SIZE,
};
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use vm_memory::{Bytes, GuestAddress};

const PAGE: usize = PAGE_SIZE as usize;
/// Frames of one call.
const BUDGET: usize = 64;

/// The receive ring of one queue.
#[derive(Debug)]
pub struct Receive {
    ring: BackRing,
    /// Header and frame.
    buffer: Vec<u8>,
    /// What the buffer holds, if anything.
    held: Option<Held>,
}

/// A frame that waits for room.
#[derive(Debug, Clone, Copy)]
struct Held {
    length: usize,
    vnet: Vnet,
}

impl Held {
    fn slots(&self) -> u32 {
        (self.length.div_ceil(PAGE) + usize::from(self.vnet.gso.is_some())) as u32
    }
}

impl Receive {
    /// On a ring of [`RX_RING_ENTRY_SIZE`].
    pub fn new(memory: &Memory, page: GuestAddress) -> Result<Receive, NetError> {
        Ok(Receive {
            ring: BackRing::new(memory, vec![page], RX_RING_ENTRY_SIZE)?,
            buffer: vec![0; VNET_HEADER + MAX_FRAME],
            held: None,
        })
    }

    /// Delivers what has come, up to a bound.
    ///
    /// # Errors
    /// The front end broke the protocol, or the host's side is gone.
    pub fn service(
        &mut self,
        memory: &Memory,
        shared: &Shared,
        host: &mut dyn Host,
    ) -> Result<Effect, NetError> {
        let mut effect = Effect {
            again: true,
            ..Effect::default()
        };
        for _ in 0..BUDGET {
            let frame = match self.held {
                Some(frame) => frame,
                None => match host.receive(&mut self.buffer).map_err(NetError::Host)? {
                    None => {
                        effect.again = false;
                        break;
                    }
                    Some(length) => match self.accept(shared, length) {
                        Some(frame) => frame,
                        None => {
                            shared.counters.rx_dropped.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    },
                },
            };
            if !self.room(memory, frame.slots())? {
                self.held = Some(frame);
                effect.again = false;
                effect.stalled = true;
                break;
            }
            self.held = None;
            self.deliver(memory, shared, frame)?;
            shared.counters.received(frame.length);
        }
        effect.notify = self.ring.publish(memory)?;
        Ok(effect)
    }

    /// Looks at what was read into the buffer; `None`: not for this guest.
    fn accept(&mut self, shared: &Shared, length: usize) -> Option<Held> {
        let (header, frame) = self.buffer.get_mut(..length)?.split_first_chunk_mut()?;
        let mut vnet = Vnet::decode(header)?;
        let features = &shared.features;
        let length = frame.len();
        let agreed = match vnet.gso {
            None => true,
            Some(Gso { v6: false, .. }) => features.gso_v4,
            Some(Gso { v6: true, .. }) => features.gso_v6,
        };
        if !agreed || length < ETH_HEADER || (length > PAGE && !features.sg) {
            return None;
        }
        if features.multicast {
            let filter = shared.filter.lock().unwrap_or_else(PoisonError::into_inner);
            if !filter.wants(frame.first_chunk()?) {
                return None;
            }
        }
        if let Checksum::Blank { start, offset } = vnet.checksum {
            let v6 = frame[12..14] == [0x86, 0xdd];
            let taken = if v6 {
                features.csum_v6
            } else {
                features.csum_v4
            };
            // On its way since before the host knew what the guest takes.
            if !taken && vnet.gso.is_none() {
                if !finish_checksum(frame, start, offset) {
                    return None;
                }
                vnet.checksum = Checksum::Unknown;
            }
        }
        Some(Held { length, vnet })
    }

    /// Whether that many slots are there; if not, the guest is asked to say when they are.
    fn room(&mut self, memory: &Memory, slots: u32) -> Result<bool, SringError> {
        Ok(self.ring.unconsumed(memory)? >= slots || self.ring.ask_for(memory, slots)?)
    }

    fn deliver(&mut self, memory: &Memory, shared: &Shared, frame: Held) -> Result<(), NetError> {
        let data = VNET_HEADER..VNET_HEADER + frame.length;
        let parts = frame.length.div_ceil(PAGE);
        for index in 0..parts {
            let from = data.start + index * PAGE;
            let to = (from + PAGE).min(data.end);
            let request = self.request(memory)?;
            let grant = shared.grants.map(memory, request.gref, Access::Write)?;
            let written = memory.write_slice(&self.buffer[from..to], grant.page());
            shared.grants.unmap(memory, grant);
            written.map_err(|_| SringError::Memory)?;
            let mut flags = 0;
            if index + 1 < parts {
                flags |= RXF_MORE_DATA;
            }
            if index == 0 {
                flags |= match frame.vnet.checksum {
                    Checksum::Unknown => 0,
                    Checksum::Valid => RXF_DATA_VALIDATED,
                    Checksum::Blank { .. } => RXF_CSUM_BLANK | RXF_DATA_VALIDATED,
                };
                if frame.vnet.gso.is_some() {
                    flags |= RXF_EXTRA_INFO;
                }
            }
            let response = NetifRxResponse {
                id: request.id,
                offset: 0,
                flags,
                status: (to - from) as i16,
            };
            self.ring.push_response(memory, &response.to_bytes())?;
            if let (0, Some(gso)) = (index, frame.vnet.gso) {
                self.request(memory)?;
                self.ring.push_response(memory, &extra(gso).to_bytes())?;
            }
        }
        Ok(())
    }

    fn request(&mut self, memory: &Memory) -> Result<NetifRxRequest, NetError> {
        let mut bytes = [0; RX_RING_ENTRY_SIZE];
        if !self.ring.next_request(memory, &mut bytes)? {
            // Room was there before, so the front end has taken requests back.
            return Err(NetError::Truncated);
        }
        Ok(NetifRxRequest::decode(&bytes))
    }
}

fn extra(gso: Gso) -> NetifExtraGso {
    let kind = match gso.v6 {
        false => NetifGsoType::TCPV4,
        true => NetifGsoType::TCPV6,
    };
    NetifExtraGso {
        kind: NetifExtraType::GSO.0,
        flags: 0,
        size: gso.size,
        gso_type: kind.0,
        pad: 0,
        features: 0,
    }
}
