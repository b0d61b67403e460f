use super::*;
use crate::lex::tokenize;

fn parse_text(source: &str) -> Result<Program> {
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
fn python_that_is_not_run_is_named_with_its_place() {
    for (source, wanted) in [
        (
            "a = 1\nclass A:\n    pass\n",
            "2:1: class definition: not supported yet",
        ),
        (
            "a = 1; exec 'b'\n",
            "1:8: 'exec' statement: not supported yet",
        ),
        (
            "with x:\n    pass\n",
            "1:1: 'with' statement: not supported yet",
        ),
        ("a = `b`\n", "1:5: backquotes (`...`): not supported yet"),
        ("a = f(*x)\n", "1:7: '*' in a call: not supported yet"),
        (
            "def f(*a):\n    pass\n",
            "1:7: '*' in a definition: not supported yet",
        ),
        ("a = {1, 2}\n", "1:5: set ('{a, b}'): not supported yet"),
        (
            "a = {1: 2 for b in c}\n",
            "1:11: dict comprehension: not supported yet",
        ),
        ("@x\n", "1:1: decorator ('@'): not supported yet"),
        (
            "a.b = 1\n",
            "1:2: assignment to an attribute: not supported yet",
        ),
    ] {
        assert_eq!(error(source), wanted, "{source}");
    }
}

#[test]
fn blocks_need_their_indentation() {
    for (source, wanted) in [
        (
            "if x:\na = 1\n",
            "2:1: expected an indented line, found 'a'",
        ),
        (
            "if x:\n    a = 1\n  b = 2\n",
            "3:3: indentation matches no line above it",
        ),
        (
            "else:\n    a = 1\n",
            "1:1: 'else' belongs to nothing above it",
        ),
        ("for x:\n    pass\n", "1:6: expected 'in', found ':'"),
        (
            "try:\n    a = 1\nb = 2\n",
            "1:1: 'try' has neither 'except' nor 'finally'",
        ),
        (
            "def f(a, a):\n    pass\n",
            "1:10: parameter 'a' stands twice",
        ),
        ("if x\n", "1:5: expected ':', found end of line"),
    ] {
        assert_eq!(error(source), wanted, "{source}");
    }
}

#[test]
fn names_read_and_bound_are_told_from_names_assigned() {
    let program =
        parse_text("a = b\nc += 1\nfor i in d: e = 1\nimport os.path\nf(g=h)\nif 0: k = l\n")
            .unwrap();
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&program.reads), "b d f h l");
    assert_eq!(names(&program.bound), "i os");
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
        tree.body[0].kind,
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
            .body
            .len(),
        4
    );
}
