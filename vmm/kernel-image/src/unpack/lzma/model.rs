//! The LZMA decoder proper: literals, matches and repeated matches, straight into the output.
//!
//! ```text
//! is_match 0 ─► literal                      (8 bits; after a match also guided by the byte at the last distance)
//!          1 ─► is_rep 0 ─► match            length, distance          the distance enters the list of the last four
//!                       1 ─► repeat one of the last four distances, or one byte at the last (short repeat)
//! ```
//! The output buffer is the dictionary: a distance reaches back to the last dictionary reset, however large the
//! dictionary is declared. Source: LZMA specification (Igor Pavlov, public domain).

use super::range::{Range, HALF};
use crate::unpack::copy::Ahead;

/// Kinds of recent history; below this one the last symbol was a literal.
const FIRST_AFTER_MATCH: usize = 7;
const STATES: usize = 16;
const POSITIONS: usize = 16;
const MIN_MATCH: usize = 2;
const LITERAL_TREE: usize = 0x300;
/// Distance of the end marker.
const END_MARKER: u32 = u32::MAX;

/// Why decoding stopped before the output was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::unpack) enum Stop {
    /// The end marker.
    Marker,
    /// The input is too short.
    Cut,
    /// A distance reaches before the start of the dictionary.
    Distance,
    /// A match is longer than the output.
    TooLong,
}

/// The three parameters of a stream.
#[derive(Debug, Clone, Copy)]
pub(in crate::unpack) struct Parameters {
    /// High bits of the previous byte that choose a literal tree.
    literal_context: u32,
    /// Low bits of the position that choose a literal tree.
    literal_position: u32,
    /// Low bits of the position that choose a match probability.
    position: u32,
}

impl Parameters {
    /// From the packed byte (pb * 5 + lp) * 9 + lc.
    pub(in crate::unpack) fn from_byte(byte: u8) -> Option<Self> {
        let (lc, rest) = (u32::from(byte % 9), u32::from(byte / 9));
        let (lp, pb) = (rest % 5, rest / 5);
        (pb <= 4).then_some(Self {
            literal_context: lc,
            literal_position: lp,
            position: pb,
        })
    }

    /// LZMA2 limits the number of literal trees.
    pub(in crate::unpack) fn fits_lzma2(&self) -> bool {
        self.literal_context + self.literal_position <= 4
    }
}

/// Match lengths 2..=273.
struct Length {
    not_low: u16,
    not_middle: u16,
    low: [[u16; 8]; POSITIONS],
    middle: [[u16; 8]; POSITIONS],
    high: [u16; 256],
}

impl Length {
    const NEW: Self = Self {
        not_low: HALF,
        not_middle: HALF,
        low: [[HALF; 8]; POSITIONS],
        middle: [[HALF; 8]; POSITIONS],
        high: [HALF; 256],
    };

    #[inline(always)]
    fn decode(&mut self, range: &mut Range<'_>, position: usize) -> usize {
        let n = if !range.bit(&mut self.not_low) {
            range.tree(&mut self.low[position % POSITIONS])
        } else if !range.bit(&mut self.not_middle) {
            8 + range.tree(&mut self.middle[position % POSITIONS])
        } else {
            16 + range.tree(&mut self.high)
        };
        n as usize + MIN_MATCH
    }
}

/// Probabilities and history.
pub(in crate::unpack) struct Model {
    parameters: Parameters,
    state: usize,
    /// The last four distances minus one.
    last: [u32; 4],
    is_match: [[u16; POSITIONS]; STATES],
    is_rep: [u16; STATES],
    is_rep_not_0: [u16; STATES],
    is_rep_not_1: [u16; STATES],
    is_rep_not_2: [u16; STATES],
    is_long_rep_0: [[u16; POSITIONS]; STATES],
    slot: [[u16; 64]; 4],
    special: [u16; 128],
    align: [u16; 16],
    length: Length,
    rep_length: Length,
    literals: Vec<[u16; LITERAL_TREE]>,
}

impl Model {
    pub(in crate::unpack) fn new(parameters: Parameters) -> Self {
        let trees = 1_usize << (parameters.literal_context + parameters.literal_position);
        Self {
            parameters,
            state: 0,
            last: [0; 4],
            is_match: [[HALF; POSITIONS]; STATES],
            is_rep: [HALF; STATES],
            is_rep_not_0: [HALF; STATES],
            is_rep_not_1: [HALF; STATES],
            is_rep_not_2: [HALF; STATES],
            is_long_rep_0: [[HALF; POSITIONS]; STATES],
            slot: [[HALF; 64]; 4],
            special: [HALF; 128],
            align: [HALF; 16],
            length: Length::NEW,
            rep_length: Length::NEW,
            literals: vec![[HALF; LITERAL_TREE]; trees],
        }
    }

    /// The parameters it was made with.
    pub(in crate::unpack) fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Decodes into `out[place]`; the dictionary starts at `out[0]`. The place is `zeroed` or unknown.
    ///
    /// `Ok` if exactly its end was reached. On `Stop` the number of bytes is where it happened.
    pub(in crate::unpack) fn decode(
        &mut self,
        range_in: &mut Range<'_>,
        out: &mut [u8],
        place: std::ops::Range<usize>,
        zeroed: bool,
    ) -> Result<(), (Stop, usize)> {
        let Parameters {
            literal_context,
            literal_position,
            position,
        } = self.parameters;
        let position_mask = (1 << position) - 1;
        let literal_mask = (1 << literal_position) - 1;
        let (to, mut at) = (place.end, place.start);
        let out = &mut out[..to];
        let mut ahead = Ahead::new(zeroed, at);
        // Locals, so that they stay in registers.
        let mut range = range_in.clone();
        let mut state = self.state;
        let mut last = self.last;
        let mut previous = at.checked_sub(1).map_or(0, |i| out[i]);
        let stop = loop {
            if at >= to {
                break None;
            }
            if range.overrun() {
                break Some(Stop::Cut);
            }
            let place = at & position_mask;
            if !range.bit(&mut self.is_match[state % STATES][place % POSITIONS]) {
                let tree = (at & literal_mask) << literal_context
                    | usize::from(previous) >> (8 - literal_context);
                let Some(tree) = self.literals.get_mut(tree) else {
                    break Some(Stop::Distance);
                };
                previous = if state < FIRST_AFTER_MATCH {
                    literal(&mut range, tree)
                } else {
                    let Some(guide) = at.checked_sub(last[0] as usize + 1).map(|i| out[i]) else {
                        break Some(Stop::Distance);
                    };
                    guided_literal(&mut range, tree, guide)
                };
                out[at] = previous;
                at += 1;
                state = match state {
                    0..4 => 0,
                    4..10 => state - 3,
                    _ => state - 6,
                };
                continue;
            }
            let after_literal = state < FIRST_AFTER_MATCH;
            let length = if !range.bit(&mut self.is_rep[state % STATES]) {
                let length = self.length.decode(&mut range, place);
                let distance = distance(
                    &mut range,
                    &mut self.slot,
                    &mut self.special,
                    &mut self.align,
                    length,
                );
                if distance == END_MARKER {
                    break Some(Stop::Marker);
                }
                last = [distance, last[0], last[1], last[2]];
                state = if after_literal { 7 } else { 10 };
                length
            } else {
                let mut long = true;
                if !range.bit(&mut self.is_rep_not_0[state % STATES]) {
                    long = range.bit(&mut self.is_long_rep_0[state % STATES][place % POSITIONS]);
                } else if !range.bit(&mut self.is_rep_not_1[state % STATES]) {
                    last = [last[1], last[0], last[2], last[3]];
                } else if !range.bit(&mut self.is_rep_not_2[state % STATES]) {
                    last = [last[2], last[0], last[1], last[3]];
                } else {
                    last = [last[3], last[0], last[1], last[2]];
                }
                if long {
                    state = if after_literal { 8 } else { 11 };
                    self.rep_length.decode(&mut range, place)
                } else {
                    state = if after_literal { 9 } else { 11 };
                    1
                }
            };
            let back = last[0] as usize + 1;
            if back > at {
                break Some(Stop::Distance);
            }
            if length > to - at {
                break Some(Stop::TooLong);
            }
            ahead.repeat(out, at, back, length);
            at += length;
            previous = out[at - 1];
        };
        self.state = state;
        self.last = last;
        *range_in = range;
        match stop {
            None if range_in.overrun() => Err((Stop::Cut, at)),
            None => Ok(()),
            Some(stop) => Err((stop, at)),
        }
    }

    /// Takes the end marker that must follow a full output.
    pub(in crate::unpack) fn takes_marker(
        &mut self,
        range: &mut Range<'_>,
        out: &mut [u8],
    ) -> bool {
        let place = out.len() & ((1 << self.parameters.position) - 1);
        let state = self.state % STATES;
        if !range.bit(&mut self.is_match[state][place % POSITIONS])
            || range.bit(&mut self.is_rep[state])
        {
            return false;
        }
        let length = self.length.decode(range, place);
        distance(
            range,
            &mut self.slot,
            &mut self.special,
            &mut self.align,
            length,
        ) == END_MARKER
            && !range.overrun()
    }
}

#[inline(always)]
fn literal(range: &mut Range<'_>, tree: &mut [u16; LITERAL_TREE]) -> u8 {
    let mut node = 1;
    for _ in 0..8 {
        node = range.step(&mut tree[node & 0xff], node);
    }
    node as u8
}

/// A literal after a match differs from the byte at the last distance, and as long as its bits agree with that byte's
/// they have probabilities of their own.
#[inline(always)]
fn guided_literal(range: &mut Range<'_>, tree: &mut [u16; LITERAL_TREE], guide: u8) -> u8 {
    let mut node = 1;
    let mut guide = usize::from(guide);
    let mut agree = 0x100;
    for _ in 0..8 {
        guide <<= 1;
        let guide_bit = guide & agree;
        node = range.step(&mut tree[agree + guide_bit + (node & 0xff)], node);
        // Agreement ends for good where the new bit differs from the guide's.
        agree &= guide ^ (node & 1).wrapping_sub(1);
    }
    node as u8
}

/// Distance minus one: a slot gives the two highest bits and their place, the rest follows by other means.
#[inline(always)]
fn distance(
    range: &mut Range<'_>,
    slots: &mut [[u16; 64]; 4],
    special: &mut [u16; 128],
    align: &mut [u16; 16],
    length: usize,
) -> u32 {
    let slot = range.tree(&mut slots[(length - MIN_MATCH).min(3)]);
    if slot < 4 {
        return slot;
    }
    let low_bits = (slot >> 1) - 1;
    let high = (2 | slot & 1) << low_bits;
    if slot < 14 {
        high | range.reverse_tree(special, (high - slot) as usize, low_bits)
    } else {
        let middle = range.direct(low_bits - 4) << 4;
        high.wrapping_add(middle) | range.reverse_tree(align, 0, 4)
    }
}
