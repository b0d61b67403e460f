use super::*;
use crate::lex::tokenize;

fn parse_text(source: &str) -> Result<Vec<Stmt>> {
    let limits = Limits::default();
    parse(&tokenize(source, &limits)?, &limits)
}

fn error(source: &str) -> String {
    match parse_text(source) {
        Ok(tree) => panic!("{source:?} gave {tree:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn statements_beyond_assignment_are_named_with_their_place() {
    for (source, wanted) in [
        (
            "a = 1\nimport os, re\n",
            "2:1: 'import' statement: not supported yet",
        ),
        (
            "def f(x):\n    return x\n",
            "1:1: function definition ('def'): not supported yet",
        ),
        ("if x:\n  a = 1\n", "1:1: 'if' statement: not supported yet"),
        (
            "for i in [1]:\n  a = i\n",
            "1:1: 'for' loop: not supported yet",
        ),
        (
            "a = 1; print \"x\"\n",
            "1:8: 'print' statement: not supported yet",
        ),
        (
            "from os import path\n",
            "1:1: 'from ... import' statement: not supported yet",
        ),
        (
            "a = os.uname()[4]\n",
            "1:7: attribute access ('.uname'): not supported yet",
        ),
        (
            "a = [x for x in b]\n",
            "1:8: comprehension ('for'): not supported yet",
        ),
        ("a = lambda x: x\n", "1:5: 'lambda': not supported yet"),
        ("a = `b`\n", "1:5: backquotes (`...`): not supported yet"),
        ("a = f(x=1)\n", "1:7: argument by name: not supported yet"),
        ("a = {1, 2}\n", "1:5: set ('{a, b}'): not supported yet"),
        ("@x\n", "1:1: decorator ('@'): not supported yet"),
    ] {
        assert_eq!(error(source), wanted, "{source}");
    }
}

#[test]
fn syntax_errors_say_what_was_expected() {
    for (source, wanted) in [
        ("a =\n", "1:4: expected a value, found end of line"),
        ("a = 1 2\n", "1:7: expected end of line, found number 2"),
        ("a = [1 2]\n", "1:8: expected ',' or ']', found number 2"),
        (
            "1 = a\n",
            "1:1: cannot assign to this; expected a variable's name before '='",
        ),
        ("None = 1\n", "1:1: cannot assign to None"),
        ("  a = 1\n", "1:3: this line is indented for no reason"),
        ("a = (1,\n", "1:5: '(' is never closed"),
        ("a = x[]\n", "1:7: expected an index, found ']'"),
        ("a = 1 if 2\n", "1:11: expected 'else', found end of line"),
        ("a = {1: }\n", "1:9: expected a value, found '}'"),
        ("in = 3\n", "1:1: expected a value, found 'in'"),
        ("a b\n", "1:3: expected end of line, found 'b'"),
    ] {
        assert_eq!(error(source), wanted, "{source}");
    }
}

#[test]
fn depth_and_chain_bounds_hold() {
    assert!(error(&format!("a = {}1", "-".repeat(5000))).contains("nested too deeply"));
    assert!(error(&format!("a = {}1", "not ".repeat(5000))).contains("nested too deeply"));
    parse_text(&format!("a = 1{}", "+1".repeat(5000))).expect("a long chain is flat");
    assert!(error(&format!("a = 2{}", "**2".repeat(5000))).contains("nested too deeply"));
    assert!(error(&format!("a = x{}", "[0]".repeat(5000))).contains("subscripts"));
    assert!(error(&format!("a = {}", "1 if 1 else ".repeat(5000))).contains("nested too deeply"));
}

#[test]
fn hyphenated_name_left_of_an_assignment_is_one_name() {
    let tree = parse_text("full-screen = 1\n").unwrap();
    assert_eq!(
        tree[0].kind,
        StmtKind::Assign(
            vec![Target::Hyphenated(
                "full-screen".into(),
                Pos { line: 1, column: 1 }
            )],
            Expr {
                at: Pos {
                    line: 1,
                    column: 15
                },
                kind: ExprKind::Int(1, false)
            }
        )
    );
}

#[test]
fn semicolons_and_continuations_separate_and_join() {
    assert_eq!(
        parse_text("a = 1; b = 2;\nc = (1 +\n 2)\n\nd = \\\n3")
            .unwrap()
            .len(),
        4
    );
}
