//! A file that no package of Debian's has, from its own place, and as it was when it was chosen.

use anyhow::{bail, ensure, Context, Result};
use std::path::Path;
use std::process::Command;

/// Fetches `place` into the file `to`, which is removed again unless its SHA-256 is `sha256`, in small hexadecimal letters.
pub fn fetch(place: &str, sha256: &str, to: &Path) -> Result<()> {
    let fetched = Command::new("curl")
        .args([
            "-sSf",
            "--location",
            "--retry",
            "3",
            "--max-time",
            "120",
            "-o",
        ])
        .arg(to)
        .arg(place)
        .status()
        .context("curl does not run")?;
    ensure!(
        fetched.success(),
        "cannot fetch {place}: curl ended with {fetched}"
    );
    let summed = Command::new("sha256sum")
        .arg(to)
        .output()
        .context("sha256sum does not run")?;
    let text = String::from_utf8_lossy(&summed.stdout).into_owned();
    let found = text.split_whitespace().next().unwrap_or_default();
    if found != sha256 {
        std::fs::remove_file(to)?;
        bail!("{place} is not the file that it was: its SHA-256 is {found}, {sha256} was expected");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_another_is_not_kept() {
        let directory = std::env::temp_dir().join(format!("noxen-download-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (from, to) = (directory.join("from"), directory.join("to"));
        std::fs::write(&from, "abc").unwrap();
        let place = format!("file://{}", from.display());
        // FIPS 180-2, B.1.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        fetch(&place, sum, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"abc");
        let error = fetch(&place, &"0".repeat(64), &to).unwrap_err().to_string();
        assert!(error.contains(sum) && !to.exists(), "{error}");
        assert!(fetch(&format!("{place}-not-there"), sum, &to).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
