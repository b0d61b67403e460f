//! From one daemon to the next without anybody noticing (`live-update`).
//!
//! ```text
//!   old: state -> memfd        new --check < memfd : can it read that?
//!        memfd, pid file, listeners, peers  =SCM_RIGHTS=>  socket pair
//!        exec new, the pair's other end as its standard input
//!   new: descriptors <- standard input; state <- the first of them
//!        answers the request that asked for it, serves
//! ```
//!
//! The process stays the same, so its pid and its lock on the pid file do.
//! Descriptors travel in a socket rather than by number: thus they reach the
//! new program as owned descriptors, and none leaks. Should the new program
//! fail after all, the journal is what it was: whoever starts a daemon next
//! goes on from there.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context};
use noxen_xenstore::dump::{DumpError, Reader, Writer};
use noxen_xenstore::server::{ConnId, ConnKind};
use noxen_xenstore::wire::Header;
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::journal::GuestState;
use crate::listeners::Door;

/// Private switch: take over what comes by standard input.
pub const TAKE_OVER: &str = "--take-over";
/// Private switch: read a state from standard input and say by the exit status
/// whether it could be taken over.
pub const CHECK: &str = "--check-take-over";

/// Descriptors in one message; Linux takes 253.
const AT_ONCE: usize = 250;
/// How long the new program may think about the state.
const PATIENCE: Duration = Duration::from_secs(10);
/// What [`CHECK`] says if all is well.
const CAN: &str = "noxen-xenstored can take over";
const MARK: &[u8] = b"noxen-xenstored handover 1";

/// A connection as it moves on. Its socket travels as a descriptor.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerState {
    pub door: Door,
    /// The core's name for it, its kind, and replies made to it.
    pub conn: Option<(ConnId, ConnKind, u64)>,
    pub ended: bool,
    /// Received, not yet worked upon.
    pub input: Vec<u8>,
    /// Whole messages to be sent, and how many bytes of them are out.
    pub ready: Vec<u8>,
    pub sent: usize,
    /// Payloads of events that wait.
    pub events: Vec<Vec<u8>>,
}

/// Everything but the descriptors.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Dump of the core.
    pub server: Vec<u8>,
    /// In the order of their descriptors.
    pub peers: Vec<PeerState>,
    /// Guests whose noxen-vmm is away.
    pub absent: Vec<GuestState>,
    /// The request to be answered once the new daemon serves.
    pub asked: Option<(ConnId, Header)>,
}

fn kind_code(kind: ConnKind) -> (u8, u16) {
    match kind {
        ConnKind::Tool => (1, 0),
        ConnKind::ReadOnlyTool => (2, 0),
        ConnKind::Guest(domid) => (3, domid),
    }
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes(MARK);
        w.bytes(&self.server);
        w.list(self.peers.iter(), |w, peer| {
            w.u8(match peer.door {
                Door::Tools => 0,
                Door::ReadOnly => 1,
                Door::Domains => 2,
            });
            w.u8(u8::from(peer.conn.is_some()));
            if let Some((conn, kind, replies)) = peer.conn {
                let (code, domid) = kind_code(kind);
                conn.write(w);
                w.u8(code);
                w.u16(domid);
                w.u64(replies);
            }
            w.u8(u8::from(peer.ended));
            w.bytes(&peer.input);
            w.bytes(&peer.ready);
            w.u64(peer.sent as u64);
            w.list(peer.events.iter(), |w, e| w.bytes(e));
        });
        w.list(self.absent.iter(), |w, guest| guest.write(w));
        w.u8(u8::from(self.asked.is_some()));
        if let Some((conn, header)) = self.asked {
            conn.write(&mut w);
            w.0.extend_from_slice(&header.encode());
        }
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<State, DumpError> {
        let mut r = Reader::new(bytes);
        if r.bytes()? != MARK {
            return Err(r.wrong("mark of a handover that is known"));
        }
        let server = r.bytes()?.to_vec();
        let peers = r.list(|r| {
            let door = match r.u8()? {
                0 => Door::Tools,
                1 => Door::ReadOnly,
                2 => Door::Domains,
                _ => return Err(r.wrong("a door")),
            };
            let conn = match r.u8()? {
                0 => None,
                _ => {
                    let (conn, code, domid) = (ConnId::read(r)?, r.u8()?, r.u16()?);
                    let kind = match code {
                        1 => ConnKind::Tool,
                        2 => ConnKind::ReadOnlyTool,
                        3 => ConnKind::Guest(domid),
                        _ => return Err(r.wrong("a kind of connection")),
                    };
                    Some((conn, kind, r.u64()?))
                }
            };
            let ended = r.u8()? != 0;
            let (input, ready) = (r.bytes()?.to_vec(), r.bytes()?.to_vec());
            let sent = r.u64()? as usize;
            if sent > ready.len() {
                return Err(r.wrong("count of sent bytes"));
            }
            let events = r.list(|r| Ok(r.bytes()?.to_vec()))?;
            Ok(PeerState {
                door,
                conn,
                ended,
                input,
                ready,
                sent,
                events,
            })
        })?;
        let absent = r.list(GuestState::read)?;
        let asked = match r.u8()? {
            0 => None,
            _ => {
                let conn = ConnId::read(&mut r)?;
                let raw = r.raw(noxen_xenstore::wire::HEADER_LEN)?;
                let header = raw.first_chunk().map(Header::decode);
                Some((conn, header.ok_or_else(|| r.wrong("a header"))?))
            }
        };
        r.finish()?;
        Ok(State {
            server,
            peers,
            absent,
            asked,
        })
    }
}

/// Becomes the new program. Returns only if that failed, with the reason;
/// nothing has changed then, unless the exec itself failed.
pub fn become_next(
    program: &Path,
    options: Option<&str>,
    state: &State,
    descriptors: &[BorrowedFd<'_>],
) -> anyhow::Error {
    let prepared = prepare(program, state, descriptors);
    let (theirs, _ours) = match prepared {
        Ok(pair) => pair,
        Err(e) => return e,
    };
    let mut command = Command::new(program);
    match options {
        Some(options) => command.args(options.split_whitespace()),
        None => command.args(std::env::args_os().skip(1).filter(|a| a != TAKE_OVER)),
    };
    let error = command
        .arg(TAKE_OVER)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .exec();
    anyhow::Error::from(error).context(format!("cannot run {}", program.display()))
}

fn prepare(
    program: &Path,
    state: &State,
    descriptors: &[BorrowedFd<'_>],
) -> anyhow::Result<(UnixStream, UnixStream)> {
    let mut file = File::from(memfd_create("xenstored", MemfdFlags::CLOEXEC)?);
    file.write_all(&state.encode())?;
    file.seek(SeekFrom::Start(0))?;
    try_out(program, &file)?;
    file.seek(SeekFrom::Start(0))?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(descriptors);
    for some in all.chunks(AT_ONCE) {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        ensure!(
            control.push(SendAncillaryMessage::ScmRights(some)),
            "no room for the descriptors"
        );
        let count = (some.len() as u32).to_le_bytes();
        sendmsg(
            &ours,
            &[IoSlice::new(&count)],
            &mut control,
            SendFlags::DONTWAIT,
        )
        .context("cannot pass the connections on")?;
    }
    ours.shutdown(std::net::Shutdown::Write)?;
    Ok((theirs, ours))
}

/// Asks the new program whether it can read the state.
fn try_out(program: &Path, state: &File) -> anyhow::Result<()> {
    let shown = program.display();
    let mut child = Command::new(program)
        .arg(CHECK)
        .stdin(Stdio::from(state.try_clone()?))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) => {
                // A word of its own: many a program ends well that did nothing.
                let mut said = String::new();
                if let Some(out) = &mut child.stdout {
                    out.take(64).read_to_string(&mut said)?;
                }
                ensure!(
                    status.success() && said == CAN,
                    "{shown} cannot take over ({status})"
                );
                return Ok(());
            }
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("{shown} does not say whether it can take over");
            }
        }
    }
}

/// [`CHECK`]: reads the state from standard input.
pub fn check() -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let state = State::decode(&bytes)?;
    noxen_xenstore::dump::restore(&state.server)?;
    print!("{CAN}");
    Ok(())
}

/// [`TAKE_OVER`]: the state and the descriptors behind it.
pub fn receive() -> anyhow::Result<(State, Vec<OwnedFd>)> {
    let source = io::stdin().as_fd().try_clone_to_owned()?;
    let mut all = Vec::new();
    loop {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut count = [0; 4];
        let got = recvmsg(
            &source,
            &mut [IoSliceMut::new(&mut count)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .context("standard input is no handover of another xenstored")?;
        if got.bytes == 0 {
            break;
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                all.extend(fds);
            }
        }
    }
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    let mut all = all.into_iter();
    let mut bytes = Vec::new();
    let file = all.next().context("the handover holds no state")?;
    File::from(file).read_to_end(&mut bytes)?;
    Ok((State::decode(&bytes)?, all.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_reads_back_and_a_damaged_one_is_refused() {
        let state = State {
            server: b"dump".to_vec(),
            peers: vec![PeerState {
                door: Door::ReadOnly,
                conn: None,
                ended: true,
                input: b"half".to_vec(),
                ready: b"message".to_vec(),
                sent: 3,
                events: vec![b"e".to_vec()],
            }],
            absent: Vec::new(),
            asked: None,
        };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes).unwrap(), state);
        for len in 0..bytes.len() {
            assert!(State::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn program_that_is_no_xenstored_is_not_exchanged_for() {
        let state = State::default();
        for (program, part) in [
            ("/bin/false", "cannot take over"),
            ("/no/such", "cannot run"),
        ] {
            let error = become_next(Path::new(program), None, &state, &[]);
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
