//! `cargo xtask test`: every test, in the order in which failures are cheapest to find.
//!
//! ```text
//!   assets ── release binaries ── cargo test --workspace (host) ── lab test binaries, in the lab ── totals
//! ```
//! The closing lines of every test binary (`test result: ...`) pass through; the last line is
//! `N passed, N failed`. A binary of the host that ends without its closing line counts as one failure.

mod lab_runs;
mod tally;
mod watch;

use crate::assets;
use anyhow::{bail, Context, Result};
use lab_runs::LAB_RUNS;
use noxen_integration_tests::layout;
use std::process::Command;
use std::time::{Duration, Instant};
use tally::Totals;
use watch::watched;

/// Longest silence of cargo and the tests of this host: a build from nothing takes a few minutes.
const SILENCE: Duration = Duration::from_secs(1200);

/// What the lab tests are called that need a whole Debian guest, whose image takes a minute to make.
const DEBIAN: &str = "debian";

/// `cargo xtask test [FILTER...]`: with filters, only the lab tests whose names hold one of them.
pub fn command(args: &[String]) -> Result<u8> {
    if let Some(switch) = args.iter().find(|arg| arg.starts_with('-')) {
        bail!("test knows no {switch}; words limit the lab tests to those whose names hold one");
    }
    let start = Instant::now();
    let mut totals = Totals::default();
    step("packages, kernels and images");
    assets::ensure_all()?;
    if args.is_empty() || args.iter().any(|filter| filter.contains(DEBIAN)) {
        assets::ensure_debian()?;
    }
    step("release binaries");
    build_binaries()?;
    if args.is_empty() {
        step("tests on this host");
        let pass = watched(
            cargo().args(["test", "--workspace", "--no-fail-fast"]),
            SILENCE,
            &mut std::io::stdout(),
        )?;
        totals = pass.totals;
        totals.failed += u64::from(pass.cut_short);
    }
    step("tests in the lab");
    for run in &LAB_RUNS {
        run.run(args, &mut totals)?;
    }
    eprintln!(
        "xtask: all tests took {:.0} s",
        start.elapsed().as_secs_f64()
    );
    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(u8::from(totals.failed != 0))
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
