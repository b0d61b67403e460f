//! A test program that is read while it runs, and ended when it says nothing for too long.
//!
//! ```text
//!   program (a process group of its own) ── stdout ── thread ── lines ──> Pass, and `out`
//!                        ^                                        │ none for the limit
//!                        └────────────── SIGKILL ─────────────────┘
//! ```

use super::tally::Pass;
use anyhow::{Context, Result};
use rustix::process::{kill_process_group, Pid, Signal};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{sync_channel, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Runs a command whose output goes to `out`; what it said, once it has ended or was ended.
pub fn watched(command: &mut Command, silence: Duration, out: &mut impl Write) -> Result<Pass> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} does not run", command.get_program().to_string_lossy()))?;
    let stream = child.stdout.take().context("no pipe")?;
    let (to, said) = sync_channel(64);
    std::thread::spawn(move || tell_lines(stream, &to));
    let mut pass = Pass::default();
    let start = Instant::now();
    loop {
        match said.recv_timeout(silence) {
            Ok(said) => {
                if let Said::Line(line) = &said {
                    out.write_all(line)?;
                    out.flush()?;
                }
                pass.read(&String::from_utf8_lossy(said.text()), start.elapsed());
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!(
                    "xtask: nothing was said for {} s: the runner is ended",
                    silence.as_secs()
                );
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                break;
            }
        }
    }
    let status = child.wait()?;
    let unsaid = !status.success() && pass.totals.failed == 0;
    if unsaid || pass.closings == 0 {
        eprintln!("xtask: the runner ended with {status} and without a closing line");
        pass.cut_short = true;
    }
    Ok(pass)
}

/// What the program has said.
enum Said {
    /// A whole line.
    Line(Vec<u8>),
    /// The beginning of a line, which will come whole: a test has begun.
    Begun(Vec<u8>),
}

impl Said {
    fn text(&self) -> &[u8] {
        match self {
            Said::Line(text) | Said::Begun(text) => text,
        }
    }
}

/// Tells every line of `stream`, and at once what libtest says before it runs a test.
fn tell_lines(mut stream: impl Read, to: &SyncSender<Said>) {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let came = match stream.read(&mut buffer) {
            Ok(came) => came,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        for piece in buffer[..came].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") && to.send(Said::Line(std::mem::take(&mut line))).is_err() {
                return;
            }
        }
        let begun = line.starts_with(b"test ") && line.ends_with(b" ... ");
        if begun && to.send(Said::Begun(line.clone())).is_err() {
            return;
        }
        if came == 0 {
            if !line.is_empty() {
                let _ = to.send(Said::Line(line));
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, silence: Duration) -> Pass {
        let mut out = Vec::new();
        watched(Command::new("sh").args(["-c", script]), silence, &mut out).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn runner_that_dies_without_closing_line_was_cut_short() {
        assert!(shell("echo running; exit 101", LONG).cut_short);
        assert!(shell("exit 0", LONG).cut_short);
        let closing = "echo 'test result: ok. 1 passed; 0 failed;'";
        assert!(!shell(closing, LONG).cut_short);
        assert!(shell(&format!("{closing}; exit 3"), LONG).cut_short);
    }

    #[test]
    fn silent_runner_is_ended_with_all_that_it_started() {
        let pass = shell(
            "echo 'test a ... ok'; printf 'test b ... '; sleep 1000 & sleep 1000",
            Duration::from_millis(300),
        );
        assert!(pass.cut_short && pass.knows("a"));
        assert_eq!(pass.running.as_deref(), Some("b"));
    }
}
