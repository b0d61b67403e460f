//! TLS on a connection whose user knows nothing of it: xend says its words, and noxen-vmm sends or reads its stream, on a socket
//! that ends here.
//!
//! ```text
//!   xend, then noxen-vmm too <--socket pair--> [a thread: rustls] <--TCP--> the other xend
//! ```
//! Either side's end ends both, once what was said before it is passed on.

use noxen_xend_http::tls::Connection;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are taken at a time.
const CHUNK: usize = 64 << 10;
/// How long what was said last may take to leave once nobody is here any more.
const LAST: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// This side's end.
#[derive(Debug)]
pub struct Tunnel {
    /// To talk on.
    pub stream: UnixStream,
    failed: Arc<Mutex<Option<String>>>,
}

impl Tunnel {
    /// Shakes hands on `tcp`, within its time limits, and begins to pass on.
    pub fn open(mut tls: Connection, mut tcp: TcpStream) -> io::Result<Tunnel> {
        while tls.is_handshaking() {
            // (An alert that tells the other side why is sent by it, too.)
            if let Err(error) = tls.complete_io(&mut tcp) {
                let_read(&mut tcp);
                return Err(of_tls(error));
            }
        }
        let (stream, local) = UnixStream::pair()?;
        tcp.set_nonblocking(true)?;
        local.set_nonblocking(true)?;
        tls.set_buffer_limit(None);
        let failed = Arc::new(Mutex::new(None));
        let told = failed.clone();
        let passes = move || {
            let done = Pump {
                tls,
                tcp: &tcp,
                local: &local,
                inward: Vec::new(),
            }
            .run();
            if let Err(error) = done {
                let why = of_tls(error).to_string();
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            }
            // Whichever is closed already needs no closing.
            let _ = tcp.shutdown(Shutdown::Both);
            let _ = local.shutdown(Shutdown::Both);
        };
        let thread = std::thread::Builder::new().name("tls".into());
        thread.spawn(passes)?;
        Ok(Tunnel { stream, failed })
    }

    /// Why it has ended, if it has not by somebody's letting go.
    pub fn failure(&self) -> Option<String> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn of_tls(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("SSL error: {error}"))
}

/// Has the other side read what was said last: what it has sent is thrown away, or TCP throws that away.
fn let_read(tcp: &mut TcpStream) {
    let _ = tcp.shutdown(Shutdown::Write);
    let _ = tcp.set_read_timeout(Some(Duration::from_secs(1)));
    let mut chunk = [0; CHUNK];
    for _ in 0..16 {
        if tcp.read(&mut chunk).unwrap_or(0) == 0 {
            return;
        }
    }
}

struct Pump<'a> {
    tls: Connection,
    tcp: &'a TcpStream,
    local: &'a UnixStream,
    /// On its way to this side.
    inward: Vec<u8>,
}

impl Pump<'_> {
    fn run(mut self) -> io::Result<()> {
        // What came along with the handshake.
        self.take_plain()?;
        let (mut tcp_open, mut local_open) = (true, true);
        loop {
            self.write_inward()?;
            if !tcp_open && self.inward.is_empty() {
                return Ok(());
            }
            if !local_open && !self.tls.wants_write() {
                return Ok(());
            }
            let when = |want: bool, flag: PollFlags| match want {
                true => flag,
                false => PollFlags::empty(),
            };
            // One side waits for the other: nothing is read that cannot be passed on.
            let tcp_wants = when(tcp_open && self.inward.is_empty(), PollFlags::IN)
                | when(self.tls.wants_write(), PollFlags::OUT);
            let local_wants = when(local_open && !self.tls.wants_write(), PollFlags::IN)
                | when(!self.inward.is_empty(), PollFlags::OUT);
            let limit = (!local_open).then_some(&LAST);
            let Some((tcp, local)) = self.wait(tcp_wants, local_wants, limit)? else {
                continue;
            };
            if tcp.intersects(PollFlags::OUT) {
                ready(self.tls.write_tls(&mut &*self.tcp))?;
            }
            if tcp.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && tcp_open {
                tcp_open = ready(self.tls.read_tls(&mut &*self.tcp))? != Some(0);
                if let Err(error) = self.tls.process_new_packets() {
                    // The alert that says so goes if it can.
                    let _ = self.tls.write_tls(&mut &*self.tcp);
                    return Err(io::Error::other(error));
                }
                tcp_open &= self.take_plain()?;
            }
            let gone = PollFlags::HUP | PollFlags::ERR;
            if local_open && local.intersects(PollFlags::IN | gone) && !self.tls.wants_write() {
                local_open = self.take_local()?;
                if !local_open {
                    self.tls.send_close_notify();
                }
            } else if local.intersects(gone) && !self.inward.is_empty() {
                // Nobody here wants what still comes.
                return Ok(());
            }
        }
    }

    /// Waits for one of the two: what is ready. One of which nothing is wanted is left out, for that it has ended is told again
    /// and again. None: look again.
    fn wait(
        &self,
        tcp: PollFlags,
        local: PollFlags,
        limit: Option<&Timespec>,
    ) -> io::Result<Option<(PollFlags, PollFlags)>> {
        let mut fds = Vec::with_capacity(2);
        if !tcp.is_empty() {
            fds.push(PollFd::new(self.tcp, tcp));
        }
        if !local.is_empty() {
            fds.push(PollFd::new(self.local, local));
        }
        match poll(&mut fds, limit) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut found = fds.iter().map(PollFd::revents);
        let mut of = |wanted: PollFlags| match wanted.is_empty() {
            true => PollFlags::empty(),
            false => found.next().unwrap_or(PollFlags::empty()),
        };
        Ok(Some((of(tcp), of(local))))
    }

    /// Takes what TLS has; false: the other side has said that it has nothing more.
    fn take_plain(&mut self) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.tls.reader().read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => self.inward.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                // It let go without saying so: what follows notices whether something is missing.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what this side says; false: it has let go.
    fn take_local(&mut self) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        let n = match ready((&mut &*self.local).read(&mut chunk))? {
            None => return Ok(true),
            Some(0) => return Ok(false),
            Some(n) => n,
        };
        self.tls.writer().write_all(&chunk[..n])?;
        Ok(true)
    }

    fn write_inward(&mut self) -> io::Result<()> {
        while !self.inward.is_empty() {
            match ready((&mut &*self.local).write(&self.inward))? {
                Some(n) => drop(self.inward.drain(..n)),
                None => break,
            }
        }
        Ok(())
    }
}

/// None: it would have had to wait.
fn ready(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
