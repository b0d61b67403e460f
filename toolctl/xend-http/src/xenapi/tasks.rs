//! Class task: what became of `Async.C.m` calls.
//!
//! ```text
//!   Async.C.m ──> C.m done at once ──> task: success, result | failure, error_info
//! ```
//! xend's calls are done before they answer, so a task has ended when its reference arrives; a client that polls it sees so at its first look.

use super::failure::Failure;
use super::objects::{self, add, Objects};
use super::{record, Call};
use dxr::Value;
use noxen_xend_api::random_uuid;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Most tasks that are remembered; the oldest go.
const MOST: usize = 256;

struct Task {
    reference: String,
    session: String,
    name: String,
    outcome: Result<Value, Vec<String>>,
}

/// The tasks of all sessions.
#[derive(Default)]
pub struct Tasks {
    ended: Mutex<VecDeque<Task>>,
}

impl Tasks {
    fn ended(&self) -> std::sync::MutexGuard<'_, VecDeque<Task>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what became of the call `name`; the task's reference.
    pub fn note(
        &self,
        session: &str,
        name: &str,
        outcome: Result<Value, Failure>,
    ) -> Result<Value, Failure> {
        let reference =
            random_uuid().map_err(|error| Failure::Internal(format!("no random UUID: {error}")))?;
        let mut ended = self.ended();
        while ended.len() >= MOST {
            ended.pop_front();
        }
        ended.push_back(Task {
            reference: reference.clone(),
            session: session.to_owned(),
            name: name.to_owned(),
            outcome: outcome.map_err(Failure::words),
        });
        Ok(record::text(reference))
    }

    /// `task.METHOD`, of the tasks of `session`.
    pub fn method(&self, method: &str, session: &str, call: &mut Call) -> Result<Value, Failure> {
        let all = |_: &Call| Ok(self.objects(session));
        match method {
            "cancel" => {
                let handle = call.text(2)?;
                call.end()?;
                match self.objects(session).contains_key(&handle) {
                    true => Err(Failure::not_supported(
                        "task",
                        &handle,
                        "it has ended already",
                    )),
                    false => Err(Failure::HandleInvalid("task", handle)),
                }
            }
            "destroy" => {
                let handle = call.text(2)?;
                call.end()?;
                let mut ended = self.ended();
                let before = ended.len();
                ended.retain(|task| task.reference != handle || task.session != session);
                match ended.len() == before {
                    true => Err(Failure::HandleInvalid("task", handle)),
                    false => Ok(record::text("")),
                }
            }
            _ => objects::of_class("task", &all, method, call),
        }
    }

    fn objects(&self, session: &str) -> Objects {
        let mut all = Objects::new();
        for task in self.ended().iter().filter(|task| task.session == session) {
            let (status, result, errors) = match &task.outcome {
                Ok(value) => ("success", value.clone(), Vec::new()),
                Err(words) => ("failure", record::text(""), words.clone()),
            };
            add(
                &mut all,
                task.reference.clone(),
                [
                    ("name_label", record::text(&task.name)),
                    ("name_description", record::text("")),
                    ("status", record::text(status)),
                    ("progress", record::text("1.0")),
                    ("type", record::text("")),
                    ("result", result),
                    (
                        "error_info",
                        Value::Array(errors.into_iter().map(record::text).collect()),
                    ),
                    ("allowed_operations", Value::Array(Vec::new())),
                    ("session", record::text(session)),
                ],
            );
        }
        all
    }
}
