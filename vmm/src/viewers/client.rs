//! One viewer's socket.

use noxen_control::screen::Input;
use noxen_display::{Ended, Session, Settings, Size};
use rustix::event::PollFlags;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes read at a time.
const READ: usize = 16 << 10;
/// How long a viewer may take until it is let in.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a viewer is gone.
#[derive(Debug)]
pub enum Gone {
    /// It closed the connection.
    Left,
    /// It was sent away.
    Ended(Ended),
    /// It said nothing, or not enough, for too long.
    Silent,
    /// Its connection broke.
    Broken(io::Error),
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Left => f.write_str("it left"),
            Gone::Ended(why) => write!(f, "{why}"),
            Gone::Silent => write!(f, "it was not let in within {} s", PATIENCE.as_secs()),
            Gone::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// One viewer.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    address: IpAddr,
    since: Instant,
    /// What it speaks.
    pub session: Session,
}

impl Client {
    /// One that has just connected from `address`.
    pub fn new(
        socket: TcpStream,
        address: IpAddr,
        settings: &Settings,
        size: Size,
    ) -> io::Result<Client> {
        socket.set_nonblocking(true)?;
        // An update is one write; waiting for more would only make it late.
        socket.set_nodelay(true)?;
        let mut challenge = [0; 16];
        let flags = rustix::rand::GetRandomFlags::empty();
        // As few bytes come whole, whatever signal interrupts.
        rustix::rand::getrandom(&mut challenge, flags)?;
        Ok(Client {
            socket,
            address,
            since: Instant::now(),
            session: Session::new(settings, challenge, size),
        })
    }

    /// Where it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its socket, and what to wait for.
    pub fn wanted(&mut self) -> (&TcpStream, PollFlags) {
        let mut flags = PollFlags::IN;
        if !self.session.output().is_empty() {
            flags |= PollFlags::OUT;
        }
        (&self.socket, flags)
    }

    /// Reads what there is, at most [`READ`] bytes; what the viewer did is appended to `inputs`.
    pub fn read(&mut self, inputs: &mut Vec<Input>) -> Result<(), Gone> {
        let mut bytes = [0; READ];
        match self.socket.read(&mut bytes) {
            Ok(0) => Err(Gone::Left),
            Ok(count) => {
                let result = self.session.feed(&bytes[..count], inputs);
                result.map_err(|ended| {
                    // Why, it may still read; whether it does is its own affair.
                    let _ = self.write();
                    Gone::Ended(ended)
                })
            }
            Err(error) => passing(error),
        }
    }

    /// Writes what fits.
    pub fn write(&mut self) -> Result<(), Gone> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        match self.socket.write(output) {
            Ok(count) => {
                output.drain(..count);
                Ok(())
            }
            Err(error) => passing(error),
        }
    }

    /// Whether it took too long to be let in.
    pub fn check(&self) -> Result<(), Gone> {
        let late = !self.session.is_running() && self.since.elapsed() > PATIENCE;
        if late {
            Err(Gone::Silent)
        } else {
            Ok(())
        }
    }
}

fn passing(error: io::Error) -> Result<(), Gone> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(Gone::Broken(error)),
    }
}
