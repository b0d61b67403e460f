//! Class event: a session is told which VMs came, went or changed their state.
//!
//! ```text
//!   register([VM, ..]) ──> what there is now is remembered
//!   next ──> compare with what was remembered ──> events, at once | nothing new: look again until something is, 30 s at most
//! ```
//! Events are differences between two looks, so none is lost between two calls of next, and none has to be queued; a VM that came and went
//! meanwhile is not told of.

use super::failure::Failure;
use super::{record, vm, Call};
use dxr::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Longest wait of one `event.next`.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Sessions that may be registered at once; the one that asked longest ago goes.
const MOST: usize = 256;
/// The classes that change.
const CLASS: &str = "VM";

/// Name and power state by reference.
type Seen = BTreeMap<String, (String, &'static str)>;

struct Registered {
    seen: Seen,
    asked: Instant,
    count: u64,
}

/// What each registered session has seen.
#[derive(Default)]
pub struct Events {
    sessions: Mutex<BTreeMap<String, Registered>>,
}

impl Events {
    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Registered>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `event.METHOD`.
    pub fn method(&self, method: &str, session: &str, call: &mut Call) -> Result<Value, Failure> {
        match method {
            "register" => {
                call.texts(2)?;
                call.end()?;
                self.register(session, look(call)?);
                Ok(record::text(""))
            }
            "unregister" => {
                call.texts(2)?;
                call.end()?;
                self.sessions().remove(session);
                Ok(record::text(""))
            }
            "next" => {
                call.end()?;
                self.next(session, call)
            }
            _ => Err(call.unknown()),
        }
    }

    fn register(&self, session: &str, seen: Seen) {
        let mut sessions = self.sessions();
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, known)| known.asked);
            if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
                sessions.remove(&oldest);
            }
        }
        let registered = Registered {
            seen,
            asked: Instant::now(),
            count: 0,
        };
        sessions.insert(session.to_owned(), registered);
    }

    fn next(&self, session: &str, call: &Call) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = look(call)?;
            {
                let mut sessions = self.sessions();
                let known = sessions
                    .get_mut(session)
                    .ok_or_else(|| Failure::SessionNotRegistered(session.to_owned()))?;
                known.asked = Instant::now();
                let events = differences(&known.seen, &now, &mut known.count);
                known.seen = now;
                if !events.is_empty() || Instant::now() >= deadline {
                    return Ok(Value::Array(events));
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn look(call: &Call) -> Result<Seen, Failure> {
    let all = vm::all(call)?.into_iter();
    Ok(all
        .map(|info| {
            let state = record::power_state(&info);
            (info.uuid, (info.name, state))
        })
        .collect())
}

fn differences(before: &Seen, now: &Seen, count: &mut u64) -> Vec<Value> {
    let mut events = Vec::new();
    let mut tell = |operation: &str, reference: &str| {
        *count += 1;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        events.push(Value::Struct(record::of([
            ("id", record::number(*count)),
            (
                "timestamp",
                record::number(since.map_or(0, |since| since.as_secs())),
            ),
            ("class", record::text(CLASS)),
            ("operation", record::text(operation)),
            ("ref", record::text(reference)),
            ("obj_uuid", record::text(reference)),
            (
                "field",
                record::text(if operation == "mod" {
                    "power_state"
                } else {
                    ""
                }),
            ),
        ])));
    };
    for (reference, state) in now {
        match before.get(reference) {
            None => tell("add", reference),
            Some(known) if known != state => tell("mod", reference),
            Some(_) => {}
        }
    }
    for reference in before.keys().filter(|known| !now.contains_key(*known)) {
        tell("del", reference);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_what_came_changed_and_went() {
        let seen = |all: &[(&str, &'static str)]| -> Seen {
            all.iter()
                .map(|(reference, state)| ((*reference).to_owned(), ("n".to_owned(), *state)))
                .collect()
        };
        let before = seen(&[("a", "Running"), ("b", "Running"), ("c", "Paused")]);
        let now = seen(&[("b", "Running"), ("c", "Running"), ("d", "Paused")]);
        let mut count = 4;
        let told: Vec<(String, String)> = differences(&before, &now, &mut count)
            .into_iter()
            .map(|event| {
                let Value::Struct(event) = event else {
                    panic!()
                };
                let get = |key: &str| match &event[key] {
                    Value::String(text) => text.clone(),
                    other => panic!("{other:?}"),
                };
                (get("operation"), get("ref"))
            })
            .collect();
        let wanted = [("mod", "c"), ("add", "d"), ("del", "a")];
        assert_eq!(told, wanted.map(|(o, r)| (o.to_owned(), r.to_owned())));
        assert_eq!(count, 7);
        assert!(differences(&now, &now, &mut count).is_empty());
    }
}
