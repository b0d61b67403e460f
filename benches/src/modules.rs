//! Modules of the host's kernel that a bench needs.

use anyhow::{bail, Context, Result};
use rustix::io::Errno;
use std::fs::File;

/// Puts modules into this host's kernel; what is there already stays.
pub fn load(modules: &str) -> Result<()> {
    for path in modules.split_whitespace() {
        let file = File::open(path).with_context(|| path.to_owned())?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => bail!("module {path} does not load: {error}"),
        }
    }
    Ok(())
}
