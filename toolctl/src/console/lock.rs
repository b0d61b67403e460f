//! The lock file of a console.

use super::ConsoleError;
use noxen_xend_api::paths::Paths;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

/// A held lock; dropping it removes the file.
pub(super) struct Lock {
    path: PathBuf,
    /// The lock lives as long as the open file.
    _file: std::fs::File,
}

impl Lock {
    /// Takes the lock of domain `domid`, or says who has it.
    pub(super) fn take(paths: &Paths, name: &str, domid: u32) -> Result<Lock, ConsoleError> {
        let dir = paths.root().join("var/lock");
        let path = dir.join(format!("xenconsole.{domid}"));
        let failed = |error: std::io::Error| ConsoleError::Lock {
            path: path.display().to_string(),
            error,
        };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        // Whoever leaves removes the file; a lock on a file that is gone by then excludes nobody, so it is taken anew.
        for _ in 0..100 {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|error| failed(error.into()))?;
            let mut file = std::fs::File::from(fd);
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    let _ = (&file).take(32).read_to_string(&mut text);
                    return Err(ConsoleError::Taken {
                        name: name.to_owned(),
                        pid: text.trim().parse().ok(),
                    });
                }
                Err(error) => return Err(failed(error.into())),
            }
            let links = rustix::fs::fstat(&file)
                .map_err(|error| failed(error.into()))?
                .st_nlink;
            if links == 0 {
                continue;
            }
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            writeln!(file, "{}", std::process::id()).map_err(failed)?;
            return Ok(Lock { path, _file: file });
        }
        Err(failed(std::io::ErrorKind::ResourceBusy.into()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_taker_is_told_who_has_it_and_release_frees_it() {
        let root = std::env::temp_dir().join(format!("noxen-lock-{}", std::process::id()));
        let paths = Paths::under(&root);
        let held = Lock::take(&paths, "a", 3).unwrap();
        match Lock::take(&paths, "a", 3) {
            Err(error) => assert_eq!(
                error.to_string(),
                format!(
                    "Console of domain 'a' is already taken by process {}; leave it there with Ctrl-] first",
                    std::process::id()
                )
            ),
            Ok(_) => panic!("taken twice"),
        }
        Lock::take(&paths, "b", 4).unwrap();
        drop(held);
        assert!(!root.join("var/lock/xenconsole.3").exists());
        Lock::take(&paths, "a", 3).unwrap();
        std::fs::remove_dir_all(root).unwrap();
    }
}
