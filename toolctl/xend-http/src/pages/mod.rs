//! The HTTP interface of Xen 3.0: S-expressions for programs, plain pages for browsers.
//!
//! ```text
//!   GET  /xend /xend/node /xend/node/log /xend/node/dmesg /xend/domain[?detail=1&state=S] /xend/domain/ID /xend/vnet
//!   POST the same paths with op=..                                   ──> ops
//!        tree ──> application/sxp, or text/html for a browser        ──> html
//! ```
//! A browser is a client that names itself and does not ask for `application/sxp`.

mod html;
mod ops;

use crate::http::form::Form;
use crate::http::{Request, Response};
use crate::{tree, Ask};
use noxen_xend_api::{Fault, Request as Asked, Response as Told, StateFilter};
use noxen_xm_config::sxp::Node;

const SXP: &str = "application/sxp";

/// What a path is answered with.
enum Page {
    /// A tree.
    Tree(Node),
    /// Plain text: a log.
    Text(String),
    /// Done; with the place of what was made, if anything was.
    Done(Option<String>),
    /// A status and its line.
    Status(u16, String),
}

impl From<Fault> for Page {
    fn from(fault: Fault) -> Page {
        match fault.code {
            Fault::INVALID_DOMAIN => Page::Status(404, fault.message),
            _ => Page::Status(500, fault.message),
        }
    }
}

/// Answers a request.
pub fn handle(ask: &dyn Ask, request: &Request) -> Response {
    let page = match request.method.as_str() {
        "GET" | "HEAD" => get(ask, request),
        "POST" => post(ask, request),
        other => Page::Status(405, format!("method {other} is not served")),
    };
    respond(request, page)
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn not_found(path: &str) -> Page {
    Page::Status(404, format!("Not found: {path}"))
}

fn get(ask: &dyn Ask, request: &Request) -> Page {
    let form = match Form::of(request) {
        Ok(form) => form,
        Err(error) => return Page::Status(415, error.to_string()),
    };
    match parts(&request.path).as_slice() {
        [] => Page::Tree(Node::list("ls", vec![Node::atom("xend")])),
        ["xend"] => {
            let names = ["node", "domain", "vnet"].map(Node::atom);
            Page::Tree(Node::list("ls", names.to_vec()))
        }
        ["xend", "node"] => tree_of(node(ask)),
        ["xend", "node", "dmesg"] => text_of(tree::text(ask, Asked::Dmesg { clear: false })),
        ["xend", "node", "log"] => text_of(tree::log(ask)),
        ["xend", "domain"] => tree_of(domains(ask, &form)),
        ["xend", "domain", domain] => tree_of(tree::domain(ask, domain)),
        ["xend", "vnet"] => Page::Tree(Node::List(Vec::new())),
        ["xend", "vnet", vnet] => Page::Status(404, format!("No such vnet {vnet}")),
        _ => not_found(&request.path),
    }
}

fn post(ask: &dyn Ask, request: &Request) -> Page {
    let form = match Form::of(request) {
        Ok(form) => form,
        Err(error) => return Page::Status(415, error.to_string()),
    };
    let Some(op) = form.get("op") else {
        return Page::Status(406, "Invalid request: there is no op".into());
    };
    match parts(&request.path).as_slice() {
        ["xend", "node"] => ops::node(op),
        ["xend", "node", "dmesg"] => ops::dmesg(ask, op),
        ["xend", "domain"] => ops::domains(ask, op, &form),
        ["xend", "domain", domain] => ops::domain(ask, domain, op, &form),
        ["xend", "vnet"] | ["xend", "vnet", _] => ops::not_built("virtual networks", op),
        _ => not_found(&request.path),
    }
}

fn tree_of(tree: Result<Node, Fault>) -> Page {
    tree.map_or_else(Page::from, Page::Tree)
}

fn text_of(text: Result<String, Fault>) -> Page {
    text.map_or_else(Page::from, Page::Text)
}

fn node(ask: &dyn Ask) -> Result<Node, Fault> {
    let node = match ask.ask(Asked::Info)? {
        Told::Node { node } => node,
        other => return Err(tree::unexpected(other)),
    };
    let mut form = Node::list("node", vec![Node::pair("system", "Linux")]);
    for (name, value) in node.rows() {
        form.push(Node::pair(name, value));
    }
    Ok(form)
}

fn domains(ask: &dyn Ask, form: &Form) -> Result<Node, Fault> {
    let state = match form.get("state") {
        None => StateFilter::All,
        Some(word) => StateFilter::parse(word)
            .ok_or_else(|| Fault::generic(format!("'{word}' is no state of a domain")))?,
    };
    let all = match form.get("detail") {
        Some("1" | "true") => tree::domains(ask, Vec::new(), state)?,
        _ => tree::names(ask, state)?
            .into_iter()
            .map(Node::Atom)
            .collect(),
    };
    Ok(Node::List(all))
}

pub(crate) fn is_browser(request: &Request) -> bool {
    let accept = request.header("accept").unwrap_or("");
    request.header("user-agent").is_some() && !accept.contains(SXP)
}

fn respond(request: &Request, page: Page) -> Response {
    let browser = is_browser(request);
    match page {
        Page::Tree(tree) if browser => html::tree(&request.path, &tree),
        Page::Tree(tree) => Response::new(200, SXP, tree.pretty() + "\n"),
        Page::Text(text) => Response::new(200, "text/plain; charset=utf-8", text),
        Page::Done(place) => {
            let status = if place.is_some() { 201 } else { 200 };
            let mut response = Response::new(status, SXP, "");
            response
                .headers
                .extend(place.map(|place| ("Location", place)));
            response
        }
        Page::Status(status, line) if browser => html::status(status, &line),
        Page::Status(500, line) => {
            let form = Node::pair("xend.err", line);
            Response::new(500, SXP, form.pretty() + "\n")
        }
        Page::Status(status, line) => Response::text(status, line),
    }
}

#[cfg(test)]
mod tests;
