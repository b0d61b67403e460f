//! `upgrade DOM`: a running domain goes on in a noxen-vmm that is started now, normally a newer program (docs/save-restore.md).
//!
//! ```text
//!   record: begun --> new process started, its control socket beside the old one's --> both told of each other (a socket pair)
//!     old: stands still, gives memory, state, devices --> new: "ready"
//!     old: held --> record: over, the new process is the domain's --> store connection --> new: takes over
//!     --> old killed --> socket and pid file get their names --> unpaused
//!   an error before "over": new one killed, the old one runs on        xend killed: `settle` ends it, one way or the other
//! ```
//! Nothing of the domain but its process changes: id, name, UUID, store nodes, devices, scripts, taps and its console's terminal stay.

use crate::create::{self, judge_ready, SPEC_ARGUMENT};
use crate::devices::{self, Site};
use crate::domain::Domain;
use crate::monitor::{Monitor, MonitorError, Standing};
use crate::node::{internal, Node};
use crate::process::Process;
use crate::registry::{Phase, Record};
use crate::resources::Firmware;
use crate::store_nodes::GUEST_DIRECTORIES;
use crate::unit::{self, Start};
use crate::validate::{self, Plan};
use crate::{atomic, host, hvm, info, pinning, resources, share, warning};
use noxen_control::spec::{Kind, Vnc, SPEC_VERSION};
use noxen_control::DomainSpec;
use noxen_xend_api::Fault;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a process that was killed may take to be gone; a guest's memory stays with the other one.
const KILLED: Duration = Duration::from_secs(30);
/// How long the new process' own words are waited for once the old one has said that it did not work.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A process by id and start time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Process id.
    pub pid: u32,
    /// Start time (field 22 of /proc/PID/stat).
    pub start: u64,
}

impl Named {
    fn of(process: &Process) -> Named {
        Named {
            pid: process.pid(),
            start: process.start(),
        }
    }

    fn end(self) {
        if let Ok(process) = Process::adopt(self.pid, self.start) {
            process.kill();
            process.wait(KILLED);
        }
    }
}

/// An upgrade under way, on record.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The process that is not the domain's: before it is over the new one, if it is known yet, then the old one.
    pub other: Option<Named>,
    /// The domain is the new process's, whatever happens.
    pub over: bool,
    /// It was paused.
    pub paused: bool,
}

/// Where the new process is reached until the old one is gone.
fn new_socket(node: &Node, domid: u32) -> PathBuf {
    node.options
        .paths
        .domain_run_dir(domid)
        .join("upgrade.sock")
}

fn new_pid_file(node: &Node, domid: u32) -> PathBuf {
    node.options.paths.domain_run_dir(domid).join("upgrade.pid")
}

/// Has a domain go on in a new process.
pub fn upgrade(node: &Arc<Node>, domain: &str) -> Result<(), Fault> {
    let _busy = node.begin();
    let domain = node.find_guest(domain, "upgrade")?;
    let life = domain.enter();
    let record = domain.record();
    if life.gone || record.phase != Phase::Running {
        return Err(Fault::generic("Domain is not running"));
    }
    let plan = validate::check(&record.config, host::cpus())?;
    if plan.pvh.is_some() {
        return Err(Fault::generic(
            "upgrading the noxen-vmm of a PVH domain is not built yet",
        ));
    }
    if record.moving.is_some() || record.came.as_ref().is_some_and(|came| came.due) {
        return Err(Fault::generic(
            "The domain is on its way to or from another host",
        ));
    }
    let paused = domain.monitor().status().map_err(internal)?.paused;
    let gate = domain.devices();
    node.save(&domain, |r| {
        r.upgrade = Some(Upgrade {
            other: None,
            over: false,
            paused,
        });
    })?;
    let begun = Instant::now();
    let mut attempt = Attempt {
        node,
        domain: &domain,
        record: &record,
        plan: &plan,
        process: None,
        held: false,
    };
    let done = attempt.run(paused);
    drop(gate);
    match done {
        Ok(still) => {
            info!(
                "domain {} (id={}) goes on in process {}, upgraded in {:?}, stood still for {:?}",
                record.name,
                record.domid,
                domain.record().pid.unwrap_or_default(),
                begun.elapsed(),
                still
            );
            Ok(())
        }
        Err(fault) => {
            warning!(
                "domain {} (id={}) was not upgraded: {}",
                record.name,
                record.domid,
                fault.message
            );
            Err(fault)
        }
    }
}

struct Attempt<'a> {
    node: &'a Arc<Node>,
    domain: &'a Arc<Domain>,
    record: &'a Record,
    plan: &'a Plan,
    process: Option<Arc<Process>>,
    /// The old process was told to stay still.
    held: bool,
}

/// The new process, and what is to be said to it.
struct Fresh {
    process: Arc<Process>,
    ready: OwnedFd,
    /// For the old one.
    link: UnixStream,
}

impl Attempt<'_> {
    /// Does it; how long the guest stood still. After an error before the point of no return the old process has the domain as
    /// before.
    fn run(&mut self, paused: bool) -> Result<Duration, Fault> {
        let prepared = self.start().and_then(|fresh| {
            let still = Instant::now();
            Ok((self.hand_over(&fresh)?, fresh, still))
        });
        let (standing, fresh, still) = match prepared {
            Ok(prepared) => prepared,
            Err(fault) => {
                self.undo(paused);
                return Err(fault);
            }
        };
        let committed = self.commit(&fresh.process, paused);
        let store = match committed {
            Ok(store) => store,
            Err(fault) => {
                self.undo(paused);
                drop(standing);
                return Err(fault);
            }
        };
        let done = complete(self.node, self.domain, Some(&store));
        drop(standing);
        done.map(|()| still.elapsed())
    }

    /// Starts the new process.
    fn start(&mut self) -> Result<Fresh, Fault> {
        let (node, record) = (self.node, self.record);
        let domid = record.domid;
        let socket = new_socket(node, domid);
        atomic::remove(&socket).map_err(internal)?;
        let control = UnixListener::bind(&socket).map_err(internal)?;
        let log = resources::open_log(&node.options, &record.name)?;
        let kvm = resources::open_kvm(&node.options.kvm)?;
        let (link, theirs) = UnixStream::pair().map_err(internal)?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (ready, ready_writer) = rustix::pipe::pipe_with(flags).map_err(internal)?;
        let plan = self.plan;
        let firmware = plan.hvm.as_ref().map(Firmware::open).transpose()?;
        let spec = DomainSpec {
            version: SPEC_VERSION,
            domid,
            kind: self.kind(firmware.as_ref())?,
            name: record.name.clone(),
            uuid: record.uuid.clone(),
            memory_mib: plan.memory_mib,
            maxmem_mib: plan.maxmem_mib,
            vcpus: plan.vcpus,
            kernel_path: record.config.kernel.clone(),
            kernel_fd: None,
            restore_fd: None,
            lazy: false,
            stream_fd: None,
            handover_fd: Some(theirs.as_raw_fd()),
            pages_fd: None,
            unpacked_fd: None,
            ramdisk_fd: None,
            cmdline: plan.cmdline.clone(),
            tune_kernel: record.config.kernel_tuning,
            kvm_fd: kvm.as_raw_fd(),
            ram_fd: None,
            control_fd: control.as_raw_fd(),
            store_fd: None,
            log_fd: Some(log.as_raw_fd()),
            ready_fd: ready_writer.as_raw_fd(),
        };
        let spec_file = create::spec_file(&spec).map_err(internal)?;
        let passed = [
            kvm.as_fd(),
            control.as_fd(),
            ready_writer.as_fd(),
            spec_file.as_fd(),
            theirs.as_fd(),
            log.as_fd(),
        ];
        let firmware = firmware.iter();
        let files =
            firmware.flat_map(|f| [Some(f.bios.as_fd()), f.display.as_ref().map(AsFd::as_fd)]);
        let passed: Vec<_> = passed.into_iter().chain(files.flatten()).collect();
        let start = Start {
            domid,
            name: &record.name,
            share: share::configured(&record.config),
            program: &node.options.vmm,
            args: &[SPEC_ARGUMENT.to_owned(), spec_file.as_raw_fd().to_string()],
            inherit: &passed,
            output: &log,
            affinity: pinning::common(&plan.pinning),
            pid_file: &new_pid_file(node, domid),
        };
        let process = match (&node.options.units, record.pid) {
            (Some(units), Some(old)) => units.start_beside(&start, old),
            _ => unit::spawn(start.program, start.args, &start),
        };
        let process = Arc::new(process.map_err(|e| {
            Fault::internal(format!("cannot start {}: {e}", start.program.display()))
        })?);
        self.process = Some(process.clone());
        node.save(self.domain, |r| {
            if let Some(upgrade) = &mut r.upgrade {
                upgrade.other = Some(Named::of(&process));
            }
        })?;
        share::at_build(node, domid, process.pid(), &record.config)?;
        Ok(Fresh {
            process,
            ready,
            link,
        })
    }

    /// The machine as a new domain's would be described, but for what the old process gives.
    fn kind(&self, firmware: Option<&Firmware>) -> Result<Kind, Fault> {
        let (Some(machine), Some(firmware)) = (&self.plan.hvm, firmware) else {
            return Ok(Kind::Pv);
        };
        let site = Site {
            node: self.node,
            domain: self.domain,
        };
        let vnc = match machine.shown() {
            Some(screen) => Some(Vnc {
                // The listening socket comes from the old process.
                socket_fd: -1,
                how: devices::vnc::spec(site, screen)?,
            }),
            None => None,
        };
        let given = hvm::Given {
            bios_fd: firmware.bios.as_raw_fd(),
            // It has run already, and what it leaves behind has drivers for Xen, which are not handed over yet.
            early_fd: None,
            display_bios_fd: firmware.display.as_ref().map(AsRawFd::as_raw_fd),
            vnc,
            // What was played so far is in a file that stays as it is.
            sound_fd: None,
        };
        Ok(Kind::Hvm(Box::new(
            machine.spec(&self.record.config, given),
        )))
    }

    /// Has the old process give the domain to the new one, which is ready then.
    fn hand_over(&self, fresh: &Fresh) -> Result<Standing, Fault> {
        let directories = GUEST_DIRECTORIES.map(str::to_owned).to_vec();
        let given = self.domain.monitor().hand_over(directories, &fresh.link);
        let log = resources::log_path(&self.node.options, &self.record.name);
        let standing = match given {
            Ok(standing) => standing,
            Err(error) => {
                // It may be for the new one's reasons, which it says itself.
                let said = last_words(&fresh.ready);
                return Err(match (said, error) {
                    (Some(line), _) => Fault::generic(format!("the new noxen-vmm cannot take the domain: {line}")),
                    (None, MonitorError::Refused(line)) if line.contains("unknown variant") => Fault::generic(
                        "the domain's noxen-vmm is of a version that cannot hand it over; save and restore it instead",
                    ),
                    (None, MonitorError::Refused(line)) => Fault::generic(line),
                    (None, other) => internal(other),
                });
            }
        };
        let limit = self.node.options.build_limit;
        create::wait_ready(&fresh.ready, &fresh.process, &log, limit).map_err(|fault| {
            Fault::generic(format!(
                "the new noxen-vmm cannot take the domain: {}",
                fault.message
            ))
        })?;
        Ok(standing)
    }

    /// The point of no return: from then on the new process is the domain's. A connection to the store for it.
    fn commit(&mut self, process: &Arc<Process>, paused: bool) -> Result<UnixStream, Fault> {
        let (node, domain) = (self.node, self.domain);
        pinning::apply(process.pid(), &self.plan.pinning).map_err(|e| {
            Fault::internal(format!("the vCPUs cannot be pinned to host CPUs: {e}"))
        })?;
        let old = self.record.pid.zip(self.record.pid_start);
        let over = Upgrade {
            other: old.map(|(pid, start)| Named { pid, start }),
            over: true,
            paused,
        };
        domain.monitor().hold().map_err(internal)?;
        self.held = true;
        node.save(domain, |r| {
            r.pid = Some(process.pid());
            r.pid_start = Some(process.start());
            r.upgrade = Some(over);
        })?;
        // xenstored closes the old process' connection for this one.
        let store = node.store.attach(self.record.domid).map_err(internal)?;
        domain.set_process(process.clone());
        Ok(store)
    }

    /// Takes back what was done; the old process has the domain.
    fn undo(&self, paused: bool) {
        let (node, domain, record) = (self.node, self.domain, self.record);
        if let Some(process) = &self.process {
            process.kill();
            process.wait(KILLED);
        }
        remove_new(node, record.domid);
        if self.held {
            let_run_on(domain, paused);
        }
        let saved = node.save(domain, |r| {
            r.upgrade = None;
            r.pid = record.pid;
            r.pid_start = record.pid_start;
        });
        if let Err(fault) = saved {
            warning!("domain {}: {}", record.domid, fault.message);
        }
    }
}

/// What the new process has said so far, if it is an error.
fn last_words(ready: &OwnedFd) -> Option<String> {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    let time = Timespec {
        tv_sec: LAST_WORDS.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut text = Vec::new();
    let mut reader = std::fs::File::from(ready.try_clone().ok()?);
    if poll(&mut [PollFd::new(ready, PollFlags::IN)], Some(&time)).ok()? > 0 {
        let mut bytes = [0; 4096];
        let count = reader.read(&mut bytes).ok()?;
        text.extend_from_slice(&bytes[..count]);
    }
    judge_ready(&text)?.err()
}

/// Files of a new process that does not get the domain.
fn remove_new(node: &Node, domid: u32) {
    for path in [new_socket(node, domid), new_pid_file(node, domid)] {
        if let Err(e) = atomic::remove(&path) {
            warning!("domain {domid}: {}: {e}", path.display());
        }
    }
}

/// The domain of a process that was told to hold it runs on there, or is paused as it was.
fn let_run_on(domain: &Domain, paused: bool) {
    let done = domain.monitor().unpause().and_then(|()| match paused {
        true => domain.monitor().pause(),
        false => Ok(()),
    });
    if let Err(e) = done {
        warning!("domain {}: {e}", domain.domid());
    }
}

/// The new process takes over, the old one ends. `store`: a connection to xenstored for it; without one it is asked first whether it
/// has taken over already.
fn complete(node: &Node, domain: &Domain, store: Option<&UnixStream>) -> Result<(), Fault> {
    let record = domain.record();
    let domid = record.domid;
    let Some(upgrade) = record.upgrade.clone().filter(|upgrade| upgrade.over) else {
        return Ok(());
    };
    let socket = new_socket(node, domid);
    let at_new = Monitor::new(socket.clone());
    let taken = match (store, socket.exists()) {
        (Some(store), _) => at_new.take_over(Some(store)),
        // It has its name already, so all but the last step is done.
        (None, false) => Ok(()),
        (None, true) => at_new.take_over(None).or_else(|_| {
            let store = node
                .store
                .attach(domid)
                .map_err(|e| MonitorError::Refused(e.to_string()))?;
            at_new.take_over(Some(&store))
        }),
    };
    // Whatever came of it, the old process has the domain no more.
    if let Some(old) = upgrade.other {
        old.end();
    }
    taken.map_err(|e| {
        Fault::internal(format!(
            "the new noxen-vmm ended while it took the domain over, which is lost: {e}"
        ))
    })?;
    let moved = [
        (socket, node.options.paths.control_socket(domid)),
        (
            new_pid_file(node, domid),
            node.options.paths.pid_file(domid),
        ),
    ];
    for (from, to) in moved {
        if from.exists() {
            std::fs::rename(from, to).map_err(internal)?;
        }
    }
    let runs = match upgrade.paused {
        true => Ok(()),
        false => domain.monitor().unpause().map_err(internal),
    };
    // Last of all: a xend that was killed before is followed by one that does the rest.
    node.save(domain, |r| r.upgrade = None)?;
    runs
}

/// xend was killed in the midst of an upgrade: it is ended one way or the other. Called before the domain is looked at.
pub fn settle(node: &Node, domain: &Domain) {
    let record = domain.record();
    let domid = record.domid;
    let Some(upgrade) = record.upgrade else {
        return;
    };
    if upgrade.over {
        info!("domain {} (id={domid}) was being upgraded when xend ended; it goes on in the new process", record.name);
        if let Err(fault) = complete(node, domain, None) {
            warning!("domain {domid}: {}", fault.message);
        }
        return;
    }
    info!(
        "domain {} (id={domid}) was being upgraded when xend ended; it runs on as it was",
        record.name
    );
    if let Some(new) = upgrade.other {
        new.end();
    } else if let Some(new) = Process::find(&new_pid_file(node, domid), SPEC_ARGUMENT) {
        new.kill();
        new.wait(KILLED);
    }
    remove_new(node, domid);
    if !upgrade.paused {
        // It runs on by itself unless it was told to hold; one that is just giving up says so.
        if let Err(e) = domain.monitor().unpause() {
            info!("domain {domid}: {e}");
        }
    }
    if let Err(fault) = node.save(domain, |r| r.upgrade = None) {
        warning!("domain {domid}: {}", fault.message);
    }
}
