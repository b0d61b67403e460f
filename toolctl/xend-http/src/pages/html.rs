//! What a browser sees: the tree, with links to what it names.

use crate::http::Response;
use noxen_xm_config::sxp::Node;

const KIND: &str = "text/html; charset=utf-8";

/// A page with `tree`.
pub fn tree(path: &str, tree: &Node) -> Response {
    let base = path.trim_end_matches('/');
    let mut body = String::from("<p>");
    for name in links(base, tree) {
        body.push_str(&format!(
            "<a href=\"{}/{}\">{}</a> ",
            escape(base),
            address(name),
            escape(name)
        ));
    }
    body.push_str("</p>\n<pre>");
    body.push_str(&escape(&tree.pretty()));
    body.push_str("</pre>\n");
    page(200, path, &body)
}

/// A page for a status other than 200.
pub fn status(status: u16, line: &str) -> Response {
    page(status, "xend", &format!("<p>{}</p>\n", escape(line)))
}

/// Names of the pages below: the members of a list of names, or what `(ls ..)` lists.
fn links<'a>(base: &str, tree: &'a Node) -> Vec<&'a str> {
    let members = match tree {
        Node::List(_) if tree.key() == Some("ls") => tree.members(),
        Node::List(members) if base.ends_with("/domain") => members,
        _ => &[],
    };
    members.iter().filter_map(Node::text).collect()
}

fn page(status: u16, title: &str, body: &str) -> Response {
    let title = escape(title);
    let text = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title></head>\n<body><h1>{title}</h1>\n<p><a href=\"/xend\">xend</a> \
         <a href=\"/xend/node\">node</a> <a href=\"/xend/domain\">domains</a></p>\n{body}</body></html>\n"
    );
    let mut response = Response::new(status, KIND, text);
    // Domains' names come from whoever made them: even if one slipped through, no script would run.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    response
        .headers
        .push(("Content-Security-Policy", policy.into()));
    response
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A name as one part of a path.
fn address(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                (byte as char).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
