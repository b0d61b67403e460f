//! S-expressions as xend reads and prints them.
//!
//! Everything is text: consumers convert. A list's first member is its key: `(memory 128)`.

mod read;
mod write;

pub use read::{parse, parse_all};

use std::fmt;

/// An atom or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Text; printed bare or quoted as its characters demand.
    Atom(String),
    /// Members in parentheses.
    List(Vec<Node>),
}

impl Node {
    /// An atom.
    pub fn atom(text: impl Into<String>) -> Node {
        Node::Atom(text.into())
    }

    /// `(key value)`.
    pub fn pair(key: &str, value: impl Into<String>) -> Node {
        Node::List(vec![Node::atom(key), Node::atom(value)])
    }

    /// `(key member member...)`.
    pub fn list(key: &str, members: Vec<Node>) -> Node {
        let mut all = vec![Node::atom(key)];
        all.extend(members);
        Node::List(all)
    }

    /// The text of an atom.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Atom(text) => Some(text),
            Node::List(_) => None,
        }
    }

    /// The key of a list: its first member if that is an atom.
    pub fn key(&self) -> Option<&str> {
        match self {
            Node::Atom(_) => None,
            Node::List(members) => members.first().and_then(Node::text),
        }
    }

    /// What follows the key.
    pub fn members(&self) -> &[Node] {
        match self {
            Node::Atom(_) => &[],
            Node::List(members) => members.get(1..).unwrap_or(&[]),
        }
    }

    /// First member list called `key`.
    pub fn child(&self, key: &str) -> Option<&Node> {
        self.members()
            .iter()
            .find(|member| member.key() == Some(key))
    }

    /// All member lists called `key`.
    pub fn children<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Node> {
        self.members()
            .iter()
            .filter(move |member| member.key() == Some(key))
    }

    /// The text of `(key TEXT)` among the members; an empty `(key )` is the empty text.
    pub fn get(&self, key: &str) -> Option<&str> {
        let child = self.child(key)?;
        match child.members() {
            [] => Some(""),
            [only] => only.text(),
            _ => None,
        }
    }

    /// Adds a member.
    pub fn push(&mut self, member: Node) {
        if let Node::List(members) = self {
            members.push(member);
        }
    }

    /// The form for people: width 80, indentation 4, one member per line where a list does not fit and
    /// always for the outermost one. No newline at the end.
    pub fn pretty(&self) -> String {
        write::pretty(self)
    }
}

impl fmt::Display for Node {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write::flat(self))
    }
}

#[cfg(test)]
mod tests;
