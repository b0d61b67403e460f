//! Trees in a dump: each node once, however many trees share it.
//!
//! ```text
//!   node 0: leaf      node 1: leaf      node 2: children {a: 0, b: 1}
//!   tree: 2           tree: 5 ...
//! ```
//!
//! Children come before their parents. That two trees share a node is part of
//! the state: a transaction's commit compares by it.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::{Reader, Writer};
use super::DumpError;
use crate::perms::{Access, Entry};
use crate::store::{Children, Node, Tree};
use crate::Perms;

/// Collects nodes while the rest of the dump refers to them by number.
#[derive(Default)]
pub(crate) struct NodeWriter {
    numbers: HashMap<*const Node, u32>,
    body: Writer,
}

impl NodeWriter {
    /// The number of a node; writes it and what is below at first sight.
    pub fn number(&mut self, node: &Arc<Node>) -> u32 {
        let key = Arc::as_ptr(node);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let children: Vec<(&str, u32)> = node
            .children
            .iter()
            .map(|(name, child)| (name, self.number(child)))
            .collect();
        let body = &mut self.body;
        body.u64(node.generation);
        body.u64(node.children_generation);
        write_perms(body, &node.perms);
        body.bytes(&node.value);
        body.list(children.into_iter(), |w, (name, number)| {
            w.bytes(name.as_bytes());
            w.u32(number);
        });
        let number = self.numbers.len() as u32;
        self.numbers.insert(key, number);
        number
    }

    /// The collected nodes, to be written before what refers to them.
    pub fn finish(self, out: &mut Writer) {
        out.u32(self.numbers.len() as u32);
        out.0.extend_from_slice(&self.body.0);
    }
}

/// The nodes of a dump by number.
pub(crate) struct NodeReader(Vec<Arc<Node>>);

impl NodeReader {
    pub fn read(r: &mut Reader<'_>) -> Result<NodeReader, DumpError> {
        let count = r.u32()?;
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for _ in 0..count {
            let (generation, children_generation) = (r.u64()?, r.u64()?);
            let perms = read_perms(r)?;
            let value = r.bytes()?.into();
            let mut children = Children::default();
            for (name, number) in r.list(|r| Ok((r.text()?, r.u32()?)))? {
                // Only nodes that came before: so there are no cycles.
                let child = nodes
                    .get(number as usize)
                    .ok_or_else(|| r.wrong("a child"))?;
                children.insert(name, child.clone());
            }
            nodes.push(Arc::new(Node {
                generation,
                children_generation,
                perms,
                value,
                children,
            }));
        }
        Ok(NodeReader(nodes))
    }

    pub fn node(&self, r: &mut Reader<'_>) -> Result<Arc<Node>, DumpError> {
        let number = r.u32()?;
        self.0
            .get(number as usize)
            .cloned()
            .ok_or_else(|| r.wrong("a node"))
    }

    pub fn tree(&self, r: &mut Reader<'_>) -> Result<Tree, DumpError> {
        Ok(Tree::from_root(self.node(r)?))
    }
}

pub(crate) fn write_perms(w: &mut Writer, perms: &Perms) {
    w.list(perms.entries().iter(), |w, e| {
        w.u16(e.domid);
        w.u8(e.access.letter() as u8);
    });
}

pub(crate) fn read_perms(r: &mut Reader<'_>) -> Result<Perms, DumpError> {
    let entries = r.list(|r| {
        let (domid, letter) = (r.u16()?, r.u8()?);
        let access = Access::from_letter(letter).ok_or_else(|| r.wrong("a permission"))?;
        Ok(Entry { domid, access })
    })?;
    Perms::from_entries(&entries).ok_or_else(|| r.wrong("an owner"))
}
