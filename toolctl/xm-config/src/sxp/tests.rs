use super::*;
use crate::limits::Limits;

fn read(text: &str) -> Node {
    parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn error(text: &str) -> String {
    match parse(text, &Limits::default()) {
        Ok(node) => panic!("{text:?} gave {node}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn atoms_strings_and_comments_are_read() {
    let node = read("# head\n(vm (name 'a b') (x \"\\x41\\101\\n'\") # tail\n (e ) ())");
    assert_eq!(node.key(), Some("vm"));
    assert_eq!(node.get("name"), Some("a b"));
    assert_eq!(node.get("x"), Some("AA\n'"));
    assert_eq!(node.get("e"), Some(""));
    assert_eq!(node.members().last(), Some(&Node::List(vec![])));
}

#[test]
fn output_quotes_what_is_not_plain() {
    for (text, wanted) in [
        ("/boot/vmlinuz-6.1:a_b~", "/boot/vmlinuz-6.1:a_b~"),
        ("@", "@"),
        ("a@b", "'a@b'"),
        ("a b", "'a b'"),
        ("a=b", "'a=b'"),
        ("it's", "\"it's\""),
        ("50%", "'50%'"),
        ("", ""),
    ] {
        assert_eq!(Node::atom(text).to_string(), wanted);
    }
    assert_eq!(Node::pair("bootloader", "").to_string(), "(bootloader )");
}

#[test]
fn pretty_breaks_lists_wider_than_eighty_columns() {
    let text = "(domain\n    (domid 3)\n    (image\n        (linux\n            (kernel /boot/vmlinuz-guest)\n            (args 'root=/dev/xvda1 ro 3')\n            (device_model /usr/lib/xen/bin/qemu-dm)\n        )\n    )\n    (cpus (() ()))\n)";
    assert_eq!(read(text).pretty(), text);
    // 80 columns fit, 81 do not.
    let of_width = |n: usize| Node::pair("k", "v".repeat(n - 4)).pretty();
    assert_eq!(of_width(80).lines().count(), 1);
    assert_eq!(of_width(81).lines().count(), 3);
}

#[test]
fn printed_text_reads_back_as_the_same_tree() {
    let node = Node::list(
        "vm",
        vec![
            Node::pair("name", "a'b\"c\\d\ne"),
            Node::pair("ip", ":127.0.255.255::::eth0:dhcp"),
            Node::List(vec![Node::List(vec![]), Node::atom("x%y")]),
        ],
    );
    assert_eq!(read(&node.to_string()), node);
    assert_eq!(read(&node.pretty()), node);
}

#[test]
fn broken_text_is_an_error_with_its_place() {
    assert_eq!(error("(a (b)"), "1:1: '(' is never closed");
    assert_eq!(error("a)"), "1:2: ')' closes nothing");
    assert_eq!(error("(a 'x)"), "1:4: ' is never closed");
    assert_eq!(error("('\\xq')"), "1:5: \\x needs hexadecimal digits");
    assert_eq!(error("(a) (b)"), "expected one S-expression, found 2");
    assert_eq!(error(" # nothing\n"), "the file holds no S-expression");
    assert!(error(&"(".repeat(5000)).contains("nested too deeply"));
}
