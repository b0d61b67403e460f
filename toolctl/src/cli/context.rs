//! What a running command has: where to print, and xend once it asks.

use super::failure::Failure;
use super::front::Front;
use super::progress::Progress;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, ClientError, DomainInfo, Request, Response, StateFilter};
use std::io::{self, BufWriter, Write};

/// Streams and the connection to xend, which is made on the first request.
pub struct Context {
    /// Standard output, buffered; the dispatcher flushes it.
    pub out: Box<dyn Write>,
    /// Standard error.
    pub err: Box<dyn Write>,
    /// Whose answers are wanted, by the name that the program was called by.
    pub front: Front,
    /// What is said on a terminal while xend takes long to answer; None for nothing.
    pub waiting: Option<String>,
    /// Where things are on this host.
    pub paths: Paths,
    client: Option<Client>,
}

impl Context {
    /// The process's own streams.
    pub fn new(front: Front) -> Context {
        Context {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            front,
            waiting: Some("Waiting for xend".to_owned()),
            paths: Paths::from_env(),
            client: None,
        }
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
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect_or_start(&self.paths)?,
        };
        Ok(self.client.insert(client).ask(request)?)
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
