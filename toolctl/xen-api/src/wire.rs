//! XML-RPC texts that came from somebody else.

/// Elements within elements that a text may have: a configuration of 90 levels takes four for each.
pub const MOST_DEPTH: usize = 400;

/// How deep the elements of `text` are nested, counted without an XML parser because that one recurses.
pub fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0usize, 0usize);
    for piece in text.split('<').skip(1) {
        if piece.starts_with('/') {
            now = now.saturating_sub(1);
        } else if !piece.starts_with(['?', '!']) {
            let tag = piece.split('>').next().unwrap_or_default();
            if !tag.ends_with('/') {
                now += 1;
                most = most.max(now);
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_open_elements() {
        assert_eq!(depth("<?xml?><a><b/><c><d></d></c></a>"), 3);
        assert_eq!(depth("</a></a><a>"), 1);
    }
}
