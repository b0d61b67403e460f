//! Breaking text into lines of a given width.

/// Words of `text` in lines of at most `width` characters; a longer word has a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// `text` in lines of at most `width` characters, each with its end.
pub fn paragraph(text: &str, width: usize) -> String {
    let lines = wrap(text, width);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A row of two columns as help pages have it: `left` padded to `left_width` after `indent` blanks, a blank, and `right`
/// wrapped at `right_width` with its further lines indented below.
pub fn row(
    indent: usize,
    left: &str,
    left_width: usize,
    right: &str,
    right_width: usize,
) -> String {
    let mut out = String::new();
    let below = " ".repeat(indent + left_width + 1);
    for (index, line) in wrap(right, right_width).iter().enumerate() {
        if index == 0 {
            let pad = " ".repeat(indent);
            out.push_str(&format!("{pad}{left:<left_width$} {line:<right_width$}\n"));
        } else {
            out.push_str(&format!("{below}{line}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fill_lines_up_to_the_width() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaa b", 3), ["aaaaaaa", "b"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn row_indents_what_follows_below_its_column() {
        assert_eq!(
            row(1, "list", 6, "one two three", 7),
            " list   one two\n        three\n"
        );
    }
}
