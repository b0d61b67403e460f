//! The tree: nodes shared between copies, changed along one path only.
//!
//! ```text
//!   live root ----> "/" -> local -> domain -> 5 -> name
//!                    |       ...
//!   a transaction    |  shares every node that neither side has changed;
//!   holds a copy ----+  same pointer = same content all the way down
//! ```

use std::sync::Arc;

use super::Children;
use crate::{path, Access, Perms};

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Changes with the value and the permissions; never the same number twice.
    pub generation: u64,
    /// Changes when a child comes or goes.
    pub children_generation: u64,
    /// Who may do what.
    pub perms: Perms,
    /// The value, often empty.
    pub value: Arc<[u8]>,
    /// The nodes below.
    pub children: Children,
}

impl Node {
    /// A node without children.
    pub fn new(generation: u64, perms: Perms, value: Arc<[u8]>) -> Node {
        Node {
            generation,
            children_generation: generation,
            perms,
            value,
            children: Children::default(),
        }
    }

    /// Calls `visit` for this node and everything below, parents first; the
    /// path given is `at` joined with the names below it.
    pub fn visit(&self, at: &mut String, visit: &mut dyn FnMut(&str, &Node)) {
        visit(at, self);
        let len = at.len();
        for (name, child) in self.children.iter() {
            if len > 1 {
                at.push('/');
            }
            at.push_str(name);
            child.visit(at, visit);
            at.truncate(len);
        }
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub enum Found<'t, 'p> {
    /// The node itself.
    Node(&'t Arc<Node>),
    /// No such node.
    Missing {
        /// The nearest ancestor there is.
        nearest: &'t Arc<Node>,
        /// That ancestor's path.
        nearest_path: &'p str,
        /// The path up to the first component that is missing.
        first_missing: &'p str,
    },
}

/// A whole tree; a copy costs one reference count.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// A tree of nothing but a root that belongs to domain 0.
    pub fn new() -> Tree {
        let perms = Perms::owned_by(0, Access::NONE);
        Tree {
            root: Arc::new(Node::new(0, perms, Arc::from(&b""[..]))),
        }
    }

    /// The tree below (and with) this root.
    pub fn from_root(root: Arc<Node>) -> Tree {
        Tree { root }
    }

    /// The node `/`.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Whether both are the same tree, unchanged since one was copied.
    pub fn same(&self, other: &Tree) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// Follows a canonical path.
    pub fn locate<'p>(&self, full: &'p str) -> Found<'_, 'p> {
        let mut node = &self.root;
        let mut nearest_path = "/";
        for name in path::components(full) {
            // `name` borrows from `full`; its end tells how far we are.
            let end = name.as_ptr() as usize - full.as_ptr() as usize + name.len();
            match node.children.get(name) {
                Some(child) => node = child,
                None => {
                    return Found::Missing {
                        nearest: node,
                        nearest_path,
                        first_missing: &full[..end],
                    }
                }
            }
            nearest_path = &full[..end];
        }
        Found::Node(node)
    }

    /// The node at a canonical path.
    pub fn get(&self, full: &str) -> Option<&Arc<Node>> {
        match self.locate(full) {
            Found::Node(node) => Some(node),
            Found::Missing { .. } => None,
        }
    }

    /// The node at a path that is known to exist, private to this copy.
    pub fn get_mut(&mut self, full: &str) -> Option<&mut Node> {
        self.get(full)?;
        let mut node = Arc::make_mut(&mut self.root);
        for name in path::components(full) {
            node = Arc::make_mut(node.children.get_mut(name)?);
        }
        Some(node)
    }

    /// Puts `node` at `full` in place of whatever is there. The parent must
    /// exist; returns false, changing nothing, if it does not.
    pub fn put(&mut self, full: &str, node: Arc<Node>, generation: u64) -> bool {
        let Some((parent, name)) = split(full) else {
            self.root = node;
            return true;
        };
        let Some(parent) = self.get_mut(parent) else {
            return false;
        };
        if parent.children.insert(name, node).is_none() {
            parent.children_generation = generation;
        }
        true
    }

    /// Makes the node and every missing ancestor. All get `perms`; `value`
    /// goes to the node itself. Returns how many were made.
    pub fn create(&mut self, full: &str, perms: &Perms, value: Arc<[u8]>, generation: u64) -> u32 {
        let Found::Missing { nearest_path, .. } = self.locate(full) else {
            return 0;
        };
        let Some(mut node) = self.get_mut(nearest_path) else {
            return 0;
        };
        node.children_generation = generation;
        let empty: Arc<[u8]> = Arc::from(&b""[..]);
        let mut made = 0;
        for name in path::components(&full[nearest_path.len()..]) {
            made += 1;
            node.children.insert(
                name,
                Arc::new(Node::new(generation, perms.clone(), empty.clone())),
            );
            match node.children.get_mut(name) {
                Some(child) => node = Arc::make_mut(child),
                None => return made,
            }
        }
        node.value = value;
        made
    }

    /// Takes out the node and everything below it; never the root.
    pub fn remove(&mut self, full: &str, generation: u64) -> Option<Arc<Node>> {
        self.get(full)?;
        let (parent, name) = split(full)?;
        let parent = self.get_mut(parent)?;
        parent.children_generation = generation;
        parent.children.remove(name)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

fn split(full: &str) -> Option<(&str, &str)> {
    let parent = path::parent(full)?;
    Some((parent, full[parent.len()..].trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perms() -> Perms {
        Perms::owned_by(0, Access::NONE)
    }

    fn value(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let mut all = Vec::new();
        tree.root()
            .visit(&mut "/".to_owned(), &mut |p, _| all.push(p.to_owned()));
        all
    }

    #[test]
    fn create_missing_ancestors_come_with_the_node() {
        let mut t = Tree::new();
        assert_eq!(t.create("/a/b/c", &perms(), value("x"), 7), 3);
        assert_eq!(t.create("/a/b/c", &perms(), value("y"), 8), 0);
        assert_eq!(paths(&t), ["/", "/a", "/a/b", "/a/b/c"]);
        assert_eq!(&*t.get("/a/b/c").unwrap().value, b"x");
        assert_eq!(&*t.get("/a/b").unwrap().value, b"");
    }

    #[test]
    fn locate_missing_node_names_the_gap() {
        let mut t = Tree::new();
        t.create("/a/b", &perms(), value(""), 1);
        let Found::Missing {
            nearest_path,
            first_missing,
            ..
        } = t.locate("/a/b/c/d")
        else {
            panic!("found a node that was never made");
        };
        assert_eq!((nearest_path, first_missing), ("/a/b", "/a/b/c"));
    }

    #[test]
    fn copy_shares_what_neither_side_changes() {
        let mut t = Tree::new();
        t.create("/a/x", &perms(), value("1"), 1);
        t.create("/b/y", &perms(), value("1"), 2);
        let copy = t.clone();
        t.get_mut("/a/x").unwrap().value = value("2");
        assert!(!t.same(&copy));
        assert_eq!(&*copy.get("/a/x").unwrap().value, b"1");
        assert!(Arc::ptr_eq(t.get("/b").unwrap(), copy.get("/b").unwrap()));
        assert!(!Arc::ptr_eq(t.get("/a").unwrap(), copy.get("/a").unwrap()));
    }

    #[test]
    fn remove_takes_the_subtree_and_spares_the_root() {
        let mut t = Tree::new();
        t.create("/a/b/c", &perms(), value(""), 1);
        let gone = t.remove("/a/b", 2).unwrap();
        assert_eq!(gone.children.len(), 1);
        assert_eq!(paths(&t), ["/", "/a"]);
        assert_eq!(t.get("/a").unwrap().children_generation, 2);
        assert!(t.remove("/", 3).is_none());
        assert!(t.remove("/nope", 3).is_none());
    }
}
