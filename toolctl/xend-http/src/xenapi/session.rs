//! Sessions: who has logged in, until they log out or say nothing for a day.

use super::failure::Failure;
use super::{attribute, host, record, Call, Record};
use dxr::Value;
use noxen_xend_api::random_uuid;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Most sessions at once; the one that was silent longest goes when there would be more.
const MOST: usize = 256;
/// Silence after which a session ends.
const LIFE: Duration = Duration::from_secs(24 * 3600);

struct Session {
    user: String,
    used: Instant,
    used_at: SystemTime,
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<BTreeMap<String, Session>>,
}

impl Sessions {
    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session's reference, of a user who was admitted.
    pub fn login(&self, user: &str) -> Result<String, Failure> {
        let reference =
            random_uuid().map_err(|error| Failure::Internal(format!("no random UUID: {error}")))?;
        let mut open = self.open();
        open.retain(|_, session| session.used.elapsed() < LIFE);
        if open.len() >= MOST {
            let oldest = open.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(reference, _)| reference.clone()) {
                open.remove(&oldest);
            }
        }
        let session = Session {
            user: user.to_owned(),
            used: Instant::now(),
            used_at: SystemTime::now(),
        };
        open.insert(reference.clone(), session);
        Ok(reference)
    }

    /// The session exists; it is used.
    pub fn check(&self, reference: &str) -> Result<(), Failure> {
        let mut open = self.open();
        match open.get_mut(reference) {
            Some(session) if session.used.elapsed() < LIFE => {
                session.used = Instant::now();
                session.used_at = SystemTime::now();
                Ok(())
            }
            _ => Err(Failure::SessionInvalid(reference.to_owned())),
        }
    }

    /// `session.METHOD`.
    pub(super) fn method(
        &self,
        method: &str,
        reference: &str,
        call: &mut Call,
    ) -> Result<Value, Failure> {
        match method {
            "logout" => {
                call.end()?;
                self.open().remove(reference);
                Ok(Value::String(String::new()))
            }
            "get_all" => {
                call.end()?;
                // References of others are keys to their sessions.
                Ok(Value::Array(vec![Value::String(reference.to_owned())]))
            }
            _ => {
                let asked = call.text(2)?;
                call.end()?;
                if asked != reference {
                    return Err(Failure::HandleInvalid("session", asked));
                }
                let record = self.record(reference, call)?;
                match method {
                    "get_record" => Ok(Value::Struct(record)),
                    _ => attribute(call, method, &record),
                }
            }
        }
    }

    fn record(&self, reference: &str, call: &Call) -> Result<Record, Failure> {
        let host = host::uuid(call.ask)?;
        let open = self.open();
        let session = open.get(reference);
        let user = session.map_or("", |session| session.user.as_str());
        let active = session.map_or(SystemTime::UNIX_EPOCH, |session| session.used_at);
        Ok(record::of([
            ("uuid", record::text(reference)),
            ("this_host", record::text(&host)),
            ("this_user", record::text(user)),
            ("last_active", record::time(active)),
        ]))
    }
}
