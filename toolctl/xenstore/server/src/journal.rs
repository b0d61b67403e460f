//! What the daemon needs to go on after it was killed.
//!
//! ```text
//!   <run dir>/state/state.N
//!     mark, boot id
//!     record: checkpoint   dump of the core, guests' unsent messages
//!     record: turn         what happened, in order: connect, disconnect,
//!     record: turn         request              (one write per loop turn)
//!     ...
//! ```
//!
//! The core is deterministic, so the checkpoint plus what happened since is
//! the state. A turn's record is written before any of its replies leaves: a
//! reply that somebody has seen is never forgotten, and of a turn that was
//! not written nobody has heard. A record is its length, a check sum and its
//! body; a torn last one is left out. Once a file is full, a new checkpoint
//! starts `state.N+1`; it takes its name only when it is whole.
//!
//! Turns are copied into a shared mapping of the file, whose space is reserved
//! beforehand: that costs no system call, and it is the kernel that keeps the
//! pages when the process is gone.
//!
//! The files lie beside the sockets, which a reboot clears; a file that does
//! not carry this boot's id is ignored all the same. They need no fsync: the
//! page cache survives the process, and after a crash of the host there are no
//! domains left to serve.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use noxen_xenstore::dump::{DumpError, Reader, Writer};
use noxen_xenstore::server::{ConnId, ConnKind};
use noxen_xenstore::wire::{Header, Op, HEADER_LEN};
use noxen_xenstore::DomId;
use rustix::fs::{fallocate, FallocateFlags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use crate::output::Unsent;

const MARK: &[u8; 8] = b"noxenXS1";
/// Room for turns behind a checkpoint: this, or twice the checkpoint.
const ROOM: usize = 2 << 20;
/// Bytes of a record before its body.
const FRAME: usize = 8;

/// A guest's connection as a checkpoint holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct GuestState {
    pub conn: ConnId,
    /// Replies made since its session began.
    pub replies: u64,
    /// What its socket has not taken.
    pub unsent: Unsent,
}

impl GuestState {
    /// Appends it to a checkpoint or a handover.
    pub fn write(&self, w: &mut Writer) {
        self.conn.write(w);
        w.u64(self.replies);
        w.list(self.unsent.replies.iter(), |w, m| w.bytes(m));
        w.list(self.unsent.events.iter(), |w, m| w.bytes(m));
    }

    /// Takes one from a checkpoint or a handover.
    pub fn read(r: &mut Reader<'_>) -> Result<GuestState, DumpError> {
        let (conn, replies) = (ConnId::read(r)?, r.u64()?);
        let mut messages = || r.list(|r| Ok(r.bytes()?.to_vec()));
        let unsent = Unsent {
            replies: messages()?,
            events: messages()?,
        };
        Ok(GuestState {
            conn,
            replies,
            unsent,
        })
    }
}

/// Something that changed the core, as it is read back.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    Connect(ConnKind),
    Disconnect(ConnId),
    Request(ConnId, Header, &'a [u8]),
}

/// Whether a request has to be remembered. Tools' plain questions change
/// nothing; a guest's do, for their replies are counted.
pub fn matters(kind: ConnKind, header: Header) -> bool {
    let question = matches!(
        Op::from_raw(header.kind),
        None | Some(
            Op::Read
                | Op::Directory
                | Op::DirectoryPart
                | Op::GetPerms
                | Op::GetDomainPath
                | Op::IsDomainIntroduced
        )
    );
    matches!(kind, ConnKind::Guest(_)) || header.tx_id != 0 || !question
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    number: u64,
    mapping: MmapRegion,
    written: usize,
    turn: Writer,
}

impl Journal {
    /// Starts a new file with this checkpoint; older files are removed.
    pub fn start(dir: &Path, server: &[u8], guests: &[GuestState]) -> io::Result<Journal> {
        std::fs::create_dir_all(dir)?;
        let number = files(dir)?.last().map_or(0, |(n, _)| n + 1);
        let mut body = Writer::default();
        body.bytes(server);
        body.list(guests.iter(), |w, guest| guest.write(w));
        let temporary = dir.join("new");
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut whole = [&MARK[..], &boot_id()].concat();
        whole.extend_from_slice(&frame(&body.0));
        whole.extend_from_slice(&body.0);
        file.write_all(&whole)?;
        let written = whole.len();
        let size = written + ROOM.max(2 * written);
        // A page without space behind it would kill us when written to.
        fallocate(&file, FallocateFlags::empty(), 0, size as u64)?;
        let mapping =
            MmapRegion::from_file(FileOffset::new(file, 0), size).map_err(io::Error::other)?;
        std::fs::rename(&temporary, dir.join(name(number)))?;
        for (old, path) in files(dir)? {
            if old < number {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Journal {
            dir: dir.to_owned(),
            number,
            mapping,
            written,
            turn: Writer::default(),
        })
    }

    /// Notes a new connection.
    pub fn connect(&mut self, kind: ConnKind) {
        let (code, domid) = match kind {
            ConnKind::Tool => (1, 0),
            ConnKind::ReadOnlyTool => (2, 0),
            ConnKind::Guest(domid) => (3, domid),
        };
        self.turn.u8(code);
        self.turn.u16(domid);
    }

    /// Notes a connection's end.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.turn.u8(4);
        conn.write(&mut self.turn);
    }

    /// Notes a request.
    pub fn request(&mut self, conn: ConnId, header: Header, payload: &[u8]) {
        self.turn.u8(5);
        conn.write(&mut self.turn);
        self.turn.0.extend_from_slice(&header.encode());
        self.turn.0.extend_from_slice(payload);
    }

    /// Writes what was noted. To be done before any reply leaves. False if
    /// there is no room left: then a new checkpoint must hold it.
    #[must_use]
    pub fn write_turn(&mut self) -> bool {
        if self.turn.0.is_empty() {
            return true;
        }
        let body = &self.turn.0;
        let end = self.written + FRAME + body.len();
        let (head, tail) = (self.written, self.written + FRAME);
        let places = (
            self.mapping.get_slice(head, FRAME),
            self.mapping.get_slice(tail, body.len()),
        );
        let (Ok(head), Ok(tail)) = places else {
            return false;
        };
        // The frame comes last: before, there is no record here.
        tail.copy_from(&body[..]);
        head.copy_from(&frame(body)[..]);
        self.written = end;
        self.turn.0.clear();
        true
    }

    /// Replaces the file by one with this checkpoint.
    pub fn restart(&mut self, server: &[u8], guests: &[GuestState]) -> io::Result<()> {
        *self = Journal::start(&self.dir, server, guests)?;
        Ok(())
    }

    /// Gives up: the file goes, so that nobody takes it for the state.
    pub fn abandon(self) {
        let _ = std::fs::remove_file(self.dir.join(name(self.number)));
    }
}

/// A file that was read back.
#[derive(Debug)]
pub struct Saved {
    bytes: Vec<u8>,
    records: Vec<std::ops::Range<usize>>,
}

impl Saved {
    /// The newest whole file of this boot, if there is one.
    pub fn load(dir: &Path) -> io::Result<Option<Saved>> {
        for (_, path) in files(dir)?.into_iter().rev() {
            let bytes = std::fs::read(path)?;
            if let Some(saved) = Saved::parse(bytes) {
                return Ok(Some(saved));
            }
        }
        Ok(None)
    }

    fn parse(bytes: Vec<u8>) -> Option<Saved> {
        let head = [&MARK[..], &boot_id()].concat();
        if !bytes.starts_with(&head) {
            return None;
        }
        let mut records = Vec::new();
        let mut at = head.len();
        while let Some(frame) = bytes[at..].first_chunk::<FRAME>() {
            let word =
                |i: usize| u32::from_le_bytes([frame[i], frame[i + 1], frame[i + 2], frame[i + 3]]);
            let body = at + FRAME..(at + FRAME).saturating_add(word(0) as usize);
            match bytes.get(body.clone()) {
                Some(b) if check_sum(b) == word(4) => records.push(body.clone()),
                _ => break,
            }
            at = body.end;
        }
        (!records.is_empty()).then_some(Saved { bytes, records })
    }

    /// The dump of the core and what its guests had not been sent.
    pub fn checkpoint(&self) -> Result<(&[u8], Vec<GuestState>), DumpError> {
        let mut r = Reader::new(&self.bytes[self.records[0].clone()]);
        let server = r.bytes()?;
        let guests = r.list(GuestState::read)?;
        r.finish()?;
        Ok((server, guests))
    }

    /// Calls `each` with everything that happened since.
    pub fn replay(&self, mut each: impl FnMut(Entry<'_>)) -> Result<(), DumpError> {
        for record in &self.records[1..] {
            let mut r = Reader::new(&self.bytes[record.clone()]);
            while !r.is_empty() {
                each(read_entry(&mut r)?);
            }
        }
        Ok(())
    }
}

fn read_entry<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, DumpError> {
    let code = r.u8()?;
    let mut domid = || -> Result<DomId, DumpError> { r.u16() };
    Ok(match code {
        1 => domid().map(|_| Entry::Connect(ConnKind::Tool))?,
        2 => domid().map(|_| Entry::Connect(ConnKind::ReadOnlyTool))?,
        3 => Entry::Connect(ConnKind::Guest(domid()?)),
        4 => Entry::Disconnect(ConnId::read(r)?),
        5 => {
            let conn = ConnId::read(r)?;
            let raw = r.raw(HEADER_LEN)?.first_chunk().map(Header::decode);
            let header = raw.ok_or_else(|| r.wrong("a header"))?;
            Entry::Request(conn, header, r.raw(header.len as usize)?)
        }
        _ => return Err(r.wrong("an entry")),
    })
}

/// Removes every file of state.
pub fn discard(dir: &Path) -> io::Result<()> {
    for (_, path) in files(dir)? {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("state.{number}")
}

/// The files of state by ascending number.
fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|n| n.strip_prefix("state.")?.parse().ok());
        all.extend(number.map(|n: u64| (n, entry.path())));
    }
    all.sort();
    Ok(all)
}

/// What stands before a record's body: its length and check sum.
fn frame(body: &[u8]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    frame[4..].copy_from_slice(&check_sum(body).to_le_bytes());
    frame
}

/// FNV-1a over eight bytes at a time: tells a torn record, not a forged one.
fn check_sum(bytes: &[u8]) -> u32 {
    let step = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let chunks = bytes.chunks(8).map(|c| {
        let mut word = [0; 8];
        word[..c.len()].copy_from_slice(c);
        u64::from_le_bytes(word)
    });
    let hash = chunks.fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, step);
    (hash ^ hash >> 32) as u32
}

/// This boot's id, or zeros where the kernel does not say.
fn boot_id() -> [u8; 36] {
    let text = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.first_chunk().copied().unwrap_or([0; 36])
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
