//! How a command fails and what is printed then.

use noxen_xend_api::{ClientError, Fault};
use std::io;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// `Error: TEXT`.
    Message(String),
    /// `Error: TEXT` and the command's usage page.
    Usage(String),
    /// xend's answer, or none.
    Client(ClientError),
    /// Everything has been said; just the exit status.
    Status(i32),
    /// Standard output is gone.
    Output(io::Error),
}

impl Failure {
    /// `Error: TEXT`.
    pub fn message(text: impl Into<String>) -> Failure {
        Failure::Message(text.into())
    }

    /// `Error: TEXT` and the command's usage page.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure::Usage(text.into())
    }

    /// The text after `Error: `; None when nothing is to be printed.
    pub fn text(&self, is_root: bool) -> Option<String> {
        const NOT_ROOT: &str = "Most commands need root access. Please try again as root.";
        match self {
            Failure::Message(text) | Failure::Usage(text) => Some(text.clone()),
            Failure::Client(ClientError::Connect(_) | ClientError::Start(_)) if !is_root => {
                Some(NOT_ROOT.into())
            }
            Failure::Client(ClientError::Io(_)) if !is_root => {
                // xm had two blanks here.
                Some(NOT_ROOT.replacen(". ", ".  ", 1))
            }
            Failure::Client(ClientError::Start(reason)) => {
                let reason = reason.trim_end_matches('.');
                Some(format!(
                    "Unable to connect to xend: {reason}. Is xend running?"
                ))
            }
            Failure::Client(other) => Some(other.to_string()),
            Failure::Status(_) => None,
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Failure::Output(error) => Some(format!("cannot write: {error}")),
        }
    }

    /// Exit status.
    pub fn status(&self) -> i32 {
        match self {
            Failure::Client(ClientError::Fault(fault)) if fault.code == Fault::INVALID_DOMAIN => 3,
            Failure::Status(status) => *status,
            _ => 1,
        }
    }

    /// Does the usage page follow? `after_fault` is the command's own choice for faults of xend's.
    pub fn shows_usage(&self, after_fault: bool) -> bool {
        match self {
            Failure::Usage(_) => true,
            Failure::Client(ClientError::Fault(fault)) => {
                after_fault && fault.code != Fault::INVALID_DOMAIN
            }
            _ => false,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<noxen_xen_api::Error> for Failure {
    fn from(error: noxen_xen_api::Error) -> Failure {
        match error {
            noxen_xen_api::Error::Connect(error) => Failure::Client(ClientError::Connect(error)),
            other => Failure::Message(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// An operating system's error without Rust's `(os error N)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_failures_read_as_xms() {
        let refused = || io::Error::from_raw_os_error(111);
        let text = |error, root| Failure::Client(error).text(root).unwrap();
        assert_eq!(
            text(ClientError::Connect(refused()), true),
            "Unable to connect to xend: Connection refused. Is xend running?"
        );
        assert_eq!(
            text(ClientError::Connect(refused()), false),
            "Most commands need root access. Please try again as root."
        );
        assert_eq!(
            text(ClientError::Io(refused()), false),
            "Most commands need root access.  Please try again as root."
        );
        assert_eq!(
            text(ClientError::Io(refused()), true),
            "Unable to connect to xend: Connection refused."
        );
        assert_eq!(
            text(
                ClientError::Start("xend start: no /dev/kvm (exit status: 1)".into()),
                true
            ),
            "Unable to connect to xend: xend start: no /dev/kvm (exit status: 1). Is xend running?"
        );
    }

    #[test]
    fn unknown_domain_has_status_three_and_no_usage() {
        let failure = Failure::Client(Fault::invalid_domain("x").into());
        assert_eq!(failure.status(), 3);
        assert!(!failure.shows_usage(true));
        assert_eq!(
            failure.text(true).as_deref(),
            Some("Domain 'x' does not exist.")
        );
        let failure = Failure::Client(Fault::generic("no").into());
        assert_eq!(failure.status(), 1);
        assert!(failure.shows_usage(true) && !failure.shows_usage(false));
    }
}
