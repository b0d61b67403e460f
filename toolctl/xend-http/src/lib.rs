//! xend's servers for programs other than toolctl.
//!
//! ```text
//!   Python's xmlrpc.client, old xm ──POST XML──> legacy ──┐
//!   XenAPI.py, fence_xenapi      ──POST XML──> xenapi ──┤
//!   curl, sosreport              ──GET/POST───> pages  ──┤── Ask (one noxen_xend_api::Request) ──> xend
//!   browsers                     ──GET/POST───> web    ──┤
//!                                ──WebSocket──> relay ───── a domain's VNC server
//!   listen: unix and TCP sockets, a thread a connection, bounded requests
//! ```
//! Nothing here knows how a domain is made: each call becomes a [`Request`], as toolctl's do, and its
//! [`Response`] is told in the words of the interface asked.
#![forbid(unsafe_code)]

pub mod allow;
pub mod http;
pub mod legacy;
pub mod listen;
pub mod pages;
pub mod relay;
mod rpc;
pub mod slot;
#[cfg(test)]
mod stand_in;
pub mod tls;
mod tree;
pub mod web;
pub mod xenapi;

pub use listen::{serve_tcp, serve_unix};

use noxen_xend_api::{Fault, Request, Response};

/// Who answers requests: xend itself, or a stand-in.
pub trait Ask: Send + Sync {
    /// Does `request`.
    fn ask(&self, request: Request) -> Result<Response, Fault>;
}

impl<F> Ask for F
where
    F: Fn(Request) -> Result<Response, Fault> + Send + Sync,
{
    fn ask(&self, request: Request) -> Result<Response, Fault> {
        self(request)
    }
}

/// What a listener does with a request.
pub type Handler = dyn Fn(&http::Request) -> http::Answer + Send + Sync;
