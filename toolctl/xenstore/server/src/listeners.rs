//! The three listening sockets: our own, or systemd's.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context;
use noxen_systemd::activation;
use noxen_xenstore::locations;
use rustix::fs::Mode;

/// What connections on a socket are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Tools with domain 0's rights.
    Tools,
    /// Tools that may only read.
    ReadOnly,
    /// noxen-vmm, which first says for which domain it speaks.
    Domains,
}

/// A listening socket; its file goes when it is dropped, unless it is
/// systemd's.
#[derive(Debug)]
pub struct Listener {
    pub door: Door,
    pub socket: UnixListener,
    /// `None`: systemd's.
    path: Option<PathBuf>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// All three as a daemon of before has bound them; `next` gives their
/// descriptors, in the order of [`bind_all`].
pub fn inherited(
    mut next: impl FnMut() -> anyhow::Result<OwnedFd>,
) -> anyhow::Result<Vec<Listener>> {
    // The process is the same, so what systemd gave it is known as before.
    let ours = !activation::happened();
    let all = doors().into_iter().map(|(door, path, _)| {
        let socket = next()?.into();
        let path = ours.then_some(path);
        Ok(Listener { door, socket, path })
    });
    all.collect()
}

/// Modes as Xen's: only root, and for the read-only socket its group. The
/// tools' socket comes last: who finds it there finds the others as well.
fn doors() -> [(Door, PathBuf, u32); 3] {
    [
        (Door::Domains, locations::domains_socket(), 0o600),
        (Door::ReadOnly, locations::socket_read_only(), 0o660),
        (Door::Tools, locations::socket(), 0o600),
    ]
}

/// The three that systemd has bound, if it has started us for them.
pub fn passed() -> anyhow::Result<Option<Vec<Listener>>> {
    let paths = doors().map(|(_, path, _)| path);
    let passed = activation::take(&paths, "xenstored.socket").map_err(anyhow::Error::msg)?;
    let Some(sockets) = passed else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for (socket, (door, path, mode)) in sockets.into_iter().zip(doors()) {
        // A socket unit has one mode for all of its sockets.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        socket.set_nonblocking(true)?;
        all.push(Listener {
            door,
            socket,
            path: None,
        });
    }
    Ok(Some(all))
}

/// Binds all three. The caller holds the pid file's lock, so a socket file
/// that is there already belongs to a daemon that is gone.
pub fn bind_all() -> anyhow::Result<Vec<Listener>> {
    doors()
        .into_iter()
        .map(|(door, path, mode)| bind(door, path, mode))
        .collect()
}

fn bind(door: Door, path: PathBuf, mode: u32) -> anyhow::Result<Listener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    remove_stale(&path)?;
    // Nobody may connect between bind and chmod.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let socket = UnixListener::bind(&path);
    rustix::process::umask(before);
    let socket = socket.with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    let path = Some(path);
    Ok(Listener { door, socket, path })
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(m) if m.file_type().is_socket() => std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the old socket {}", path.display())),
        Ok(_) => anyhow::bail!("{} is there and is no socket; remove it", path.display()),
        Err(_) => Ok(()),
    }
}
