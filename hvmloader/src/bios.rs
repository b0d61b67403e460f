//! Where a BIOS image lies (IBM PC AT Technical Reference; SeaBIOS, docs/Memory_Model).
//!
//! ```text
//!   4 GiB - size ... 4 GiB     the whole image: a processor starts at its last 16 bytes
//!   1 MiB - 256 KiB ... 1 MiB  its end, in RAM: real-mode code runs there
//! ```

use crate::{Placed, HIGH};

/// Sizes that a BIOS image can have, bytes.
pub const SIZES: std::ops::RangeInclusive<usize> = 64 << 10..=2 << 20;
/// End of what real mode reaches.
const MIB: u64 = 1 << 20;
/// Most of an image that is copied below 1 MiB; lower there is room for option ROMs.
const MOST: usize = 256 << 10;
/// Images are multiples of it, bytes.
const UNIT: usize = 64 << 10;

/// Why an image is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BiosError {
    /// Of a size that no BIOS has.
    #[error("it has {0} bytes; a BIOS image has 64 KiB to 2 MiB, in steps of 64 KiB")]
    Size(usize),
    /// No code where a processor starts.
    #[error("there is nothing at its reset vector, 16 bytes before its end; it is no BIOS image")]
    NoResetVector,
}

/// The image below 4 GiB and what of it is copied below 1 MiB.
pub fn place(image: &[u8]) -> Result<[Placed; 2], BiosError> {
    if !SIZES.contains(&image.len()) || !image.len().is_multiple_of(UNIT) {
        return Err(BiosError::Size(image.len()));
    }
    let vector = &image[image.len() - 16..];
    if vector.iter().all(|byte| *byte == vector[0]) {
        return Err(BiosError::NoResetVector);
    }
    let end = &image[image.len() - image.len().min(MOST)..];
    let below = |limit: u64, bytes: &[u8]| Placed {
        address: limit - bytes.len() as u64,
        bytes: bytes.to_vec(),
    };
    Ok([below(HIGH, image), below(MIB, end)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(size: usize) -> Vec<u8> {
        let mut image = vec![0; size];
        if let Some(vector) = size.checked_sub(16) {
            image[vector] = 0xea;
        }
        image
    }

    #[test]
    fn image_ends_at_both_limits() {
        let [high, low] = place(&image(256 << 10)).unwrap();
        assert_eq!(high.address, 0xfffc_0000);
        assert_eq!((low.address, low.bytes.len()), (0xc_0000, 256 << 10));
        let [high, low] = place(&image(2 << 20)).unwrap();
        assert_eq!(high.address, 0xffe0_0000);
        assert_eq!((low.address, low.bytes.len()), (0xc_0000, 256 << 10));
        let [_, low] = place(&image(128 << 10)).unwrap();
        assert_eq!(low.address, 0xe_0000);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for size in [0, 16, 65535, (64 << 10) + 512, 4 << 20] {
            assert_eq!(place(&image(size)), Err(BiosError::Size(size)));
        }
        let empty = vec![0xff; 64 << 10];
        assert_eq!(place(&empty), Err(BiosError::NoResetVector));
    }
}
