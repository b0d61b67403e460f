//! The sessions of the users' manual, chapters 3 to 8, typed again on a node with stand-in monitors.
//!
//! ```text
//!   sessions/chapter-N.txt:  == section        what the manual says there, as a heading
//!                            # COMMAND         typed, by sh
//!                            output            all that it prints, standard error included: {n} a number, {*} anything
//!                            [status S]        its status, unless it is 0
//! ```
//! Lines with a `{..}` are compared with runs of blanks as one; all others to the character. docs/compatibility.md lists what
//! differs from the manual's own print, and why.

mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{toolctl, Lab};

/// One typed command and what is wanted of it.
#[derive(Default)]
struct Step {
    section: String,
    command: String,
    output: Vec<String>,
    status: i32,
}

fn steps(text: &str) -> Vec<Step> {
    let mut section = String::new();
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("== ") {
            section = heading.to_owned();
        } else if let Some(command) = line.strip_prefix("# ") {
            steps.push(Step {
                section: section.clone(),
                command: command.to_owned(),
                ..Step::default()
            });
        } else if let Some(step) = steps.last_mut() {
            let status = line
                .strip_prefix("[status ")
                .and_then(|s| s.strip_suffix(']'));
            match status {
                Some(status) => step.status = status.parse().unwrap(),
                None => step.output.push(line.to_owned()),
            }
        }
    }
    for step in &mut steps {
        while step.output.last().is_some_and(String::is_empty) {
            step.output.pop();
        }
    }
    steps
}

/// Does `line` read as `wanted` does?
fn reads(line: &str, wanted: &str) -> bool {
    if !wanted.contains('{') {
        return line == wanted;
    }
    let one_blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    holds(&one_blank(line), &one_blank(wanted))
}

fn holds(line: &str, wanted: &str) -> bool {
    if let Some(rest) = wanted.strip_prefix("{*}") {
        return (0..=line.len())
            .filter(|&at| line.is_char_boundary(at))
            .any(|at| holds(&line[at..], rest));
    }
    if let Some(rest) = wanted.strip_prefix("{n}") {
        let number = line
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':' | '-'))
            .unwrap_or(line.len());
        return number > 0 && holds(&line[number..], rest);
    }
    match (line.chars().next(), wanted.chars().next()) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b => holds(&line[a.len_utf8()..], &wanted[b.len_utf8()..]),
        _ => false,
    }
}

/// A node as the manual supposes it: the programs on the path, the examples in /etc/xen.
fn host() -> Lab {
    let lab = Lab::new();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let (bin, etc) = (lab.root().join("bin"), lab.root().join("etc/xen"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(etc.join("auto")).unwrap();
    symlink(toolctl(), bin.join("xm")).unwrap();
    symlink(env!("CARGO_BIN_EXE_xend"), bin.join("xend")).unwrap();
    let xendomains = configs.join("init.d/xendomains");
    lab.program(
        "service",
        &format!(
            "#!/bin/sh\nXENDOMAINS_PATH={} exec {} $2\n",
            bin.display(),
            xendomains.display()
        ),
    );
    let defaults = lab.root().join("etc/default");
    std::fs::create_dir_all(&defaults).unwrap();
    let text = std::fs::read_to_string(configs.join("default/xendomains")).unwrap();
    let quick =
        format!("{text}\nXENDOMAINS_CREATE_USLEEP=0\nXENDOMAINS_USLEEP=0\nXENDOMAINS_SAVE=\n");
    std::fs::write(defaults.join("xendomains"), quick).unwrap();
    // The manual's myvmconf is a copy of an example with the paths edited.
    let example = std::fs::read_to_string(configs.join("xmexample2")).unwrap();
    let kernel = lab.root().join("kernel-ok").display().to_string();
    let edited = example
        .replace("\"/vmlinuz\"", &format!("\"{kernel}\""))
        .replace("\"/initrd.img\"", "\"\"");
    std::fs::write(lab.root().join("myvmconf"), edited).unwrap();
    for name in ["VM1", "mydomain"] {
        let text = format!("name = \"{name}\"\nkernel = \"{kernel}\"\nmemory = 64\nvcpus = 2\n");
        std::fs::write(lab.root().join(name), text).unwrap();
    }
    lab
}

fn replay(name: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sessions")
        .join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let lab = host();
    let path = std::env::var("PATH").unwrap();
    let steps = steps(&text);
    assert!(!steps.is_empty());
    for step in steps {
        let mut shell: Command = lab.command(Path::new("sh"));
        let output = shell
            .args(["-c", &format!("{{ {}; }} 2>&1", step.command)])
            .current_dir(lab.root())
            .env(
                "PATH",
                format!("{}:{path}", lab.root().join("bin").display()),
            )
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = said.trim_end_matches('\n').lines().collect();
        let place = format!("{}: # {}", step.section, step.command);
        let same = lines.len() == step.output.len()
            && lines
                .iter()
                .zip(&step.output)
                .all(|(line, wanted)| reads(line, wanted));
        assert!(
            same,
            "{place}\nprinted:\n{said}\nwanted:\n{}",
            step.output.join("\n")
        );
        assert_eq!(output.status.code(), Some(step.status), "{place}\n{said}");
    }
}

#[test]
fn chapter_3_booting_a_xen_system() {
    replay("chapter-3.txt");
}

#[test]
fn chapter_4_domain_management_tools() {
    replay("chapter-4.txt");
}

#[test]
fn chapter_5_domain_configuration() {
    replay("chapter-5.txt");
}

#[test]
fn chapter_6_storage() {
    replay("chapter-6.txt");
}

#[test]
fn chapter_7_cpu_management() {
    replay("chapter-7.txt");
}

#[test]
fn chapter_8_migrating_domains() {
    replay("chapter-8.txt");
}

#[test]
fn lines_are_compared_as_the_head_of_this_file_says() {
    assert!(reads("a  b", "a  b") && !reads("a b", "a  b"));
    assert!(reads("Domain-0    0  941", "Domain-0 {n} {n}"));
    assert!(!reads("Domain-0    x  941", "Domain-0 {n} {n}"));
    assert!(reads("a b c d", "a {*} d") && !reads("a b c", "a {*} d"));
    assert!(!reads("", "{n}") && reads("", "{*}"));
}
