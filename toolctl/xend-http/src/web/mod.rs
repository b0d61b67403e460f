//! The web page of a node: domains with live charts, and buttons for whoever has the token.
//!
//! ```text
//!   GET  /                     a browser ──> page.html, which loads /web/page.css, page.js, console.js and screen.js; others: pages (SXP)
//!   GET  /web/state            ──> state: host and domains as JSON; the script asks every two seconds
//!   POST /web/login            token ──> cookie      /web/logout ──> none
//!   POST /web/create           config=TEXT, a program as `xm create` takes it
//!   GET, POST /web/console/UUID    its console, for whoever has the token
//!   GET  /web/screen/UUID, /web/novnc/..   its screen (screen)
//!   POST /web/restore          file=PATH
//!   POST /web/domain/UUID      op=start|pause|unpause|shutdown|reboot|destroy|suspend|resume|delete, op=save&file=PATH, op=migrate&host=HOST (live)
//!   everything else            ──> pages; its POSTs need the token as well
//! ```
//! Reading is free for whoever can connect, as with xend; changing anything needs the token over TCP (access). Nothing is loaded
//! from elsewhere, and no text of a domain becomes markup: the script only sets texts.

mod access;
mod console;
mod create;
mod screen;
mod state;
mod terminal;

pub use access::Access;
pub use console::Consoles;
pub use screen::Screens;
pub use terminal::Terminal;

use crate::http::form::Form;
use crate::http::{Answer, Request, Response};
use crate::relay;
use crate::{pages, tree, Ask};
use noxen_xend_api::{Fault, Request as Asked, Response as Told, ShutdownKind};
use std::io::Read;
use std::path::Path;

const PAGE: &str = include_str!("files/page.html");
const STYLE: &str = include_str!("files/page.css");
const SCRIPT: &str = include_str!("files/page.js");
const CONSOLE_SCRIPT: &str = include_str!("files/console.js");
const TERMINAL_SCRIPT: &str = include_str!("files/terminal.js");
const SCREEN_SCRIPT: &str = include_str!("files/screen.js");

const CONSOLE: &str = "/web/console/";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// A listener's page.
pub struct Site {
    /// Who may change something.
    pub access: Access,
    /// The consoles that its visitors have open.
    pub consoles: Consoles,
    /// The screens that its visitors look at.
    pub screens: Screens,
    /// What their consoles are shown in.
    pub terminal: Terminal,
}

/// Answers a request, or makes its connection the way to a screen.
pub fn answer(site: &Site, ask: &dyn Ask, request: &Request) -> Answer {
    match request.path.strip_prefix(screen::SCREEN) {
        Some(domain) if relay::is_asked(request) => site.screens.show(site, ask, domain, request),
        _ => handle(site, ask, request).into(),
    }
}

/// Answers a request in one piece.
fn handle(site: &Site, ask: &dyn Ask, request: &Request) -> Response {
    let access = &site.access;
    let path = request.path.as_str();
    match (request.method.as_str(), path) {
        ("GET" | "HEAD", "/") if pages::is_browser(request) => page(&site.terminal),
        ("GET" | "HEAD", "/web/page.css") => file("text/css; charset=utf-8", STYLE),
        ("GET" | "HEAD", "/web/page.js") => file("text/javascript; charset=utf-8", SCRIPT),
        ("GET" | "HEAD", "/web/console.js") => {
            file("text/javascript; charset=utf-8", CONSOLE_SCRIPT)
        }
        ("GET" | "HEAD", "/web/terminal.js") => {
            file("text/javascript; charset=utf-8", TERMINAL_SCRIPT)
        }
        ("GET" | "HEAD", "/web/screen.js") => file("text/javascript; charset=utf-8", SCREEN_SCRIPT),
        ("GET" | "HEAD", "/web/state") => told(state::of(
            ask,
            access.is_known(request),
            site.terminal.is_installed(),
        )),
        ("GET", _) if path.starts_with(CONSOLE) => match access.may_change(request) {
            true => answer_form(request, |form| site.consoles.read(of_console(path), form)),
            false => Response::text(403, access.refusal()),
        },
        ("GET" | "HEAD", _) if path.starts_with(terminal::XTERM) => {
            let name = path.strip_prefix(terminal::XTERM).unwrap_or_default();
            site.terminal.file(name)
        }
        ("GET" | "HEAD", _) if path.starts_with(screen::NOVNC) => {
            let script = path.strip_prefix(screen::NOVNC).unwrap_or_default();
            site.screens.file(script)
        }
        ("GET", _) if path.starts_with(screen::SCREEN) => {
            let domain = path.strip_prefix(screen::SCREEN).unwrap_or_default();
            told(site.screens.tell(ask, domain, access.is_known(request)))
        }
        ("POST", "/web/login") => login(access, request),
        ("POST", "/web/logout") => access.forget(),
        ("POST", _) if !access.may_change(request) => Response::text(403, access.refusal()),
        ("POST", "/web/create") => with_form(request, |form| create::create(ask, form)),
        ("POST", "/web/restore") => with_form(request, |form| restore(ask, form)),
        ("POST", _) if path.starts_with(CONSOLE) => {
            with_form(request, |form| site.consoles.write(of_console(path), form))
        }
        ("POST", _) => match path.strip_prefix("/web/domain/") {
            Some(domain) => with_form(request, |form| operate(ask, domain, form)),
            None => pages::handle(ask, request),
        },
        _ => pages::handle(ask, request),
    }
}

fn file(kind: &'static str, text: &str) -> Response {
    under(POLICY.into(), kind, text)
}

/// The page. xterm.js makes style sheets of its own, which only those who have it must let it do.
fn page(terminal: &Terminal) -> Response {
    let policy = match terminal.is_installed() {
        true => POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),
        false => POLICY.into(),
    };
    under(policy, "text/html; charset=utf-8", PAGE)
}

fn under(policy: String, kind: &'static str, text: &str) -> Response {
    let mut response = Response::new(200, kind, text);
    response.headers.push(("Content-Security-Policy", policy));
    response
        .headers
        .push(("Referrer-Policy", "no-referrer".into()));
    response
}

/// Longest file of another program's that is handed out.
const FILE: u64 = 2 << 20;

/// Such a file.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let count = std::fs::File::open(path)?
        .take(FILE + 1)
        .read_to_end(&mut bytes)?;
    match count as u64 <= FILE {
        true => Ok(bytes),
        false => Err(std::io::ErrorKind::FileTooLarge.into()),
    }
}

/// A fault as a status and its line.
fn told(outcome: Result<Response, Fault>) -> Response {
    outcome.unwrap_or_else(|fault| {
        let status = match fault.code {
            Fault::INVALID_DOMAIN => 404,
            Fault::GENERIC => 400,
            _ => 500,
        };
        Response::text(status, fault.message)
    })
}

fn of_console(path: &str) -> &str {
    path.strip_prefix(CONSOLE).unwrap_or_default()
}

fn with_form(request: &Request, act: impl FnOnce(&Form) -> Result<(), Fault>) -> Response {
    answer_form(request, |form| {
        act(form).map(|()| Response::text(200, "done"))
    })
}

fn answer_form(request: &Request, act: impl FnOnce(&Form) -> Result<Response, Fault>) -> Response {
    match Form::of(request) {
        Ok(form) => told(act(&form)),
        Err(error) => Response::text(415, error.to_string()),
    }
}

fn login(access: &Access, request: &Request) -> Response {
    match Form::of(request) {
        Ok(form) => access.login(form.get("token").unwrap_or_default()),
        Err(error) => Response::text(415, error.to_string()),
    }
}

fn restore(ask: &dyn Ask, form: &Form) -> Result<(), Fault> {
    let file = file_of(form)?;
    match ask.ask(Asked::Restore {
        file,
        paused: false,
        lazy: false,
    })? {
        Told::Domain { .. } => Ok(()),
        other => Err(tree::unexpected(other)),
    }
}

/// A file of the host's.
fn file_of(form: &Form) -> Result<String, Fault> {
    let file = form.get("file").unwrap_or_default();
    match file.starts_with('/') {
        true => Ok(file.to_owned()),
        false => Err(Fault::generic(format!(
            "'{file}' is no file of this host: give an absolute path"
        ))),
    }
}

fn operate(ask: &dyn Ask, domain: &str, form: &Form) -> Result<(), Fault> {
    let op = form.get("op").unwrap_or_default();
    let domain = domain.to_owned();
    let stop = |domain, kind| Asked::Shutdown { domain, kind };
    let request = match op {
        "start" => return tree::start(ask, domain, false),
        "pause" => Asked::Pause { domain },
        "unpause" => Asked::Unpause { domain },
        "shutdown" => stop(domain, ShutdownKind::Poweroff),
        "reboot" => stop(domain, ShutdownKind::Reboot),
        "destroy" => Asked::Destroy { domain },
        "suspend" => Asked::Suspend { domain },
        "resume" => Asked::Resume {
            domain,
            paused: false,
        },
        "save" => Asked::Save {
            domain,
            file: file_of(form)?,
            checkpoint: false,
            how: Default::default(),
        },
        "delete" => Asked::Delete { domain },
        "migrate" => {
            let host = form.get("host").unwrap_or_default();
            return tree::migrate(ask, domain, host, true, None, false);
        }
        other => {
            return Err(Fault::generic(format!(
                "'{other}' is nothing that the page does"
            )))
        }
    };
    tree::done(ask, request)
}

#[cfg(test)]
mod tests;
