//! Whose change it was that made somebody's transaction fail.
//!
//! ```text
//!   guest's request --> generations it used: (from, to, domain)   the last ones are kept
//!   commit refused: a touched path is now of generation g --> the domain that used g
//! ```
//!
//! Domain 0 is never to blame: its tools are trusted, and what they change they
//! have to.

use std::collections::VecDeque;

use crate::DomId;

/// Spans of generations that are remembered. A transaction that fails has met a
/// change made since it began; older changes need no name.
const KEPT: usize = 1024;

/// Which domain used which generations.
#[derive(Debug, Default)]
pub(super) struct Writers(VecDeque<(u64, u64, DomId)>);

impl Writers {
    /// Notes that `domid` used the generations behind `before` up to `after`.
    pub fn note(&mut self, before: u64, after: u64, domid: DomId) {
        match self.0.back_mut() {
            Some((_, to, who)) if *who == domid && *to == before => *to = after,
            _ => {
                if self.0.len() == KEPT {
                    self.0.pop_front();
                }
                self.0.push_back((before, after, domid));
            }
        }
    }

    /// Who used this generation, if it is known.
    pub fn of(&self, generation: u64) -> Option<DomId> {
        let place = self.0.partition_point(|(_, to, _)| *to < generation);
        let (before, _, domid) = self.0.get(place)?;
        (*before < generation).then_some(*domid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writer_of_a_generation_is_found_and_the_oldest_are_forgotten() {
        let mut writers = Writers::default();
        writers.note(10, 12, 5);
        writers.note(12, 13, 5);
        writers.note(15, 16, 6);
        let found: Vec<_> = (10..18).map(|g| writers.of(g)).collect();
        assert_eq!(
            found,
            [None, Some(5), Some(5), Some(5), None, None, Some(6), None]
        );
        for i in 0..KEPT as u64 {
            writers.note(100 + 2 * i, 101 + 2 * i, 7);
        }
        assert_eq!((writers.of(16), writers.0.len()), (None, KEPT));
        assert_eq!(writers.of(101), Some(7));
    }
}
