//! From a request to its reply.

use crate::domain::calls::lock;
use crate::domain::machine::Machine;
use noxen_control::{Reply, Request};

/// What the connection is to do besides sending the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// Carry events from now on.
    Subscribe,
    /// End the process once the reply is out.
    End,
}

/// Carries out one line.
pub fn answer(machine: &mut Machine, line: &[u8]) -> (Reply, After) {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => carry_out(machine, request),
        Err(error) => {
            let message = format!("not a control request: {error}");
            (Reply::Error { message }, After::Nothing)
        }
    }
}

fn carry_out(machine: &mut Machine, request: Request) -> (Reply, After) {
    let reply = match request {
        Request::Status => Reply::Status(Box::new(machine.status())),
        Request::Pause => {
            machine.pause();
            Reply::Ok
        }
        Request::Unpause => match machine.unpause() {
            Ok(()) => Reply::Ok,
            Err(message) => Reply::Error { message },
        },
        Request::Counters => Reply::Counters {
            groups: machine.counters(),
        },
        Request::ConsoleLog => Reply::Text {
            text: lock(&machine.shared().messages).text(),
        },
        Request::Registers => Reply::Text {
            text: machine.registers(),
        },
        Request::Subscribe => return (Reply::Ok, After::Subscribe),
        Request::Destroy => return (Reply::Ok, After::End),
    };
    (reply, After::Nothing)
}
