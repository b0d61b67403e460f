//! A blocking client of xend's socket.
//!
//! ```text
//!   connect ---------------------------> ask, ask, ..
//!   connect_or_start: connect fails -> `xend start` -> connect
//! ```

use crate::message::{Answer, Fault, Request, Response, MAX_LINE};
use crate::paths::Paths;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Environment variable naming the xend program that [`Client::connect_or_start`] runs.
pub const XEND_ENV: &str = "NOXEN_XEND";

/// Why a request was not answered with a [`Response`].
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made. `xm` prints `Unable to connect to xend: REASON. Is xend running?`.
    #[error("Unable to connect to xend: {}. Is xend running?", reason(.0))]
    Connect(io::Error),
    /// xend was not running and could not be started.
    #[error("Unable to start xend: {0}")]
    Start(String),
    /// The connection broke.
    #[error("Unable to connect to xend: {}.", reason(.0))]
    Io(io::Error),
    /// It answered something else than this protocol.
    #[error("xend answered {line:?}, which is not its protocol: {source}; are toolctl and xend of one version?")]
    Protocol {
        /// What it said, cut.
        line: String,
        /// Parser's word.
        source: serde_json::Error,
    },
    /// It was answered, with another kind of response than the request has.
    #[error("xend answered a request with something else than was asked for; are toolctl and xend of one version?")]
    Unexpected(Box<Response>),
    /// xend did not do it; the text goes after `Error: `.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The operating system's words without Rust's `(os error N)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// One connection.
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a running xend.
    pub fn connect(paths: &Paths) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(paths.xend_socket()).map_err(ClientError::Connect)?;
        Ok(Client {
            reader: BufReader::new(stream),
        })
    }

    /// Connects; starts xend when there is none that answers. A socket that may not be opened is an error,
    /// not a reason to start another xend.
    pub fn connect_or_start(paths: &Paths) -> Result<Client, ClientError> {
        // A xend that is being killed still takes connections, so it is asked for a sign of life.
        let alive = Client::connect(paths).and_then(|mut client| {
            client.ask_ok(&Request::Ping)?;
            Ok(client)
        });
        match alive {
            Err(ClientError::Connect(e) | ClientError::Io(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                start_xend()?;
                Client::connect(paths)
            }
            other => other,
        }
    }

    /// Bounds every later wait for an answer; none by default, since building a domain may take long.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.reader
            .get_ref()
            .set_read_timeout(timeout)
            .map_err(ClientError::Io)
    }

    /// Sends `request` and waits for its answer.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let mut text = serde_json::to_string(request)
            .map_err(|e| ClientError::Io(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        text.push('\n');
        self.reader
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(ClientError::Io)?;
        let mut line = String::new();
        let n = (&mut self.reader)
            .take(MAX_LINE)
            .read_line(&mut line)
            .map_err(ClientError::Io)?;
        if n == 0 {
            return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Ok(response)) => Ok(response),
            Ok(Answer::Fault(fault)) => Err(ClientError::Fault(fault)),
            Err(source) => Err(ClientError::Protocol {
                line: line.chars().take(80).collect(),
                source,
            }),
        }
    }

    /// Sends a request that is answered by [`Response::Ok`].
    pub fn ask_ok(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Response::Ok => Ok(()),
            other => Err(ClientError::Unexpected(Box::new(other))),
        }
    }
}

/// `name` beside this program when it is there, else by PATH.
pub fn sibling_program(name: &str) -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join(name)))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

fn start_xend() -> Result<(), ClientError> {
    let program = std::env::var_os(XEND_ENV)
        .filter(|v: &OsString| !v.is_empty())
        .map_or_else(|| sibling_program("xend"), PathBuf::from);
    run_start(&program)
}

fn run_start(program: &Path) -> Result<(), ClientError> {
    let output = Command::new(program)
        .arg("start")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| ClientError::Start(format!("{}: {}", program.display(), reason(&e))))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.chars().all(|c| c == '*'))
        .unwrap_or("it gave no reason");
    Err(ClientError::Start(format!(
        "{} start: {line} ({})",
        program.display(),
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_without_xend_says_so_in_xms_words() {
        let paths = Paths::under("/nonexistent/noxen");
        let error = Client::connect(&paths).err().unwrap();
        assert_eq!(
            error.to_string(),
            "Unable to connect to xend: No such file or directory. Is xend running?"
        );
    }

    #[test]
    fn start_of_a_missing_program_names_it() {
        let error = run_start(Path::new("/nonexistent/xend")).err().unwrap();
        assert_eq!(
            error.to_string(),
            "Unable to start xend: /nonexistent/xend: No such file or directory"
        );
    }
}
