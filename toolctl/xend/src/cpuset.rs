//! CPU sets as configurations write them: `0-3,5,^1`.

/// What is wrong with a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// Not a number or range.
    #[error("'{0}' is neither a CPU number nor a range such as 0-3")]
    Syntax(String),
    /// No such CPU.
    #[error("there is no CPU {cpu}; the host has CPUs 0 to {}", host_cpus.saturating_sub(1))]
    NoCpu {
        /// The one named.
        cpu: u32,
        /// How many there are.
        host_cpus: u32,
    },
    /// Nothing left.
    #[error("the set is empty")]
    Empty,
}

/// CPUs of `text`, ascending. A `^` part takes away from what stands before it.
pub fn parse(text: &str, host_cpus: u32) -> Result<Vec<u32>, CpuSetError> {
    let mut set = vec![false; host_cpus as usize];
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (wanted, range) = match part.strip_prefix('^') {
            Some(rest) => (false, rest.trim()),
            None => (true, part),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first, part)?, number(last, part)?),
            None => (number(range, part)?, number(range, part)?),
        };
        if first > last {
            return Err(CpuSetError::Syntax(part.to_owned()));
        }
        if last >= host_cpus {
            return Err(CpuSetError::NoCpu {
                cpu: last,
                host_cpus,
            });
        }
        set[first as usize..=last as usize].fill(wanted);
    }
    let cpus: Vec<u32> = (0..host_cpus).filter(|&cpu| set[cpu as usize]).collect();
    if cpus.is_empty() {
        return Err(CpuSetError::Empty);
    }
    Ok(cpus)
}

fn number(text: &str, part: &str) -> Result<u32, CpuSetError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CpuSetError::Syntax(part.to_owned()));
    }
    text.parse()
        .map_err(|_| CpuSetError::Syntax(part.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_ranges_singles_and_exclusions() {
        assert_eq!(parse("0-3,5,^1", 8).unwrap(), [0, 2, 3, 5]);
        assert_eq!(parse(" 7 ", 8).unwrap(), [7]);
    }

    #[test]
    fn parse_cpu_beyond_the_host_is_refused() {
        let error = parse("0-8", 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no CPU 8; the host has CPUs 0 to 7"
        );
    }

    #[test]
    fn parse_nonsense_is_refused() {
        for text in ["a", "-1", "1-", "3-1", "+1", "99999999999", "1--2"] {
            assert!(
                matches!(parse(text, 8), Err(CpuSetError::Syntax(_))),
                "{text}"
            );
        }
        assert_eq!(parse("", 8), Err(CpuSetError::Empty));
        assert_eq!(parse("1,^1", 8), Err(CpuSetError::Empty));
    }
}
