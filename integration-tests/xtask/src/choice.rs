//! `cargo xtask bench NAME [--guests LIST] [--rows LIST] [--soak [COUNT]]`: what of a bench is to be measured.
//!
//! ```text
//!   words ── Choice ──┬── nothing chosen: everything, anew
//!                     └── something: its figures go into the target/bench/NAME.json of earlier runs
//! ```

use crate::options::{Arg, Args};
use anyhow::{bail, Result};
use std::path::Path;

/// What there is to choose from in a bench.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// The bench's name.
    pub bench: &'static str,
    /// Its guests.
    pub guests: &'static [&'static str],
    /// Whether it has rows of its own in each guest.
    pub rows: bool,
    /// How often its soak does what it does, unless the command says; `None` has no soak.
    pub soak: Option<u32>,
}

/// Guests and rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// None are all.
    guests: Vec<String>,
    /// None are all.
    pub rows: Vec<String>,
    /// Instead of measuring, so many times over.
    pub soak: Option<u32>,
}

fn words(list: &str) -> Vec<String> {
    let words = list.split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

impl Choice {
    /// From what follows the bench's name on the command line.
    pub fn parse(offer: &Offer, args: &[String]) -> Result<Choice> {
        let (bench, known) = (offer.bench, offer.guests);
        let mut choice = Choice::default();
        let mut args = Args::new(args);
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Switch(switch) if switch == "--guests" => {
                    choice.guests = words(&args.value(&switch)?);
                }
                Arg::Switch(switch) if switch == "--rows" && offer.rows => {
                    choice.rows = words(&args.value(&switch)?);
                }
                Arg::Switch(switch) if switch == "--soak" && offer.soak.is_some() => {
                    choice.soak = offer.soak;
                }
                Arg::Word(count) if choice.soak.is_some() => {
                    let count = count.parse().ok().filter(|count| *count > 0);
                    let Some(count) = count else {
                        bail!("--soak takes a number of moves above 0");
                    };
                    choice.soak = Some(count);
                }
                Arg::Switch(other) | Arg::Word(other) => {
                    let rows = if offer.rows { " and --rows" } else { "" };
                    bail!("bench {bench} takes --guests{rows}, not {other}")
                }
            }
        }
        for guest in &choice.guests {
            if !known.contains(&guest.as_str()) {
                bail!("bench {bench} has the guests {known:?}, not {guest:?}");
            }
        }
        Ok(choice)
    }

    /// The chosen ones of the guests on offer, in its order.
    pub fn guests<'a>(&'a self, offer: &'a Offer) -> impl Iterator<Item = &'static str> + 'a {
        let all = offer.guests.iter().copied();
        all.filter(|guest| self.guests.is_empty() || self.guests.iter().any(|g| g == guest))
    }

    /// The last arguments of the bench's program: guests, rows, the file with the figures that are kept.
    pub fn words(&self, offer: &Offer, results: &Path) -> [String; 3] {
        [
            self.guests(offer).collect::<Vec<_>>().join(" "),
            self.rows.join(" "),
            self.earlier(offer, results),
        ]
    }

    /// The file with the figures that are kept; an empty word where all is measured anew.
    pub fn earlier(&self, offer: &Offer, results: &Path) -> String {
        match *self == Choice::default() {
            true => String::new(),
            false => results
                .join(format!("{}.json", offer.bench))
                .display()
                .to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer {
        bench: "boot",
        guests: &["one", "two"],
        rows: false,
        soak: None,
    };

    fn parse(offer: &Offer, words: &[&str]) -> Result<Choice> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Choice::parse(offer, &words)
    }

    #[test]
    fn nothing_chosen_is_everything_anew() {
        let choice = parse(&OFFER, &[]).unwrap();
        assert_eq!(choice.guests(&OFFER).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(choice.earlier(&OFFER, "results".as_ref()), "");
    }

    #[test]
    fn chosen_guest_goes_to_the_earlier_figures() {
        let choice = parse(&OFFER, &["--guests=two"]).unwrap();
        assert_eq!(choice.guests(&OFFER).collect::<Vec<_>>(), ["two"]);
        let earlier = choice.earlier(&OFFER, "results".as_ref());
        assert_eq!(earlier, "results/boot.json");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for wrong in ["--guests=three", "two", "--fast"] {
            assert!(parse(&OFFER, &[wrong]).is_err(), "{wrong}");
        }
        let error = parse(&OFFER, &["--rows=pipe"]).unwrap_err().to_string();
        assert_eq!(error, "bench boot takes --guests, not --rows");
        let with_rows = Offer {
            rows: true,
            soak: Some(1000),
            ..OFFER
        };
        assert_eq!(parse(&with_rows, &["--rows=a,b"]).unwrap().rows, ["a", "b"]);
        let soak = |words: &[&str]| parse(&with_rows, words).map(|choice| choice.soak);
        assert_eq!(soak(&["--soak"]).unwrap(), Some(1000));
        assert_eq!(soak(&["--soak", "30", "--guests=two"]).unwrap(), Some(30));
        for wrong in [&["--soak", "0"][..], &["--soak", "few"], &["30"]] {
            assert!(soak(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&OFFER, &["--soak"]).is_err());
    }
}
