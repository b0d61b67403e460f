//! A client of the Network Block Device protocol on a socket that xend has connected.
//!
//! ```text
//!   greeting, flags --NBD_OPT_GO export--> size, flags      (an old server: NBD_OPT_EXPORT_NAME)
//!   request {flags, type, cookie, offset, length} --> simple reply {error, cookie} [+ data]
//! ```
//! By the protocol's own document (proto.md of the NBD project). One request at a time: what a disk does at
//! once is decided by how many sockets it has, and xend passes one. All that the server says is checked.

use crate::devices::vbd::vectors::{gather, scatter, slices};
use crate::domain::calls::lock;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::time::Duration;

/// How long the server may take to say what it has.
const GREETING: Duration = Duration::from_secs(5);
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const FIXED_NEWSTYLE: u16 = 1;
const OPT_EXPORT_NAME: u32 = 1;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const FLAG_READ_ONLY: u16 = 1 << 1;
const FLAG_SEND_FLUSH: u16 = 1 << 2;
/// Longest text of a server that is read, bytes.
const MAX_REPLY: u32 = 4096;

/// A served export.
#[derive(Debug)]
pub struct Nbd {
    stream: Mutex<Stream>,
    size: u64,
    flags: u16,
}

#[derive(Debug)]
struct Stream {
    socket: File,
    cookie: u64,
    /// An error in the middle of a message: its frame is lost.
    lost: bool,
}

impl Nbd {
    /// Asks the server at the other end of `socket` for `export`.
    pub fn open(socket: File, export: &str, readonly: bool) -> Result<Nbd, String> {
        Nbd::open_within(GREETING, socket, export, readonly)
    }

    /// The same with `limit` for each answer.
    fn open_within(
        limit: Duration,
        socket: File,
        export: &str,
        readonly: bool,
    ) -> Result<Nbd, String> {
        set_timeouts(&socket, Some(limit)).map_err(|error| error.to_string())?;
        let (size, flags) = negotiate(&socket, export).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("the NBD server said nothing for {} s", limit.as_secs_f64())
            }
            _ => format!("the NBD server does not serve {export:?}: {error}"),
        })?;
        set_timeouts(&socket, None).map_err(|error| error.to_string())?;
        if flags & FLAG_READ_ONLY != 0 && !readonly {
            return Err(format!(
                "the NBD server serves {export:?} only to be read: give the disk mode r"
            ));
        }
        let stream = Stream {
            socket,
            cookie: 0,
            lost: false,
        };
        Ok(Nbd {
            stream: Mutex::new(stream),
            size,
            flags,
        })
    }

    /// Bytes of the export.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Does `job`; blocks.
    pub fn perform(&self, memory: &GuestMemory, job: &Job) -> io::Result<()> {
        let slices = slices(memory, &job.pieces).ok_or(io::ErrorKind::InvalidInput)?;
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let (kind, length) = match job.op {
            JobOp::Read => (0u16, length),
            JobOp::Write => (1, length),
            JobOp::Flush if self.flags & FLAG_SEND_FLUSH == 0 => return Ok(()),
            JobOp::Flush => (3, 0),
            JobOp::Discard(_) => return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        };
        let offset = if kind == 3 { 0 } else { job.offset };
        let mut data = match kind {
            1 => gather(&slices)?,
            _ => vec![0; length],
        };
        lock(&self.stream).exchange(kind, offset, &mut data)?;
        if kind == 0 {
            scatter(&slices, &data)?;
        }
        Ok(())
    }
}

impl Stream {
    fn exchange(&mut self, kind: u16, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if self.lost {
            return Err(io::ErrorKind::NotConnected.into());
        }
        // Until it is known to be whole again.
        self.lost = true;
        self.cookie = self.cookie.wrapping_add(1);
        let mut message = Vec::with_capacity(28 + data.len());
        message.extend(REQUEST.to_be_bytes());
        message.extend([0, 0]);
        message.extend(kind.to_be_bytes());
        message.extend(self.cookie.to_be_bytes());
        message.extend(offset.to_be_bytes());
        message.extend((data.len() as u32).to_be_bytes());
        if kind == 1 {
            message.extend_from_slice(data);
        }
        self.socket.write_all(&message)?;
        let magic = u32::from_be_bytes(take(&self.socket)?);
        let error = u32::from_be_bytes(take(&self.socket)?);
        let cookie = u64::from_be_bytes(take(&self.socket)?);
        if magic != SIMPLE_REPLY || cookie != self.cookie {
            return Err(io::Error::other("not the reply that was waited for"));
        }
        if error == 0 && kind == 0 {
            self.socket.read_exact(data)?;
        }
        self.lost = false;
        match error {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error as i32)),
        }
    }
}

fn set_timeouts(socket: &File, limit: Option<Duration>) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, limit)?;
    Ok(set_socket_timeout(socket, Timeout::Send, limit)?)
}

fn take<const N: usize>(mut from: &File) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn odd(what: &str) -> io::Error {
    io::Error::other(format!("it does not speak the protocol ({what})"))
}

/// Size and transmission flags of `export`.
fn negotiate(mut socket: &File, export: &str) -> io::Result<(u64, u16)> {
    if &take::<8>(socket)? != b"NBDMAGIC" || u64::from_be_bytes(take(socket)?) != IHAVEOPT {
        return Err(odd("greeting"));
    }
    let offered = u16::from_be_bytes(take(socket)?);
    socket.write_all(&u32::from(offered & FIXED_NEWSTYLE).to_be_bytes())?;
    if offered & FIXED_NEWSTYLE == 0 {
        return by_name(socket, export);
    }
    let mut body = (export.len() as u32).to_be_bytes().to_vec();
    body.extend(export.as_bytes());
    // No information besides what always comes.
    body.extend([0, 0]);
    option(socket, OPT_GO, &body)?;
    let mut found = None;
    loop {
        if u64::from_be_bytes(take(socket)?) != OPTION_REPLY
            || u32::from_be_bytes(take(socket)?) != OPT_GO
        {
            return Err(odd("reply to an option"));
        }
        let kind = u32::from_be_bytes(take(socket)?);
        let length = u32::from_be_bytes(take(socket)?);
        if length > MAX_REPLY {
            return Err(odd("length of a reply"));
        }
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload)?;
        match kind {
            REP_ACK => return found.ok_or_else(|| odd("no size")),
            REP_INFO => found = info(&payload).or(found),
            // NBD_REP_ERR_UNSUP: a server without NBD_OPT_GO.
            kind if kind == REP_ERROR | 1 => return by_name(socket, export),
            kind if kind & REP_ERROR != 0 => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                return Err(io::Error::other(format!("it answered {kind:#x} {text:?}")));
            }
            _ => return Err(odd("kind of a reply")),
        }
    }
}

fn info(payload: &[u8]) -> Option<(u64, u16)> {
    let (kind, rest) = payload.split_first_chunk::<2>()?;
    if u16::from_be_bytes(*kind) != INFO_EXPORT {
        return None;
    }
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (flags, _) = rest.split_first_chunk::<2>()?;
    Some((u64::from_be_bytes(*size), u16::from_be_bytes(*flags)))
}

fn by_name(mut socket: &File, export: &str) -> io::Result<(u64, u16)> {
    option(socket, OPT_EXPORT_NAME, export.as_bytes())?;
    let size = u64::from_be_bytes(take(socket)?);
    let flags = u16::from_be_bytes(take(socket)?);
    // NBD_FLAG_C_NO_ZEROES was not asked for.
    socket.read_exact(&mut [0; 124])?;
    Ok((size, flags))
}

fn option(mut socket: &File, option: u32, body: &[u8]) -> io::Result<()> {
    let mut message = IHAVEOPT.to_be_bytes().to_vec();
    message.extend(option.to_be_bytes());
    message.extend((body.len() as u32).to_be_bytes());
    message.extend(body);
    socket.write_all(&message)
}

#[cfg(test)]
#[path = "nbd_tests.rs"]
mod tests;
