//! The page that vfb and vkbd share with their front ends: two rings of 40-byte events (public/io/fbif.h, kbdif.h).
//!
//! ```text
//!   0 in_cons  4 in_prod  8 out_cons  12 out_prod  .. geometry (vfb) ..  in ring  out ring
//!   "in" is towards the guest; lengths are no powers of two, an index is taken modulo the length
//! ```
//! Our own indices are kept here and not read back; the guest's are read once per step and checked.

use super::xenbus::shown;
use std::sync::atomic::{fence, Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Bytes of an event.
pub const EVENT: usize = 40;

/// One event.
pub type Event = [u8; EVENT];

/// Where a ring is in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub at: u64,
    /// Events.
    pub length: u32,
}

/// Why a page cannot be used (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The indices say that more is in the ring than it holds.
    #[error("event indices are corrupt: producer {prod:#x}, consumer {cons:#x}, {length} events")]
    Corrupt {
        /// Producer's.
        prod: u32,
        /// Consumer's.
        cons: u32,
        /// Events of the ring.
        length: u32,
    },
    /// The page is not in guest memory.
    #[error("page {0:#x} is not in guest memory")]
    Page(u64),
}

/// Both rings of a device.
#[derive(Debug, Clone)]
pub struct Events {
    page: GuestAddress,
    inward: Place,
    outward: Place,
    in_prod: u32,
    out_cons: u32,
}

const IN_CONS: u64 = 0;
const IN_PROD: u64 = 4;
const OUT_CONS: u64 = 8;
const OUT_PROD: u64 = 12;

impl Events {
    /// On the page at `page`; goes on where its indices are.
    pub fn new<M: GuestMemoryBackend>(
        memory: &M,
        page: GuestAddress,
        inward: Place,
        outward: Place,
    ) -> Result<Events, EventError> {
        let mut events = Events {
            page,
            inward,
            outward,
            in_prod: 0,
            out_cons: 0,
        };
        events.in_prod = events.load(memory, IN_PROD)?;
        events.out_cons = events.load(memory, OUT_CONS)?;
        events.room(memory)?;
        Ok(events)
    }

    fn load<M: GuestMemoryBackend>(&self, memory: &M, offset: u64) -> Result<u32, EventError> {
        memory
            .load(GuestAddress(self.page.0 + offset), Ordering::Acquire)
            .map_err(|_| EventError::Page(self.page.0))
    }

    fn store<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        offset: u64,
        value: u32,
    ) -> Result<(), EventError> {
        memory
            .store(value, GuestAddress(self.page.0 + offset), Ordering::Release)
            .map_err(|_| EventError::Page(self.page.0))?;
        // The guest looks at our index after it has moved its own, and we the other way round.
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn slot(&self, place: Place, index: u32) -> GuestAddress {
        GuestAddress(self.page.0 + place.at + u64::from(index % place.length) * EVENT as u64)
    }

    /// Events that fit towards the guest.
    pub fn room<M: GuestMemoryBackend>(&self, memory: &M) -> Result<u32, EventError> {
        let (prod, length) = (self.in_prod, self.inward.length);
        let cons = self.load(memory, IN_CONS)?;
        length
            .checked_sub(prod.wrapping_sub(cons))
            .ok_or(EventError::Corrupt { prod, cons, length })
    }

    /// Puts an event towards the guest, who is to be notified then; false: there is no room.
    pub fn put<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        event: &Event,
    ) -> Result<bool, EventError> {
        if self.room(memory)? == 0 {
            return Ok(false);
        }
        memory
            .write_slice(event, self.slot(self.inward, self.in_prod))
            .map_err(|_| EventError::Page(self.page.0))?;
        self.in_prod = self.in_prod.wrapping_add(1);
        self.store(memory, IN_PROD, self.in_prod)?;
        Ok(true)
    }

    /// Takes the next event of the guest.
    pub fn take<M: GuestMemoryBackend>(&mut self, memory: &M) -> Result<Option<Event>, EventError> {
        let (cons, length) = (self.out_cons, self.outward.length);
        let prod = self.load(memory, OUT_PROD)?;
        match prod.wrapping_sub(cons) {
            0 => return Ok(None),
            waiting if waiting > length => {
                return Err(EventError::Corrupt { prod, cons, length });
            }
            _ => {}
        }
        let mut event = [0; EVENT];
        memory
            .read_slice(&mut event, self.slot(self.outward, cons))
            .map_err(|_| EventError::Page(self.page.0))?;
        self.out_cons = cons.wrapping_add(1);
        self.store(memory, OUT_CONS, self.out_cons)?;
        Ok(Some(event))
    }
}

/// What a front end of either class writes before it calls itself connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// `page-ref`: frame number of the page, in the guest's own memory; not a grant.
    pub frame: u64,
    /// `event-channel`
    pub port: u32,
    /// `protocol` names a 32-bit guest.
    pub bits32: bool,
    /// vkbd: `request-abs-pointer`. vfb: `feature-update`.
    pub asked: bool,
}

impl Front {
    /// Reads a front end's nodes through `get` (a name below its directory; `None`: no such node); `wish` is the name
    /// of the class' own switch.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub fn read(wish: &str, get: &mut dyn FnMut(&str) -> Option<String>) -> Result<Front, String> {
        let mut number = |name: &str| -> Result<u64, String> {
            let text = get(name).ok_or_else(|| format!("{name} is missing"))?;
            let wrong = |_| format!("{name} is '{}', not a number", shown(&text));
            text.trim().parse().map_err(wrong)
        };
        let frame = number("page-ref")?;
        let port = number("event-channel")?;
        let port = u32::try_from(port).map_err(|_| format!("event-channel is {port}"))?;
        let bits32 = match get("protocol").as_deref() {
            // Front ends of the first releases name none and have the host's width.
            None | Some("x86_64-abi") => false,
            Some("x86_32-abi") => true,
            Some(other) => return Err(format!("protocol is '{}'", shown(other))),
        };
        let asked = match get(wish).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(format!("{wish} is '{}', not 0 or 1", shown(other))),
        };
        Ok(Front {
            frame,
            port,
            bits32,
            asked,
        })
    }

    /// Where the page is, if it is RAM of a guest whose frames end at `ram_end`.
    pub fn page(&self, ram_end: u64) -> Result<GuestAddress, String> {
        match self.frame < ram_end {
            true => Ok(GuestAddress(self.frame << 12)),
            false => Err(format!("page-ref {:#x} is not the guest's RAM", self.frame)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::GuestMemoryMmap;

    const IN: Place = Place {
        at: 1024,
        length: 25,
    };
    const OUT: Place = Place {
        at: 2048,
        length: 51,
    };

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap()
    }

    #[test]
    fn ring_takes_as_many_events_as_fit_and_goes_on_when_read() {
        let memory = memory();
        let mut events = Events::new(&memory, GuestAddress(0), IN, OUT).unwrap();
        for i in 0..25u8 {
            assert!(events.put(&memory, &[i; EVENT]).unwrap());
        }
        assert!(!events.put(&memory, &[99; EVENT]).unwrap());
        memory.write_obj(1u32, GuestAddress(IN_CONS)).unwrap();
        assert!(events.put(&memory, &[25; EVENT]).unwrap());
        // The 26th lies where the first one was.
        assert_eq!(memory.read_obj::<u8>(GuestAddress(1024)).unwrap(), 25);
    }

    #[test]
    fn front_end_is_read_or_refused_with_the_reason() {
        let read = |nodes: &[(&str, &str)]| {
            Front::read("request-abs-pointer", &mut |name| {
                let found = nodes.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let good = [("page-ref", "4660"), ("event-channel", "7")];
        let front = read(&good).unwrap();
        assert_eq!((front.frame, front.port), (4660, 7));
        assert!(!front.asked && !front.bits32);
        assert_eq!(front.page(4661).unwrap(), GuestAddress(0x0123_4000));
        assert!(front.page(4660).unwrap_err().contains("0x1234"));
        let with = |more: (&'static str, &'static str)| read(&[good[0], good[1], more]);
        assert!(with(("request-abs-pointer", "1")).unwrap().asked);
        assert!(with(("protocol", "x86_32-abi")).unwrap().bits32);
        assert!(with(("protocol", "arm\n")).unwrap_err().contains("arm\\n"));
        assert!(read(&good[..1])
            .unwrap_err()
            .contains("event-channel is missing"));
        assert!(read(&[("page-ref", "x")])
            .unwrap_err()
            .contains("not a number"));
    }

    proptest! {
        #[test]
        fn any_indices_are_refused_or_give_bounded_events(indices: [u32; 4], later: [u32; 4]) {
            let memory = memory();
            let set = |indices: [u32; 4]| {
                for (i, index) in indices.into_iter().enumerate() {
                    memory.write_obj(index, GuestAddress(4 * i as u64)).unwrap();
                }
            };
            set(indices);
            if let Ok(mut events) = Events::new(&memory, GuestAddress(0), IN, OUT) {
                set(later);
                let mut taken = 0;
                while let Ok(Some(_)) = events.take(&memory) {
                    taken += 1;
                    prop_assert!(taken <= 51);
                }
                let mut put = 0;
                while let Ok(true) = events.put(&memory, &[0; EVENT]) {
                    put += 1;
                    prop_assert!(put <= 25);
                }
            }
        }
    }
}
