//! The range decoder: turns the compressed bytes into bits, each with an adaptive probability.
//!
//! ```text
//! code ──┬── < bound ──► 0, range = bound            bound = range / 2048 * probability of 0
//!        └── ≥ bound ──► 1, range -= bound
//! range < 2^24 ─► both shift in the next byte
//! ```
//! Everything is inlined into the decoder's loop, so that the four fields live in registers.

const PROBABILITY_BITS: u32 = 11;
const PROBABILITY_ONE: u32 = 1 << PROBABILITY_BITS;
/// How fast a probability follows the bits.
const ADAPT_SHIFT: u32 = 5;
const NORMAL: u32 = 1 << 24;

/// Start value of every probability: one half.
pub(super) const HALF: u16 = (PROBABILITY_ONE / 2) as u16;

/// Reads bits from `input`. Past its end it reads zeros; [`Range::overrun`] then says so.
#[derive(Clone)]
pub(in crate::unpack) struct Range<'a> {
    input: &'a [u8],
    at: usize,
    range: u32,
    code: u32,
}

impl<'a> Range<'a> {
    /// Takes the 5 bytes of the start, the first of which is always 0.
    pub(in crate::unpack) fn new(input: &'a [u8]) -> Option<Self> {
        let (head, rest) = input.split_first_chunk::<5>()?;
        let [0, code @ ..] = *head else { return None };
        Some(Self {
            input: rest,
            at: 0,
            range: u32::MAX,
            code: u32::from_be_bytes(code),
        })
    }

    /// Whether bits have been made of bytes that are not there.
    #[inline(always)]
    pub(super) fn overrun(&self) -> bool {
        self.at > self.input.len()
    }

    /// Whether the stream ended as an encoder ends it.
    pub(in crate::unpack) fn finished(&mut self) -> bool {
        self.normalize();
        self.code == 0
    }

    /// Whether all input has been used.
    pub(in crate::unpack) fn at_end(&self) -> bool {
        self.at == self.input.len()
    }

    #[inline(always)]
    fn normalize(&mut self) {
        if self.range < NORMAL {
            let byte = self.input.get(self.at).copied().unwrap_or(0);
            self.at += 1;
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(byte);
        }
    }

    /// One bit.
    #[inline(always)]
    pub(super) fn bit(&mut self, probability: &mut u16) -> bool {
        self.normalize();
        // 32-bit arithmetic throughout: the compiler adds a widening to each step of 16-bit arithmetic.
        let p = u32::from(*probability);
        let bound = (self.range >> PROBABILITY_BITS).wrapping_mul(p);
        if self.code < bound {
            self.range = bound;
            *probability = p.wrapping_add(PROBABILITY_ONE.wrapping_sub(p) >> ADAPT_SHIFT) as u16;
            false
        } else {
            self.range = self.range.wrapping_sub(bound);
            self.code = self.code.wrapping_sub(bound);
            *probability = p.wrapping_sub(p >> ADAPT_SHIFT) as u16;
            true
        }
    }

    /// One bit, appended to a tree's node: 2 * node + bit. Doing so inside the branches spares the detour over a flag.
    #[inline(always)]
    pub(super) fn step(&mut self, probability: &mut u16, node: usize) -> usize {
        self.normalize();
        let p = u32::from(*probability);
        let bound = (self.range >> PROBABILITY_BITS).wrapping_mul(p);
        if self.code < bound {
            self.range = bound;
            *probability = p.wrapping_add(PROBABILITY_ONE.wrapping_sub(p) >> ADAPT_SHIFT) as u16;
            node << 1
        } else {
            self.range = self.range.wrapping_sub(bound);
            self.code = self.code.wrapping_sub(bound);
            *probability = p.wrapping_sub(p >> ADAPT_SHIFT) as u16;
            node << 1 | 1
        }
    }

    /// A number below N (a power of two), highest bit first, each bit with a probability chosen by those before it.
    #[inline(always)]
    pub(super) fn tree<const N: usize>(&mut self, probabilities: &mut [u16; N]) -> u32 {
        let mut node = 1;
        for _ in 0..N.trailing_zeros() {
            node = self.step(&mut probabilities[node & (N - 1)], node);
        }
        (node - N) as u32
    }

    /// `bits` bits, lowest first; the tree starts at `base` of a table of N (a power of two) probabilities.
    #[inline(always)]
    pub(super) fn reverse_tree<const N: usize>(
        &mut self,
        probabilities: &mut [u16; N],
        base: usize,
        bits: u32,
    ) -> u32 {
        let mut node = 1;
        let mut value = 0;
        for n in 0..bits {
            node = self.step(&mut probabilities[(base + node - 1) & (N - 1)], node);
            value |= (node as u32 & 1) << n;
        }
        value
    }

    /// `count` bits that are equally likely 0 and 1.
    #[inline(always)]
    pub(super) fn direct(&mut self, count: u32) -> u32 {
        let mut value = 0;
        for _ in 0..count {
            self.normalize();
            self.range >>= 1;
            let bit = u32::from(self.code >= self.range);
            self.code = self.code.wrapping_sub(self.range & bit.wrapping_neg());
            value = value << 1 | bit;
        }
        value
    }
}
