//! pvclock constants (public/xen.h, vcpu_time_info): ns = ((tsc << shift) * mul) >> 32.

/// Multiplier and shift for a TSC frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// 32-bit fraction.
    pub mul: u32,
    /// Left shift, or right shift when negative.
    pub shift: i32,
}

/// Constants for a TSC of `khz` (0 counts as 1): the shifted rate lies in (1, 2] GHz, so `mul` uses all of its
/// 32 bits.
pub fn scale(khz: u64) -> Scale {
    const GHZ: u64 = 1_000_000_000;
    let mut rate = khz.clamp(1, u64::MAX / 1000 / 2) * 1000;
    let mut shift = 0;
    while rate > 2 * GHZ {
        rate >>= 1;
        shift -= 1;
    }
    while rate <= GHZ {
        rate <<= 1;
        shift += 1;
    }
    Scale {
        mul: ((GHZ << 32) / rate) as u32,
        shift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanoseconds(tsc: u64, scale: Scale) -> u64 {
        let shifted = if scale.shift < 0 {
            u128::from(tsc) >> -scale.shift
        } else {
            u128::from(tsc) << scale.shift
        };
        ((shifted * u128::from(scale.mul)) >> 32) as u64
    }

    #[test]
    fn scale_is_right_to_a_microsecond_in_a_thousand_seconds() {
        for khz in [
            1_000, 999_999, 1_000_000, 2_000_000, 2_000_001, 2_595_124, 6_000_000,
        ] {
            let ns = nanoseconds(khz * 1000 * 1000, scale(khz));
            assert!(ns.abs_diff(1_000_000_000_000) < 2_000, "{khz}: {ns}");
        }
    }

    #[test]
    fn scale_of_nonsense_does_not_panic() {
        scale(0);
        scale(u64::MAX);
    }
}
