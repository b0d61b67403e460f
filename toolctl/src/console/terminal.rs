//! The user's terminal: raw while attached, restored on every way out.

use rustix::termios::{self, OptionalActions, Termios};
use std::io;
use std::os::unix::net::UnixStream;

/// Standard input in raw mode; dropping it restores what was set before. Not a terminal: nothing is done.
pub(crate) struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    pub(crate) fn enter() -> io::Result<RawTerminal> {
        let stdin = rustix::stdio::stdin();
        if !termios::isatty(stdin) {
            return Ok(RawTerminal { before: None });
        }
        let before = termios::tcgetattr(stdin)?;
        restore_after_panic(&before);
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(RawTerminal {
            before: Some(before),
        })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// A panic ends the process without unwinding in release builds, so `Drop` alone would not do.
fn restore_after_panic(before: &Termios) {
    let before = before.clone();
    let other = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
        other(info);
    }));
}

/// Signals as readable streams.
pub(crate) struct Signals {
    /// Readable once the process is asked to end.
    pub(crate) end: UnixStream,
    /// Readable when the window has changed its size.
    pub(crate) resize: UnixStream,
}

impl Signals {
    pub(crate) fn register() -> io::Result<Signals> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
        use signal_hook::low_level::pipe;
        let (end, end_write) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
            pipe::register(signal, end_write.try_clone()?)?;
        }
        let (resize, resize_write) = UnixStream::pair()?;
        pipe::register(SIGWINCH, resize_write)?;
        end.set_nonblocking(true)?;
        resize.set_nonblocking(true)?;
        Ok(Signals { end, resize })
    }
}
