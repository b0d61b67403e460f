//! `cargo xtask suite`.

use anyhow::{bail, Result};

/// The command.
pub fn command(_args: &[String]) -> Result<u8> {
    bail!("not there yet")
}
