//! A session: who has logged in, and calls with its reference.
//!
//! ```text
//!   open ──login_with_password──> session ──call(C.m, ..)──> Value        dropped: logout
//!                                    ^─────SESSION_INVALID: once more──┘
//! ```

use crate::choice::{self, Place, Server};
use crate::error::Error;
use crate::transport::Transport;
use crate::wire;
use dxr::{FaultResponse, MethodCall, MethodResponse, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Attributes of an object, or members of a structure.
pub type Record = BTreeMap<String, Value>;

/// It.
pub struct Session {
    transport: Transport,
    username: String,
    password: String,
    reference: String,
}

impl Session {
    /// Logs in; `socket` is where a server is whose URI is not given.
    pub fn open(server: &Server, socket: &Path) -> Result<Session, Error> {
        let place = match &server.uri {
            None => Place::Unix(socket.to_owned()),
            Some(uri) => choice::place(uri).map_err(|what| Error::NotSupported(Some(what)))?,
        };
        let mut session = Session {
            transport: Transport::new(place, server.certificate.as_deref())?,
            username: server.username.clone(),
            password: server.password.clone(),
            reference: String::new(),
        };
        session.login()?;
        Ok(session)
    }

    /// Is the server on this host, as far as can be told?
    pub fn is_local(&self) -> bool {
        matches!(self.transport.place(), Place::Unix(_))
    }

    /// Where the server is.
    pub fn place(&self) -> String {
        self.transport.place().to_string()
    }

    fn login(&mut self) -> Result<(), Error> {
        let words = [&self.username, &self.password];
        let params = words.map(|word| Value::String(word.clone())).to_vec();
        match self.exchange("session.login_with_password", params)? {
            Value::String(reference) => {
                self.reference = reference;
                Ok(())
            }
            _ => Err(self.strange("a session that is no reference")),
        }
    }

    /// Calls `method` with the session before `params`.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Error> {
        match self.call_once(method, params) {
            Err(error) if error.code() == Some("SESSION_INVALID") => {
                self.login()?;
                self.call_once(method, params)
            }
            other => other,
        }
    }

    fn call_once(&self, method: &str, params: &[Value]) -> Result<Value, Error> {
        let mut all = vec![Value::String(self.reference.clone())];
        all.extend_from_slice(params);
        self.exchange(method, all)
    }

    fn exchange(&self, method: &str, params: Vec<Value>) -> Result<Value, Error> {
        let call = MethodCall {
            name: method.into(),
            params,
        };
        let xml = call.to_xml().map_err(|e| self.strange(e.to_string()))?;
        let text = self
            .transport
            .post(&format!("<?xml version='1.0'?>\n{xml}\n"))?;
        if wire::depth(&text) > wire::MOST_DEPTH {
            return Err(self.strange("its answer is nested too deeply"));
        }
        if let Ok(FaultResponse { fault }) = FaultResponse::from_xml(&text) {
            return Err(self.strange(format!("a fault: {fault}")));
        }
        // The error of the library repeats the whole text.
        let value = MethodResponse::from_xml(&text)
            .map_err(|_| self.strange("no XML-RPC"))?
            .value;
        let Value::Struct(mut members) = value else {
            return Err(self.strange("an answer without a Status"));
        };
        match members.remove("Status") {
            Some(Value::String(status)) if status == "Success" => {
                Ok(members.remove("Value").unwrap_or(Value::Nil))
            }
            Some(Value::String(_)) => {
                let words = match members.remove("ErrorDescription") {
                    Some(Value::Array(words)) => words.iter().map(shown).collect(),
                    _ => Vec::new(),
                };
                Err(Error::Failure(words))
            }
            _ => Err(self.strange("an answer without a Status")),
        }
    }

    /// The server is not what it should be.
    pub fn strange(&self, what: impl Into<String>) -> Error {
        Error::Protocol {
            place: self.place(),
            what: what.into(),
        }
    }

    /// `C.m` that gives a text.
    pub fn text(&mut self, method: &str, params: &[Value]) -> Result<String, Error> {
        match self.call(method, params)? {
            Value::String(text) => Ok(text),
            _ => Err(self.strange(format!("{method} gives no text"))),
        }
    }

    /// `C.m` that gives a list of references.
    pub fn references(&mut self, method: &str, params: &[Value]) -> Result<Vec<String>, Error> {
        match self.call(method, params)? {
            Value::Array(all) => Ok(all.iter().map(shown).collect()),
            _ => Err(self.strange(format!("{method} gives no list"))),
        }
    }

    /// `C.m` that gives a record.
    pub fn record(&mut self, method: &str, params: &[Value]) -> Result<Record, Error> {
        match self.call(method, params)? {
            Value::Struct(record) => Ok(record),
            _ => Err(self.strange(format!("{method} gives no record"))),
        }
    }

    /// All records of a class by reference. Servers without `get_all_records` are asked for one after the other.
    pub fn records(&mut self, class: &str) -> Result<BTreeMap<String, Record>, Error> {
        match self.record(&format!("{class}.get_all_records"), &[]) {
            Ok(all) => Ok(all
                .into_iter()
                .filter_map(|(reference, record)| match record {
                    Value::Struct(record) => Some((reference, record)),
                    _ => None,
                })
                .collect()),
            Err(error) if error.code() == Some("MESSAGE_METHOD_UNKNOWN") => {
                let mut all = BTreeMap::new();
                for reference in self.references(&format!("{class}.get_all"), &[])? {
                    let params = [Value::String(reference.clone())];
                    let record = self.record(&format!("{class}.get_record"), &params)?;
                    all.insert(reference, record);
                }
                Ok(all)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.reference.is_empty() {
            // It ends by itself when nobody uses it.
            let _ = self.call_once("session.logout", &[]);
        }
    }
}

/// A value as a text, however it was sent.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Double(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Member `name` as a text; empty where there is none.
pub fn text(record: &Record, name: &str) -> String {
    record.get(name).map_or_else(String::new, shown)
}

/// Member `name` as a number; none where there is none.
pub fn number<N: std::str::FromStr>(record: &Record, name: &str) -> Option<N> {
    text(record, name).parse().ok()
}

/// Member `name`, a list of texts.
pub fn list(record: &Record, name: &str) -> Vec<String> {
    match record.get(name) {
        Some(Value::Array(all)) => all.iter().map(shown).collect(),
        _ => Vec::new(),
    }
}

/// Member `name`, a structure.
pub fn map<'a>(record: &'a Record, name: &str) -> Option<&'a Record> {
    match record.get(name) {
        Some(Value::Struct(members)) => Some(members),
        _ => None,
    }
}
