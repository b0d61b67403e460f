//! A small command-line reader: long switches, values as `--name V` or `--name=V`, `--` ends them.

use anyhow::{anyhow, Result};

/// One argument, classified.
#[derive(Debug, PartialEq, Eq)]
pub enum Arg {
    /// `--name`, without its value.
    Switch(String),
    /// Anything else.
    Word(String),
}

/// Walks over an argument list.
pub struct Args<'a> {
    rest: &'a [String],
    inline: Option<(String, String)>,
}

impl<'a> Args<'a> {
    /// A reader over `list`.
    pub fn new(list: &'a [String]) -> Self {
        Args {
            rest: list,
            inline: None,
        }
    }

    /// The next argument, or None at the end or at `--` (then [`Args::after`] has what follows).
    pub fn next(&mut self) -> Result<Option<Arg>> {
        if let Some((name, value)) = &self.inline {
            return Err(anyhow!("{name} takes no value, but '{value}' was given"));
        }
        let Some((first, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        if first == "--" {
            return Ok(None);
        }
        if !first.starts_with("--") {
            return Ok(Some(Arg::Word(first.clone())));
        }
        Ok(Some(Arg::Switch(match first.split_once('=') {
            Some((name, value)) => {
                self.inline = Some((name.to_owned(), value.to_owned()));
                name.to_owned()
            }
            None => first.clone(),
        })))
    }

    /// The value of the switch just read.
    pub fn value(&mut self, switch: &str) -> Result<String> {
        if let Some((_, value)) = self.inline.take() {
            return Ok(value);
        }
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or_else(|| anyhow!("{switch} needs a value"))?;
        self.rest = rest;
        Ok(first.clone())
    }

    /// The value of the switch just read, as a number within `range`.
    pub fn number(&mut self, switch: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64> {
        let text = self.value(switch)?;
        let number: u64 = text
            .parse()
            .map_err(|_| anyhow!("{switch} needs a number, not '{text}'"))?;
        if !range.contains(&number) {
            return Err(anyhow!(
                "{switch} {number} is out of range {}..{}",
                range.start(),
                range.end()
            ));
        }
        Ok(number)
    }

    /// Everything not yet read.
    pub fn after(self) -> &'a [String] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn switches_before_double_dash_are_read_and_rest_is_kept() {
        let words = list(&["--vcpus", "4", "--mem=512", "--", "ls", "--vcpus"]);
        let mut args = Args::new(&words);
        assert_eq!(args.next().unwrap(), Some(Arg::Switch("--vcpus".into())));
        assert_eq!(args.number("--vcpus", 1..=8).unwrap(), 4);
        assert_eq!(args.next().unwrap(), Some(Arg::Switch("--mem".into())));
        assert_eq!(args.number("--mem", 1..=9999).unwrap(), 512);
        assert_eq!(args.next().unwrap(), None);
        assert_eq!(args.after(), &list(&["ls", "--vcpus"])[..]);
    }

    #[test]
    fn number_out_of_range_is_refused() {
        let words = list(&["--vcpus", "400"]);
        let mut args = Args::new(&words);
        args.next().unwrap();
        assert!(args.number("--vcpus", 1..=255).is_err());
    }

    #[test]
    fn value_given_to_plain_switch_is_refused() {
        let words = list(&["--icount=3", "--", "ls"]);
        let mut args = Args::new(&words);
        args.next().unwrap();
        assert!(args.next().is_err());
    }
}
