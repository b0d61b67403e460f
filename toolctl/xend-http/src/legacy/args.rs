//! Arguments of a call, taken one after the other.

use super::value;
use dxr::Value;
use noxen_xend_api::Fault;
use noxen_xm_config::sxp::Node;

/// What is left of them.
pub struct Args {
    method: String,
    left: std::vec::IntoIter<Value>,
    taken: usize,
}

impl Args {
    /// The arguments `params` of `method`.
    pub fn new(method: &str, params: Vec<Value>) -> Args {
        Args {
            method: method.to_owned(),
            left: params.into_iter(),
            taken: 0,
        }
    }

    fn wrong(&self, wanted: &str) -> Fault {
        Fault::generic(format!(
            "{}: argument {} is to be {wanted}",
            self.method, self.taken
        ))
    }

    /// The next one if there is one and it is not nil.
    fn next(&mut self) -> Option<Value> {
        self.taken += 1;
        self.left.next().filter(|value| *value != Value::Nil)
    }

    /// A text; numbers count as one, since clients send domain ids either way.
    pub fn text(&mut self) -> Result<String, Fault> {
        match self.next() {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Integer(number)) => Ok(number.to_string()),
            Some(Value::Long(number)) => Ok(number.to_string()),
            _ => Err(self.wrong("a text")),
        }
    }

    /// A text that may be absent.
    pub fn text_or_none(&mut self) -> Result<Option<String>, Fault> {
        match self.next() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            _ => Err(self.wrong("a text")),
        }
    }

    /// A whole number, as one or as its digits.
    pub fn whole(&mut self) -> Result<i64, Fault> {
        self.whole_or_none()?
            .ok_or_else(|| self.wrong("a whole number"))
    }

    /// A whole number that may be absent.
    pub fn whole_or_none(&mut self) -> Result<Option<i64>, Fault> {
        match self.next() {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(number.into())),
            Some(Value::Long(number)) => Ok(Some(number)),
            Some(Value::Boolean(flag)) => Ok(Some(flag.into())),
            Some(Value::String(text)) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| self.wrong("a whole number")),
            Some(_) => Err(self.wrong("a whole number")),
        }
    }

    /// A truth value as Python takes it; `default` when absent.
    pub fn flag(&mut self, default: bool) -> Result<bool, Fault> {
        match self.next() {
            None => Ok(default),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(Value::Integer(number)) => Ok(number != 0),
            Some(Value::Long(number)) => Ok(number != 0),
            Some(_) => Err(self.wrong("a truth value")),
        }
    }

    /// An S-expression as nested arrays.
    pub fn form(&mut self) -> Result<Node, Fault> {
        match self.next() {
            Some(given) => value::to_node(&given)
                .ok_or_else(|| self.wrong("an S-expression of texts and numbers")),
            None => Err(self.wrong("an S-expression")),
        }
    }

    /// No further arguments are left.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.left.len() {
            0 => Ok(()),
            more => Err(Fault::generic(format!(
                "{}: {more} arguments too many",
                self.method
            ))),
        }
    }
}
