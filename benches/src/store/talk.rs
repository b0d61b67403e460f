//! The client that all contenders are measured with: raw messages, any number under way.

use anyhow::{bail, ensure, Context, Result};
use noxen_xenstore::session::Attach;
use noxen_xenstore::wire::{append_message, Decoder, Op};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to a store.
pub struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    asked: u32,
    answered: u32,
}

impl Talk {
    /// Connects as a tool of domain 0.
    pub fn connect(socket: &Path) -> Result<Talk> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("no store answers at {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Talk {
            stream,
            decoder: Decoder::new(),
            out: Vec::new(),
            asked: 0,
            answered: 0,
        })
    }

    /// Connects in a domain's name; only our own daemon has such a socket.
    pub fn attach(domains_socket: &Path, domid: u16) -> Result<Talk> {
        let mut talk = Talk::connect(domains_socket)?;
        talk.out = Attach {
            domid,
            replies_seen: None,
        }
        .encode();
        talk.send()?;
        let (kind, _) = talk.message()?;
        ensure!(kind != Op::Error as u32, "the store refuses domain {domid}");
        Ok(talk)
    }

    /// Adds a request to what the next [`Talk::send`] sends.
    pub fn put(&mut self, op: Op, tx: u32, payload: &[u8]) {
        append_message(&mut self.out, op as u32, self.asked, tx, &[payload]);
        self.asked = self.asked.wrapping_add(1);
    }

    /// Sends what was put, in one go.
    pub fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn message(&mut self) -> Result<(u32, u32)> {
        loop {
            if let Some((header, payload)) = self.decoder.next_message()? {
                if header.kind == Op::Error as u32 {
                    let name = String::from_utf8_lossy(payload).into_owned();
                    bail!("request {} was answered {name}", header.req_id);
                }
                let number = std::str::from_utf8(payload)
                    .ok()
                    .and_then(|t| t.trim_end_matches('\0').parse().ok());
                return Ok((header.kind, number.unwrap_or(0)));
            }
            let n = self.stream.read(self.decoder.spare(64 * 1024))?;
            ensure!(n > 0, "the store closed the connection");
            self.decoder.advance(n);
        }
    }

    /// Takes the next reply, passing over events; the number it holds, if any.
    pub fn reply(&mut self) -> Result<u32> {
        loop {
            let (kind, number) = self.message()?;
            if kind != Op::WatchEvent as u32 {
                self.answered = self.answered.wrapping_add(1);
                return Ok(number);
            }
        }
    }

    /// Takes the next event; there must be no reply before it.
    pub fn event(&mut self) -> Result<()> {
        let (kind, _) = self.message()?;
        ensure!(kind == Op::WatchEvent as u32, "a reply came, not an event");
        Ok(())
    }

    /// Takes the replies to everything that was sent.
    pub fn settle(&mut self) -> Result<()> {
        while self.answered != self.asked {
            self.reply()?;
        }
        Ok(())
    }

    /// One request and its reply.
    pub fn ask(&mut self, op: Op, tx: u32, payload: &[u8]) -> Result<u32> {
        self.put(op, tx, payload);
        self.send()?;
        self.reply()
    }

    /// `count` requests, `depth` of them under way at once.
    pub fn repeat(
        &mut self,
        op: Op,
        count: usize,
        depth: usize,
        payload: impl Fn(usize) -> Vec<u8>,
    ) -> Result<()> {
        let mut done = 0;
        while done < count {
            let batch = depth.min(count - done);
            for i in done..done + batch {
                self.put(op, 0, &payload(i));
            }
            self.send()?;
            self.settle()?;
            done += batch;
        }
        Ok(())
    }
}
