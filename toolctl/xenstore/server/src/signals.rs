//! Signals as sockets that the loop can wait for.

use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Sockets that become readable when a signal comes.
#[derive(Debug)]
pub struct Signals {
    /// SIGTERM and SIGINT.
    pub stop: UnixStream,
    /// SIGHUP.
    pub hangup: UnixStream,
}

impl Signals {
    /// Catches the signals. To be done before anybody can know that the daemon
    /// is there, lest an early SIGTERM leave its files behind.
    pub fn catch() -> anyhow::Result<Signals> {
        Ok(Signals {
            stop: signal_pipe(&[SIGTERM, SIGINT])?,
            hangup: signal_pipe(&[SIGHUP])?,
        })
    }
}

fn signal_pipe(signals: &[i32]) -> anyhow::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}
