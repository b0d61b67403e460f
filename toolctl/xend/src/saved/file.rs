//! A file that is there whole, under its name, or not at all, whatever happens to xend or the host.
//!
//! ```text
//!   begin: NAME.new, locked --> written by others --> finish: sync, rename, sync the directory
//!                                   \--dropped--> NAME.new removed
//! ```
//! Other than what `atomic` writes, this outlives the host's boot, so it is synced.

use rustix::fs::{flock, FlockOperation};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is being replaced.
#[derive(Debug)]
pub struct Replacing {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Replacing {
    /// Begins to write what is to be `path`. One that a xend left behind which was killed is written over; one that is being
    /// written now is not.
    pub fn begin(path: &Path) -> io::Result<Replacing> {
        if path.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // Memory holds secrets: the file is for its owner alone.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&temporary)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another save writes it now"))?;
        file.set_len(0)?;
        Ok(Replacing {
            file,
            temporary,
            path: path.to_owned(),
            done: false,
        })
    }

    /// To be written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// All is written: it gets its name once it is on disk.
    pub fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.done = true;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed is written over the next time.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::io::Write;

    #[test]
    fn file_has_its_name_only_once_it_is_whole() {
        let dir = TempDir::new("replacing");
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        let replacing = Replacing::begin(&path).unwrap();
        replacing.file().write_all(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(Replacing::begin(&path)
            .unwrap_err()
            .to_string()
            .contains("another save"));
        drop(replacing);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut replacing = Replacing::begin(&path).unwrap();
        replacing.file().write_all(b"new").unwrap();
        replacing.finish().unwrap();
        drop(replacing);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn directory_and_missing_parent_are_refused() {
        let dir = TempDir::new("replacing");
        assert!(Replacing::begin(dir.path()).is_err());
        assert!(Replacing::begin(&dir.path().join("none/image")).is_err());
    }
}
