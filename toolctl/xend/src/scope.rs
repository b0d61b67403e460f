//! A domain's noxen-vmm as a unit of its own, `noxen-DOMID.scope`, so that `systemctl` shows it, accounts for it and
//! leaves it alone when xend.service stops.
//!
//! ```text
//!   fork -> exec systemd-run --scope -> (PID enters the scope) -> exec noxen-vmm      one process, same descriptors
//!   sched-credit: systemctl set-property --runtime noxen-N.scope CPUWeight= CPUQuota=
//! ```
//! Why a scope and no service: noxen-vmm gets its disks, taps and sockets as open descriptors. A service is started by
//! systemd, which passes descriptors only since version 254; a scope takes in a process that xend has started. And why
//! `noxen-DOMID`: names may change and come again while the old unit still goes; ids do not.

use noxen_xend_api::paths::Paths;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variable: the `systemd-run` to use, whatever runs on this host; empty for none.
pub const RUN_ENV: &str = "NOXEN_SYSTEMD_RUN";
/// All domains are below it: `systemctl status noxen.slice`.
const SLICE: &str = "noxen.slice";
/// What saves domains or shuts them down before the host goes down. systemd stops in the reverse order of starting, so what is
/// started before this is stopped after it; else a domain's process would be killed while its guest still runs.
const AUTOSTART: &str = "xendomains.service";
/// Xen's weight that is systemd's default of 100.
const XEN_WEIGHT: i64 = 256;

/// How scopes are made on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    run: PathBuf,
}

impl Scopes {
    /// By the environment; without it, those of the systemd that runs this host, if there is one. A private node (one
    /// under a root of its own) has no business with the host's units.
    pub fn of(paths: &Paths) -> Option<Scopes> {
        let run = match std::env::var_os(RUN_ENV) {
            Some(run) if run.is_empty() => return None,
            Some(run) => PathBuf::from(run),
            None if paths.root() != Path::new("/") => return None,
            None if noxen_systemd::booted() => PathBuf::from("systemd-run"),
            None => return None,
        };
        Some(Scopes { run })
    }

    /// The program and the arguments that start `program` with `args` in the scope of domain `domid`.
    pub fn wrap(
        &self,
        (domid, name): (u32, &str),
        (weight, cap): (i64, i64),
        program: &Path,
        args: &[String],
    ) -> (PathBuf, Vec<String>) {
        let mut out = vec![
            "--scope".to_owned(),
            "--quiet".into(),
            "--collect".into(),
            format!("--unit={}", unit(domid)),
            format!("--slice={SLICE}"),
            format!(
                "--description=Domain {}",
                name.replace(char::is_control, " ")
            ),
        ];
        out.push(format!("--property=Before={AUTOSTART}"));
        for property in properties(weight, cap) {
            out.push(format!("--property={property}"));
        }
        out.push("--".into());
        out.push(program.display().to_string());
        out.extend_from_slice(args);
        (self.run.clone(), out)
    }

    /// Gives a running domain another share of the CPUs.
    pub fn set(&self, domid: u32, weight: i64, cap: i64) -> io::Result<()> {
        // Beside systemd-run, so that both are of one systemd.
        let systemctl = self.run.with_file_name("systemctl");
        let output = Command::new(&systemctl)
            .args(["set-property", "--runtime", &unit(domid)])
            .args(properties(weight, cap))
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text
            .lines()
            .next()
            .unwrap_or("it gave no reason")
            .to_owned();
        Err(io::Error::other(format!("{}: {line}", systemctl.display())))
    }
}

/// The unit of a domain.
pub fn unit(domid: u32) -> String {
    format!("noxen-{domid}.scope")
}

/// Weight (1..=65535 to systemd's 1..=10000) and cap (per cent of one CPU; 0: none) as unit properties.
fn properties(weight: i64, cap: i64) -> [String; 2] {
    let weight = ((weight.max(1) * 100 + XEN_WEIGHT / 2) / XEN_WEIGHT).clamp(1, 10_000);
    let quota = match cap {
        1.. => format!("CPUQuota={cap}%"),
        _ => "CPUQuota=".to_owned(),
    };
    [format!("CPUWeight={weight}"), quota]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_puts_the_program_into_the_scope_of_its_domain() {
        let scopes = Scopes {
            run: "/usr/bin/systemd-run".into(),
        };
        let args = ["--spec-fd".to_owned(), "7".into()];
        let (program, args) =
            scopes.wrap((5, "web\n1"), (512, 150), Path::new("/x/noxen-vmm"), &args);
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

    #[test]
    fn properties_without_a_cap_lift_the_quota() {
        assert_eq!(properties(256, 0), ["CPUWeight=100", "CPUQuota="]);
        assert_eq!(properties(65_535, 1), ["CPUWeight=10000", "CPUQuota=1%"]);
    }
}
