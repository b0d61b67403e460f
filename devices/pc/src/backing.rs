//! Memory of a device's own that a guest may reach without the device: video memory.
//!
//! ```text
//!   guest --BAR, mapped by the machine--> the bytes --.
//!   guest --BAR or window, through the device------> Backing <--read-- whoever shows the picture
//! ```
//! The machine makes the memory, hands it to the device, asks [`crate::Device::backing`] which BAR it lies behind, and may map
//! it there; then it knows by itself what the guest writes, and says so in [`Backing::take_written`].

use std::fmt::Debug;
use std::sync::Mutex;

/// Bytes of a page, the unit in which it is told what was written.
pub const PAGE: u64 = 4096;

/// A device's memory. Everybody may use it at any time: pictures that tear are the guest's own affair.
pub trait Backing: Send + Sync + Debug {
    /// Bytes: a power of two.
    fn length(&self) -> u64;

    /// Fills `into` from `at`; what lies beyond the end is zero.
    fn read(&self, at: u64, into: &mut [u8]);

    /// Writes `from` to `at`; what lies beyond the end is lost.
    fn write(&self, at: u64, from: &[u8]);

    /// Marks the pages that were written, by whomever, since this was called last.
    fn take_written(&self, pages: &mut Pages);

    /// The guest has put the BAR there, or it answers nowhere: the machine maps the memory there, if it can. The line says why
    /// it cannot; the guest's accesses come to the device then.
    fn place(&self, _at: Option<u64>) -> Result<(), String> {
        Ok(())
    }
}

/// Pages of a [`Backing`], one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages(Vec<u64>);

impl Pages {
    /// None of a memory of `length` bytes.
    pub fn none(length: u64) -> Pages {
        Pages(vec![0; length.div_ceil(PAGE * 64) as usize])
    }

    /// Marks the pages of `count` bytes from `at`.
    pub fn mark(&mut self, at: u64, count: u64) {
        if count == 0 {
            return;
        }
        let last = at.saturating_add(count - 1) / PAGE;
        for page in at / PAGE..=last {
            if let Some(word) = self.0.get_mut((page / 64) as usize) {
                *word |= 1 << (page % 64);
            }
        }
    }

    /// Marks sixty-four pages by their bits, as KVM tells them; `index` counts such groups.
    pub fn mark_bits(&mut self, index: usize, bits: u64) {
        if let Some(word) = self.0.get_mut(index) {
            *word |= bits;
        }
    }

    /// Some page of `count` bytes from `at` is marked.
    pub fn touches(&self, at: u64, count: u64) -> bool {
        let last = at.saturating_add(count.max(1) - 1) / PAGE;
        (at / PAGE..=last).any(|page| {
            let word = self.0.get((page / 64) as usize);
            word.is_some_and(|word| word >> (page % 64) & 1 != 0)
        })
    }

    /// Marks what `other` has marked.
    pub fn join(&mut self, other: &Pages) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

/// Memory that the machine does not map: every access of the guest comes to the device.
#[derive(Debug)]
pub struct Unmapped(Mutex<(Vec<u8>, Pages)>);

impl Unmapped {
    /// `length` zeros, a power of two.
    pub fn new(length: usize) -> Unmapped {
        Unmapped(Mutex::new((vec![0; length], Pages::none(length as u64))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut (Vec<u8>, Pages)) -> T) -> T {
        // Whoever panicked was in the middle of copying bytes.
        work(&mut self.0.lock().unwrap_or_else(|poison| poison.into_inner()))
    }
}

/// The part of `count` bytes from `at` that lies within `length`.
fn within(at: u64, count: usize, length: usize) -> std::ops::Range<usize> {
    let first = usize::try_from(at).unwrap_or(length).min(length);
    first..first.saturating_add(count).min(length)
}

impl Backing for Unmapped {
    fn length(&self) -> u64 {
        self.with(|(bytes, _)| bytes.len() as u64)
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        self.with(|(bytes, _)| {
            let from = &bytes[within(at, into.len(), bytes.len())];
            into[..from.len()].copy_from_slice(from);
            into[from.len()..].fill(0);
        });
    }

    fn write(&self, at: u64, from: &[u8]) {
        self.with(|(bytes, written)| {
            let range = within(at, from.len(), bytes.len());
            written.mark(at, range.len() as u64);
            bytes[range.clone()].copy_from_slice(&from[..range.len()]);
        });
    }

    fn take_written(&self, pages: &mut Pages) {
        self.with(|(bytes, written)| {
            pages.join(written);
            *written = Pages::none(bytes.len() as u64);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_told_once() {
        let memory = Unmapped::new(1 << 16);
        memory.write(0x1ffe, &[1, 2, 3, 4]);
        memory.write(0xfffe, &[5, 6, 7, 8]);
        memory.write(u64::MAX, &[1]);
        let mut bytes = [9; 4];
        memory.read(0xfffe, &mut bytes);
        assert_eq!(bytes, [5, 6, 0, 0]);
        let mut pages = Pages::none(1 << 16);
        memory.take_written(&mut pages);
        let marked: Vec<u64> = (0..16)
            .filter(|page| pages.touches(page * PAGE, 1))
            .collect();
        assert_eq!(marked, [1, 2, 15]);
        assert!(pages.touches(0, 0x1001) && !pages.touches(0x3000, 0xc000));
        let mut again = Pages::none(1 << 16);
        memory.take_written(&mut again);
        assert_eq!(again, Pages::none(1 << 16));
    }
}
