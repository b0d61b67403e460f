//! `vncviewer DOM`: a viewer on a domain's screen.
//!
//! ```text
//!   xend: host, port, password --> vncviewer [-autopass] HOST:DISPLAY   (in our place, or beside us after `create`)
//! ```

use crate::cli::command::{Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command as Process, Stdio};

/// The program that shows screens; the search path has it. `$VNCVIEWER` names another.
const VIEWER: &str = "vncviewer";
/// The first display's port.
const FIRST_PORT: u16 = 5900;

/// The definition.
pub const COMMAND: Command = Command {
    name: "vncviewer",
    args: "[--[vncviewer-]autopass] <Domain>",
    summary: "Open a VNC viewer on a domain's screen.",
    details: "Runs the program vncviewer with the address and display of the domain's screen. With --autopass it is given \
        -autopass, and the display's password on its standard input, as TightVNC's viewer takes it. The \
        environment variable VNCVIEWER names another program.",
    options: &[
        Opt::long_flag("autopass", "Give the viewer the password of the display."),
        Opt::long_flag("vncviewer-autopass", "The same."),
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [name] = parsed.words.as_slice() else {
        return Err(Failure::usage(
            "No domain given (or several parameters specified)",
        ));
    };
    let autopass = parsed.has("autopass") || parsed.has("vncviewer-autopass");
    let mut viewer = find(context, name, autopass)?;
    context.line(format!("invoking  {}", viewer.line()))?;
    context.out.flush()?;
    if viewer.password.is_none() {
        return Err(viewer.missing(viewer.process().exec()));
    }
    let status = viewer
        .spawn()
        .and_then(|mut child| child.wait())
        .map_err(|error| viewer.missing(error))?;
    Ok(status.code().unwrap_or(1))
}

/// A viewer to be started.
pub(super) struct Viewer {
    program: String,
    host: String,
    port: u16,
    /// Given to it on its standard input.
    password: Option<String>,
}

/// What is needed for the viewer of `domain` (name, id or UUID).
pub(super) fn find(context: &mut Context, domain: &str, autopass: bool) -> Result<Viewer, Failure> {
    let request = Request::Vnc {
        domain: domain.to_owned(),
    };
    match context.ask(&request)? {
        Response::Vnc {
            host,
            port,
            password,
            ..
        } => Ok(Viewer {
            program: program(),
            host,
            port,
            password: password.filter(|_| autopass),
        }),
        other => Err(unexpected(other)),
    }
}

fn program() -> String {
    let named = std::env::var("VNCVIEWER");
    named
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| VIEWER.to_owned())
}

impl Viewer {
    /// Starts it beside us, for a domain that was just created; it outlives us.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let child = self.spawn().map_err(|error| self.missing(error))?;
        drop(child);
        Ok(())
    }

    fn display(&self) -> String {
        match self.port.checked_sub(FIRST_PORT) {
            Some(display) => format!("{}:{display}", self.host),
            // Two colons: a port.
            None => format!("{}::{}", self.host, self.port),
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.password.is_some() {
            words.push("-autopass".to_owned());
        }
        words.push(self.display());
        words
    }

    fn line(&self) -> String {
        format!("{} {}", self.program, self.words().join(" "))
    }

    fn process(&self) -> Process {
        let mut process = Process::new(&self.program);
        process.args(self.words());
        process
    }

    fn spawn(&mut self) -> io::Result<Child> {
        let mut process = self.process();
        // A session of its own: Ctrl-C at our terminal is not meant for it.
        process.process_group(0);
        let Some(password) = &self.password else {
            return process.stdin(Stdio::null()).spawn();
        };
        let mut child = process.stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not want it asks by itself.
            let _ = writeln!(stdin, "{password}");
        }
        Ok(child)
    }

    fn missing(&self, error: io::Error) -> Failure {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "; Debian's tigervnc-viewer has it, VNCVIEWER names another one, and any VNC viewer can connect there"
            }
            _ => "",
        };
        Failure::message(format!(
            "Cannot run {} for {} (port {}): {error}{hint}",
            self.program,
            self.display(),
            self.port
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewer_is_told_the_display_and_the_password_apart() {
        let mut viewer = Viewer {
            program: VIEWER.into(),
            host: "127.0.0.1".into(),
            port: 5907,
            password: None,
        };
        assert_eq!(viewer.line(), "vncviewer 127.0.0.1:7");
        viewer.password = Some("secret".into());
        assert_eq!(viewer.line(), "vncviewer -autopass 127.0.0.1:7");
        viewer.port = 80;
        assert_eq!(viewer.display(), "127.0.0.1::80");
    }
}
