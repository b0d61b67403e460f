//! Where things lie in this repository's work tree.
//!
//! ```text
//!   <repo>/target/assets/        unpacked Debian files, shared by every build directory
//!   <repo>/target/lab/<run>/     one lab run: console.log, out/ (the only place the lab can write)
//!   <target dir>/release/        the binaries under test (CARGO_TARGET_DIR is honoured)
//! ```

use std::path::{Path, PathBuf};

/// The root of the work tree (absolute).
///
/// Cargo tells it to what it runs; a program started by hand falls back to where it was built.
pub fn repo_root() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    built_in
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_else(|| PathBuf::from("."))
}

/// The cache of Debian files: `$NOXEN_ASSETS`, else `<repo>/target/assets`.
pub fn assets_dir() -> PathBuf {
    match std::env::var_os("NOXEN_ASSETS") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => repo_root().join("target/assets"),
    }
}

/// Where cargo puts what it builds: `$CARGO_TARGET_DIR`, else `<repo>/target`.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => repo_root().join(dir),
        _ => repo_root().join("target"),
    }
}

/// Where the release binaries are: `$NOXEN_BIN`, else `<target dir>/release`.
pub fn bin_dir() -> PathBuf {
    match std::env::var_os("NOXEN_BIN") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => target_dir().join("release"),
    }
}
