//! `cargo xtask bench [NAME]`: benches in the lab, in deterministic time.
//!
//! ```text
//!   bench NAME ── assets, binaries ── lab --icount ── noxen-benches NAME ── out/NAME.json ── target/bench/NAME.json
//! ```

use crate::lab::{self, Spec};
use crate::{assets, suite};
use anyhow::{bail, Context, Result};
use noxen_integration_tests::layout;
use std::time::Duration;

/// Benches that exist.
const BUILT: [&str; 1] = ["boot"];
/// Names that are promised and not there yet.
const PLANNED: [&str; 8] = [
    "costs", "store", "block", "net", "hvm", "vnc", "migrate", "list",
];

/// The command: one bench, or all that exist.
pub fn command(args: &[String]) -> Result<u8> {
    let names: Vec<&str> = match args {
        [] => BUILT.to_vec(),
        [name] if BUILT.contains(&name.as_str()) => vec![name.as_str()],
        [name] if PLANNED.contains(&name.as_str()) => {
            bail!("bench {name} is not there yet; there is {BUILT:?}")
        }
        other => bail!("bench takes one of {BUILT:?}, not {other:?}"),
    };
    assets::ensure_all()?;
    suite::build_binaries()?;
    let results = layout::repo_root().join("target/bench");
    std::fs::create_dir_all(&results)?;
    for name in names {
        let program = layout::bin_dir()
            .join("noxen-benches")
            .display()
            .to_string();
        let mut spec = Spec::new(vec![program, name.to_owned()]);
        spec.icount = true;
        spec.timeout = Duration::from_secs(3 * 3600);
        spec.env.push((
            "NOXEN_BIN".to_owned(),
            layout::bin_dir().display().to_string(),
        ));
        spec.keep_out = Some(results.clone());
        let status = lab::run(&spec)?;
        if status != 0 {
            return Ok(status);
        }
        let json = results.join(format!("{name}.json"));
        std::fs::metadata(&json)
            .with_context(|| format!("the bench left no {}", json.display()))?;
        eprintln!("xtask: samples in {}", json.display());
    }
    Ok(0)
}
