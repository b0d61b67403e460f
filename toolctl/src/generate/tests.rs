use super::*;
use std::io::Write;
use std::process::{Command as Process, Stdio};

/// Runs a checker with `text` on its standard input; None when the host has no such program.
fn check(program: &str, args: &[&str], text: &str) -> Option<(bool, String)> {
    let mut child = Process::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.success(), errors))
}

#[test]
fn bash_script_is_valid_and_completes() {
    let script = bash::script();
    let (valid, errors) = check("bash", &["-n"], &script).expect("bash");
    assert!(valid, "{errors}");
    let ask = format!(
        "{script}\nCOMP_WORDS=(xm unp); COMP_CWORD=1; _xm; [ \"${{COMPREPLY[*]}}\" = unpause ] || exit 7\n\
         COMP_WORDS=(xm shutdown --w); COMP_CWORD=2; _xm; [ \"${{COMPREPLY[*]}}\" = --wait ] || exit 8\n"
    );
    let (right, errors) = check("bash", &["-s"], &ask).expect("bash");
    assert!(right, "{errors}");
}

#[test]
fn pages_hold_every_command_and_variable() {
    let page = roff::xm();
    for command in crate::cli::registry::all().filter(|command| command.group != Group::Hidden) {
        let name = command.name.replace('-', "\\-");
        assert!(
            page.contains(&format!("\\fB{name}\\fR")),
            "{}",
            command.name
        );
    }
    let page = roff::xmdomain();
    for key in noxen_xm_config::keys::all() {
        assert!(
            page.contains(&format!("\\fB{}\\fR", key.name.replace('-', "\\-"))),
            "{}",
            key.name
        );
    }
    for (_, text) in man() {
        let odd = text.lines().find(|line| {
            line.starts_with('.')
                && !line
                    .get(1..2)
                    .is_some_and(|c| c.chars().all(char::is_uppercase))
        });
        assert_eq!(
            odd, None,
            "a line of text that begins with a dot would be taken for a request"
        );
    }
}

#[test]
fn every_built_command_is_completed_by_every_shell() {
    for (file, text) in completions() {
        for command in built() {
            assert!(text.contains(command.name), "{file}: {}", command.name);
        }
        assert!(
            !text.contains("cpupool-create"),
            "{file} offers what is not built"
        );
    }
}

#[test]
fn manual_pages_render_without_warnings() {
    for (name, text) in man() {
        let args = ["-man", "-ww", "-z", "-Kutf8"];
        // A host without groff cannot say anything about the pages; the lab's hosts have it.
        if let Some((right, errors)) = check("groff", &args, &text) {
            assert!(right && errors.is_empty(), "{name}: {errors}");
        }
    }
}
