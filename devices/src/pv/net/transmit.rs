//! From the guest: requests of the transmit ring become frames.
//!
//! ```text
//!   first slot   size of the whole packet      --> response
//!   [ extra ]*   GSO, multicast list               response "null"
//!   [ slot ]*    size of this part             --> response
//! ```
//! A packet is sent before it is answered, so nothing of the guest's memory is in use between two calls.

use super::frame::{self, Gso, Vnet, HEAD, VNET_HEADER};
use super::{Effect, Host, Memory, NetError, Shared, ETH_HEADER};
use crate::pv::grant::{Access, Grant, PAGE_SIZE};
use crate::pv::sring::{BackRing, SringError};
use noxen_pv_abi::codec::AbiValue;
use noxen_pv_abi::netif::{
    NetifExtraGso, NetifExtraInfo, NetifExtraMcast, NetifExtraType, NetifGsoType, NetifStatus,
    NetifTxRequest, NetifTxResponse, EXTRA_FLAG_MORE, NR_SLOTS_MIN, TXF_CSUM_BLANK, TXF_EXTRA_INFO,
    TXF_MORE_DATA, TX_RING_ENTRY_SIZE,
};
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

/// Slots of a packet after the first at which patience ends; from [`NR_SLOTS_MIN`] on the packet is dropped.
const MAX_SLOTS: usize = 20;
/// Extras of a packet: one of each type that there is.
const MAX_EXTRAS: usize = 4;
/// Packets of one call, so that one queue's sender does not starve its receiver.
const BUDGET: usize = 64;

/// The transmit ring of one queue.
#[derive(Debug)]
pub struct Transmit {
    ring: BackRing,
    /// Taken from the ring, and waiting for credit.
    waiting: Option<NetifTxRequest>,
    head: [u8; VNET_HEADER + HEAD],
    slots: Vec<NetifTxRequest>,
    grants: Vec<Grant>,
    /// Of the packet being sent: pieces of guest memory, first byte and length.
    runs: Vec<(GuestAddress, usize)>,
}

/// What the extras of a packet said.
#[derive(Debug, Default)]
struct Extras {
    count: usize,
    gso: Option<Gso>,
    /// A change of the multicast list: this is no packet. Whether it was possible.
    listed: Option<bool>,
}

impl Transmit {
    /// On a ring of [`TX_RING_ENTRY_SIZE`].
    pub fn new(memory: &Memory, page: GuestAddress) -> Result<Transmit, NetError> {
        Ok(Transmit {
            ring: BackRing::new(memory, vec![page], TX_RING_ENTRY_SIZE)?,
            waiting: None,
            head: [0; VNET_HEADER + HEAD],
            slots: Vec::with_capacity(MAX_SLOTS),
            grants: Vec::with_capacity(MAX_SLOTS),
            runs: Vec::with_capacity(MAX_SLOTS),
        })
    }

    /// Sends what there is, up to a bound; `now` is any clock that only goes forward.
    ///
    /// # Errors
    /// The front end broke the protocol. No page of it is in use then.
    pub fn service(
        &mut self,
        memory: &Memory,
        shared: &Shared,
        host: &mut dyn Host,
        now: Duration,
    ) -> Result<Effect, NetError> {
        let mut effect = Effect::default();
        for _ in 0..BUDGET {
            let Some(first) = self.first(memory)? else {
                effect.notify |= self.ring.publish(memory)?;
                if self.ring.ask_for_more(memory)? {
                    continue;
                }
                return Ok(effect);
            };
            if let Some(credit) = &shared.credit {
                let mut credit = credit.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(at) = credit.take(u64::from(first.size), now) {
                    self.waiting = Some(first);
                    effect.at = Some(at);
                    break;
                }
            }
            self.packet(memory, shared, host, first)?;
            effect.packets += 1;
        }
        effect.notify |= self.ring.publish(memory)?;
        effect.again = effect.at.is_none();
        Ok(effect)
    }

    fn first(&mut self, memory: &Memory) -> Result<Option<NetifTxRequest>, NetError> {
        match self.waiting.take() {
            Some(request) => Ok(Some(request)),
            None => self.next(memory),
        }
    }

    fn next<T: AbiValue>(&mut self, memory: &Memory) -> Result<Option<T>, NetError> {
        let mut bytes = [0; TX_RING_ENTRY_SIZE];
        let there = self.ring.next_request(memory, &mut bytes)?;
        Ok(there.then(|| T::decode(&bytes)))
    }

    /// The next entry of a packet that must be there.
    fn more<T: AbiValue>(&mut self, memory: &Memory) -> Result<T, NetError> {
        self.next(memory)?.ok_or(NetError::Truncated)
    }

    fn packet(
        &mut self,
        memory: &Memory,
        shared: &Shared,
        host: &mut dyn Host,
        mut first: NetifTxRequest,
    ) -> Result<(), NetError> {
        let extras = self.extras(memory, shared, &first)?;
        if let Some(possible) = extras.listed {
            let status = if possible {
                NetifStatus::OKAY
            } else {
                NetifStatus::ERROR
            };
            self.slots.clear();
            return self.answer(memory, first.id, extras.count, status);
        }
        let total = usize::from(first.size);
        let mut fits = self.collect(memory, &mut first)?;
        fits &= total >= ETH_HEADER;
        let mut sent = false;
        if fits {
            let blank = first.flags & TXF_CSUM_BLANK != 0;
            let result = self.send(memory, shared, host, &first, total, blank, extras.gso);
            let table = shared.grants.open(memory)?;
            for grant in self.grants.drain(..) {
                table.unmap(grant);
            }
            sent = result?;
        }
        let counters = &shared.counters;
        let status = if sent {
            counters.sent(total);
            NetifStatus::OKAY
        } else {
            counters.tx_dropped.fetch_add(1, Ordering::Relaxed);
            NetifStatus::ERROR
        };
        self.answer(memory, first.id, extras.count, status)
    }

    fn extras(
        &mut self,
        memory: &Memory,
        shared: &Shared,
        first: &NetifTxRequest,
    ) -> Result<Extras, NetError> {
        let mut extras = Extras::default();
        let mut more = first.flags & TXF_EXTRA_INFO != 0;
        while more {
            if extras.count == MAX_EXTRAS {
                return Err(NetError::TooManySlots(MAX_EXTRAS));
            }
            let extra: NetifExtraInfo = self.more(memory)?;
            extras.count += 1;
            more = extra.flags & EXTRA_FLAG_MORE != 0;
            let bytes = extra.to_bytes();
            let filter = || shared.filter.lock().unwrap_or_else(PoisonError::into_inner);
            match NetifExtraType(extra.kind) {
                NetifExtraType::GSO => extras.gso = Some(gso(NetifExtraGso::from_bytes(&bytes))?),
                NetifExtraType::MCAST_ADD => {
                    let address = NetifExtraMcast::from_bytes(&bytes).addr;
                    extras.listed = Some(filter().add(address));
                }
                NetifExtraType::MCAST_DEL => {
                    filter().remove(NetifExtraMcast::from_bytes(&bytes).addr);
                    extras.listed = Some(true);
                }
                // A hint that the host's interface has no use for.
                NetifExtraType::HASH => {}
                other => return Err(NetError::Extra(other.0)),
            }
        }
        Ok(extras)
    }

    /// Takes the further slots of a packet and leaves the first one its own size; false: a packet that
    /// cannot be, but does no harm.
    fn collect(&mut self, memory: &Memory, first: &mut NetifTxRequest) -> Result<bool, NetError> {
        self.slots.clear();
        let mut fits = true;
        let mut more = first.flags & TXF_MORE_DATA != 0;
        while more {
            if self.slots.len() == MAX_SLOTS {
                return Err(NetError::TooManySlots(MAX_SLOTS));
            }
            let slot: NetifTxRequest = self.more(memory)?;
            in_page(&slot)?;
            more = slot.flags & TXF_MORE_DATA != 0;
            match first.size.checked_sub(slot.size) {
                Some(left) => first.size = left,
                // Some front ends let packets of 64 KiB and more wrap around.
                None => fits = false,
            }
            self.slots.push(slot);
        }
        fits &= self.slots.len() <= NR_SLOTS_MIN;
        if fits {
            in_page(first)?;
        }
        Ok(fits)
    }

    /// Sends a packet; false: it was not good, or nobody took it. Grants are left in `self.grants`.
    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        memory: &Memory,
        shared: &Shared,
        host: &mut dyn Host,
        first: &NetifTxRequest,
        total: usize,
        blank: bool,
        gso: Option<Gso>,
    ) -> Result<bool, NetError> {
        let table = shared.grants.open(memory)?;
        self.runs.clear();
        for slot in std::iter::once(first).chain(&self.slots) {
            if slot.size == 0 {
                continue;
            }
            let grant = table.map(slot.gref, Access::Read)?;
            let at = GuestAddress(grant.page().0 + u64::from(slot.offset));
            self.grants.push(grant);
            let size = usize::from(slot.size);
            match self.runs.last_mut() {
                // Pages that follow each other in memory are one piece.
                Some((start, length)) if start.0 + *length as u64 == at.0 => *length += size,
                _ => self.runs.push((at, size)),
            }
        }
        let head_len = total.min(HEAD);
        let mut filled = 0;
        let mut rest: Vec<VolatileSlice<'_>> = Vec::with_capacity(self.runs.len());
        for (at, length) in &self.runs {
            let data = memory.get_slice(*at, *length);
            let data = data.map_err(|_| SringError::Memory)?;
            let copied = (*length).min(head_len - filled);
            if copied > 0 {
                let from = VNET_HEADER + filled;
                data.copy_to(&mut self.head[from..from + copied]);
                filled += copied;
            }
            if copied < *length {
                rest.push(data.offset(copied).map_err(|_| SringError::Memory)?);
            }
        }
        let head = &mut self.head[..VNET_HEADER + head_len];
        let Some(vnet) = frame::describe(&mut head[VNET_HEADER..], total, blank, gso) else {
            return Ok(false);
        };
        head[..VNET_HEADER].copy_from_slice(&Vnet::encode(&vnet));
        Ok(host.send(head, &rest).is_ok())
    }

    /// Answers the slots of one packet.
    fn answer(
        &mut self,
        memory: &Memory,
        id: u16,
        extras: usize,
        status: NetifStatus,
    ) -> Result<(), NetError> {
        let response = |id, status: NetifStatus| {
            let status = status.0;
            NetifTxResponse { id, status }.to_bytes()
        };
        self.ring.push_response(memory, &response(id, status))?;
        for _ in 0..extras {
            let null = response(0, NetifStatus::NULL);
            self.ring.push_response(memory, &null)?;
        }
        for slot in &self.slots {
            let answer = response(slot.id, status);
            self.ring.push_response(memory, &answer)?;
        }
        Ok(())
    }
}

fn in_page(slot: &NetifTxRequest) -> Result<(), NetError> {
    if u64::from(slot.offset) + u64::from(slot.size) > PAGE_SIZE {
        return Err(NetError::Page {
            offset: slot.offset,
            size: slot.size,
        });
    }
    Ok(())
}

fn gso(extra: NetifExtraGso) -> Result<Gso, NetError> {
    let v6 = match NetifGsoType(extra.gso_type) {
        NetifGsoType::TCPV4 => false,
        NetifGsoType::TCPV6 => true,
        other => {
            return Err(NetError::Gso {
                kind: other.0,
                size: extra.size,
            })
        }
    };
    if extra.size == 0 {
        return Err(NetError::Gso {
            kind: extra.gso_type,
            size: 0,
        });
    }
    Ok(Gso {
        v6,
        size: extra.size,
    })
}
