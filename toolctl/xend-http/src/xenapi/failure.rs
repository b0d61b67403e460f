//! Failures by the codes of the Xen-API.

use noxen_xend_api::Fault;

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Wrong user or password.
    Authentication,
    /// No such session.
    SessionInvalid(String),
    /// No object of that class has that reference.
    HandleInvalid(&'static str, String),
    /// No such method.
    MethodUnknown(String),
    /// Too many or too few parameters.
    ParameterCount {
        /// Of what.
        method: String,
        /// As it should be, the session not counted.
        expected: usize,
        /// As it was.
        given: usize,
    },
    /// A value that cannot be taken: field, value, why.
    ValueNotSupported(String, String, String),
    /// The VM is not in the state that this needs: reference, needed, found.
    BadPowerState(String, &'static str, String),
    /// The session has not called event.register.
    SessionNotRegistered(String),
    /// A method of the interface that nothing is behind: method, why.
    NotImplemented(String, &'static str),
    /// xend's own words.
    Internal(String),
}

impl Failure {
    /// A value that cannot be taken.
    pub fn not_supported(field: &str, value: &str, why: &str) -> Failure {
        Failure::ValueNotSupported(field.to_owned(), value.to_owned(), why.to_owned())
    }

    /// What goes into `ErrorDescription`.
    pub fn words(self) -> Vec<String> {
        let words = |code: &str, rest: Vec<String>| {
            let mut all = vec![code.to_owned()];
            all.extend(rest);
            all
        };
        match self {
            Failure::Authentication => words("SESSION_AUTHENTICATION_FAILED", vec![]),
            Failure::SessionInvalid(session) => words("SESSION_INVALID", vec![session]),
            Failure::HandleInvalid(class, handle) => {
                words("HANDLE_INVALID", vec![class.into(), handle])
            }
            Failure::MethodUnknown(name) => words("MESSAGE_METHOD_UNKNOWN", vec![name]),
            Failure::ParameterCount {
                method,
                expected,
                given,
            } => words(
                "MESSAGE_PARAMETER_COUNT_MISMATCH",
                vec![method, expected.to_string(), given.to_string()],
            ),
            Failure::ValueNotSupported(field, value, why) => {
                words("VALUE_NOT_SUPPORTED", vec![field, value, why])
            }
            Failure::BadPowerState(handle, needed, found) => {
                words("VM_BAD_POWER_STATE", vec![handle, needed.into(), found])
            }
            Failure::SessionNotRegistered(session) => {
                words("SESSION_NOT_REGISTERED", vec![session])
            }
            Failure::NotImplemented(name, why) => words("NOT_IMPLEMENTED", vec![name, why.into()]),
            Failure::Internal(line) => words("INTERNAL_ERROR", vec![line]),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault.code {
            Fault::INVALID_DOMAIN => Failure::HandleInvalid("VM", fault.message),
            _ => Failure::Internal(fault.message),
        }
    }
}
