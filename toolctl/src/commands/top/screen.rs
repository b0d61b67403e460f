//! The full-screen form: drawn anew every few seconds and after each key.

use super::sample::Sample;
use super::table::{self, View};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::commands::uptime;
use crate::console::terminal::{RawTerminal, Signals};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::termios::tcgetwinsize;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Own screen, no cursor; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Draw,
    /// Wait longer, or less long.
    Slower,
    Faster,
    Nothing,
}

pub(super) fn run(
    context: &mut Context,
    mut view: View,
    mut delay: Duration,
    iterations: Option<u64>,
) -> Result<i32, Failure> {
    let signals = Signals::register().map_err(Failure::Output)?;
    let mut now = Sample::take(context, true)?;
    let mut before: Option<Sample> = None;
    let _raw = RawTerminal::enter().map_err(Failure::Output)?;
    context.out.write_all(ENTER)?;
    let mut shown = 0;
    let ended = loop {
        if let Err(e) = draw(context, &now, before.as_ref(), &view, delay) {
            break Err(e);
        }
        shown += 1;
        if iterations.is_some_and(|wanted| shown >= wanted) {
            break Ok(0);
        }
        let next = Instant::now() + delay;
        match wait(
            context,
            &signals,
            &mut view,
            next,
            &now,
            before.as_ref(),
            &mut delay,
        ) {
            Ok(true) => {}
            Ok(false) => break Ok(0),
            Err(e) => break Err(e),
        }
        match Sample::take(context, true) {
            Ok(sample) => before = Some(std::mem::replace(&mut now, sample)),
            Err(e) => break Err(e),
        }
    };
    context.out.write_all(LEAVE)?;
    context.out.flush()?;
    ended
}

/// Until it is time for a new sample (true) or to end (false); keys change the view at once.
fn wait(
    context: &mut Context,
    signals: &Signals,
    view: &mut View,
    next: Instant,
    now: &Sample,
    before: Option<&Sample>,
    delay: &mut Duration,
) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::new(&signals.end, PollFlags::IN),
            PollFd::new(&signals.resize, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::Output(e.into())),
        }
        let [input, end, resize] = fds.map(|fd| !fd.revents().is_empty());
        if end {
            return Ok(false);
        }
        let mut redraw = resize;
        if resize {
            let mut drained = [0; 64];
            let _ = (&signals.resize).read(&mut drained);
        }
        if input {
            let mut typed = [0; 32];
            let n = rustix::io::read(&stdin, &mut typed).map_err(|e| Failure::Output(e.into()))?;
            if n == 0 {
                return Ok(false);
            }
            for byte in &typed[..n] {
                match press(*byte, n, view) {
                    Key::Quit => return Ok(false),
                    Key::Draw => redraw = true,
                    Key::Slower => {
                        (*delay, redraw) = ((*delay * 2).min(Duration::from_secs(60)), true)
                    }
                    Key::Faster => {
                        (*delay, redraw) = ((*delay / 2).max(Duration::from_millis(500)), true)
                    }
                    Key::Nothing => {}
                }
            }
        }
        if redraw {
            draw(context, now, before, view, *delay)?;
        }
    }
}

/// What `byte`, one of `of` that came together, means.
fn press(byte: u8, of: usize, view: &mut View) -> Key {
    match byte.to_ascii_lowercase() {
        b'q' | 3 => return Key::Quit,
        // Alone it is the key; with others behind it the beginning of a cursor key.
        0x1b if of == 1 => return Key::Quit,
        b'n' => view.networks = !view.networks,
        b'b' => view.disks = !view.disks,
        b'v' => view.vcpus = !view.vcpus,
        b'r' => view.repeat_header = !view.repeat_header,
        b's' => view.sort = view.sort.next(),
        b'd' | b'+' => return Key::Slower,
        b'-' => return Key::Faster,
        _ => return Key::Nothing,
    }
    Key::Draw
}

fn draw(
    context: &mut Context,
    now: &Sample,
    before: Option<&Sample>,
    view: &View,
    delay: Duration,
) -> Result<(), Failure> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok();
    let (rows, columns) = match size {
        Some(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    };
    let mut lines = table::summary(now, &uptime::clock());
    lines.extend(table::table(now, before, view));
    let room = usize::from(rows).saturating_sub(1);
    lines.truncate(room);
    lines.resize(room, String::new());
    lines.push(format!(
        "Delay {:.1}s (D/+ longer, - shorter)  Networks  vBds  VCPUs  Repeat header  Sort order: {:?}  Quit",
        delay.as_secs_f64(),
        view.sort
    ));
    let mut out = String::from("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        out.extend(
            line.chars()
                .filter(|c| !c.is_control())
                .take(usize::from(columns)),
        );
        out.push_str("\x1b[K");
    }
    context.out.write_all(out.as_bytes())?;
    context.out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::table::Sort;

    #[test]
    fn keys_are_those_of_xentop() {
        let mut view = View::default();
        assert_eq!(press(b'n', 1, &mut view), Key::Draw);
        assert_eq!(press(b'V', 1, &mut view), Key::Draw);
        assert_eq!(press(b's', 1, &mut view), Key::Draw);
        assert!(view.networks && view.vcpus);
        assert_eq!(view.sort, Sort::State);
        assert_eq!(press(b'Q', 1, &mut view), Key::Quit);
        assert_eq!(press(0x1b, 1, &mut view), Key::Quit);
        assert_eq!(press(0x1b, 3, &mut view), Key::Nothing, "a cursor key");
        assert_eq!(press(b'z', 1, &mut view), Key::Nothing);
        assert_eq!(press(b'd', 1, &mut view), Key::Slower);
    }
}
