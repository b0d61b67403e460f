//! Rate limits of network interfaces: `N[G|M|K]{B|b}/s[@I[m|u]s]` (xm-reference: "Names, addresses, defaults").

/// What may be sent in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes an interval.
    pub bytes: u32,
    /// Interval, microseconds; 0 with all bytes set means no limit.
    pub interval_us: u32,
}

/// Interval where none is said, microseconds.
const INTERVAL_US: u64 = 50_000;

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate {
        bytes: u32::MAX,
        interval_us: 0,
    };

    /// The rate that `text` means; none when it means none. Xen took such a text for no limit without a word.
    pub fn parse(text: &str) -> Option<Rate> {
        let (rate, interval) = match text.trim().split_once('@') {
            Some((rate, interval)) => (rate, Some(interval)),
            None => (text.trim(), None),
        };
        let rate = rate.strip_suffix("/s")?;
        let (rate, bits) = match rate.strip_suffix('b') {
            Some(rate) => (rate, 8),
            None => (rate.strip_suffix('B')?, 1),
        };
        let (digits, unit) = unit(rate, &[('G', 1_000_000_000), ('M', 1_000_000), ('K', 1000)]);
        let a_second = number(digits)?.checked_mul(unit)? / bits;
        let interval_us = match interval {
            None => INTERVAL_US,
            Some(text) => {
                let (digits, unit) = interval_unit(text.strip_suffix('s')?);
                number(digits)?.checked_mul(unit)?
            }
        };
        let bytes = u128::from(a_second) * u128::from(interval_us) / 1_000_000;
        let bytes = u32::try_from(bytes).ok().filter(|&bytes| bytes > 0)?;
        let interval_us = u32::try_from(interval_us).ok()?;
        Some(Rate { bytes, interval_us })
    }
}

fn unit<'a>(text: &'a str, units: &[(char, u64)]) -> (&'a str, u64) {
    units
        .iter()
        .find_map(|&(letter, factor)| Some((text.strip_suffix(letter)?, factor)))
        .unwrap_or((text, 1))
}

fn interval_unit(text: &str) -> (&str, u64) {
    match unit(text, &[('m', 1000), ('u', 1)]) {
        (digits, 1) if digits.len() == text.len() => (digits, 1_000_000),
        found => found,
    }
}

fn number(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

impl std::fmt::Display for Rate {
    /// As the back end's `rate` node has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.bytes, self.interval_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_an_interval() {
        for (text, wanted) in [
            ("10Mb/s", "62500,50000"),
            ("250KB/s", "12500,50000"),
            ("1MB/s@20ms", "20000,20000"),
            ("1GB/s@100us", "100000,100"),
            ("1000B/s@1s", "1000,1000000"),
        ] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn text_that_is_no_rate_is_none() {
        for text in [
            "",
            "10",
            "10Mb",
            "Mb/s",
            "0Mb/s",
            "+1Mb/s",
            "10Tb/s",
            "9999999999Gb/s",
            "10Mb/s@",
            "10Mb/s@5",
            "1Mb/s@99999s",
            "é",
        ] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
        assert_eq!(Rate::UNLIMITED.to_string(), "4294967295,0");
    }
}
