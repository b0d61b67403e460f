//! The Xen-API 1.0: XML-RPC with sessions, references and records.
//!
//! ```text
//!   <methodCall> C.m(session, ref, ..) ──> session known? ──> class C: method m, or get_ATTR of its record
//!   {Status: Success, Value: V}  or  {Status: Failure, ErrorDescription: [CODE, argument..]}
//! ```
//! Every answer has a Status; XML-RPC faults are only for what is no call. Whole numbers travel as decimal text. A
//! reference of a VM, its metrics and the host is their UUID. Classes and methods that are not built answer
//! MESSAGE_METHOD_UNKNOWN. `Async.C.m` gives a task.

mod devices;
mod door;
mod events;
mod failure;
mod hardware;
mod host;
mod hvm;
mod images;
mod load;
mod objects;
mod policy;
mod record;
mod session;
mod tasks;
mod vm;
mod vm_config;

pub use door::{Door, Logins};

use crate::http::{Request, Response};
use crate::{rpc, Ask};
use dxr::Value;
use events::Events;
use failure::Failure;
use images::Images;
use load::Load;
use session::Sessions;
use std::collections::BTreeMap;
use tasks::Tasks;

/// A record's attributes.
type Record = BTreeMap<String, Value>;

/// The interface with its sessions.
#[derive(Default)]
pub struct XenApi {
    sessions: Sessions,
    tasks: Tasks,
    events: Events,
    images: Images,
    load: Load,
}

impl XenApi {
    /// Answers a POST.
    pub fn handle(&self, ask: &dyn Ask, door: &Door, request: &Request) -> Response {
        rpc::handle(request, |name, params| {
            Ok(self.answer(ask, door, name, params))
        })
    }

    fn answer(&self, ask: &dyn Ask, door: &Door, name: &str, params: Vec<Value>) -> Value {
        let pair = |key: &str, value: Value| (key.to_owned(), value);
        let status = |word: &str| pair("Status", Value::String(word.into()));
        Value::Struct(match self.call(ask, door, name, params) {
            Ok(value) => BTreeMap::from([status("Success"), pair("Value", value)]),
            Err(failure) => {
                let words = failure.words().into_iter().map(Value::String).collect();
                BTreeMap::from([
                    status("Failure"),
                    pair("ErrorDescription", Value::Array(words)),
                ])
            }
        })
    }

    fn call(
        &self,
        ask: &dyn Ask,
        door: &Door,
        name: &str,
        params: Vec<Value>,
    ) -> Result<Value, Failure> {
        let Some(inner) = name.strip_prefix("Async.") else {
            return self.call_now(ask, door, name, params);
        };
        // A session that is none gets no task to ask about.
        let session = match params.first() {
            Some(Value::String(session)) => session.clone(),
            _ => return self.call_now(ask, door, inner, params),
        };
        self.sessions.check(&session)?;
        let outcome = self.call_now(ask, door, inner, params);
        self.tasks.note(&session, inner, outcome)
    }

    fn call_now(
        &self,
        ask: &dyn Ask,
        door: &Door,
        name: &str,
        params: Vec<Value>,
    ) -> Result<Value, Failure> {
        let mut call = Call {
            ask,
            images: &self.images,
            load: &self.load,
            name,
            given: params.len(),
            params: params.into_iter(),
        };
        if name == "session.login_with_password" {
            let user = call.text(2)?;
            let password = call.text(2)?;
            call.end()?;
            if !door.admits(&user, &password) {
                return Err(Failure::Authentication);
            }
            return self.sessions.login(&user).map(Value::String);
        }
        let session = call.text(1)?;
        self.sessions.check(&session)?;
        match name.split_once('.') {
            Some(("session", method)) => self.sessions.method(method, &session, &mut call),
            Some(("VM", method)) => vm::method(method, &mut call),
            Some(("VM_metrics", method)) => vm::metrics_method(method, &mut call),
            Some(("host", method)) => host::method(method, &mut call),
            Some(("task", method)) => self.tasks.method(method, &session, &mut call),
            Some(("event", method)) => self.events.method(method, &session, &mut call),
            Some((class, method)) => match objects::method(class, method, &mut call) {
                Some(answer) => answer,
                None => Err(call.unknown()),
            },
            None => Err(call.unknown()),
        }
    }
}

/// One call: its name and what is left of its parameters.
struct Call<'a> {
    ask: &'a dyn Ask,
    images: &'a Images,
    load: &'a Load,
    name: &'a str,
    given: usize,
    params: std::vec::IntoIter<Value>,
}

impl Call<'_> {
    fn unknown(&self) -> Failure {
        Failure::MethodUnknown(self.name.to_owned())
    }

    fn count(&self, expected: usize) -> Failure {
        Failure::ParameterCount {
            method: self.name.to_owned(),
            expected,
            given: self.given,
        }
    }

    /// The next parameter, a text, of `expected` in all.
    fn text(&mut self, expected: usize) -> Result<String, Failure> {
        match self.params.next() {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Failure::not_supported(
                self.name,
                "a parameter",
                "a text is expected",
            )),
            None => Err(self.count(expected)),
        }
    }

    /// The next parameter, of any kind.
    fn any(&mut self, expected: usize) -> Result<Value, Failure> {
        self.params.next().ok_or_else(|| self.count(expected))
    }

    /// The next parameter, a record.
    fn record(&mut self, expected: usize) -> Result<Record, Failure> {
        match self.params.next() {
            Some(Value::Struct(record)) => Ok(record),
            Some(_) => Err(Failure::not_supported(
                self.name,
                "a parameter",
                "a record is expected",
            )),
            None => Err(self.count(expected)),
        }
    }

    /// The next parameter, a list.
    fn texts(&mut self, expected: usize) -> Result<Vec<Value>, Failure> {
        match self.params.next() {
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(Failure::not_supported(
                self.name,
                "a parameter",
                "a list is expected",
            )),
            None => Err(self.count(expected)),
        }
    }

    /// The next parameter, a truth value; false when absent, as clients of old left it out.
    fn flag(&mut self) -> bool {
        matches!(
            self.params.next(),
            Some(Value::Boolean(true) | Value::Integer(1))
        )
    }

    /// The next parameter, a whole number as decimal text.
    fn whole(&mut self, expected: usize) -> Result<i64, Failure> {
        let name = self.name;
        let wrong = |what: &str| Failure::not_supported(name, what, "a whole number is expected");
        match self.params.next() {
            Some(Value::String(text)) => text.parse().map_err(|_| wrong(&text)),
            Some(Value::Integer(number)) => Ok(number.into()),
            Some(_) => Err(wrong("a parameter")),
            None => Err(self.count(expected)),
        }
    }

    /// No parameter is left.
    fn end(&self) -> Result<(), Failure> {
        match self.params.len() {
            0 => Ok(()),
            left => Err(self.count(self.given - left)),
        }
    }
}

/// `get_ATTR` out of a record.
fn attribute(call: &Call, method: &str, record: &Record) -> Result<Value, Failure> {
    method
        .strip_prefix("get_")
        .and_then(|name| record.get(name))
        .cloned()
        .ok_or_else(|| call.unknown())
}

/// The same of a record that only tells: what would set an attribute of it is refused.
fn told(call: &Call, method: &str, record: &Record) -> Result<Value, Failure> {
    const WHY: &str = "the attribute tells what is there; nothing is kept besides";
    let set = ["set_", "add_to_", "remove_from_"].map(|prefix| method.strip_prefix(prefix));
    let mut names = set.into_iter().flatten();
    if names.any(|name| record.contains_key(name)) {
        return Err(Failure::NotImplemented(call.name.to_owned(), WHY));
    }
    call.end()?;
    attribute(call, method, record)
}

#[cfg(test)]
mod interface_tests;
#[cfg(test)]
mod tests;
