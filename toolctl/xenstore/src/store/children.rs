//! A node's children: an ordered map that is cheap to copy.
//!
//! ```text
//!   chunks:  [ a c f ] [ g h ] [ k m p z ]     sorted, each at most CHUNK long
//!              Arc       Arc      Arc
//! ```
//!
//! A copy shares every chunk; a change to a shared copy clones one chunk and
//! the short list of chunks. So a transaction that touches `/local/domain`
//! of a thousand domains copies some thirty pointers, not a thousand.

use std::sync::Arc;

use super::Node;

const CHUNK: usize = 32;

#[derive(Clone, Debug)]
struct Entry {
    name: Arc<str>,
    node: Arc<Node>,
}

/// Children by name, in byte order of the names.
#[derive(Clone, Debug, Default)]
pub struct Children {
    chunks: Vec<Arc<Vec<Entry>>>,
}

impl Children {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|c| c.len()).sum()
    }

    /// Names and nodes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Node>)> {
        self.chunks
            .iter()
            .flat_map(|c| c.iter())
            .map(|e| (&*e.name, &e.node))
    }

    /// The chunk where `name` is or would go, and its place or would-be place.
    fn locate(&self, name: &str) -> (usize, Result<usize, usize>) {
        let before = |c: &Arc<Vec<Entry>>| c.last().is_some_and(|e| &*e.name < name);
        let chunk = self.chunks.partition_point(before);
        match self.chunks.get(chunk) {
            Some(c) => (chunk, c.binary_search_by(|e| (*e.name).cmp(name))),
            None => (chunk, Err(0)),
        }
    }

    /// The child called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Node>> {
        let (chunk, place) = self.locate(name);
        place.ok().map(|i| &self.chunks[chunk][i].node)
    }

    /// The child called `name`, to be changed in this copy only.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Arc<Node>> {
        let (chunk, place) = self.locate(name);
        let i = place.ok()?;
        Some(&mut Arc::make_mut(&mut self.chunks[chunk])[i].node)
    }

    /// Adds or replaces the child called `name`; returns the one replaced.
    pub fn insert(&mut self, name: &str, node: Arc<Node>) -> Option<Arc<Node>> {
        match self.locate(name) {
            (chunk, Ok(i)) => {
                let entry = &mut Arc::make_mut(&mut self.chunks[chunk])[i];
                Some(std::mem::replace(&mut entry.node, node))
            }
            (chunk, Err(i)) => {
                self.insert_at(
                    chunk,
                    i,
                    Entry {
                        name: name.into(),
                        node,
                    },
                );
                None
            }
        }
    }

    fn insert_at(&mut self, chunk: usize, place: usize, entry: Entry) {
        // A name behind all others belongs at the end of the last chunk.
        let (chunk, place) = match self.chunks.len() {
            0 => {
                self.chunks.push(Arc::new(vec![entry]));
                return;
            }
            n if chunk == n => (n - 1, self.chunks[n - 1].len()),
            _ => (chunk, place),
        };
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        entries.insert(place, entry);
        if entries.len() > CHUNK {
            // Names that arrive in order fill chunks: only the tail moves on.
            let keep = if place == CHUNK { CHUNK } else { CHUNK / 2 };
            let upper = entries.split_off(keep);
            self.chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    /// Takes out the child called `name`.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Node>> {
        let (chunk, place) = self.locate(name);
        let i = place.ok()?;
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        let node = entries.remove(i).node;
        if entries.is_empty() {
            self.chunks.remove(chunk);
        } else if entries.len() < CHUNK / 4 {
            self.merge(chunk);
        }
        Some(node)
    }

    /// Joins a small chunk with a neighbour so that removals leave no litter.
    fn merge(&mut self, chunk: usize) {
        let left = if chunk + 1 < self.chunks.len() {
            chunk
        } else {
            chunk.wrapping_sub(1)
        };
        let fits = |c: &[Arc<Vec<Entry>>]| c[0].len() + c[1].len() <= CHUNK;
        if self
            .chunks
            .get(left..left.wrapping_add(2))
            .is_some_and(fits)
        {
            let right = self.chunks.remove(left + 1);
            Arc::make_mut(&mut self.chunks[left]).extend(right.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Access, Perms};

    fn node(generation: u64) -> Arc<Node> {
        Arc::new(Node::new(
            generation,
            Perms::owned_by(0, Access::NONE),
            Arc::from(&b""[..]),
        ))
    }

    fn content(c: &Children) -> Vec<(String, u64)> {
        c.iter()
            .map(|(n, node)| (n.to_owned(), node.generation))
            .collect()
    }

    proptest! {
        #[test]
        fn children_any_edits_match_a_btree_and_leave_copies_alone(
            edits in prop::collection::vec((0u8..3, 0u16..120), 0..400),
            copy_at in 0usize..400,
        ) {
            let (mut sut, mut model, mut copy) = (Children::default(), BTreeMap::new(), None);
            for (step, (edit, key)) in edits.into_iter().enumerate() {
                if step == copy_at {
                    copy = Some((sut.clone(), content(&sut)));
                }
                let name = format!("k{key}");
                if edit == 2 {
                    let removed = sut.remove(&name).map(|n| n.generation);
                    prop_assert_eq!(removed, model.remove(&name));
                } else {
                    let replaced = sut.insert(&name, node(step as u64)).map(|n| n.generation);
                    prop_assert_eq!(replaced, model.insert(name.clone(), step as u64));
                }
                prop_assert_eq!(sut.get(&name).map(|n| n.generation), model.get(&name).copied());
                prop_assert!(sut.chunks.iter().all(|c| !c.is_empty() && c.len() <= CHUNK));
            }
            prop_assert_eq!(content(&sut), model.into_iter().collect::<Vec<_>>());
            if let Some((copy, then)) = copy {
                prop_assert_eq!(content(&copy), then);
            }
        }
    }
}
