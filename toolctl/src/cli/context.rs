//! What a running command has: where to print, and xend once it asks.

use super::colour::Paint;
use super::failure::Failure;
use super::front::Front;
use super::progress::Progress;
use noxen_xen_api::{Kind, Server, Session};
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, ClientError, DomainInfo, Request, Response, StateFilter};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Streams and the connection to xend, which is made on the first request.
pub struct Context {
    /// Standard output, buffered; the dispatcher flushes it.
    pub out: Box<dyn Write>,
    /// Standard error.
    pub err: Box<dyn Write>,
    /// Colours of standard output.
    pub on_out: Paint,
    /// Colours of standard error.
    pub on_err: Paint,
    /// Whose answers are wanted, by the name that the program was called by.
    pub front: Front,
    /// What is said on a terminal while xend takes long to answer; None for nothing.
    pub waiting: Option<String>,
    /// Where things are on this host.
    pub paths: Paths,
    /// Whom xm-config.xml names; none until it is read.
    server: Option<Server>,
    xend: Option<Xend>,
}

/// Who answers.
enum Xend {
    Local(Client),
    Api(Session),
}

/// Environment variable that names another xm-config.xml.
const CONFIG_FILE: &str = "XM_CONFIG_FILE";
/// Environment variable with the server's URI.
const SERVER: &str = "XM_SERVER";

impl Context {
    /// The process's own streams.
    pub fn new(front: Front) -> Context {
        Context {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            on_out: Paint::of(&io::stdout()),
            on_err: Paint::of(&io::stderr()),
            front,
            waiting: Some("Waiting for xend".to_owned()),
            paths: Paths::from_env(),
            server: None,
            xend: None,
        }
    }

    /// Reads whom to talk to, once, and says on standard error what is wrong with that file.
    pub fn choose_server(&mut self) {
        if self.server.is_some() {
            return;
        }
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = set(CONFIG_FILE).map_or_else(|| self.paths.xm_config(), PathBuf::from);
        let choice = noxen_xen_api::choice::choose(&file, set(SERVER));
        for note in choice.notes {
            self.note(note);
        }
        self.server = Some(choice.server);
    }

    /// Is the Xen-API spoken?
    pub fn by_xen_api(&self) -> bool {
        let server = self.server.as_ref();
        server.is_some_and(|server| server.kind == Kind::XenApi)
    }

    /// For what the Xen-API has nothing for.
    pub fn not_by_xen_api(&self) -> Result<(), Failure> {
        match self.by_xen_api() {
            false => Ok(()),
            true => Err(noxen_xen_api::Error::NotSupported(None).into()),
        }
    }

    /// The session with the Xen-API's server, for what only that has.
    pub fn session(&mut self) -> Result<&mut Session, Failure> {
        let only = || Failure::message("This function is only supported by Xen-API");
        if !self.by_xen_api() {
            return Err(only());
        }
        match self.connected()? {
            Xend::Api(session) => Ok(session),
            Xend::Local(_) => Err(only()),
        }
    }

    fn connected(&mut self) -> Result<&mut Xend, Failure> {
        let xend = match (self.xend.take(), &self.server) {
            (Some(xend), _) => xend,
            (None, Some(server)) if server.kind == Kind::XenApi => {
                Xend::Api(Session::open(server, &self.paths.xen_api_socket())?)
            }
            (None, server) => {
                let uri = server.as_ref().and_then(|server| server.uri.as_deref());
                // (Its own sockets lead to the same xend.)
                if let Some(uri) = uri.filter(|uri| !uri.starts_with("httpu:")) {
                    return Err(Failure::message(format!(
                        "xend at {uri} can be asked by the Xen-API only; write type='Xen-API' into {}",
                        self.paths.xm_config().display()
                    )));
                }
                Xend::Local(Client::connect_or_start(&self.paths)?)
            }
        };
        Ok(self.xend.insert(xend))
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.out.write_all(text.as_ref().as_bytes())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints a line on standard error; that it cannot be shown is no reason to stop.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// Asks xend, which is started when it does not run.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        let _progress = Progress::start(self.waiting.clone());
        match self.connected()? {
            Xend::Local(client) => Ok(client.ask(request)?),
            Xend::Api(session) => Ok(session.ask(request)?),
        }
    }

    /// Asks xend of this host, if it runs.
    pub fn ask_if_running(&mut self, request: &Request) -> Result<Option<Response>, Failure> {
        match Client::connect(&self.paths) {
            Ok(client) => {
                self.xend = Some(Xend::Local(client));
                self.ask(request).map(Some)
            }
            Err(ClientError::Connect(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Does `work`, saying `text` while xend takes long.
    pub fn saying<T>(&mut self, text: Option<String>, work: impl FnOnce(&mut Context) -> T) -> T {
        let before = std::mem::replace(&mut self.waiting, text);
        let done = work(self);
        self.waiting = before;
        done
    }

    /// Asks for something that is only done.
    pub fn ask_ok(&mut self, request: &Request) -> Result<(), Failure> {
        match self.ask(request)? {
            Response::Ok => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Domains named, or all.
    pub fn domains(
        &mut self,
        names: &[String],
        state: StateFilter,
    ) -> Result<Vec<DomainInfo>, Failure> {
        let request = Request::List {
            domains: names.to_vec(),
            state,
        };
        match self.ask(&request)? {
            Response::Domains { domains } => Ok(domains),
            other => Err(unexpected(other)),
        }
    }

    /// One domain by name, id or UUID.
    pub fn domain(&mut self, name: &str) -> Result<DomainInfo, Failure> {
        let request = Request::Domain {
            domain: name.to_owned(),
        };
        match self.ask(&request)? {
            Response::Domain { domain } => Ok(*domain),
            other => Err(unexpected(other)),
        }
    }

    /// Prints `value` as JSON.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        self.line(format!("{value:#}"))
    }
}

/// xend answered with another kind of thing than was asked for.
pub fn unexpected(response: Response) -> Failure {
    Failure::Client(ClientError::Unexpected(Box::new(response)))
}
