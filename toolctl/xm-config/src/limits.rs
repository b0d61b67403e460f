//! Bounds on what a configuration may cost.
//!
//! A config file may come from anybody who can create domains through a front end, so every stage has a bound and reports
//! it as an error with a place instead of exhausting the host.

use crate::error::{ConfigError, Pos, Result};
use std::time::{Duration, Instant};

/// The bounds; the defaults are far above any real configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Size of the source, bytes.
    pub source_bytes: usize,
    /// Tokens in the source.
    pub tokens: usize,
    /// Nesting of brackets, expressions and values.
    pub depth: usize,
    /// Evaluation steps.
    pub steps: u64,
    /// Bytes that all values computed during the run may take together.
    pub value_bytes: u64,
    /// Time that a run may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            source_bytes: 1 << 20,
            tokens: 200_000,
            depth: 90,
            steps: 1_000_000,
            value_bytes: 32 << 20,
            time: Duration::from_secs(10),
        }
    }
}

/// What is left of [`Limits`] during one run.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    bytes: u64,
    started: Instant,
    limits: Limits,
}

impl Budget {
    /// A full budget.
    pub fn new(limits: &Limits) -> Budget {
        Budget {
            steps: limits.steps,
            bytes: limits.value_bytes,
            started: Instant::now(),
            limits: limits.clone(),
        }
    }

    /// Takes one step.
    pub fn step(&mut self, at: Pos) -> Result<()> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| {
            ConfigError::limit(
                at,
                format!(
                    "stopped after {} steps; simplify the file",
                    self.limits.steps
                ),
            )
        })?;
        // Steps differ in what they cost; the clock has the last word.
        if self.steps.is_multiple_of(256) && self.started.elapsed() > self.limits.time {
            let most = self.limits.time.as_secs();
            return Err(ConfigError::limit(
                at,
                format!("stopped after {most} s; simplify the file"),
            ));
        }
        Ok(())
    }

    /// Takes steps for work that grows with the size of a text.
    pub fn work(&mut self, at: Pos, bytes: usize) -> Result<()> {
        self.steps = self.steps.saturating_sub(bytes as u64 / 256);
        self.step(at)
    }

    /// Takes `bytes` of value space; to be called before the value is built.
    pub fn bytes(&mut self, at: Pos, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or_else(|| {
            ConfigError::limit(
                at,
                format!(
                    "values take more than {} MiB; simplify the file",
                    self.limits.value_bytes >> 20
                ),
            )
        })?;
        Ok(())
    }
}
