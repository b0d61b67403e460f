//! Pages of RAM that are still to come, a bit each: what a move by post-copy sends instead of them before the guest goes on over there.
//!
//! ```text
//!   source: frames that were written since --take_ram--> Missing --write--> records of memory "missing" in the stream
//!   target: records --read--> Missing: each page is taken once, and is then the guest's
//! ```
//! Bit n of the bitmap is page n of the memory "ram". A reader that knows no post-copy refuses a memory of that name.

use noxen_saved_image::{ImageError, Writer, PAGE};
use std::io::{self, Write};
use std::ops::Range;

/// Name of the memory that the bitmap is sent as.
pub const MISSING: &str = "missing";
/// Pages in a word.
const BITS: u64 = 64;

/// Some of so many pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    words: Vec<u64>,
    pages: u64,
    left: u64,
}

impl Missing {
    /// None of `pages`.
    pub fn new(pages: u64) -> Missing {
        Missing {
            words: vec![0; pages.div_ceil(BITS) as usize],
            pages,
            left: 0,
        }
    }

    /// How many.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Of how many.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Is `page` one of them?
    pub fn has(&self, page: u64) -> bool {
        let word = self.words.get((page / BITS) as usize);
        word.is_some_and(|word| word >> (page % BITS) & 1 == 1)
    }

    /// Adds one; false: there is no such page.
    pub fn add(&mut self, page: u64) -> bool {
        if page >= self.pages {
            return false;
        }
        let (word, bit) = (&mut self.words[(page / BITS) as usize], 1 << (page % BITS));
        self.left += u64::from(*word & bit == 0);
        *word |= bit;
        true
    }

    /// Takes one away; false: it is none of them.
    pub fn take(&mut self, page: u64) -> bool {
        let had = self.has(page);
        if had {
            self.words[(page / BITS) as usize] &= !(1 << (page % BITS));
            self.left -= 1;
        }
        had
    }

    /// The first of them at or behind `from`, and those right behind it, `most` in all.
    pub fn run(&self, from: u64, most: u64) -> Option<Range<u64>> {
        let first = self.first(from)?;
        let ends = (first..first.saturating_add(most)).find(|page| !self.has(*page));
        Some(first..ends.unwrap_or(first + most))
    }

    fn first(&self, from: u64) -> Option<u64> {
        let start = (from / BITS) as usize;
        let mut mask = !0 << (from % BITS);
        for (word, index) in self.words.get(start..)?.iter().zip(start as u64..) {
            let left = word & mask;
            if left != 0 {
                return Some(index * BITS + u64::from(left.trailing_zeros()));
            }
            mask = !0;
        }
        None
    }

    /// Writes the bitmap.
    pub fn write<W: Write>(&self, writer: &mut Writer<W>) -> io::Result<()> {
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        writer.memory(MISSING, 0, &bytes)
    }

    /// Adds what a record has of the bitmap, `bytes` at `offset` of it.
    pub fn read(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
        for (byte, at) in bytes.iter().zip(offset..) {
            let set = (0..8).filter(|bit| byte >> bit & 1 == 1);
            for bit in set {
                let page = at.saturating_mul(8).saturating_add(bit);
                if !self.add(page) {
                    return Err(ImageError::Structure(format!(
                        "it is to have page {page} later, and the domain has {}",
                        self.pages
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_saved_image::{Header, Reader, Record};
    use proptest::collection::btree_set;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn of(pages: u64, some: impl IntoIterator<Item = u64>) -> Missing {
        let mut missing = Missing::new(pages);
        assert!(some.into_iter().all(|page| missing.add(page)));
        missing
    }

    #[test]
    fn page_is_taken_once_and_none_is_beyond_the_end() {
        let mut missing = of(130, [0, 5, 63, 64, 129, 5]);
        assert_eq!(missing.left(), 5);
        assert!(!missing.add(130) && !missing.has(130) && !missing.take(u64::MAX));
        assert!(missing.take(64) && !missing.take(64));
        assert_eq!(missing.left(), 4);
    }

    #[test]
    fn runs_begin_with_the_first_and_end_with_the_last_or_with_enough() {
        let missing = of(1000, (60..70).chain([500]));
        assert_eq!(missing.run(0, 4), Some(60..64));
        assert_eq!(missing.run(62, 100), Some(62..70));
        assert_eq!(missing.run(70, 100), Some(500..501));
        assert_eq!(missing.run(501, 100), None);
        assert_eq!(missing.run(5000, 100), None);
    }

    proptest! {
        #[test]
        fn bitmap_comes_through_a_stream(some in btree_set(0u64..100_000, 0..200)) {
            let missing = of(100_000, some.iter().copied());
            let header = Header::of_stream("test", 0, "name");
            let mut writer = Writer::begin(Vec::new(), "(domain)", &header).unwrap();
            missing.write(&mut writer).unwrap();
            let bytes = writer.end().unwrap().0;
            let mut reader = Reader::open(&bytes[..]).unwrap();
            let mut found = Missing::new(100_000);
            while let Some(Record::Memory { space, offset, bytes }) = reader.next().unwrap() {
                prop_assert_eq!(space, MISSING);
                found.read(offset, &bytes).unwrap();
            }
            prop_assert_eq!(&found, &missing);
            let mut walked = Vec::new();
            while let Some(run) = found.run(0, 7) {
                prop_assert!(run.end - run.start <= 7);
                for page in run {
                    prop_assert!(found.take(page));
                    walked.push(page);
                }
            }
            prop_assert_eq!(walked, some.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(found.left(), 0);
        }

        #[test]
        fn bitmap_of_more_pages_than_there_are_is_refused(offset in 0u64.., byte in 1u8..) {
            let mut missing = Missing::new(64);
            let offset = offset / PAGE * PAGE + 4096;
            prop_assert!(missing.read(offset, &[byte]).is_err());
        }
    }
}
