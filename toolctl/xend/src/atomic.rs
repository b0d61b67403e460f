//! Files that are either the old or the new one, whenever xend dies.
//!
//! ```text
//!   write NAME.new -> rename to NAME
//! ```
//! Nothing is flushed to the disk itself: what is written here tells of running domains, so it means something
//! only while the host that runs them is up, and until then the kernel has it. After a crash of the host the
//! boot id differs (or the file is torn) and the file is discarded. A flush costs more than the whole rest of
//! making a domain.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Replaces `path` by `bytes`; a new file has `mode`.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}

/// Removes `path`; it need not exist.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes `path` and its parents; new ones get `mode`.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn write_replaces_and_leaves_nothing_else() {
        let dir = TempDir::new("atomic");
        let path = dir.path().join("a");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn remove_of_a_missing_file_succeeds() {
        let dir = TempDir::new("atomic");
        remove(&dir.path().join("none")).unwrap();
    }
}
