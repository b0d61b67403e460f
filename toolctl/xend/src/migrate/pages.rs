//! The second connection of a move by post-copy: pages that the domain lacks once it runs over there.
//!
//! ```text
//!   source: pages VERSION TOKEN --> target: (ready pages), and keeps it by the token | (err ..): of before, another version, too many
//!   the move itself comes, with the same token --> claimed, and given to noxen-vmm; never: dropped after [`PATIENCE`]
//! ```
//! It is made before anything of the domain is sent, so that a host that knows no post-copy, or another one, is told apart in time.

use super::wire::{self, Answer, Link, PATIENCE};
use noxen_xend_api::Fault;
use noxen_xend_http::tls::Mutual;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What both sides have to know. 1: the bitmap in the stream, requests of 8 bytes, pages as records of a stream.
const VERSION: &str = "1";
/// Longest name of a move, bytes.
const MOST_TOKEN: usize = 64;
/// Connections that wait for their moves.
const MOST: usize = 16;

/// Connects for the pages of the move `token`.
pub fn connect(host: &str, port: u16, tls: Option<&Mutual>, token: &str) -> Result<Link, Fault> {
    let cannot = |e: io::Error| {
        Fault::generic(format!(
            "can't connect for post-copy: {e} ({host} port {port})"
        ))
    };
    let link = wire::connect(host, port, tls).map_err(cannot)?;
    wire::say(&link, &format!("pages {VERSION} {token}")).map_err(cannot)?;
    match wire::answer(&link).map_err(cannot)? {
        Answer::Ready(what) if what == "pages" => {}
        Answer::Refused(why) => {
            return Err(Fault::generic(format!(
                "{host} does not take part in post-copy (it says: {why}); leave --postcopy out, or use the same version on both hosts"
            )))
        }
        _ => return Err(cannot(io::Error::other("it is no relocation server"))),
    }
    link.wait_for_writing(None).map_err(cannot)?;
    link.wait_for_reading(None).map_err(cannot)?;
    Ok(link)
}

/// Connections whose moves are still to come, by their names.
#[derive(Debug, Default)]
pub struct Waiting {
    links: Mutex<BTreeMap<String, (Instant, OwnedFd)>>,
}

impl Waiting {
    /// Keeps `link` for the move `token`, by `version` of this; an error line says why not.
    pub fn keep(&self, version: &str, token: &str, link: &Link) -> Result<(), String> {
        if version != VERSION {
            let shown: String = version.chars().take(20).collect();
            return Err(format!(
                "post-copy of version {shown} is asked for, and this xend knows version {VERSION}"
            ));
        }
        if token.is_empty() || token.len() > MOST_TOKEN {
            return Err("a move has no such name".into());
        }
        link.wait_for_writing(None).map_err(|e| e.to_string())?;
        link.wait_for_reading(None).map_err(|e| e.to_string())?;
        let fd = link
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| e.to_string())?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, (since, _)| since.elapsed() < PATIENCE);
        if links.len() >= MOST {
            return Err(format!(
                "{MOST} moves by post-copy are about to begin already"
            ));
        }
        if links.contains_key(token) {
            return Err("a move of that name is about to begin already".into());
        }
        links.insert(token.to_owned(), (Instant::now(), fd));
        Ok(())
    }

    /// The connection of the move `token`, if it has one.
    pub fn claim(&self, token: &str) -> Option<OwnedFd> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.remove(token).map(|(_, fd)| fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn link() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Link::new(near, None).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn connection_is_claimed_once_by_its_move_and_others_are_refused() {
        let (waiting, (link, _far)) = (Waiting::default(), link());
        let line = waiting.keep("2", "a", &link).unwrap_err();
        assert!(
            line.contains("version 2") && line.contains("knows version 1"),
            "{line}"
        );
        assert!(waiting.keep("1", "", &link).is_err());
        assert!(waiting.keep("1", &"a".repeat(65), &link).is_err());
        waiting.keep("1", "a", &link).unwrap();
        assert!(waiting.keep("1", "a", &link).is_err());
        assert!(waiting.claim("b").is_none());
        assert!(waiting.claim("a").is_some() && waiting.claim("a").is_none());
        for n in 0..MOST {
            waiting.keep("1", &n.to_string(), &link).unwrap();
        }
        let line = waiting.keep("1", "more", &link).unwrap_err();
        assert!(line.contains("already"), "{line}");
    }
}
