use super::*;

fn toks(source: &str) -> Vec<Tok> {
    tokenize(source, &Limits::default())
        .unwrap_or_else(|error| panic!("{source:?}: {error}"))
        .into_iter()
        .map(|token| token.tok)
        .collect()
}

fn error(source: &str) -> String {
    match tokenize(source, &Limits::default()) {
        Ok(tokens) => panic!("{source:?} gave {tokens:?}"),
        Err(error) => error.to_string(),
    }
}

fn one(source: &str) -> Tok {
    toks(source).remove(0)
}

fn text(source: &str) -> String {
    match one(source) {
        Tok::Str { text, .. } => text,
        other => panic!("{source:?} gave {other:?}"),
    }
}

#[test]
fn number_forms_of_python_2_and_3_have_their_values() {
    for (source, value, is_long) in [
        ("0", 0, false),
        ("00", 0, false),
        ("0777", 0o777, false),
        ("0o17", 15, false),
        ("0x1F", 31, false),
        ("0XfL", 15, true),
        ("0b101", 5, false),
        ("10L", 10, true),
        ("10l", 10, true),
        ("07L", 7, true),
        ("1_000", 1000, false),
        ("0xfffffffffffffffff", 0xfffffffffffffffff, false),
    ] {
        assert_eq!(
            one(source),
            Tok::Int {
                value,
                long: is_long
            },
            "{source}"
        );
    }
    for (source, value) in [
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("2.5E-1", 0.25),
    ] {
        assert_eq!(one(source), Tok::Float(value), "{source}");
    }
}

#[test]
fn wrong_numbers_are_errors_with_their_place() {
    assert_eq!(error("a = 08"), "1:5: '08' is not a number");
    assert_eq!(error("12abc"), "1:1: '12abc' is not a number");
    assert_eq!(error("0x"), "1:1: '0x' is not a number");
    assert_eq!(error("1.2.3"), "1:1: '1.2.3' is not a number");
    assert!(error(&"9".repeat(60)).contains("larger than 127 bits"));
    assert!(error("3j").contains("complex number: not supported yet"));
}

#[test]
fn strings_resolve_quotes_prefixes_and_escapes() {
    assert_eq!(text(r#"'a"b'"#), "a\"b");
    assert_eq!(text(r#""a'b""#), "a'b");
    assert_eq!(text("'''a\n'b''c'''"), "a\n'b''c");
    assert_eq!(text("\"\"\"x\"\"\""), "x");
    assert_eq!(text(r"'\n\t\\\'\x41\101\q'"), "\n\t\\'AA\\q");
    assert_eq!(text("'a\\\nb'"), "ab");
    assert_eq!(text(r"r'a\n\'b'"), r"a\n\'b");
    assert_eq!(text("''"), "");
    assert_eq!(
        one("u'x'"),
        Tok::Str {
            text: "x".into(),
            unicode: true
        }
    );
    assert_eq!(text("B'x'"), "x");
    assert_eq!(text("'\\xe9'"), "é");
}

#[test]
fn unclosed_strings_and_brackets_point_at_their_start() {
    assert_eq!(
        error("a = 'x\nb = 1"),
        "1:5: string is not closed on its line; expected '"
    );
    assert_eq!(error("a = '''x\n\n"), "1:5: string is never closed");
    assert_eq!(error("a = [1,\n 2\nb = 3\n"), "1:5: '[' is never closed");
    assert_eq!(error("a = (1]"), "1:7: ']' closes '(' of line 1");
    assert_eq!(error("a = 1)"), "1:6: ')' closes nothing");
    assert_eq!(error("'\\x4'"), "1:2: escape needs 2 hexadecimal digits");
    assert_eq!(error("a = $"), "1:5: character '$' has no meaning here");
    assert!(error("a = \\ 1").contains("backslash"));
}

#[test]
fn lines_join_in_brackets_and_after_a_backslash() {
    let names = |source: &str| {
        toks(source)
            .into_iter()
            .filter(|t| *t == Tok::Newline)
            .count()
    };
    assert_eq!(names("a = [1,\n# c\n 2]\nb = 1 + \\\n 2\n"), 2);
    assert_eq!(names("\n\n# only\n   # comment\n"), 0);
    assert_eq!(names("a = 1"), 1);
    assert_eq!(names("a = 1\r\nb = 2\rc = 3"), 3);
}

#[test]
fn indentation_counts_tabs_to_eight_columns() {
    let toks = toks("if x:\n\ta = 1\n        b = 2\nc = 3\n");
    assert_eq!(toks.iter().filter(|t| **t == Tok::Indent).count(), 1);
    assert_eq!(toks.iter().filter(|t| **t == Tok::Dedent).count(), 1);
    assert!(error("if x:\n    a\n  b\n").contains("indentation matches no line above"));
}

#[test]
fn oversized_input_is_refused_by_each_bound() {
    let limits = Limits {
        source_bytes: 10,
        ..Limits::default()
    };
    assert!(tokenize("a = 1 + 2 + 3", &limits).is_err());
    let limits = Limits {
        tokens: 3,
        ..Limits::default()
    };
    assert!(tokenize("a = 1 + 2", &limits).is_err());
    assert!(error(&"(".repeat(500)).contains("nested too deeply"));
}
