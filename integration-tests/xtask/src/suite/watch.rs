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
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{sync_channel, RecvTimeoutError};
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
    let (to, lines) = sync_channel::<Vec<u8>>(64);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(n) if n > 0 && to.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    let mut pass = Pass::default();
    let start = Instant::now();
    loop {
        match lines.recv_timeout(silence) {
            Ok(line) => {
                out.write_all(&line)?;
                out.flush()?;
                pass.read(&String::from_utf8_lossy(&line), start.elapsed());
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
            "echo 'test a ... ok'; echo 'test b ... '; sleep 1000 & sleep 1000",
            Duration::from_millis(300),
        );
        assert!(pass.cut_short && pass.knows("a"));
        assert_eq!(pass.running.as_deref(), Some("b"));
    }
}
