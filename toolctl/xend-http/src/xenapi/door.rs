//! Who may log in, by the listener that he comes through.

use std::sync::Arc;

/// Judges users.
pub trait Logins: Send + Sync {
    /// Is `secret` that of `user`?
    fn admits(&self, user: &str, secret: &str) -> bool;
}

/// A listener's.
#[derive(Clone)]
pub enum Door {
    /// Whoever could connect: the socket's mode lets only root in, or the administrator wrote `none`.
    Open,
    /// Whom these admit.
    Guarded(Arc<dyn Logins>),
}

impl Door {
    /// May `user` come in?
    pub fn admits(&self, user: &str, secret: &str) -> bool {
        // No secret of ours is longer, and no name of a user.
        user.len() <= 128
            && match self {
                Door::Open => true,
                Door::Guarded(logins) => secret.len() <= 128 && logins.admits(user, secret),
            }
    }
}
