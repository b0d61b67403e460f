//! One viewer's socket.
//!
//! ```text
//!   in the clear --session.awaits_tls(), all output sent--> shaking hands --> under TLS
//! ```

use super::tls::Tunnel;
use noxen_control::screen::Input;
use noxen_display::{Ended, Session, Settings, Size};
use rustix::event::PollFlags;
use rustls::ServerConfig;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
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
    tls: Option<Arc<ServerConfig>>,
    tunnel: Option<Box<Tunnel>>,
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
        tls: Option<Arc<ServerConfig>>,
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
            tls,
            tunnel: None,
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
        let sealed = self.tunnel.as_ref().is_some_and(|tunnel| tunnel.waits());
        if sealed || !self.session.output().is_empty() {
            flags |= PollFlags::OUT;
        }
        (&self.socket, flags)
    }

    /// Reads what there is, at most [`READ`] bytes; what the viewer did is appended to `inputs`.
    pub fn read(&mut self, inputs: &mut Vec<Input>) -> Result<(), Gone> {
        if self.tunnel.is_some() {
            return self.read_sealed(inputs);
        }
        let mut bytes = [0; READ];
        match self.socket.read(&mut bytes) {
            Ok(0) => Err(Gone::Left),
            Ok(count) => self.feed(&bytes[..count], inputs),
            Err(error) => passing(error),
        }
    }

    fn feed(&mut self, bytes: &[u8], inputs: &mut Vec<Input>) -> Result<(), Gone> {
        let result = self.session.feed(bytes, inputs);
        result.map_err(|ended| {
            // Why, it may still read; whether it does is its own affair.
            let _ = self.write();
            Gone::Ended(ended)
        })
    }

    fn read_sealed(&mut self, inputs: &mut Vec<Input>) -> Result<(), Gone> {
        let Some(tunnel) = &mut self.tunnel else {
            return Ok(());
        };
        let mut plain = Vec::new();
        let open = match tunnel.take(&mut self.socket, &mut plain) {
            Ok(open) => open,
            Err(error) => {
                // TLS tells the other side what it did wrong.
                let _ = tunnel.flush(&mut self.socket);
                return passing(error);
            }
        };
        if tunnel.is_up() {
            self.session.tls_is_up();
        }
        self.feed(&plain, inputs)?;
        if open {
            Ok(())
        } else {
            Err(Gone::Left)
        }
    }

    /// Writes what fits.
    pub fn write(&mut self) -> Result<(), Gone> {
        let output = self.session.output();
        if let Some(tunnel) = &mut self.tunnel {
            let sent = match tunnel.is_up() {
                true => tunnel.give(output),
                false => Ok(()),
            };
            return sent
                .and_then(|()| tunnel.flush(&mut self.socket))
                .or_else(passing);
        }
        if !output.is_empty() {
            match self.socket.write(output) {
                Ok(count) => drop(output.drain(..count)),
                Err(error) => return passing(error),
            }
        }
        if let (true, true, Some(tls)) = (output.is_empty(), self.session.awaits_tls(), &self.tls) {
            let tunnel = Tunnel::new(tls.clone());
            let tunnel = tunnel.map_err(|error| Gone::Broken(io::Error::other(error)))?;
            self.tunnel = Some(Box::new(tunnel));
        }
        Ok(())
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
