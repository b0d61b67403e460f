use super::*;
use crate::{lex, parse};

fn eval_with(source: &str, given: &[(&str, &str)]) -> Result<Run> {
    let limits = Limits::default();
    let given = given
        .iter()
        .map(|(name, text)| (name.to_string(), Value::text(text)))
        .collect();
    let tokens = lex::tokenize(source, &limits)?;
    run(&parse::parse(&tokens, &limits)?, &given, &limits)
}

/// repr of variable `x` after running `source`.
fn x(source: &str) -> String {
    match eval_with(source, &[("vmid", "3")]) {
        Ok(run) => run.variables["x"].value.repr(20),
        Err(error) => panic!("{source:?}: {error}"),
    }
}

fn error(source: &str) -> String {
    match eval_with(source, &[]) {
        Ok(run) => panic!("{source:?} gave {run:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_have_python_2_values() {
    for (source, wanted) in [
        // Arithmetic: floor division, sign of the remainder, overflow to long.
        ("x = 7 / 2", "3"),
        ("x = -7 / 2", "-4"),
        ("x = -7 % 3", "2"),
        ("x = 7 % -3", "-2"),
        ("x = 7 // 2.0", "3.0"),
        ("x = 7 / 2.0", "3.5"),
        ("x = 2 ** 10", "1024"),
        ("x = 2 ** -1", "0.5"),
        ("x = -2 ** 2", "-4"),
        ("x = 2 ** 64", "18446744073709551616L"),
        ("x = 10L", "10L"),
        ("x = 1 + 2L", "3L"),
        ("x = 0777 + 0x10", "527"),
        ("x = 1 << 4 | 3 & 2 ^ 1", "19"),
        ("x = 256 >> 2", "64"),
        ("x = ~5", "-6"),
        ("x = 1 + 2 * 3 - 4 / 2", "5"),
        ("x = (1 + 2) * 3", "9"),
        ("x = 10 - 3 - 2", "5"),
        ("x = True + 1", "2"),
        // Strings.
        ("x = 'a' \"b\" r'\\c'", "'ab\\\\c'"),
        ("x = 'a' + 'b'", "'ab'"),
        ("x = 'ab' * 2", "'abab'"),
        ("x = 'abc'[1]", "'b'"),
        ("x = 'abc'[-1]", "'c'"),
        ("x = 'abcdef'[1:4]", "'bcd'"),
        ("x = 'abcdef'[::-1]", "'fedcba'"),
        ("x = 'abcdef'[:-2]", "'abcd'"),
        ("x = u'a' + 'b'", "u'ab'"),
        // Containers.
        ("x = [1, 'a', [2],]", "[1, 'a', [2]]"),
        ("x = [1] + [2] * 2", "[1, 2, 2]"),
        ("x = 1, 2", "(1, 2)"),
        ("x = (1,)", "(1,)"),
        ("x = ()", "()"),
        ("x = {'a': 1, 'b': 2}['b']", "2"),
        ("x = {'a': 1, 'a': 2}", "{'a': 2}"),
        ("x = [[1, 2], [3]][0][1]", "2"),
        ("a, (b, c) = 1, (2, 3)\nx = [a, b, c]", "[1, 2, 3]"),
        ("a = b = [1]\na[0] = 5\nx = b", "[5]"),
        ("d = {}\nd['k'] = 1\nd['k'] = 2\nx = d", "{'k': 2}"),
        ("x = 1\nx += 2\nx *= 5", "15"),
        ("x = 'a'\nx += 'b'", "'ab'"),
        // Logic.
        ("x = 1 < 2 < 3", "True"),
        ("x = 1 < 2 > 3", "False"),
        ("x = 'a' in 'cat' and 2 not in [1, 3]", "True"),
        ("x = None or 'd'", "'d'"),
        ("x = 0 and 1", "0"),
        ("x = not 1 == 2", "True"),
        ("x = None is None", "True"),
        ("x = 1 <> 2", "True"),
        ("x = 'yes' if 1 else 'no'", "'yes'"),
        ("x = 1 == 1.0", "True"),
        ("x = [1, 2] < [1, 3]", "True"),
        // Built-in functions.
        ("x = int('12') + int(3.9) + len([1])", "16"),
        ("x = int('0x10', 16)", "16"),
        ("x = str(12) + repr('q')", "\"12'q'\""),
        ("x = float('1.5')", "1.5"),
        ("x = range(3)", "[0, 1, 2]"),
        ("x = range(5, 0, -2)", "[5, 3, 1]"),
        ("x = max(1, 3, 2) - min([4, 2])", "1"),
        ("x = hex(255) + oct(8) + oct(0)", "'0xff0100'"),
        ("x = sum([1, 2, 3])", "6"),
        ("x = list('ab')", "['a', 'b']"),
        // The command line's variables are text.
        ("x = vmid", "'3'"),
        ("x = 7 + int(vmid)", "10"),
    ] {
        assert_eq!(x(source), wanted, "{source}");
    }
}

#[test]
fn percent_formatting_matches_python_2() {
    for (source, wanted) in [
        ("'VM%d' % 3", "'VM3'"),
        ("'%02d' % 3", "'03'"),
        ("'%s-%s' % ('a', 1)", "'a-1'"),
        ("'%(n)s:%(m)03d' % {'n': 'x', 'm': 7}", "'x:007'"),
        ("'%02x:%X %#x %o' % (10, 255, 16, 8)", "'0a:FF 0x10 10'"),
        ("'100%%' % ()", "'100%'"),
        ("'%i %u' % (1, 2)", "'1 2'"),
        ("'%5s|%-5s|' % ('a', 'b')", "'    a|b    |'"),
        ("'%+d % d' % (1, 2)", "'+1  2'"),
        (
            "'%.2f %e %g' % (3.14159, 12345.678, 0.0001)",
            "'3.14 1.234568e+04 0.0001'",
        ),
        ("'%g %g' % (1e6, 1234567)", "'1e+06 1.23457e+06'"),
        ("'%r' % 'a'", "\"'a'\""),
        ("'%c%c' % (65, 'b')", "'Ab'"),
        ("'%*d' % (4, 7)", "'   7'"),
        ("'%-*d|' % (4, 7)", "'7   |'"),
        ("'%.3s' % 'abcdef'", "'abc'"),
        ("'%.3d' % 7", "'007'"),
        ("'%05d' % -7", "'-0007'"),
        ("'%#06x' % 255", "'0x00ff'"),
        ("'%s' % [1, 'a']", "\"[1, 'a']\""),
        ("'%ld' % 3", "'3'"),
        ("'%d' % 3.9", "'3'"),
        ("'%s %s' % (None, True)", "'None True'"),
        ("'%s' % 10L", "'10'"),
    ] {
        assert_eq!(x(&format!("x = {source}")), wanted, "{source}");
    }
    for (source, wanted) in [
        ("'%d' % 'a'", "%d format: a number is required, not str"),
        ("'%s %s' % 'a'", "not enough arguments for format string"),
        (
            "'x' % 1",
            "not all arguments converted during string formatting",
        ),
        ("'%(a)s' % 1", "format requires a mapping"),
        ("'%(a)s' % {}", "'a'"),
        ("'%'  % 1", "incomplete format"),
        ("'%y' % 1", "unsupported format character 'y' (0x79)"),
        ("'%(a' % {}", "incomplete format key"),
        ("'%99999d' % 1", "1:15: format width is larger than 4096"),
    ] {
        assert_eq!(error(&format!("x = {source}")), wanted, "{source}");
    }
}

#[test]
fn failures_have_pythons_messages() {
    for (source, wanted) in [
        ("x = y", "name 'y' is not defined"),
        ("x = 'a' + 1", "cannot concatenate 'str' and 'int' objects"),
        (
            "x = 1 + 'a'",
            "unsupported operand type(s) for +: 'int' and 'str'",
        ),
        (
            "x = [] - 1",
            "unsupported operand type(s) for -: 'list' and 'int'",
        ),
        ("x = 1 / 0", "integer division or modulo by zero"),
        ("x = 1.0 / 0", "float division by zero"),
        ("x = [1][5]", "list index out of range"),
        ("x = {}['k']", "'k'"),
        ("x = 1[0]", "'int' object is not subscriptable"),
        ("a, b = 1, 2, 3", "too many values to unpack"),
        ("a, b = 1,", "need more than 1 value to unpack"),
        ("a, b = 5", "'int' object is not iterable"),
        (
            "x = int('z')",
            "invalid literal for int() with base 10: 'z'",
        ),
        (
            "x = int(None)",
            "int() argument must be a string or a number, not 'NoneType'",
        ),
        ("x = -'a'", "bad operand type for unary operator: 'str'"),
        ("x = 3\ny = x()", "2:6: 'int' object is not callable"),
        ("x = {[]: 1}", "unhashable type: 'list'"),
        ("x = 1 << -1", "negative shift count"),
    ] {
        let got = error(source);
        assert!(
            got.ends_with(wanted.rsplit(": '").next().unwrap_or(wanted)),
            "{source}: {got}"
        );
    }
    assert!(error("x = open('/etc/passwd')").contains("function 'open': not supported yet"));
    assert!(error("xm_vars = xm_vars").contains("'xm_vars': not supported yet"));
}

#[test]
fn runaway_values_meet_a_bound_instead_of_memory() {
    for source in [
        "x = 'a' * 1000000000",
        "x = [0] * 1000000000",
        "x = range(1000000000)",
        "x = 9 ** 999999",
        "x = 1 << 9999",
        "x = 'a' * 1000000\nx += x\nx += x\nx += x\nx += x\nx += x\nx += x",
    ] {
        let error = eval_with(source, &[]).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, crate::error::ErrorKind::Limit, "{source}");
    }
}

#[test]
fn step_bound_ends_a_long_program() {
    let limits = Limits {
        steps: 100,
        ..Limits::default()
    };
    let source = "x = 1\n".repeat(200);
    let program = parse::parse(&lex::tokenize(&source, &limits).unwrap(), &limits).unwrap();
    let error = run(&program, &BTreeMap::new(), &limits).unwrap_err();
    assert!(error.message.contains("stopped after 100 steps"));
}

#[test]
fn read_names_are_recorded_even_inside_unused_branches() {
    let run = eval_with("a = 1\nb = a + 1\nc = 2\n", &[]).unwrap();
    assert!(run.read.contains("a"));
    assert!(!run.read.contains("b") && !run.read.contains("c"));
}

#[test]
fn cyclic_list_prints_and_compares_within_bounds() {
    let run = eval_with("a = [1]\na[0] = a\nx = '%s' % (a,)\n", &[]).unwrap();
    assert!(run.variables["x"].value.repr(2).contains("..."));
    assert!(error("a = [1]\nb = [1]\na[0] = a\nb[0] = b\nx = a == b").contains("too deeply"));
}
