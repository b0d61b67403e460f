//! A program on a pseudo-terminal, driven as a person would: wait for text, type text.
//!
//! ```text
//!   Console ── master ── kernel tty ── slave ── the program (its controlling terminal)
//!      │
//!      └── reader thread: bytes ──> transcript, which `expect` searches from where it last stopped
//! ```

use anyhow::{bail, Context, Result};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Transcript {
    bytes: Vec<u8>,
    ended: bool,
}

/// A running program and what it has said.
pub struct Console {
    child: Child,
    master: File,
    shared: Arc<(Mutex<Transcript>, Condvar)>,
    /// Where the next `expect` starts.
    read_to: usize,
}

impl Console {
    /// Starts `command` on a terminal of 24 rows and 80 columns; its own streams are replaced.
    pub fn spawn(command: &Command) -> Result<Console> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let name = name.to_str().context("pts name is not text")?.to_owned();
        let slave = File::options().read(true).write(true).open(&name);
        let slave = slave.with_context(|| format!("cannot open {name}"))?;
        rustix::termios::tcsetwinsize(
            &slave,
            rustix::termios::Winsize {
                ws_row: 24,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?;
        // setsid(1) executes the program in place, with the slave as its controlling terminal.
        let mut on_terminal = Command::new("setsid");
        on_terminal
            .arg("--ctty")
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => on_terminal.env(key, value),
                None => on_terminal.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            on_terminal.current_dir(dir);
        }
        on_terminal.env("TERM", "dumb");
        on_terminal
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        let child = on_terminal
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        drop(on_terminal);

        let master = File::from(master);
        let shared = Arc::new((Mutex::new(Transcript::default()), Condvar::new()));
        let (mut from, to) = (master.try_clone()?, Arc::clone(&shared));
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            loop {
                // A terminal whose program has gone answers EIO: the end, like 0.
                let n = match from.read(&mut buffer) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Ok(n) => n,
                    Err(_) => 0,
                };
                if let Ok(mut transcript) = to.0.lock() {
                    transcript.bytes.extend_from_slice(&buffer[..n]);
                    transcript.ended |= n == 0;
                }
                to.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Ok(Console {
            child,
            master,
            shared,
            read_to: 0,
        })
    }

    /// Waits for `text`; what came before it. The next search starts behind it.
    ///
    /// The error holds the end of the transcript.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        Ok(self.expect_any(&[text], limit)?.1)
    }

    /// Waits for the first of several texts; its index, and what came before it.
    pub fn expect_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, String)> {
        let deadline = Instant::now() + limit;
        let (lock, changed) = &*self.shared;
        let mut transcript = lock
            .lock()
            .map_err(|_| anyhow::anyhow!("the reader failed"))?;
        loop {
            let unread = &transcript.bytes[self.read_to..];
            let found = texts
                .iter()
                .enumerate()
                .filter_map(|(index, text)| Some((find(unread, text.as_bytes())?, index)))
                .min();
            if let Some((at, index)) = found {
                let before = String::from_utf8_lossy(&unread[..at]).into_owned();
                self.read_to += at + texts[index].len();
                return Ok((index, before));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || transcript.ended {
                let why = if transcript.ended {
                    "the program closed its terminal".to_owned()
                } else {
                    format!("{} s passed", limit.as_secs_f64())
                };
                bail!(
                    "{why} before {texts:?} was seen; last was:\n{}",
                    tail(&transcript.bytes)
                );
            }
            transcript = changed
                .wait_timeout(transcript, left)
                .map_err(|_| anyhow::anyhow!("the reader failed"))?
                .0;
        }
    }

    /// Types `text`.
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        self.master.write_all(text.as_ref())?;
        Ok(())
    }

    /// Logs in as root at a `login:` prompt of our test guest.
    pub fn login(&mut self, limit: Duration) -> Result<()> {
        self.expect("login: ", limit)?;
        self.send("root\n")?;
        self.expect("Password: ", limit)?;
        self.send("noxen\n")?;
        self.expect("# ", limit)?;
        Ok(())
    }

    /// Runs a shell command at a prompt; its output. An error when its exit status is not 0.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<String> {
        // The typed line is echoed, perhaps wrapped: the markers must look different there.
        self.send(format!(
            "echo \"--be\"gin-; {command}; echo \"--do\"ne-$?-\n"
        ))?;
        self.expect("--begin-", limit)?;
        let output = self.expect("--done-", limit)?;
        let status = self.expect("-", limit)?;
        self.expect("# ", limit)?;
        let output = output.replace('\r', "");
        let output = output.trim_start_matches('\n').to_owned();
        if status != "0" {
            bail!("`{command}` ended with {status}: {output}");
        }
        Ok(output)
    }

    /// Everything said so far.
    pub fn transcript(&self) -> String {
        match self.shared.0.lock() {
            Ok(transcript) => String::from_utf8_lossy(&transcript.bytes).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Waits for the program's end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = crate::wait::try_until(limit, || self.child.try_wait().transpose());
        match ended {
            Some(status) => Ok(status?),
            None => bail!(
                "the program still runs after {} s; last was:\n{}",
                limit.as_secs_f64(),
                self.transcript()
            ),
        }
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command with arguments, for [`Console::spawn`].
pub fn command<S: AsRef<OsStr>>(program: S, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len().max(1))
        .position(|window| window == needle)
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn program_sees_a_terminal_and_typed_text() {
        let script = "tty >/dev/null && printf 'name? '; read x; echo \"hello $x.\"; exit 3";
        let mut console = Console::spawn(&command("sh", &["-c", script])).unwrap();
        console.expect("name? ", LIMIT).unwrap();
        console.send("you\n").unwrap();
        console.expect("hello you.", LIMIT).unwrap();
        assert_eq!(console.wait(LIMIT).unwrap().code(), Some(3));
    }

    #[test]
    fn text_that_never_comes_is_an_error_with_the_transcript() {
        let mut console = Console::spawn(&command("sh", &["-c", "echo something else"])).unwrap();
        let error = console.expect("login:", LIMIT).unwrap_err().to_string();
        assert!(error.contains("something else"), "{error}");
    }

    #[test]
    fn run_returns_output_and_refuses_bad_status() {
        let mut console = Console::spawn(&command("sh", &[])).unwrap();
        console.expect("# ", LIMIT).unwrap();
        assert_eq!(
            console.run("echo one; echo two", LIMIT).unwrap(),
            "one\ntwo\n"
        );
        assert!(console.run("false", LIMIT).is_err());
    }
}
