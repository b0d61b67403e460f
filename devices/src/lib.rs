//! Device behaviour: no placement, no KVM.
//!
//! A device takes what happened (a notification, readable bytes) and answers with what is to be done
//! (bytes for the host, "notify the guest", "I am broken"); the loop in noxen-vmm carries it out.
//! Everything in a ring page is written by the guest and is checked before use.
#![forbid(unsafe_code)]

pub mod pv;
