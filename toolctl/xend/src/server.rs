//! The socket on which toolctl asks.
//!
//! ```text
//!   accept -> peer is root or us? -> fewer than 128 others? -> a thread: line in, line out, until the peer ends
//! ```
//! A thread a connection: one that is slow, or waits for a domain to be built, holds up no other.

use crate::node::Node;
use crate::{atomic, debug, requests, warning};
use noxen_xend_api::message::{MAX_LINE, MAX_REQUEST};
use noxen_xend_api::{Answer, Fault, Request};
use noxen_xend_http::slot::Slot;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

/// How much of xend its clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// A connection that says nothing for so long is closed.
    pub idle: Duration,
    /// A peer that does not take its answer for so long is dropped.
    pub write: Duration,
}

/// Those in force.
pub const LIMITS: Limits = Limits {
    connections: 128,
    idle: Duration::from_secs(600),
    write: Duration::from_secs(10),
};

const STACK: usize = 512 << 10;

/// Binds the socket, for its owner only; an old file of that name is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    atomic::make_directory(directory, 0o700)?;
    // Bound under another name and renamed, so that nobody meets it before its mode is set.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

/// Accepts for ever.
pub fn serve(node: &Arc<Node>, listener: &UnixListener, limits: Limits) {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) => {
                warning!("cannot accept a connection: {e}");
                // Out of descriptors: wait for some to be closed instead of spinning.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let slot = Slot::take(&connections, limits.connections);
        let node = node.clone();
        let builder = std::thread::Builder::new()
            .name("client".into())
            .stack_size(STACK);
        let spawned = builder.spawn(move || {
            if let Err(e) = greet(&node, stream, slot, limits) {
                debug!("a client's connection ended: {e}");
            }
        });
        if let Err(e) = spawned {
            warning!("cannot serve a connection: {e}");
        }
    }
}

fn greet(node: &Arc<Node>, stream: UnixStream, slot: Slot, limits: Limits) -> io::Result<()> {
    stream.set_read_timeout(Some(limits.idle))?;
    stream.set_write_timeout(Some(limits.write))?;
    if !slot.is_free() {
        let fault = Fault::generic(format!(
            "xend serves {} connections already; try again later",
            limits.connections
        ));
        return answer(&stream, &Answer::Fault(fault));
    }
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if !(peer.uid.is_root() || peer.uid == rustix::process::geteuid()) {
        let fault = Fault::generic("only root may ask xend");
        return answer(&stream, &Answer::Fault(fault));
    }
    converse(node, &stream)
}

fn converse(node: &Arc<Node>, stream: &UnixStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let n = (&mut reader)
            .take(MAX_REQUEST)
            .read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let fault = Fault::generic(format!(
                "the request has no line end within {MAX_REQUEST} bytes"
            ));
            return answer(stream, &Answer::Fault(fault));
        }
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => match requests::handle(node, request) {
                Ok(response) => Answer::Ok(response),
                Err(fault) => Answer::Fault(fault),
            },
            Err(e) => Answer::Fault(Fault::generic(format!(
                "xend does not know this request: {e}"
            ))),
        };
        answer(stream, &reply)?;
    }
}

fn answer(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    if text.len() as u64 >= MAX_LINE {
        let fault = Fault::internal("the answer is too long; ask for fewer domains at once");
        text = serde_json::to_vec(&Answer::Fault(fault))?;
    }
    text.push(b'\n');
    stream.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Options;
    use crate::registry::Registry;
    use crate::store::StoreLink;
    use crate::testing::TempDir;
    use noxen_xend_api::paths::Paths;

    fn node(dir: &TempDir) -> Arc<Node> {
        let paths = Paths::under(dir.path());
        let none = || "/nonexistent".into();
        let options = Options {
            vmm: none(),
            xenstored: none(),
            kvm: none(),
            tun: none(),
            vif_script: String::new(),
            device_timeout: Duration::ZERO,
            detach_timeout: Duration::ZERO,
            build_limit: Duration::ZERO,
            units: None,
            restart_guard_s: 0.0,
            paths,
        };
        let registry = Registry::open(&options.paths, "boot").unwrap();
        Arc::new(Node::new(options, registry, StoreLink::new(none())))
    }

    #[test]
    fn silent_connection_is_closed_after_its_time_and_one_that_asks_is_not() {
        let dir = TempDir::new("server");
        let socket = dir.path().join("s");
        let listener = listen(&socket).unwrap();
        let node = node(&dir);
        let limits = Limits {
            idle: Duration::from_millis(400),
            ..LIMITS
        };
        // It serves until the test's process ends.
        std::thread::spawn(move || serve(&node, &listener, limits));
        let mut silent = UnixStream::connect(&socket).unwrap();
        let mut asking = UnixStream::connect(&socket).unwrap();
        for stream in [&silent, &asking] {
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
        }
        let begun = std::time::Instant::now();
        // Until the silent one is closed, which its end of file says, the other one asks now and then.
        silent.set_nonblocking(true).unwrap();
        let mut byte = [0];
        loop {
            asking.write_all(b"{\"request\":\"ping\"}\n").unwrap();
            let mut answer = [0; 64];
            let n = asking.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"{\"ok\""));
            match silent.read(&mut byte) {
                Ok(0) => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(begun.elapsed() >= limits.idle, "{:?}", begun.elapsed());
        assert_eq!(LIMITS.idle, Duration::from_secs(600));
    }
}
