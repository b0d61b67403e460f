//! Guest-physical memory of a test domain: RAM from 0 and the monitor region.
//!
//! `Machine` hands out references to bytes, 32-bit and 64-bit words of the *same* memory, which safe Rust
//! has no type for. This module is where the views are made.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};

/// A range of memory, as 64-bit cells.
struct Bank {
    base: u64,
    cells: Box<[AtomicU64]>,
}

impl Bank {
    fn new(base: u64, bytes: u64) -> Bank {
        Bank {
            base,
            cells: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Cell and byte inside it.
    fn cell(&self, maddr: u64) -> Option<(&AtomicU64, usize)> {
        let offset = maddr.checked_sub(self.base)?;
        Some((
            self.cells.get(usize::try_from(offset / 8).ok()?)?,
            (offset % 8) as usize,
        ))
    }
}

/// RAM and region.
pub struct Memory {
    banks: [Bank; 2],
}

impl Memory {
    /// `ram` bytes from 0 and `region` bytes from `region_base`.
    pub fn new(ram: u64, region_base: u64, region: u64) -> Memory {
        Memory {
            banks: [Bank::new(0, ram), Bank::new(region_base, region)],
        }
    }

    fn cell(&self, maddr: u64) -> Option<(&AtomicU64, usize)> {
        self.banks.iter().find_map(|bank| bank.cell(maddr))
    }

    /// Aligned 64-bit word.
    pub fn word(&self, maddr: u64) -> Option<&AtomicU64> {
        match self.cell(maddr)? {
            (cell, 0) => Some(cell),
            _ => None,
        }
    }

    /// Aligned 32-bit word.
    pub fn word32(&self, maddr: u64) -> Option<&AtomicU32> {
        let (cell, offset) = self.cell(maddr)?;
        if offset % 4 != 0 {
            return None;
        }
        // SAFETY: the pointer stays inside the 8-byte cell and is 4-aligned; the cell is only ever accessed
        // atomically, is interior-mutable and lives as long as the returned reference. No safe type offers
        // one memory in several widths.
        Some(unsafe { AtomicU32::from_ptr(cell.as_ptr().cast::<u32>().add(offset / 4)) })
    }

    /// Byte.
    pub fn byte(&self, maddr: u64) -> Option<&AtomicU8> {
        let (cell, offset) = self.cell(maddr)?;
        // SAFETY: as in `word32`, for one byte of the cell.
        Some(unsafe { AtomicU8::from_ptr(cell.as_ptr().cast::<u8>().add(offset)) })
    }

    /// Bytes from `maddr`; panics outside memory (tests know where they look).
    pub fn get(&self, maddr: u64, len: usize) -> Vec<u8> {
        (0..len as u64)
            .map(|i| self.byte(maddr + i).expect("memory").load(Ordering::SeqCst))
            .collect()
    }

    /// Stores bytes.
    pub fn put(&self, maddr: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.byte(maddr + i as u64)
                .expect("memory")
                .store(*byte, Ordering::SeqCst);
        }
    }

    /// A 64-bit word's value.
    pub fn u64(&self, maddr: u64) -> u64 {
        self.word(maddr).expect("memory").load(Ordering::SeqCst)
    }

    /// Stores a 64-bit word.
    pub fn set_u64(&self, maddr: u64, value: u64) {
        self.word(maddr)
            .expect("memory")
            .store(value, Ordering::SeqCst);
    }
}
