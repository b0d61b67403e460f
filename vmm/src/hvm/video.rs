//! The memory of an HVM domain's display: the guest reaches it without an exit where KVM has it behind the BAR.
//!
//! ```text
//!   Device::backing --> Pc: the BAR lies there now --place--> KVM's slot, which notes the pages that are written
//!   View::read, Watcher <--read, take_written-- Video <--write-- the device (0xa0000, BIOS)
//! ```
//! Where KVM cannot have it there (over RAM, say), the guest's accesses go on through the device.

use crate::domain::hub::lock;
use crate::vstate::memory::Piece;
use crate::vstate::vm::Vm;
use noxen_pc::backing::{Backing, Pages};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use vm_memory::{MmapRegion, VolatileMemory};

/// See the module.
pub struct Video {
    region: Arc<MmapRegion>,
    /// KVM's slot for it, once there is a VM.
    slot: Mutex<Option<(Arc<Vm>, u32)>>,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    at: Option<u64>,
    /// Pages written through the device, or while KVM did not look.
    written: Pages,
}

impl fmt::Debug for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Video")
            .field("length", &self.region.size())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Video {
    /// `length` bytes of zeros, a power of two of at least a page.
    pub fn new(length: usize) -> io::Result<Arc<Video>> {
        let region = MmapRegion::new(length).map_err(io::Error::other)?;
        Ok(Arc::new(Video {
            region: Arc::new(region),
            slot: Mutex::default(),
            place: Mutex::new(Place {
                at: None,
                written: Pages::none(length as u64),
            }),
        }))
    }

    /// From now on KVM may have it in slot `slot` of `vm`.
    pub fn set_slot(&self, vm: Arc<Vm>, slot: u32) {
        *lock(&self.slot) = Some((vm, slot));
    }

    /// How many of `count` bytes from `at` there are.
    fn within(&self, at: u64, count: usize) -> usize {
        let left = (self.region.size() as u64).saturating_sub(at);
        count.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Backing for Video {
    fn length(&self) -> u64 {
        self.region.size() as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        let count = self.within(at, into.len());
        let (inside, outside) = into.split_at_mut(count);
        outside.fill(0);
        if let Ok(slice) = self.region.get_slice(at as usize, count) {
            slice.copy_to(inside);
        }
    }

    fn write(&self, at: u64, from: &[u8]) {
        let count = self.within(at, from.len());
        lock(&self.place).written.mark(at, count as u64);
        if let Ok(slice) = self.region.get_slice(at as usize, count) {
            slice.copy_from(&from[..count]);
        }
    }

    fn take_written(&self, pages: &mut Pages) {
        let mut place = lock(&self.place);
        let length = self.region.size();
        pages.join(&std::mem::replace(
            &mut place.written,
            Pages::none(length as u64),
        ));
        let slot = lock(&self.slot);
        let (Some((vm, slot)), Some(_)) = (&*slot, place.at) else {
            return;
        };
        match vm.written_in(*slot, length) {
            Ok(bits) => {
                for (index, bits) in bits.into_iter().enumerate() {
                    pages.mark_bits(index, bits);
                }
            }
            // Then everything may have been.
            Err(_) => pages.mark(0, length as u64),
        }
    }

    fn place(&self, at: Option<u64>) -> Result<(), String> {
        let mut place = lock(&self.place);
        if place.at == at {
            return Ok(());
        }
        let slot = lock(&self.slot);
        let Some((vm, slot)) = &*slot else {
            return Ok(());
        };
        let length = self.region.size() as u64;
        place.written.mark(0, length);
        if place.at.take().is_some() {
            vm.lend(*slot, None, &self.region)
                .map_err(|error| error.to_string())?;
        }
        if let Some(gpa) = at {
            let piece = Piece { gpa, len: length };
            vm.lend(*slot, Some(piece), &self.region)
                .map_err(|error| format!("at {gpa:#x}: {error}"))?;
            place.at = at;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_and_pages_told_once() {
        let video = Video::new(1 << 16).unwrap();
        video.write(0xffff, &[7, 8]);
        let mut bytes = [9; 3];
        video.read(0xfffe, &mut bytes);
        assert_eq!(bytes, [0, 7, 0]);
        video.read(u64::MAX, &mut bytes);
        assert_eq!(bytes, [0; 3]);
        let mut pages = Pages::none(1 << 16);
        video.take_written(&mut pages);
        assert!(pages.touches(0xf000, 1) && !pages.touches(0, 0xf000));
        // Nothing is mapped without a VM.
        assert_eq!(video.place(Some(0xe000_0000)), Ok(()));
    }
}
