//! Hotplug scripts: `SCRIPT ACTION`, with the place of the device's back end in the environment
//! (xm-reference: "When scripts are run").
//!
//! ```text
//!   run(script, online) --> script ... writes hotplug-status, hotplug-error to the back end's nodes
//!   wait --> connected | error + text | busy + text | none of them within the time
//! ```
//! A script is not needed: whoever writes `hotplug-status` satisfies.

use super::class::Site;
use super::device::Device;
use crate::node::Node;
use crate::{debug, error, warning};
use noxen_xend_api::Fault;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a script may take when its device goes.
const GOING: Duration = Duration::from_secs(10);
/// Between two looks at the store, or at whether the domain is dying.
const LOOK: Duration = Duration::from_millis(20);

/// Where scripts find their tools.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `Device 0 (vif) could not be connected. REASON`.
pub fn not_connected(device: &Device, reason: &str) -> Fault {
    Fault::generic(format!(
        "Device {} could not be connected. {reason}",
        device.shown()
    ))
}

/// The same with the reason on lines of its own, as for what somebody else uses.
pub fn busy(device: &Device, reason: &str) -> Fault {
    Fault::generic(format!(
        "Device {} could not be connected.\n{reason}",
        device.shown()
    ))
}

/// `name` as a path: below the scripts' directory unless it is one.
pub fn script_path(node: &crate::node::Options, name: &str) -> PathBuf {
    node.paths.scripts_dir().join(name)
}

/// Is it a program?
pub fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Runs the device's script for a device that comes, and waits until it says that the device is connected.
pub fn come(
    site: Site<'_>,
    device: &Device,
    action: &str,
    extra: &[(&str, &str)],
) -> Result<(), Fault> {
    let Some(script) = &device.script else {
        return Ok(());
    };
    let deadline = Instant::now() + site.node.options.device_timeout;
    if !is_executable(script) {
        let shown = script.display();
        return Err(not_connected(
            device,
            &format!("The hotplug script {shown} is not there or not executable."),
        ));
    }
    let status = run(site, device, action, extra, deadline)
        .map_err(|e| not_connected(device, &format!("{} cannot be run: {e}", script.display())))?;
    let Some(status) = status else {
        return Err(not_connected(device, "Hotplug scripts not working."));
    };
    wait(site, device, deadline, status)
}

/// Runs the device's script for a device that goes; what goes wrong is logged, the device goes all the same.
pub fn go(site: Site<'_>, device: &Device, action: &str, extra: &[(&str, &str)]) {
    let Some(script) = &device.script else {
        return;
    };
    let deadline = Instant::now() + GOING;
    let shown = script.display();
    let domid = site.domain.domid();
    match run(site, device, action, extra, deadline) {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => warning!(
            "domain {domid}, device {}: {shown} {action} ended with {status}",
            device.shown()
        ),
        Ok(None) => warning!(
            "domain {domid}, device {}: {shown} {action} took too long",
            device.shown()
        ),
        Err(e) => warning!(
            "domain {domid}, device {}: {shown} cannot be run: {e}",
            device.shown()
        ),
    }
}

/// Its exit status; none when it did not end in time and was killed.
fn run(
    site: Site<'_>,
    device: &Device,
    action: &str,
    extra: &[(&str, &str)],
    deadline: Instant,
) -> io::Result<Option<ExitStatus>> {
    let Some(script) = &device.script else {
        return Ok(None);
    };
    debug!(
        "domain {}, device {}: {} {action}",
        site.domain.domid(),
        device.shown(),
        script.display()
    );
    let log = open_log(site.node)?;
    let mut command = Command::new(script);
    if action == "online" || action == "offline" {
        // Scripts of Xen 4 serve emulated cards as well and ask which kind this is.
        command.args([action, "type_if=vif"]);
    } else {
        command.arg(action);
    }
    command
        .env("ACTION", action)
        .env("PATH", PATH)
        .env("XENBUS_TYPE", device.config.backend_class())
        .env("XENBUS_PATH", device.xenbus_path(site.domain.domid()))
        .env("XENBUS_BASE_PATH", "backend")
        .env("XENSTORED_PATH", noxen_xenstore::locations::socket())
        .env("script", script)
        .envs(extra.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // What it starts goes with it when it takes too long.
        .process_group(0);
    let coming = action != "remove" && action != "offline";
    let mut child = command.spawn()?;
    let ended = wait_child(&child, deadline, || coming && site.domain.is_dying());
    match ended {
        Ok(true) => Ok(Some(child.wait()?)),
        other => {
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                // It may have ended meanwhile; then there is nothing to kill.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            other.map(|_| None)
        }
    }
}

/// Waits for the end of `child`. False when the time is over, or `given_up`.
fn wait_child(child: &Child, deadline: Instant, given_up: impl Fn() -> bool) -> io::Result<bool> {
    let pid = Pid::from_raw(child.id() as i32).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || given_up() {
            return Ok(false);
        }
        let slice = left.min(Duration::from_millis(100));
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(slice.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits for the back end's `hotplug-status`. A script that failed is not waited for.
fn wait(site: Site<'_>, device: &Device, deadline: Instant, exit: ExitStatus) -> Result<(), Fault> {
    let backend = device.backend(site.domain.domid());
    let read = |name: &str| {
        let value = site.node.store.read(&format!("{backend}/{name}"));
        value.map_err(crate::node::internal)
    };
    loop {
        match read("hotplug-status")?.as_deref() {
            Some("connected") => return Ok(()),
            Some("error") => {
                let text = read("hotplug-error")?.unwrap_or_default();
                return Err(not_connected(device, &text));
            }
            Some("busy") => {
                let text = read("hotplug-error")?.unwrap_or_else(|| "Busy.".into());
                return Err(busy(device, &text));
            }
            _ => {}
        }
        if !exit.success() {
            let log = site.node.options.paths.hotplug_log();
            return Err(not_connected(
                device,
                &format!(
                    "Its hotplug script ended with {exit}; see {}",
                    log.display()
                ),
            ));
        }
        if site.domain.is_dying() {
            return Err(not_connected(device, "The domain is being destroyed."));
        }
        if Instant::now() >= deadline {
            return Err(not_connected(device, "Hotplug scripts not working."));
        }
        std::thread::sleep(LOOK);
    }
}

fn open_log(node: &Node) -> io::Result<File> {
    let path = node.options.paths.hotplug_log();
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&path)
        .inspect_err(|e| error!("cannot open {}: {e}", path.display()))
}
