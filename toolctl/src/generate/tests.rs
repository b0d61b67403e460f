use super::*;
use std::io::Write;
use std::process::{Command as Process, Stdio};

/// Runs a checker, which `cargo xtask assets` installs, with `text` on its standard input.
#[track_caller]
fn check(program: &str, args: &[&str], text: &str) -> (bool, String) {
    let mut child = Process::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), errors)
}

#[test]
fn bash_script_is_valid_and_completes() {
    let script = bash::script();
    let (valid, errors) = check("bash", &["-n"], &script);
    assert!(valid, "{errors}");
    let ask = format!(
        "{script}\nCOMP_WORDS=(xm unp); COMP_CWORD=1; _xm; [ \"${{COMPREPLY[*]}}\" = unpause ] || exit 7\n\
         COMP_WORDS=(xm shutdown --w); COMP_CWORD=2; _xm; [ \"${{COMPREPLY[*]}}\" = --wait ] || exit 8\n"
    );
    let (right, errors) = check("bash", &["-s"], &ask);
    assert!(right, "{errors}");
}

#[test]
fn zsh_and_fish_scripts_are_valid_and_complete() {
    let script = zsh::script();
    let (valid, errors) = check("zsh", &["-f", "-n"], &script);
    assert!(valid, "{errors}");
    // What it offers where a subcommand is wanted, by stand-ins for zsh's own functions.
    let ask = format!(
        "_describe() {{ local name=$@[-1]; print -rl -- \"${{(@P)name}}\" >&2 }}\n\
         _arguments() {{ print -rl -- \"$@\" >&2 }}\nwords=(xm ''); CURRENT=2\n{script}\n\
         words=(xm shutdown --w); CURRENT=3; _xm\n"
    );
    let (right, offered) = check("zsh", &["-f", "-s"], &ask);
    assert!(right, "{offered}");
    for wanted in [
        "unpause:Unpause a paused domain.",
        "--wait[",
        "*:domain:_xm_domains",
    ] {
        assert!(
            offered.lines().any(|line| line.starts_with(wanted)),
            "{wanted}: {offered}"
        );
    }
    let script = fish::script();
    let (valid, errors) = check("fish", &["--no-config", "--no-execute"], &script);
    assert!(valid, "{errors}");
    let ask = format!(
        "{script}\nset found (complete -C 'xm unp')\nstring match -q 'unpause*' -- $found; or exit 7\n\
         set found (complete -C 'xm shutdown --w')\nstring match -q -- '--wait*' $found; or exit 8\n"
    );
    let (right, errors) = check("fish", &["--no-config"], &ask);
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
        let (right, errors) = check("groff", &args, &text);
        assert!(right && errors.is_empty(), "{name}: {errors}");
    }
}
