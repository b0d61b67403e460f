//! The floor under every store daemon: a server that knows all answers beforehand.
//!
//! ```text
//!   a thread for each connection:  recv (blocks) ── looks at the type ── one send
//!                                  a write to the watched node: first an event to who asked for a watch
//! ```
//!
//! Two system calls and two changes of process an exchange, and nothing else. A daemon that serves
//! several connections from one place needs at least one system call more, to learn who has spoken; what a real one
//! takes above this figure is its own.

use anyhow::{Context, Result};
use noxen_xenstore::wire::{append_message, Decoder, Header, Op};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Who has asked for a watch.
type Watcher = Arc<Mutex<Option<UnixStream>>>;

/// Serves until it is killed.
pub fn serve(socket: &Path) -> Result<()> {
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot bind {}", socket.display()))?;
    let watcher = Watcher::default();
    for stream in listener.incoming() {
        let (stream, watcher) = (stream?, watcher.clone());
        std::thread::spawn(move || attend(stream, &watcher));
    }
    Ok(())
}

/// Answers one connection until it ends.
fn attend(mut stream: UnixStream, watcher: &Watcher) -> Result<()> {
    let mut decoder = Decoder::new();
    let mut replies = Vec::new();
    let names: Vec<u8> = (0..20)
        .flat_map(|i| format!("name-{i}\0").into_bytes())
        .collect();
    loop {
        let n = stream.read(decoder.spare(32 * 1024))?;
        if n == 0 {
            return Ok(());
        }
        decoder.advance(n);
        replies.clear();
        while let Some((header, payload)) = decoder.next_message()? {
            let kind = Op::from_raw(header.kind);
            if kind == Some(Op::Write) && payload.starts_with(super::WATCHED.as_bytes()) {
                tell(watcher)?;
            }
            answer(&mut replies, kind, header, &names);
            if kind == Some(Op::Watch) {
                let mut slot = watcher.lock().expect("nobody panics with it");
                *slot = Some(stream.try_clone()?);
                append_event(&mut replies);
            }
        }
        stream.write_all(&replies)?;
    }
}

/// What the bench's nodes hold, in messages as long as the real ones.
fn answer(to: &mut Vec<u8>, kind: Option<Op>, header: Header, names: &[u8]) {
    let payload: &[u8] = match kind {
        Some(Op::Read) => b"twenty bytes of text",
        Some(Op::Directory) => names,
        Some(Op::TransactionStart) => b"1\0",
        _ => b"OK\0",
    };
    append_message(to, header.kind, header.req_id, header.tx_id, &[payload]);
}

fn append_event(to: &mut Vec<u8>) {
    let payload = [super::WATCHED.as_bytes(), b"\0token\0"];
    append_message(to, Op::WatchEvent as u32, 0, 0, &payload);
}

fn tell(watcher: &Watcher) -> Result<()> {
    let mut event = Vec::new();
    append_event(&mut event);
    if let Some(watcher) = &mut *watcher.lock().expect("nobody panics with it") {
        watcher.write_all(&event)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::talk::Talk;
    use super::*;

    #[test]
    fn client_of_the_bench_is_answered_as_by_a_store() {
        let socket = std::env::temp_dir().join(format!("noxen-floor-{}", std::process::id()));
        let at = socket.clone();
        std::thread::spawn(move || serve(&at));
        let mut client = loop {
            match Talk::connect(&socket) {
                Ok(talk) => break talk,
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut watcher = Talk::connect(&socket).unwrap();
        watcher
            .ask(Op::Watch, 0, b"/bench/watched\0token\0")
            .unwrap();
        watcher.event().unwrap();
        assert_eq!(client.ask(Op::TransactionStart, 0, b"\0").unwrap(), 1);
        client.put(Op::Read, 0, b"/bench/value\0");
        client.put(Op::Write, 0, b"/bench/watched\0x");
        client.send().unwrap();
        client.settle().unwrap();
        watcher.event().unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}
