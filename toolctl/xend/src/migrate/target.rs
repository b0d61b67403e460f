//! Domains that come from another host.

use super::pages::Waiting;
use super::wire::{self, Link};
use super::Came;
use crate::create;
use crate::devices::kept;
use crate::domain::Domain;
use crate::monitor::MonitorError;
use crate::node::{internal, Node};
use crate::registry::Phase;
use crate::saved::Image;
use crate::{devices, info, managed, teardown, warning};
use noxen_saved_image::state::{read_announced, Announced};
use noxen_saved_image::{ImageError, Reader};
use noxen_xend_api::Fault;
use noxen_xend_http::allow::Allow;
use noxen_xend_http::tls::Mutual;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 16;
/// How long the source may take to say `go`.
const GO: Duration = Duration::from_secs(60);

/// Where a move that came here stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It may still come to something.
    Open,
    /// The domain is here and runs, or is about to.
    Here,
    /// Its source was told that it is not here: it never will be.
    Refused,
}

/// Moves to this host, by their names.
#[derive(Debug, Default)]
pub struct Moves {
    states: Mutex<BTreeMap<String, State>>,
    /// Connections for pages of moves that are about to begin.
    pages: Waiting,
}

impl Moves {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A move begins; false: there was one of that name.
    fn open(&self, token: &str) -> bool {
        let mut states = self.lock();
        let fresh = !states.contains_key(token);
        if fresh {
            states.insert(token.to_owned(), State::Open);
        }
        fresh
    }

    /// It came to nothing.
    fn close(&self, token: &str) {
        self.lock().insert(token.to_owned(), State::Refused);
    }

    /// Takes the domain over, if its source has not been told otherwise: `take` puts it on record.
    fn take(&self, token: &str, take: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let mut states = self.lock();
        if states.get(token) != Some(&State::Open) {
            return Err(Fault::generic("its source was told that it is not here"));
        }
        take()?;
        states.insert(token.to_owned(), State::Here);
        Ok(())
    }

    /// Is it here? Whoever is told no may let it run elsewhere.
    fn is_here(&self, token: &str, on_record: impl FnOnce() -> bool) -> bool {
        let mut states = self.lock();
        match states.get(token) {
            Some(State::Here) => true,
            Some(State::Refused) => false,
            Some(State::Open) => {
                states.insert(token.to_owned(), State::Refused);
                false
            }
            // Of before this xend was started.
            None => on_record(),
        }
    }
}

/// Serves relocation requests for ever.
pub fn serve(node: &Arc<Node>, listener: &TcpListener, allow: &Allow, tls: Option<&Mutual>) {
    let connections = Arc::new(());
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                // Out of descriptors: wait for some to be closed instead of spinning.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if !allow.takes(peer.ip()) {
            warning!("a relocation request from {peer} is refused: xend-relocation-hosts-allow does not take it");
            continue;
        }
        if Arc::strong_count(&connections) > MOST_CONNECTIONS {
            warning!("a relocation request from {peer} is refused: {MOST_CONNECTIONS} are served");
            continue;
        }
        let (node, slot, tls) = (node.clone(), connections.clone(), tls.cloned());
        // A thread that cannot be started drops the connection, which is all that can be said to the peer.
        let _ = std::thread::Builder::new()
            .name("relocation".into())
            .spawn(move || {
                let tls = tls.map(|tls| tls.accept().map_err(io::Error::other));
                let link = tls.transpose().and_then(|tls| Link::new(stream, tls));
                if let Err(e) = link.and_then(|link| converse(&node, &link)) {
                    info!("relocation request from {peer}: {e}");
                }
                drop(slot);
            });
    }
}

fn converse(node: &Arc<Node>, stream: &Link) -> io::Result<()> {
    loop {
        let Some(text) = wire::line(stream)? else {
            return Ok(());
        };
        // Xen's server took a list as well as bare words.
        let words = text.trim_matches(|c| matches!(c, '(' | ')'));
        let words: Vec<&str> = words.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["quit"] => return wire::say(stream, "(ok)"),
            ["help"] => wire::say(
                stream,
                "(ok 'receive, pages VERSION TOKEN, moved TOKEN, help, quit')",
            )?,
            ["pages", version, token] => {
                return match node.moves.pages.keep(version, token, stream) {
                    Ok(()) => wire::say(stream, "(ready pages)"),
                    Err(why) => wire::say(stream, &wire::refusal(&why)),
                };
            }
            ["sslreceive"] if !stream.is_secret() => {
                let why = "this port is not for TLS; see xend-relocation-ssl-port";
                return wire::say(stream, &wire::refusal(why));
            }
            ["receive" | "sslreceive"] => {
                wire::say(stream, "(ready receive)")?;
                return receive(node, stream);
            }
            ["moved", token] => {
                let on_record = || {
                    let came = |d: &Arc<Domain>| d.record().came.is_some_and(|c| c.token == *token);
                    node.domains().iter().any(came)
                };
                let here = node.moves.is_here(token, on_record);
                let said = if here { "(ok yes)" } else { "(ok no)" };
                wire::say(stream, said)?;
            }
            _ => {
                let shown: String = text.chars().take(80).collect();
                wire::say(
                    stream,
                    &wire::refusal(&format!("Invalid operation: {shown}")),
                )?;
            }
        }
    }
}

/// What is read is kept, too: noxen-vmm begins where this ends.
struct Kept<'a> {
    stream: &'a Link,
    bytes: Vec<u8>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut &*self.stream).read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn receive(node: &Arc<Node>, stream: &Link) -> io::Result<()> {
    let _busy = node.begin();
    let refused = |fault: Fault| {
        info!("a domain is not taken in: {}", fault.message);
        // The source may still be sending: it sees the end of the connection then.
        wire::say(stream, &wire::refusal(&fault.message))
    };
    let (mut image, token) = match head(stream) {
        Ok(head) => head,
        Err(fault) => return refused(fault),
    };
    if !node.moves.open(&token) {
        return refused(Fault::generic("a move of that name was here before"));
    }
    image.pages = node.moves.pages.claim(&token);
    match take_in(node, stream, image, &token) {
        Ok(()) => Ok(()),
        Err(fault) => {
            node.moves.close(&token);
            refused(fault)
        }
    }
}

/// Reads what comes before the memory.
fn head(stream: &Link) -> Result<(Image, String), Fault> {
    let bad = |e: ImageError| Fault::generic(e.to_string());
    let mut reader = Reader::open(Kept {
        stream,
        bytes: Vec::new(),
    })
    .map_err(bad)?;
    let Some(token) = reader.header().moving.clone() else {
        return Err(Fault::generic("this is a file, not a domain on its way"));
    };
    let (announced, outline) = read_announced(&mut reader).map_err(bad)?;
    let config = managed::read_expression(reader.config())
        .map_err(|e| Fault::generic(format!("not a valid guest state file: config parse: {e}")))?;
    let config = devices::complete(config)?;
    let (domid, memory_mib, vcpus) = match (&announced, config.is_hvm()) {
        (Announced::Pv(domain), false) => (domain.domid, domain.boot_pages >> 8, domain.vcpus),
        (Announced::Hvm(pc), true) => (pc.domid, pc.pages >> 8, pc.vcpus),
        _ => {
            return Err(Fault::generic(
                "not a valid guest state file: its configuration is of another kind of domain than its state",
            ))
        }
    };
    let devices = match config.is_hvm() {
        true => kept::of_pc(&config)?,
        false => kept::of_outline(&config, &outline)?,
    };
    let fd = rustix::fs::memfd_create("image-head", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(fd.map_err(internal)?);
    let bytes = reader.into_inner().bytes;
    file.write_all(&bytes)
        .and_then(|()| file.rewind())
        .map_err(internal)?;
    let stream = stream.as_fd().try_clone_to_owned().map_err(internal)?;
    let image = Image {
        file,
        stream: Some(stream),
        pages: None,
        lazy: false,
        config,
        domid,
        memory_mib,
        vcpus,
        nodes: Vec::new(),
        devices,
    };
    Ok((image, token))
}

fn take_in(node: &Arc<Node>, stream: &Link, image: Image, token: &str) -> Result<(), Fault> {
    // From here on noxen-vmm reads; a source that is gone is noticed by the connection.
    stream.wait_for_reading(None).map_err(internal)?;
    let postcopy = image.pages.is_some();
    let domain = create::arrive(node, image)?;
    let name = domain.name();
    let mut life = domain.enter();
    let taken = confirm(node, stream, &domain, token, postcopy);
    match taken {
        Ok(()) => {
            let rest = match postcopy {
                true => "; the rest of its memory comes after it, and without that it is lost",
                false => "",
            };
            info!(
                "domain {name} (id={}) has come from another host{rest}",
                domain.domid()
            );
            drop(life);
            // It runs, whether its source hears of it or asks again.
            let _ = wire::say(stream, "(ok runs)");
            Ok(())
        }
        Err(fault) => {
            teardown::teardown(node, &domain, &mut life, false);
            Err(fault)
        }
    }
}

/// From `prepared` to a domain that runs.
fn confirm(
    node: &Node,
    stream: &Link,
    domain: &Domain,
    token: &str,
    postcopy: bool,
) -> Result<(), Fault> {
    let lost = |e: io::Error| Fault::generic(format!("the source is gone: {e}"));
    stream.wait_for_reading(Some(GO)).map_err(lost)?;
    wire::say(stream, "(ok prepared)").map_err(lost)?;
    match wire::line(stream).map_err(lost)?.as_deref() {
        Some("go") => {}
        Some(_) => return Err(Fault::generic("the source said something else than go")),
        None => return Err(Fault::generic("the source let go before it said go")),
    }
    let came = |due| {
        Some(Came {
            token: token.to_owned(),
            due,
        })
    };
    node.moves.take(token, || {
        node.save(domain, |r| {
            r.phase = Phase::Running;
            r.came = came(true);
        })
        .map(drop)
    })?;
    match domain.monitor().unpause() {
        Ok(()) => {}
        // By post-copy its monitor may die of a lost page at any time from here: the guest may have run, and so must not run at its source.
        Err(error) if postcopy && !matches!(error, MonitorError::Refused(_)) => {
            warning!("domain {}: {error}", domain.domid());
        }
        Err(error) => return Err(internal(error)),
    }
    node.save(domain, |r| r.came = came(false)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn move_that_its_source_was_told_is_not_here_never_will_be() {
        let moves = Moves::default();
        assert!(moves.open("a") && !moves.open("a"));
        assert!(!moves.is_here("a", || true));
        assert!(moves.take("a", || panic!("taken")).is_err());
        assert!(moves.open("b"));
        assert!(moves.take("b", || Err(Fault::generic("no disk"))).is_err());
        moves.take("b", || Ok(())).unwrap();
        assert!(moves.is_here("b", || false));
        assert!(!moves.is_here("c", || false) && moves.is_here("d", || true));
    }
}
