//! Asks gcc what the headers say.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use noxen_pv_abi::layout::{ConstLayout, Counterpart, ModuleLayout, StructLayout, Width};

/// Which ABI to compile for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    M64,
    M32,
}

impl Target {
    fn flag(self) -> &'static str {
        match self {
            Target::M64 => "-m64",
            Target::M32 => "-m32",
        }
    }

    fn has(self, width: Width) -> bool {
        match width {
            Width::Both => true,
            Width::Bits64 => self == Target::M64,
            Width::Bits32 => self == Target::M32,
        }
    }
}

/// Result of a comparison.
#[derive(Debug)]
pub struct Found {
    /// Numbers that gcc gave.
    pub compared: usize,
    /// One line each.
    pub differences: Vec<String>,
}

impl Found {
    pub fn report(&self) -> String {
        format!(
            "{} of {} numbers differ from /usr/include/xen:\n{}",
            self.differences.len(),
            self.compared,
            self.differences.join("\n")
        )
    }
}

/// One number to ask for.
struct Question {
    /// What it is, for the report.
    subject: String,
    /// C expression.
    expression: String,
    /// Ask only if this macro is defined.
    only_if: Option<&'static str>,
    /// Width in which to compare.
    bits: u32,
    expected: u64,
}

const HEADERS: &[&str] = &[
    "xen/xen.h",
    "xen/errno.h",
    "xen/version.h",
    "xen/features.h",
    "xen/memory.h",
    "xen/sched.h",
    "xen/vcpu.h",
    "xen/event_channel.h",
    "xen/grant_table.h",
    "xen/callback.h",
    "xen/physdev.h",
    "xen/nmi.h",
    "xen/pmu.h",
    "xen/elfnote.h",
    "xen/domctl.h",
    "xen/sysctl.h",
    "xen/platform.h",
    "xen/arch-x86/cpuid.h",
    "xen/arch-x86/hvm/start_info.h",
    "xen/hvm/hvm_op.h",
    "xen/hvm/params.h",
    "xen/io/ring.h",
    "xen/io/console.h",
    "xen/io/xs_wire.h",
    "xen/io/xenbus.h",
    "xen/io/protocols.h",
    "xen/io/blkif.h",
    "xen/io/netif.h",
    "xen/io/fbif.h",
    "xen/io/kbdif.h",
    "xen/io/pciif.h",
    "xen/io/tpmif.h",
];

/// Marks the numbers in the object file.
const MARKER: &[u8; 16] = b"noxen-abi-probe:";

const PACKAGES: &str = "apt-get install gcc gcc-multilib libxen-dev";

/// Compares all declarations that exist under `target`.
pub fn compare(tables: &[ModuleLayout], target: Target) -> Result<Found, String> {
    let mut typedefs = String::new();
    let mut questions = Vec::new();
    for table in tables {
        for item in table.structs.iter().filter(|item| target.has(item.width)) {
            ask_struct(table.name, item, &mut typedefs, &mut questions);
        }
        for item in table.enums.iter().filter(|item| target.has(item.width)) {
            let path = format!("{}::{}", table.name, item.rust);
            item.values
                .iter()
                .for_each(|value| ask_const(&path, value, &mut questions));
        }
        for item in table.consts.iter().filter(|item| target.has(item.width)) {
            ask_const(table.name, item, &mut questions);
        }
    }

    let object = compile("gcc", &source(&typedefs, &questions), target)?;
    let answers = answers(&object, questions.len())?;
    let mut found = Found {
        compared: 0,
        differences: Vec::new(),
    };
    for (question, [defined, value]) in questions.iter().zip(answers) {
        if defined == 0 {
            continue;
        }
        found.compared += 1;
        let mask = u64::MAX >> (64 - question.bits);
        let (here, there) = (question.expected & mask, value & mask);
        if here != there {
            let flag = target.flag();
            found.differences.push(format!(
                "{}: {here} here, {there} in C ({flag})",
                question.subject
            ));
        }
    }
    Ok(found)
}

fn ask_struct(
    module: &str,
    item: &StructLayout,
    typedefs: &mut String,
    questions: &mut Vec<Question>,
) {
    // A name of our own, because a macro such as offsetof cannot take a type with commas in it.
    let name = format!("probe_{module}_{}", item.rust);
    writeln!(typedefs, "typedef {} {name};", item.c).unwrap();
    let mut ask = |subject: String, expression: String, expected: usize| {
        questions.push(Question {
            subject,
            expression,
            only_if: None,
            bits: 64,
            expected: expected as u64,
        });
    };
    let path = format!("{module}::{}", item.rust);
    ask(format!("{path} size"), format!("sizeof({name})"), item.size);
    for field in item.fields {
        let Some(member) = field.c else { continue };
        let path = format!("{path}.{}", field.rust);
        ask(
            format!("{path} offset"),
            format!("offsetof({name}, {member})"),
            field.offset,
        );
        ask(
            format!("{path} size"),
            format!("sizeof((({name} *)0)->{member})"),
            field.size,
        );
    }
}

fn ask_const(path: &str, item: &ConstLayout, questions: &mut Vec<Question>) {
    let (expression, only_if) = match item.c {
        Counterpart::Header(expression) => (expression, None),
        Counterpart::Newer(name) => (name, Some(name)),
        Counterpart::Own(_) => return,
    };
    questions.push(Question {
        subject: format!("{path}::{} value", item.rust),
        expression: expression.to_owned(),
        only_if,
        bits: item.bits,
        expected: item.value,
    });
}

/// Two words per question: whether there is an answer, and the answer.
fn source(typedefs: &str, questions: &[Question]) -> String {
    let mut text =
        String::from("#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n");
    for header in HEADERS {
        writeln!(text, "#include <{header}>").unwrap();
    }
    text.push_str(typedefs);
    let marker = std::str::from_utf8(MARKER).unwrap();
    writeln!(
        text,
        "const struct {{ char marker[16]; uint64_t answer[{}][2]; }} probe = {{ \"{marker}\", {{",
        questions.len().max(1)
    )
    .unwrap();
    for question in questions {
        let answer = format!("{{ 1, (uint64_t)(int64_t)({}) }},", question.expression);
        let subject = &question.subject;
        match question.only_if {
            None => writeln!(text, "{answer} /* {subject} */").unwrap(),
            Some(name) => writeln!(
                text,
                "#ifdef {name}\n{answer} /* {subject} */\n#else\n{{ 0, 0 }},\n#endif"
            )
            .unwrap(),
        }
    }
    text.push_str("} };\n");
    text
}

/// Compiles to an object file and returns its bytes.
pub fn compile(compiler: &str, source: &str, target: Target) -> Result<Vec<u8>, String> {
    if !Path::new("/usr/include/xen/xen.h").exists() {
        return Err(format!(
            "Xen's headers are not in /usr/include/xen: {PACKAGES}"
        ));
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{}/probe-{}-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let (c, object) = (format!("{name}.c"), format!("{name}.o"));
    std::fs::write(&c, source).map_err(|error| format!("writing {c}: {error}"))?;
    let result = Command::new(compiler)
        .args([
            target.flag(),
            "-std=gnu11",
            "-ffreestanding",
            "-O0",
            "-w",
            "-c",
            &c,
            "-o",
            &object,
        ])
        .output();
    let bytes = match result {
        Err(error) => Err(format!("running {compiler}: {error}; {PACKAGES}")),
        Ok(output) if !output.status.success() => Err(format!(
            "{compiler} {} refuses the declarations; a declaration without its C counterpart, or else {PACKAGES}:\n{}",
            target.flag(),
            String::from_utf8_lossy(&output.stderr)
        )),
        Ok(_) => std::fs::read(&object).map_err(|error| format!("reading {object}: {error}")),
    };
    if bytes.is_ok() {
        let _ = std::fs::remove_file(&object);
        let _ = std::fs::remove_file(&c);
    }
    bytes
}

/// The answers behind the marker, which must be there exactly once.
fn answers(object: &[u8], count: usize) -> Result<Vec<[u64; 2]>, String> {
    let mut places = object
        .windows(MARKER.len())
        .enumerate()
        .filter(|(_, window)| window == MARKER);
    let (Some((place, _)), None) = (places.next(), places.next()) else {
        return Err("the object file does not have exactly one marker".to_owned());
    };
    let numbers = &object[place + MARKER.len()..];
    let answers: Vec<[u64; 2]> = numbers
        .chunks_exact(16)
        .take(count)
        .map(|pair| {
            let word = |at: usize| u64::from_le_bytes(pair[at..at + 8].try_into().unwrap());
            [word(0), word(8)]
        })
        .collect();
    if answers.len() != count {
        return Err(format!(
            "{count} answers expected in the object file, {} found",
            answers.len()
        ));
    }
    Ok(answers)
}
