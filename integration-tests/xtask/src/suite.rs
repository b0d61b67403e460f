//! `cargo xtask test`: every test, in the order in which failures are cheapest to find.
//!
//! ```text
//!   assets ── release binaries ── cargo test --workspace (host) ── lab test binaries, in the lab ── totals
//! ```
//! The closing lines of every test binary (`test result: ...`) pass through; the last line is
//! `N passed, N failed`. A binary that ends without its closing line counts as one failure.

use crate::assets;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::layout;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A test binary that needs the lab (feature "lab").
struct LabRun {
    package: &'static str,
    test: &'static str,
    /// The lab's own switches.
    lab: &'static [&'static str],
    /// Which tests of the binary.
    select: &'static [&'static str],
}

/// Cheapest first. What counts events of a boot runs in virtual time, where a busy machine adds none.
const LAB_RUNS: [LabRun; 3] = [
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
    LabRun {
        package: "noxen-integration-tests",
        test: "lab",
        lab: &["--vcpus=4"],
        select: &["--skip", COUNTED],
    },
];

/// The test that counts exits.
const COUNTED: &str = "exits::boot_with_two_vcpus_takes_no_more_exits_than_measured";

/// Sum over test binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    /// Counts a closing line; anything else is left alone.
    fn count(&mut self, line: &str) -> bool {
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

/// `cargo xtask test [FILTER...]`: with filters, only the lab tests whose names hold one of them.
pub fn command(args: &[String]) -> Result<u8> {
    if let Some(switch) = args.iter().find(|arg| arg.starts_with('-')) {
        bail!("test knows no {switch}; words limit the lab tests to those whose names hold one");
    }
    let start = Instant::now();
    let mut totals = Totals::default();
    step("packages, kernels and images");
    assets::ensure_all()?;
    step("release binaries");
    build_binaries()?;
    if args.is_empty() {
        step("tests on this host");
        let mut cargo = cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        run_counted(&mut cargo, &mut totals)?;
    }
    step("tests in the lab");
    for run in &LAB_RUNS {
        let binary = lab_binary(run.package, run.test)?;
        let mut lab = Command::new(std::env::current_exe()?);
        lab.args(["lab", "--mem=6144", "--timeout=2700", "--verbose"])
            .args(run.lab);
        lab.arg("--")
            .arg(&binary)
            .args(["--test-threads=1", "--nocapture"]);
        // Filters add up: what a fixed choice holds is not narrowed.
        lab.args(run.select);
        if !run.select.contains(&"--exact") {
            lab.args(args);
        } else if !args.is_empty() && !args.iter().any(|arg| COUNTED.contains(arg.as_str())) {
            continue;
        }
        lab.env("NOXEN_BIN", layout::bin_dir())
            .env("RUST_BACKTRACE", "0");
        let failed = run_counted(&mut lab, &mut totals)?;
        if !failed.is_empty() {
            again(run, &binary, &failed, &mut totals)?;
        }
    }
    eprintln!(
        "xtask: all tests took {:.0} s",
        start.elapsed().as_secs_f64()
    );
    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(u8::from(totals.failed != 0))
}

/// Runs failed lab tests once more, in a lab of their own.
///
/// An emulated host on a busy machine can be slower than any limit worth waiting for. A test that passes now
/// is named as unsteady; one that fails twice has failed.
fn again(run: &LabRun, binary: &Path, failed: &[String], totals: &mut Totals) -> Result<()> {
    step(&format!("once more: {}", failed.join(" ")));
    let mut lab = Command::new(std::env::current_exe()?);
    lab.args(["lab", "--mem=6144", "--timeout=900", "--verbose"])
        .args(run.lab);
    lab.arg("--")
        .arg(binary)
        .args(["--test-threads=1", "--nocapture", "--exact"])
        .args(failed);
    lab.env("NOXEN_BIN", layout::bin_dir())
        .env("RUST_BACKTRACE", "0");
    let mut second = Totals::default();
    let still = run_counted(&mut lab, &mut second)?;
    for name in failed.iter().filter(|name| !still.contains(name)) {
        eprintln!("xtask: unsteady: {name} failed, then passed");
    }
    // What the second run has an answer for no longer counts as the first run saw it.
    let answered = (second.passed + still.len() as u64).min(failed.len() as u64);
    totals.failed = totals.failed.saturating_sub(answered) + second.failed;
    totals.passed += second.passed;
    Ok(())
}

fn step(what: &str) {
    eprintln!("xtask: == {what}");
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(layout::repo_root());
    // What cargo set for us must not reach the cargo that we start.
    for (name, _) in std::env::vars_os() {
        if let Some(text) = name.to_str() {
            if text.starts_with("CARGO_PKG_")
                || text == "CARGO_MANIFEST_DIR"
                || text == "CARGO_MANIFEST_PATH"
            {
                command.env_remove(text);
            }
        }
    }
    command
}

/// Builds the programs under test.
pub fn build_binaries() -> Result<()> {
    let status = cargo()
        .args([
            "build",
            "--release",
            "--workspace",
            "--bins",
            "--exclude",
            "xtask",
        ])
        .status()
        .context("cargo does not run")?;
    if !status.success() {
        bail!("the workspace does not build");
    }
    Ok(())
}

/// Builds a lab test binary and finds it through cargo's messages.
fn lab_binary(package: &str, test: &str) -> Result<PathBuf> {
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

/// Runs a command whose output passes through and is counted; answers the tests that it lists as failed.
fn run_counted(command: &mut Command, totals: &mut Totals) -> Result<Vec<String>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not run", command.get_program().to_string_lossy()))?;
    let stream = child.stdout.take().context("no pipe")?;
    let mut out = std::io::stdout();
    let mut reader = BufReader::new(stream);
    let (mut line, mut closings, failed_before) = (Vec::new(), 0, totals.failed);
    let mut failures = Failures::default();
    while reader.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        out.flush()?;
        let text = String::from_utf8_lossy(&line);
        closings += u32::from(totals.count(&text));
        failures.read(&text);
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() && totals.failed == failed_before || closings == 0 {
        eprintln!("xtask: the runner ended with {status} and without a closing line: counted as a failure");
        totals.failed += 1;
    }
    Ok(failures.names)
}

/// The names in the list that libtest closes a failed run with: `failures:`, then one a line, indented.
#[derive(Debug, Default)]
struct Failures {
    listing: bool,
    names: Vec<String>,
}

impl Failures {
    fn read(&mut self, line: &str) {
        let text = line.trim_end();
        if text == "failures:" {
            self.listing = true;
            return;
        }
        match text.strip_prefix("    ") {
            Some(name) if self.listing && !name.contains(' ') => {
                if !self.names.iter().any(|known| known == name) {
                    self.names.push(name.to_owned());
                }
            }
            _ => self.listing &= text.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut failures = Failures::default();
        for line in [
            "test smp::a ... FAILED",
            "",
            "failures:",
            "",
            "failures:",
            "    smp::a",
            "    store::b",
            "",
            "test result: FAILED. 1 passed; 2 failed;",
            "    not_in_the_list",
        ] {
            failures.read(line);
        }
        assert_eq!(failures.names, ["smp::a", "store::b"]);
    }

    #[test]
    fn runner_that_dies_without_closing_line_is_a_failure() {
        let mut totals = Totals::default();
        run_counted(
            Command::new("sh").args(["-c", "echo running; exit 101"]),
            &mut totals,
        )
        .unwrap();
        assert_eq!(
            totals,
            Totals {
                passed: 0,
                failed: 1
            }
        );
        run_counted(Command::new("sh").args(["-c", "exit 0"]), &mut totals).unwrap();
        assert_eq!(totals.failed, 2);
    }
}
