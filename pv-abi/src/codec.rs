//! Safe conversion between structures and the bytes that guests see.
//!
//! Everything is little-endian and has exactly one encoding: structures have no implicit padding (the macro
//! asserts it), so bytes -> value -> bytes is the identity and nothing of ours leaks into a guest.

/// A value with a fixed number of little-endian bytes.
///
/// The two methods without a range check, [`decode`](AbiValue::decode) and [`encode`](AbiValue::encode), never
/// panic: missing bytes read as zero and bytes that do not fit are not written. Use
/// [`read_from`](AbiValue::read_from) and [`write_to`](AbiValue::write_to) on memory of unknown length.
pub trait AbiValue: Copy + Sized {
    /// Encoded length in bytes.
    const SIZE: usize;
    /// All bytes zero.
    const ZERO: Self;

    /// Decodes the first [`SIZE`](AbiValue::SIZE) bytes.
    fn decode(bytes: &[u8]) -> Self;

    /// Encodes into the first [`SIZE`](AbiValue::SIZE) bytes.
    fn encode(&self, bytes: &mut [u8]);

    /// Decodes from `offset`; `None` if the value does not lie wholly inside `bytes`.
    #[inline]
    fn read_from(bytes: &[u8], offset: usize) -> Option<Self> {
        let end = offset.checked_add(Self::SIZE)?;
        bytes.get(offset..end).map(Self::decode)
    }

    /// Encodes at `offset`; `None`, and nothing written, if it does not lie wholly inside `bytes`.
    #[inline]
    fn write_to(&self, bytes: &mut [u8], offset: usize) -> Option<()> {
        let end = offset.checked_add(Self::SIZE)?;
        self.encode(bytes.get_mut(offset..end)?);
        Some(())
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(
            impl AbiValue for $ty {
                const SIZE: usize = core::mem::size_of::<$ty>();
                const ZERO: Self = 0;

                #[inline]
                fn decode(bytes: &[u8]) -> Self {
                    match bytes.first_chunk() {
                        Some(chunk) => <$ty>::from_le_bytes(*chunk),
                        None => 0,
                    }
                }

                #[inline]
                fn encode(&self, bytes: &mut [u8]) {
                    if let Some(chunk) = bytes.first_chunk_mut() {
                        *chunk = self.to_le_bytes();
                    }
                }
            }
        )*
    };
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl<T: AbiValue, const N: usize> AbiValue for [T; N] {
    const SIZE: usize = T::SIZE * N;
    const ZERO: Self = [T::ZERO; N];

    #[inline]
    fn decode(bytes: &[u8]) -> Self {
        let mut out = Self::ZERO;
        for (item, chunk) in out.iter_mut().zip(bytes.chunks_exact(T::SIZE)) {
            *item = T::decode(chunk);
        }
        out
    }

    #[inline]
    fn encode(&self, bytes: &mut [u8]) {
        for (item, chunk) in self.iter().zip(bytes.chunks_exact_mut(T::SIZE)) {
            item.encode(chunk);
        }
    }
}
