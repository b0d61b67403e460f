//! `noxen-DOMID.scope`: where systemd runs and the template `noxen@.service` is not installed.
//!
//! ```text
//!   fork -> exec systemd-run --scope -> (PID enters the scope) -> exec noxen-vmm      one process, same descriptors
//! ```

use super::{properties, Start};
use std::path::PathBuf;

/// Environment variable: the `systemd-run` to use, whatever runs on this host; empty for no units at all.
pub const RUN_ENV: &str = "NOXEN_SYSTEMD_RUN";
/// All domains are below it: `systemctl status noxen.slice`.
const SLICE: &str = "noxen.slice";
/// What saves domains or shuts them down before the host goes down. systemd stops in the reverse order of starting, so what is
/// started before this is stopped after it; else a domain's process would be killed while its guest still runs.
const AUTOSTART: &str = "xendomains.service";

/// How scopes are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    run: PathBuf,
}

impl Scopes {
    /// By this `systemd-run`.
    pub fn new(run: impl Into<PathBuf>) -> Scopes {
        Scopes { run: run.into() }
    }

    /// The `systemctl` of the same systemd.
    pub fn control(&self) -> PathBuf {
        self.run.with_file_name("systemctl")
    }

    /// The program and the arguments that start a monitor in its scope.
    pub fn wrap(&self, start: &Start<'_>) -> (PathBuf, Vec<String>) {
        let mut out = vec![
            "--scope".to_owned(),
            "--quiet".into(),
            "--collect".into(),
            format!("--unit={}", unit(start.domid)),
            format!("--slice={SLICE}"),
            format!(
                "--description=Domain {}",
                start.name.replace(char::is_control, " ")
            ),
        ];
        out.push(format!("--property=Before={AUTOSTART}"));
        for property in properties(start.share.0, start.share.1) {
            out.push(format!("--property={property}"));
        }
        out.push("--".into());
        out.push(start.program.display().to_string());
        out.extend_from_slice(start.args);
        (self.run.clone(), out)
    }
}

/// The unit of a domain.
pub fn unit(domid: u32) -> String {
    format!("noxen-{domid}.scope")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn wrap_puts_the_program_into_the_scope_of_its_domain() {
        let output = std::fs::File::open("/dev/null").unwrap();
        let (program, args) = Scopes::new("/usr/bin/systemd-run").wrap(&Start {
            domid: 5,
            name: "web\n1",
            share: (512, 150),
            program: Path::new("/x/noxen-vmm"),
            args: &["--spec-fd".to_owned(), "7".into()],
            inherit: &[],
            output: &output,
            affinity: None,
            pid_file: Path::new("/x/pid"),
        });
        assert_eq!(program, Path::new("/usr/bin/systemd-run"));
        assert_eq!(
            args,
            [
                "--scope",
                "--quiet",
                "--collect",
                "--unit=noxen-5.scope",
                "--slice=noxen.slice",
                "--description=Domain web 1",
                "--property=Before=xendomains.service",
                "--property=CPUWeight=200",
                "--property=CPUQuota=150%",
                "--",
                "/x/noxen-vmm",
                "--spec-fd",
                "7"
            ]
        );
    }
}
