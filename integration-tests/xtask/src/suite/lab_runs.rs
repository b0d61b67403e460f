//! Test binaries in the lab: a test that hangs or takes the lab down costs itself, not those behind it.
//!
//! ```text
//!   names ── lab ──> all ended ─────────────────────────────> failed ones once more, in a lab of their own
//!     ^       └────> cut short: the running one has failed ──┐
//!     └────────────── those without a verdict ───────────────┘
//! ```

use super::tally::{Pass, Totals};
use super::watch::watched;
use super::{cargo, step};
use anyhow::{bail, Context, Result};
use noxen_integration_tests::layout;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest silence of a test binary in the lab; the longest wait of a test has 600 s.
const SILENCE: Duration = Duration::from_secs(660);

/// How many of the longest tests are told of after each lab.
const TOLD: usize = 12;

/// The test that counts exits.
const COUNTED: &str = "exits::boot_with_two_vcpus_takes_no_more_exits_than_measured";

/// A test binary that needs the lab (feature "lab").
pub struct LabRun {
    package: &'static str,
    test: &'static str,
    /// The lab's own switches.
    lab: &'static [&'static str],
    /// Which tests of the binary.
    select: &'static [&'static str],
}

/// Cheapest first. What counts events of a boot runs in virtual time, where a busy machine adds none.
pub const LAB_RUNS: [LabRun; 4] = [
    LabRun {
        package: "noxen-vmm",
        test: "kvm",
        lab: &["--vcpus=4"],
        select: &[],
    },
    LabRun {
        package: "noxen-integration-tests",
        test: "lab",
        lab: &["--icount"],
        select: &["--exact", COUNTED],
    },
    // The same at twice the speed: half as many ticks of host and guest.
    LabRun {
        package: "noxen-integration-tests",
        test: "lab",
        lab: &["--icount-shift=0"],
        select: &["--exact", COUNTED],
    },
    LabRun {
        package: "noxen-integration-tests",
        test: "lab",
        lab: &["--vcpus=4"],
        select: &["--skip", COUNTED],
    },
];

impl LabRun {
    /// Runs those of its tests whose names hold one of `filters` (all, when there is none).
    pub fn run(&self, filters: &[String], totals: &mut Totals) -> Result<()> {
        let binary = binary(self.package, self.test)?;
        let names: Vec<String> = self
            .names(&binary)?
            .into_iter()
            .filter(|name| filters.is_empty() || filters.iter().any(|word| name.contains(word)))
            .collect();
        let (passed, failed) = through(names, |left| self.pass(&binary, left))?;
        totals.passed += passed;
        if failed.is_empty() {
            return Ok(());
        }
        // An emulated host on a busy machine can be slower than any limit worth waiting for. A test that passes now
        // is named as unsteady; one that fails twice has failed.
        step(&format!("once more: {}", failed.join(" ")));
        let (passed, still) = through(failed.clone(), |left| self.pass(&binary, left))?;
        for name in failed.iter().filter(|name| !still.contains(name)) {
            eprintln!("xtask: unsteady: {name} failed, then passed");
        }
        totals.passed += passed;
        totals.failed += still.len() as u64;
        Ok(())
    }

    /// The names of its tests.
    fn names(&self, binary: &Path) -> Result<Vec<String>> {
        let out = Command::new(binary)
            .args(["--list", "--format=terse"])
            .args(self.select)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("{} does not run", binary.display()))?;
        let names: Vec<String> = String::from_utf8_lossy(&out.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect();
        if !out.status.success() || names.is_empty() {
            bail!(
                "{} {:?} lists no test ({})",
                binary.display(),
                self.select,
                out.status
            );
        }
        Ok(names)
    }

    /// One lab with `names`, in their order.
    fn pass(&self, binary: &Path, names: &[String]) -> Result<Pass> {
        let mut lab = Command::new(std::env::current_exe()?);
        lab.args(["lab", "--mem=6144", "--timeout=2700", "--verbose"])
            .args(self.lab);
        lab.arg("--")
            .arg(binary)
            .args(["--test-threads=1", "--nocapture", "--exact"])
            .args(names);
        lab.env("NOXEN_BIN", layout::bin_dir())
            .env("RUST_BACKTRACE", "0");
        let pass = watched(&mut lab, SILENCE, &mut std::io::stdout())?;
        for (name, time) in pass.longest(TOLD) {
            eprintln!("xtask: {:5.0} s  {name}", time.as_secs_f64());
        }
        Ok(pass)
    }
}

/// Has `pass` run `left` until each has a verdict: how many passed, and the failed ones by name.
fn through(
    mut left: Vec<String>,
    mut pass: impl FnMut(&[String]) -> Result<Pass>,
) -> Result<(u64, Vec<String>)> {
    let (mut passed, mut failed, mut in_vain) = (0, Vec::new(), 0);
    while !left.is_empty() {
        let seen = pass(&left)?;
        if !seen.cut_short {
            failed.extend(seen.failed);
            return Ok((passed + seen.totals.passed, failed));
        }
        // A lab that does not start says nothing about any test, and a third one would not either.
        if seen.passed.is_empty() && seen.failed.is_empty() && seen.running.is_none() {
            in_vain += 1;
            if in_vain < 2 {
                continue;
            }
            failed.append(&mut left);
            break;
        }
        passed += seen.passed.len() as u64;
        left.retain(|name| !seen.knows(name));
        failed.extend(seen.failed);
        if let Some(running) = seen.running {
            eprintln!("xtask: {running} did not end; those behind it go on in another lab");
            left.retain(|name| *name != running);
            failed.push(running);
        }
    }
    Ok((passed, failed))
}

/// Builds a lab test binary and finds it through cargo's messages.
fn binary(package: &str, test: &str) -> Result<PathBuf> {
    let out = cargo()
        .args([
            "test",
            "--no-run",
            "-p",
            package,
            "--features",
            "lab",
            "--test",
            test,
        ])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not run")?;
    if !out.status.success() {
        bail!("the lab tests of {package} do not build");
    }
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == test
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no test binary {test} of {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays labs that say `scripts`, one after the other; what each was asked for.
    fn played(names: &[&str], scripts: &[&[&str]]) -> (u64, Vec<String>, Vec<Vec<String>>) {
        let mut asked = Vec::new();
        let left = names.iter().map(|name| (*name).to_owned()).collect();
        let (passed, failed) = through(left, |left| {
            let lines = scripts[asked.len()];
            asked.push(left.to_vec());
            let mut pass = Pass::default();
            lines
                .iter()
                .for_each(|line| pass.read(line, Duration::ZERO));
            pass.cut_short = pass.closings == 0;
            Ok(pass)
        })
        .unwrap();
        (passed, failed, asked)
    }

    #[test]
    fn tests_behind_one_that_hangs_run_in_another_lab() {
        let (passed, failed, asked) = played(
            &["a", "b", "c", "d"],
            &[
                &["test a ... ok", "test b ... something"],
                &[
                    "test c ... ok",
                    "test d ... FAILED",
                    "failures:",
                    "    d",
                    "",
                    "test result: FAILED. 1 passed; 1 failed;",
                ],
            ],
        );
        assert_eq!((passed, failed), (2, vec!["b".to_owned(), "d".to_owned()]));
        assert_eq!(asked[1], ["c", "d"]);
    }

    #[test]
    fn lab_that_never_starts_fails_all_of_its_tests() {
        let (passed, failed, asked) = played(&["a", "b"], &[&[], &[]]);
        assert_eq!((passed, failed.len(), asked.len()), (0, 2, 2));
    }

    #[test]
    fn lab_that_dies_between_two_tests_goes_on_with_the_rest() {
        let (passed, failed, asked) = played(
            &["a", "b"],
            &[
                &["test a ... ok"],
                &["test b ... ok", "test result: ok. 1 passed; 0 failed;"],
            ],
        );
        assert_eq!((passed, failed.is_empty()), (2, true));
        assert_eq!(asked[1], ["b"]);
    }
}
