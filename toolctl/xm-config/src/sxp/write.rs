//! [`Node`]s to text.

use super::Node;

const WIDTH: usize = 80;
const INDENT: usize = 4;

/// True for text that is printed without quotes. The empty text is, too: `(bootloader )`.
fn is_bare(text: &str) -> bool {
    text == "@"
        || text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_:/~".contains(c))
}

fn atom(text: &str) -> String {
    if is_bare(text) {
        text.to_owned()
    } else {
        crate::value::quote(text)
    }
}

/// All on one line.
pub(super) fn flat(node: &Node) -> String {
    match node {
        Node::Atom(text) => atom(text),
        Node::List(members) => {
            let inner: Vec<String> = members.iter().map(flat).collect();
            format!("({})", inner.join(" "))
        }
    }
}

pub(super) fn pretty(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, true, &mut out);
    out
}

/// `root`: broken whatever its width when it holds lists, since scripts look for lines such as `    (name X)`.
fn block(node: &Node, indent: usize, root: bool, out: &mut String) {
    let line = flat(node);
    let members = match node {
        Node::List(members) if root && members.iter().any(|m| matches!(m, Node::List(_))) => {
            members
        }
        Node::List(members) if indent + line.chars().count() > WIDTH => members,
        _ => {
            out.push_str(&line);
            return;
        }
    };
    out.push('(');
    for (index, member) in members.iter().enumerate() {
        // The head stays behind its parenthesis; a list in its place does as well.
        if index > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(indent + INDENT));
        }
        block(member, indent + INDENT, false, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(')');
}
