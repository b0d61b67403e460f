//! What is known of a screen's viewers outside of their thread, and what they have to know.

use crate::domain::hub::lock;
use std::net::IpAddr;
use std::sync::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub struct Guestbook {
    password: Mutex<Option<String>>,
    viewers: Mutex<Vec<IpAddr>>,
}

impl Guestbook {
    /// Nobody is there; viewers have to know `password`.
    pub fn new(password: Option<String>) -> Guestbook {
        Guestbook {
            password: Mutex::new(password),
            viewers: Mutex::default(),
        }
    }

    /// What those who come have to know.
    pub fn password(&self) -> Option<String> {
        lock(&self.password).clone()
    }

    /// Those who come from now on have to know that; who is in stays in.
    pub fn set_password(&self, password: Option<String>) {
        *lock(&self.password) = password;
    }

    /// Where those who are there are.
    pub fn viewers(&self) -> Vec<String> {
        lock(&self.viewers).iter().map(IpAddr::to_string).collect()
    }

    pub(super) fn note(&self, viewers: Vec<IpAddr>) {
        *lock(&self.viewers) = viewers;
    }
}
