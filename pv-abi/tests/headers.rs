//! Compares everything that the crate declares with Xen's public headers.
//!
//! ```text
//! TABLES --> C source: one array of sizes, offsets and values --> gcc -m64 -c, gcc -m32 -c --> object file
//!   |                                                                                             |
//!   +--------------------------------> compare <-- numbers behind a marker in the object <--------+
//! ```
//!
//! The compiler only makes object files, freestanding: neither a 32-bit C library nor a way to run 32-bit
//! programs is needed. Needs gcc and Debian's libxen-dev, and fails without.

use noxen_pv_abi::layout::Width;
use noxen_pv_abi::{layout, TABLES};

#[path = "headers/probe.rs"]
mod probe;

use probe::{compare, Target};

#[test]
fn declarations_for_64_bit_guests_agree_with_the_headers() {
    let found = compare(TABLES, Target::M64).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.differences.is_empty(), "{}", found.report());
    assert!(
        found.compared > 1500,
        "only {} numbers compared",
        found.compared
    );
}

#[test]
fn declarations_for_32_bit_guests_agree_with_the_headers() {
    let found = compare(TABLES, Target::M32).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.differences.is_empty(), "{}", found.report());
    assert!(
        found.compared > 1500,
        "only {} numbers compared",
        found.compared
    );
}

fn recode(_: &[u8], _: &mut [u8]) {}

fn module(
    structs: &'static [layout::StructLayout],
    consts: &'static [layout::ConstLayout],
) -> [layout::ModuleLayout; 1] {
    [layout::ModuleLayout {
        name: "falsified",
        structs,
        enums: &[],
        consts,
    }]
}

#[test]
fn falsified_offset_is_reported_with_both_values() {
    const WRONG: &[layout::StructLayout] = &[layout::StructLayout {
        rust: "Wrong",
        c: "struct trap_info",
        width: Width::Bits64,
        size: 16,
        fields: &[layout::FieldLayout {
            rust: "address",
            c: Some("address"),
            offset: 4,
            size: 8,
        }],
        recode,
    }];
    let found = compare(&module(WRONG, &[]), Target::M64).unwrap();
    assert_eq!(found.differences.len(), 1, "{}", found.report());
    assert_eq!(
        found.differences[0],
        "falsified::Wrong.address offset: 4 here, 8 in C (-m64)"
    );
    let other = compare(&module(WRONG, &[]), Target::M32).unwrap();
    assert_eq!(
        other.compared, 0,
        "a 64-bit declaration was compared for 32-bit guests"
    );
}

#[test]
fn falsified_size_and_value_are_reported() {
    const WRONG: &[layout::StructLayout] = &[layout::StructLayout {
        rust: "Wrong",
        c: "struct mmu_update",
        width: Width::Both,
        size: 24,
        fields: &[],
        recode,
    }];
    const VALUE: &[layout::ConstLayout] = &[layout::ConstLayout {
        rust: "SELF",
        c: layout::Counterpart::Header("DOMID_SELF"),
        width: Width::Both,
        bits: 16,
        value: 0x7ff1,
    }];
    let found = compare(&module(WRONG, VALUE), Target::M32).unwrap();
    assert_eq!(
        found.differences,
        [
            "falsified::Wrong size: 24 here, 16 in C (-m32)",
            "falsified::SELF value: 32753 here, 32752 in C (-m32)",
        ]
    );
}

#[test]
fn declaration_without_c_counterpart_is_an_error() {
    const UNKNOWN: &[layout::StructLayout] = &[layout::StructLayout {
        rust: "Unknown",
        c: "struct not_in_any_header",
        width: Width::Both,
        size: 4,
        fields: &[],
        recode,
    }];
    let error =
        compare(&module(UNKNOWN, &[]), Target::M64).expect_err("gcc accepted an unknown type");
    assert!(error.contains("not_in_any_header"), "{error}");
}

#[test]
fn missing_compiler_is_an_error_naming_the_packages() {
    let error = probe::compile("/nonexistent/gcc", "", Target::M32)
        .expect_err("compiled without a compiler");
    assert!(error.contains("apt-get install gcc"), "{error}");
    assert!(error.contains("libxen-dev"), "{error}");
}

/// Modules without ABI declarations of their own.
const MACHINERY: [&str; 4] = ["codec", "layout", "lib", "macros"];

/// The tables can only list what the macros declare; this finds what was declared beside them.
#[test]
fn every_declaration_is_in_the_tables() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut modules = Vec::new();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if MACHINERY.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            assert!(
                !is_unlisted_declaration(line),
                "{}: `{line}` must be declared by abi_structs!, abi_enums! or abi_consts!",
                path.display()
            );
        }
        modules.push(name);
    }
    modules.sort();
    let listed: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    assert_eq!(
        modules, listed,
        "lib.rs must list every module in TABLES, sorted"
    );
}

/// Whether a line at the left margin declares a type or a number. The macros' own lines are indented; byte
/// strings are not numbers.
fn is_unlisted_declaration(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("pub ") else {
        return false;
    };
    match rest.split_once(' ') {
        Some(("struct" | "enum" | "union" | "static", _)) => true,
        Some(("const", declaration)) => {
            !declaration.starts_with("fn ") && !declaration.contains(": &[u8] =")
        }
        _ => false,
    }
}

#[test]
fn unlisted_declarations_are_recognised() {
    assert!(is_unlisted_declaration("pub struct Loose {"));
    assert!(is_unlisted_declaration("pub enum Closed {"));
    assert!(is_unlisted_declaration("pub const LOOSE: u32 = 1;"));
    assert!(!is_unlisted_declaration(
        "    pub struct InMacro [both] 4 \"struct x\" {"
    ));
    assert!(!is_unlisted_declaration("pub const fn f() {}"));
    assert!(!is_unlisted_declaration("pub const NAME: &[u8] = b\"x\";"));
}
