//! What the lines of libtest tell: which tests have ended how, and what was counted.
//!
//! ```text
//!   test NAME ... ok            ended                  test NAME ... (output) ... ok    begun, then ended
//!   failures: NAME NAME         the failed by name     test result: ...                 the binary's own count
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sum over test binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and binaries that ended without their closing line.
    pub failed: u64,
}

impl Totals {
    /// Counts a closing line; anything else is left alone.
    pub fn count(&mut self, line: &str) -> bool {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            return false;
        };
        let number = |word: &str| -> u64 {
            rest.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
                .unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        true
    }
}

/// What one run of test binaries has said so far.
#[derive(Debug, Default)]
pub struct Pass {
    /// Sum of the closing lines.
    pub totals: Totals,
    /// How many closing lines there were.
    pub closings: u32,
    /// Tests that were seen to pass.
    pub passed: BTreeSet<String>,
    /// Tests that were seen to fail, by their own line or by the list at the end.
    pub failed: BTreeSet<String>,
    /// The test that has begun and not ended.
    pub running: Option<String>,
    /// The runner ended before its time: what has no verdict was not run to its end.
    pub cut_short: bool,
    /// How long each test took that has ended, as far as its own lines tell.
    pub took: BTreeMap<String, Duration>,
    began: Duration,
    listing: bool,
}

impl Pass {
    /// Takes one line of output, said `now` after some beginning.
    pub fn read(&mut self, line: &str, now: Duration) {
        if self.totals.count(line) {
            self.closings += 1;
            self.running = None;
        }
        let text = line.trim_end();
        if text == "failures:" {
            self.listing = true;
            return;
        }
        if self.listing {
            match text.strip_prefix("    ") {
                Some(name) if !name.contains(' ') => {
                    self.failed.insert(name.to_owned());
                }
                _ => self.listing = text.is_empty(),
            }
        }
        if let Some((name, rest)) = text
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            // The beginning of a line may have been told before the line.
            if self.running.as_deref() != Some(name) {
                self.running = Some(name.to_owned());
                self.began = now;
            }
            self.end(rest, now);
        } else {
            self.end(text, now);
        }
    }

    /// The running test ends where a line ends with its verdict.
    fn end(&mut self, text: &str, now: Duration) {
        let word = text.split_whitespace().next_back();
        let set = match word {
            Some("ok") => &mut self.passed,
            Some("FAILED") => &mut self.failed,
            _ => return,
        };
        // A test's own output may end so as well; only a word that stands alone, or behind the name, is the verdict.
        if text.trim() == word.unwrap_or_default() {
            if let Some(name) = self.running.take() {
                self.took
                    .insert(name.clone(), now.saturating_sub(self.began));
                set.insert(name);
            }
        }
    }

    /// The `count` tests that took longest, the longest first.
    pub fn longest(&self, count: usize) -> Vec<(&str, Duration)> {
        let mut all: Vec<(&str, Duration)> = self
            .took
            .iter()
            .map(|(name, time)| (name.as_str(), *time))
            .collect();
        all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        all.truncate(count);
        all
    }

    /// Whether the test has ended, one way or the other.
    pub fn knows(&self, name: &str) -> bool {
        self.passed.contains(name) || self.failed.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn closing_lines_are_summed_and_others_left_alone() {
        let mut totals = Totals::default();
        assert!(totals.count("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s"));
        assert!(totals.count("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s\n"));
        assert!(!totals.count("test store_result ... ok"));
        assert_eq!(
            totals,
            Totals {
                passed: 15,
                failed: 2
            }
        );
    }

    #[test]
    fn failed_tests_are_named_by_the_closing_list() {
        let mut pass = Pass::default();
        for line in [
            "failures:",
            "",
            "failures:",
            "    smp::a",
            "    store::b",
            "",
            "test result: FAILED. 1 passed; 2 failed;",
            "    not_in_the_list",
        ] {
            pass.read(line, Duration::ZERO);
        }
        assert_eq!(names(&pass.failed), ["smp::a", "store::b"]);
        assert_eq!(pass.closings, 1);
    }

    #[test]
    fn tests_that_ended_and_the_one_that_runs_are_told_apart() {
        let mut pass = Pass::default();
        for line in [
            "test a::one ... ok",
            "test a::two ... exits: 5889",
            "all is ok",
            "ok",
            "test a::three ... FAILED",
            "test a::four ... a line of its own",
            "noxen-vmm: something",
        ] {
            pass.read(line, Duration::ZERO);
        }
        assert_eq!(names(&pass.passed), ["a::one", "a::two"]);
        assert_eq!(names(&pass.failed), ["a::three"]);
        assert_eq!(pass.running.as_deref(), Some("a::four"));
        assert!(pass.knows("a::three") && !pass.knows("a::four"));
        assert_eq!(pass.closings, 0);
    }

    #[test]
    fn longest_tests_come_first() {
        let mut pass = Pass::default();
        let lines = [
            ("test a ... ", 1),
            ("test a ... said", 3),
            ("ok", 4),
            ("test b ... ok", 9),
            ("test c ... ", 10),
            ("test c ... FAILED", 15),
        ];
        for (line, second) in lines {
            pass.read(line, Duration::from_secs(second));
        }
        let longest = pass.longest(2);
        assert_eq!(
            longest,
            [("c", Duration::from_secs(5)), ("a", Duration::from_secs(3))]
        );
    }
}
