//! A guest's own nodes in the store, which leave with it and come back with it.
//!
//! ```text
//!   /local/domain/N/{control,data,...}/** --noxen-vmm--> image --of_image--> written again below the new home
//! ```

use crate::store_nodes::GUEST_DIRECTORIES;
use noxen_saved_image::state::Nodes;

/// Longest path below the home, bytes (XENSTORE_REL_PATH_MAX).
const LONGEST: usize = 2048;

/// Those of an image that are below the guest's own directories; others are none of its business.
pub fn of_image(nodes: Nodes) -> Vec<(String, String)> {
    nodes
        .nodes
        .into_iter()
        .map(|node| {
            let value = String::from_utf8_lossy(&node.value.0).into_owned();
            (node.path, value)
        })
        .filter(|(path, _)| is_guests(path))
        .collect()
}

/// The same of nodes that came over a stream.
pub fn guests_own(nodes: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = |(path, _): &(String, String)| is_guests(path);
    nodes.into_iter().filter(own).collect()
}

fn is_guests(path: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-/_@".contains(c);
    let top = path.split('/').next().unwrap_or_default();
    path.len() <= LONGEST
        && GUEST_DIRECTORIES.contains(&top)
        && path.chars().all(good)
        && path.split('/').all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_in_the_guests_own_directories_are_written() {
        for good in ["control", "control/feature-suspend", "data/a_b/@c"] {
            assert!(is_guests(good), "{good}");
        }
        for bad in [
            "",
            "vm",
            "console/tty",
            "/control",
            "control/",
            "control//x",
            "control/../vm",
            "datax/y",
        ] {
            assert!(!is_guests(bad), "{bad}");
        }
    }
}
