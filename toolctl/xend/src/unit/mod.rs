//! A domain's noxen-vmm as a unit of systemd's, so that `systemctl` shows it, accounts for it and leaves it alone when
//! xend.service stops.
//!
//! ```text
//!   noxen@.service installed?  yes: noxen@DOMID.service     systemd starts the process, xend hands everything over (service)
//!                              no:  noxen-DOMID.scope       xend starts the process, systemd takes it in           (scope)
//!   no systemd: neither; the process is xend's child, in a control group of cgroup.rs
//!   sched-credit, either way: systemctl set-property --runtime UNIT CPUWeight= CPUQuota=
//! ```
//! The instance is the domain's id and not its name: names may change and come again while the old unit still goes; ids
//! do not.

mod scope;
mod service;

pub use scope::RUN_ENV;
pub use service::{command, COMMANDS};

use crate::cgroup;
use crate::process::{Launch, Process};
use noxen_xend_api::paths::Paths;
use scope::Scopes;
use service::Services;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variable: the `systemctl` to start domains' services with, whatever runs on this host.
pub const CONTROL_ENV: &str = "NOXEN_SYSTEMCTL";
/// Xen's weight that is systemd's default of 100.
const XEN_WEIGHT: i64 = 256;
/// Where units are that were installed (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What a monitor is started with.
pub struct Start<'a> {
    /// Its domain.
    pub domid: u32,
    /// That domain's name, for people.
    pub name: &'a str,
    /// Weight (1 to 65535) and cap (per cent of one CPU; 0: none).
    pub share: (i64, i64),
    /// noxen-vmm.
    pub program: &'a Path,
    /// Its arguments.
    pub args: &'a [String],
    /// Descriptors that it gets, under the numbers that they have here.
    pub inherit: &'a [BorrowedFd<'a>],
    /// Where its standard output and error go.
    pub output: &'a File,
    /// Host CPUs that it may use.
    pub affinity: Option<&'a [u32]>,
    /// Where its process id goes, for the next xend.
    pub pid_file: &'a Path,
}

/// How units of domains are made on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Units {
    /// Services of the template `noxen@.service`.
    Services(Services),
    /// Transient scopes.
    Scopes(Scopes),
}

impl Units {
    /// By the environment; without it, those of the systemd that runs this host, if there is one. A private node (one
    /// under a root of its own) has no business with the host's units.
    pub fn of(paths: &Paths) -> Option<Units> {
        let set = |name| std::env::var_os(name).map(PathBuf::from);
        match (set(RUN_ENV), set(CONTROL_ENV)) {
            (Some(run), _) if run.as_os_str().is_empty() => None,
            (Some(run), _) => Some(Units::Scopes(Scopes::new(run))),
            (None, Some(control)) => Some(Units::Services(Services::new(control, paths))),
            (None, None) if paths.root() != Path::new("/") || !noxen_systemd::booted() => None,
            (None, None) if installed() => Some(Units::Services(Services::new("systemctl", paths))),
            (None, None) => Some(Units::Scopes(Scopes::new("systemd-run"))),
        }
    }

    /// Starts a monitor in its unit.
    pub fn start(&self, start: &Start<'_>) -> io::Result<Process> {
        match self {
            Units::Services(services) => services.start(start),
            Units::Scopes(scopes) => {
                let (program, args) = scopes.wrap(start);
                spawn(&program, &args, start)
            }
        }
    }

    /// Starts a monitor that is to take the place of process `old`, for which that one's service is no place: it ends with it. A scope
    /// lasts as long as there is a process in it.
    pub fn start_beside(&self, start: &Start<'_>, old: u32) -> io::Result<Process> {
        let groups = std::fs::read_to_string(format!("/proc/{old}/cgroup")).unwrap_or_default();
        if of_groups(&groups, start.domid) != Some(scope::unit(start.domid)) {
            let scopes = match self {
                Units::Scopes(scopes) => scopes.clone(),
                Units::Services(services) => {
                    Scopes::new(services.control().with_file_name("systemd-run"))
                }
            };
            let (program, args) = scopes.wrap(start);
            return spawn(&program, &args, start);
        }
        let process = spawn(start.program, start.args, start)?;
        cgroup::join(&groups, process.pid()).inspect_err(|_| process.kill())?;
        Ok(process)
    }

    fn control(&self) -> PathBuf {
        match self {
            Units::Services(services) => services.control().to_owned(),
            Units::Scopes(scopes) => scopes.control(),
        }
    }

    fn unit(&self, domid: u32, pid: u32) -> String {
        // A domain of before an upgrade may be in the other kind.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        of_groups(&groups, domid).unwrap_or_else(|| match self {
            Units::Services(_) => service::unit(domid),
            Units::Scopes(_) => scope::unit(domid),
        })
    }

    /// Gives a running domain another share of the CPUs.
    pub fn set(&self, domid: u32, pid: u32, (weight, cap): (i64, i64)) -> io::Result<()> {
        let mut command = Command::new(self.control());
        command.args(["set-property", "--runtime", &self.unit(domid, pid)]);
        told(command.args(properties(weight, cap)))
    }

    /// Removes what systemd keeps of a domain that has ended: the properties that [`Units::set`] gave its service.
    pub fn forget(&self, domid: u32) -> io::Result<()> {
        match self {
            Units::Services(services) => services.forget(domid),
            Units::Scopes(_) => Ok(()), // They go with the scope.
        }
    }
}

/// Starts a monitor as a process of xend's.
pub fn spawn(program: &Path, args: &[String], start: &Start<'_>) -> io::Result<Process> {
    use std::os::fd::AsRawFd;
    let inherit: Vec<RawFd> = start.inherit.iter().map(AsRawFd::as_raw_fd).collect();
    Process::spawn(Launch {
        program,
        args,
        inherit: &inherit,
        output: start.output.try_clone()?,
        affinity: start.affinity,
        pid_file: &File::create(start.pid_file)?,
    })
}

fn installed() -> bool {
    let mut places = UNIT_DIRECTORIES.iter().map(Path::new);
    places.any(|place| place.join(service::TEMPLATE).exists())
}

/// The unit of a domain by the text of its process's /proc/PID/cgroup.
fn of_groups(text: &str, domid: u32) -> Option<String> {
    let mut units = text.lines().filter_map(|line| line.rsplit('/').next());
    let ours = [service::unit(domid), scope::unit(domid)];
    units
        .find(|unit| ours.iter().any(|our| our == unit))
        .map(str::to_owned)
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

/// Runs a `systemctl` to its end; its first line says what was wrong.
fn told(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| {
        let program = command.get_program().display();
        io::Error::new(e.kind(), format!("{program}: {e}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("it gave no reason");
    let program = command.get_program().display();
    Err(io::Error::other(format!("{program}: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_without_a_cap_lift_the_quota() {
        assert_eq!(properties(256, 0), ["CPUWeight=100", "CPUQuota="]);
        assert_eq!(properties(65_535, 1), ["CPUWeight=10000", "CPUQuota=1%"]);
    }

    #[test]
    fn unit_is_the_one_that_the_process_is_in() {
        let of = |text| of_groups(text, 5);
        let scope = "0::/noxen.slice/noxen-5.scope\n";
        assert_eq!(of(scope).as_deref(), Some("noxen-5.scope"));
        let service = "3:cpu:/\n0::/noxen.slice/noxen@5.service\n";
        assert_eq!(of(service).as_deref(), Some("noxen@5.service"));
        assert_eq!(of("0::/noxen.slice/noxen@55.service\n"), None);
        assert_eq!(of(""), None);
    }
}
