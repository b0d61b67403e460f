//! The known name that a misspelt one is meant for.

/// The member of `names` nearest to `wrong`, if any is near enough to be meant.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = normal(wrong);
    if wrong.len() < 2 {
        // Everything short is like a single letter.
        return None;
    }
    // A third of the letters may differ, at least one.
    let most = (wrong.len() / 3).max(1);
    names
        .map(|name| (distance(&wrong, &normal(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, name)| {
            // People rarely get the first letter wrong.
            let other_start = normal(name).first() != wrong.first();
            (*distance, other_start, name.len())
        })
        .map(|(_, name)| name)
}

/// Longest name compared; longer ones are no misspelling of anything.
const LONGEST: usize = 64;

fn normal(name: &str) -> Vec<char> {
    name.chars()
        .take(LONGEST)
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edit distance in which exchanging two neighbours is one step (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(x != y);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["memory", "maxmem", "name", "cpu", "vcpus", "on_crash"];
        let near = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(near("memmory"), Some("memory"));
        assert_eq!(near("meomry"), Some("memory"));
        assert_eq!(near("Memory"), Some("memory"));
        assert_eq!(near("on-crash"), Some("on_crash"));
        assert_eq!(near("vcpu"), Some("vcpus"));
        assert_eq!(near("favourite_colour"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn exchange_of_neighbours_is_one_step() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }
}
