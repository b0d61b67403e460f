//! Why a call was not done.

use std::io;

/// In the words that go after `Error: `.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, or it broke before anything was said.
    #[error("Unable to connect to xend: {0}")]
    Connect(io::Error),
    /// The other side speaks something else.
    #[error("the server at {place} is no Xen-API: {what}")]
    Protocol {
        /// Where it is.
        place: String,
        /// What it said instead.
        what: String,
    },
    /// Nobody of that name, id or UUID; xm's words in this mode.
    #[error("Domain '{0}' not found.")]
    NoDomain(String),
    /// The interface has no call for this.
    #[error("This function is not supported by Xen-API{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotSupported(Option<String>),
    /// A failure by its code, and what belongs to it.
    #[error("{}", sentence(.0))]
    Failure(Vec<String>),
}

impl Error {
    /// The interface has no call for this.
    pub fn not_supported(why: impl Into<String>) -> Error {
        Error::NotSupported(Some(why.into()))
    }

    /// Its code, if the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Failure(words) => words.first().map(String::as_str),
            _ => None,
        }
    }
}

/// An ErrorDescription as one line.
fn sentence(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.replace(char::is_control, " "))
        .collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match word(0) {
        "INTERNAL_ERROR" => word(1).to_owned(),
        "VM_BAD_POWER_STATE" => format!(
            "the domain is {}; this is done to one that is {}",
            word(3).to_lowercase(),
            word(2).to_lowercase()
        ),
        "VALUE_NOT_SUPPORTED" => format!("{} = '{}' is not supported: {}", word(1), word(2), word(3)),
        "NOT_IMPLEMENTED" => format!("{} is not built there: {}", word(1), word(2)),
        "SESSION_AUTHENTICATION_FAILED" => {
            "the server does not take this user and password; see username= and password= of xm-config.xml".into()
        }
        "MESSAGE_METHOD_UNKNOWN" => format!("the server knows no {}", word(1)),
        "" => "the server gave no reason".into(),
        _ => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_one_line_of_words() {
        let line = |words: &[&str]| {
            Error::Failure(words.iter().map(ToString::to_string).collect()).to_string()
        };
        assert_eq!(line(&["INTERNAL_ERROR", "no\nmemory"]), "no memory");
        assert_eq!(
            line(&["VM_BAD_POWER_STATE", "ref", "Running", "Halted"]),
            "the domain is halted; this is done to one that is running"
        );
        assert_eq!(
            line(&["HANDLE_INVALID", "VDI", "x"]),
            "HANDLE_INVALID VDI x"
        );
        assert_eq!(line(&[]), "the server gave no reason");
    }
}
