//! Making a domain.
//!
//! ```text
//!   check config -> boot loader -> open files -> admit (id, name, memory; record Building)
//!     -> control socket, store connection -> spawn noxen-vmm -> store nodes -> "ready"
//!     -> status -> console and ring nodes, introduce -> devices -> record Running -> watcher
//!   any failure -> teardown: nothing stays
//! ```
//! The domain is left paused.

use crate::bootloader::{self, Booted};
use crate::devices::{self, kept, Site};
use crate::domain::Domain;
use crate::kernel_cache::Kernel;
use crate::node::{internal, Node};
use crate::process::Process;
use crate::registry::{Phase, Record};
use crate::resources::{self, Resources, Source};
use crate::saved;
use crate::unit::{self, Start};
use crate::validate::{self, Plan};
use crate::{
    atomic, clock, host, hvm, info, pinning, share, store_nodes, teardown, warning, watch,
};
use noxen_control::spec::{Kind, Vnc, SPEC_VERSION};
use noxen_control::{DomainSpec, Status};
use noxen_xend_api::device::Image;
use noxen_xend_api::{DomainConfig, Fault};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a monitor may take to build a domain (the kernel image and ramdisk have to be read).
pub const BUILD: Duration = Duration::from_secs(120);
/// How long a domain may take to come from another host.
const STREAM: Duration = Duration::from_secs(4 * 3600);
/// The switch by which a monitor is told where its spec is.
pub const SPEC_ARGUMENT: &str = "--spec-fd";
/// Longest line that a monitor may say when it is ready or has failed, bytes.
const READY_LIMIT: usize = 64 << 10;

/// What a new domain takes over from one that it replaces.
#[derive(Clone, Debug, Default)]
pub struct Heritage {
    /// The domain whose place it takes; its name and UUID are free for the new one.
    pub replaces: Option<u32>,
    /// How often this UUID was started again before.
    pub restart_count: u32,
}

/// Builds a domain of `config` and leaves it paused.
pub fn create(
    node: &Arc<Node>,
    config: DomainConfig,
    heritage: Heritage,
) -> Result<Arc<Domain>, Fault> {
    let config = devices::complete(config)?;
    // What is wrong with the rest is said before a boot loader has worked for nothing.
    validate::check(&config, host::cpus())?;
    let booted = bootloader::run(node, &config)?;
    let plan = validate::check(&booted.config, host::cpus())?;
    let unapplied = validate::unapplied(&config);
    if !unapplied.is_empty() {
        warning!(
            "domain {}: {} recorded but not applied yet",
            config.name,
            unapplied.join(", ")
        );
    }
    match attempt(node, &config, &booted, &heritage, &plan, false) {
        Err(failure) if failure.of_cached_kernel => {
            warning!(
                "the unpacked kernel of domain {} made no domain; unpacking {} anew",
                config.name,
                config.kernel
            );
            attempt(node, &config, &booted, &heritage, &plan, true)
        }
        other => other,
    }
    .map_err(|failure| failure.fault)
}

/// Judges `config` as far as that can be done without making anything: no boot loader runs, no device is set up, no memory is
/// set aside.
pub fn check(node: &Arc<Node>, config: DomainConfig) -> Result<(), Fault> {
    let config = devices::complete(config)?;
    let plan = validate::check(&config, host::cpus())?;
    if config.bootloader.is_empty() {
        Resources::open(&node.options, &config, &plan)?;
    }
    for disk in &config.disk {
        let image = disk.image().map_err(|e| Fault::generic(e.to_string()))?;
        let (Image::Phy(path) | Image::File(path) | Image::Tap(_, path)) = image else {
            continue;
        };
        // Other hosts' disks may be anywhere.
        if disk.backend.is_none() && !Path::new(&path).exists() {
            return Err(Fault::generic(format!(
                "Disk image does not exist: {path} (disk {})",
                disk.text()
            )));
        }
    }
    Ok(())
}

/// Why an attempt made no domain.
struct Failure {
    fault: Fault,
    /// It may be for the unpacked kernel in the cache.
    of_cached_kernel: bool,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure {
            fault,
            of_cached_kernel: false,
        }
    }
}

fn attempt(
    node: &Arc<Node>,
    config: &DomainConfig,
    booted: &Booted,
    heritage: &Heritage,
    plan: &Plan,
    unpack_anew: bool,
) -> Result<Arc<Domain>, Failure> {
    let resources = Resources::open(&node.options, &booted.config, plan)?;
    // A boot loader's kernel is another file each time; keeping it unpacked would help nobody.
    let kernel = match (&resources.source, config.bootloader.is_empty()) {
        (Source::Kernel { kernel, .. }, true) => {
            Kernel::look(&node.options.paths, kernel, unpack_anew)
        }
        _ => Kernel::Uncached,
    };
    let mut draft = draft(node, config)?;
    draft.replaces = heritage.replaces;
    draft.restart_count = heritage.restart_count;
    make(node, draft, plan, resources, kernel)
}

/// A record of a domain that is to be, under its own or a new UUID.
fn draft(node: &Node, config: &DomainConfig) -> Result<Record, Fault> {
    let uuid = match &config.uuid {
        Some(uuid) => uuid.to_ascii_lowercase(),
        None => random_uuid()?,
    };
    let (boot_id, now) = (node.registry.boot_id(), clock::now());
    Ok(Record::new(
        0,
        boot_id,
        &config.name,
        &uuid,
        config.clone(),
        now,
    ))
}

/// Makes a domain that comes from another host and leaves it paused. It counts as being built until its source has let go.
pub fn arrive(node: &Arc<Node>, image: saved::Image) -> Result<Arc<Domain>, Fault> {
    restore(node, image)
}

/// Makes a domain of an image and leaves it paused.
pub fn restore(node: &Arc<Node>, image: saved::Image) -> Result<Arc<Domain>, Fault> {
    let mut plan = validate::check(&image.config, host::cpus())?;
    saved::check(&image, &plan)?;
    plan.memory_mib = plan.memory_mib.max(image.memory_mib);
    let mut draft = draft(node, &image.config)?;
    draft.domid = image.domid;
    let resources = Resources::of_image(&node.options, image, &plan)?;
    make(node, draft, &plan, resources, Kernel::Uncached).map_err(|failure| failure.fault)
}

fn make(
    node: &Arc<Node>,
    draft: Record,
    plan: &Plan,
    resources: Resources,
    kernel: Kernel,
) -> Result<Arc<Domain>, Failure> {
    let cached = kernel.is_cached();
    let origin = match &resources.source {
        Source::Image(image) if image.stream.is_some() => Origin::Elsewhere,
        // A PC's devices are made as for a new one; what they were is the monitor's business.
        Source::Image(_) if plan.hvm.is_some() => Origin::Fresh,
        Source::Image(_) => Origin::File,
        _ => Origin::Fresh,
    };
    let (name, uuid) = (draft.name.clone(), draft.uuid.clone());
    let domain = node.admit(draft, plan.memory_mib)?;
    let domid = domain.domid();
    // Whoever wants to end the domain meanwhile kills its monitor and waits here.
    let mut life = domain.enter();
    let built = build(node, &domain, plan, resources, kernel).map_err(|fault| Failure {
        fault,
        of_cached_kernel: cached,
    });
    // What a device lacks is no fault of the kernel's.
    let equipped = built.and_then(|()| Ok(equip(node, &domain, origin)?));
    match equipped {
        Ok(()) => {
            info!(
                "domain {name} (id={domid}, uuid={uuid}) built: {} MiB, {} vCPUs",
                plan.memory_mib, plan.vcpus
            );
            watch::start(node, &domain);
            drop(life);
            Ok(domain)
        }
        Err(failure) => {
            info!(
                "domain {name} (id={domid}) could not be built: {}",
                failure.fault.message
            );
            let cancelled = domain.is_dying();
            teardown::teardown(node, &domain, &mut life, false);
            if cancelled {
                let text = format!("Domain '{name}' was destroyed while it was being created");
                return Err(Fault::generic(text).into());
            }
            Err(failure)
        }
    }
}

fn build(
    node: &Arc<Node>,
    domain: &Arc<Domain>,
    plan: &Plan,
    resources: Resources,
    kernel: Kernel,
) -> Result<(), Fault> {
    let record = domain.record();
    let domid = record.domid;
    let run_dir = node.options.paths.domain_run_dir(domid);
    atomic::make_directory(&run_dir, 0o700).map_err(internal)?;
    let control = UnixListener::bind(domain.monitor().socket()).map_err(internal)?;
    let store = node.store.attach(domid).map_err(internal)?;
    let log = resources::open_log(&node.options, &record.name)?;
    let (ready, ready_writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(internal)?;

    let shown = match plan.hvm.as_ref().and_then(hvm::Machine::shown) {
        Some(screen) => Some(devices::vnc::open(Site { node, domain }, 0, screen)?),
        None => None,
    };

    let sound = match &plan.hvm {
        Some(machine) => hvm::sound_file(machine, &record.name)?,
        None => None,
    };
    let fd = |file: &dyn AsRawFd| file.as_raw_fd();
    let spec = DomainSpec {
        version: SPEC_VERSION,
        domid,
        kind: match (&plan.hvm, resources.bios()) {
            (Some(machine), Some(bios)) => {
                let given = hvm::Given {
                    bios_fd: fd(bios),
                    early_fd: resources.early().map(|f| fd(f)),
                    display_bios_fd: resources.display_bios().map(|f| fd(f)),
                    vnc: shown.as_ref().map(|shown| Vnc {
                        socket_fd: fd(&shown.socket),
                        how: shown.spec.clone(),
                    }),
                    sound_fd: sound.as_ref().map(|file| fd(file)),
                };
                Kind::Hvm(Box::new(machine.spec(&record.config, given)))
            }
            _ => match &plan.pvh {
                Some(pvh) => Kind::Pvh(Box::new(pvh.clone())),
                None => Kind::Pv,
            },
        },
        name: record.name.clone(),
        uuid: record.uuid.clone(),
        memory_mib: plan.memory_mib,
        maxmem_mib: plan.maxmem_mib,
        vcpus: plan.vcpus,
        kernel_path: match record.config.kernel.as_str() {
            "" => format!("the kernel that {} chose", record.config.bootloader),
            path => path.to_owned(),
        },
        kernel_fd: resources.kernel().map(|file| kernel.fd(file).as_raw_fd()),
        restore_fd: resources.image().map(|f| fd(f)),
        lazy: matches!(&resources.source, Source::Image(image) if image.lazy),
        stream_fd: resources.stream().map(|f| fd(f)),
        handover_fd: None,
        pages_fd: resources.pages().map(|f| fd(f)),
        unpacked_fd: kernel.unpacked_fd().map(|f| f.as_raw_fd()),
        ramdisk_fd: resources.ramdisk().map(|f| fd(f)),
        cmdline: plan.cmdline.clone(),
        tune_kernel: record.config.kernel_tuning,
        kvm_fd: fd(&resources.kvm),
        ram_fd: resources.ram.as_ref().map(|f| fd(f)),
        control_fd: fd(&control),
        store_fd: Some(fd(&store)),
        log_fd: Some(fd(&log)),
        ready_fd: fd(&ready_writer),
    };
    let spec_file = spec_file(&spec).map_err(internal)?;
    let passed = [
        Some(resources.kvm.as_fd()),
        Some(control.as_fd()),
        Some(ready_writer.as_fd()),
        Some(spec_file.as_fd()),
        Some(store.as_fd()),
        Some(log.as_fd()),
        resources.bios().map(AsFd::as_fd),
        resources.early().map(AsFd::as_fd),
        resources.display_bios().map(AsFd::as_fd),
        shown.as_ref().map(|shown| shown.socket.as_fd()),
        sound.as_ref().map(AsFd::as_fd),
        resources.kernel().map(|file| kernel.fd(file)),
        resources.image().map(AsFd::as_fd),
        resources.stream().map(AsFd::as_fd),
        resources.pages().map(AsFd::as_fd),
        kernel.unpacked_fd(),
        resources.ramdisk().map(AsFd::as_fd),
        resources.ram.as_ref().map(AsFd::as_fd),
    ];
    let passed: Vec<_> = passed.into_iter().flatten().collect();
    let start = Start {
        domid,
        name: &record.name,
        share: share::configured(&record.config),
        program: &node.options.vmm,
        args: &[SPEC_ARGUMENT.to_owned(), spec_file.as_raw_fd().to_string()],
        inherit: &passed,
        output: &log,
        affinity: pinning::common(&plan.pinning),
        pid_file: &node.options.paths.pid_file(domid),
    };
    let process = match &node.options.units {
        Some(units) => units.start(&start),
        None => unit::spawn(start.program, start.args, &start),
    }
    .map_err(|e| {
        Fault::internal(format!(
            "cannot start {}: {e}; is it installed beside xend, on PATH or named by NOXEN_VMM?",
            start.program.display()
        ))
    })?;
    let process = Arc::new(process);
    domain.set_process(process.clone());
    node.save(domain, |r| {
        r.pid = Some(process.pid());
        r.pid_start = Some(process.start());
    })?;
    share::at_build(node, domid, process.pid(), &record.config)?;
    // Ours are to be closed: the monitor's end of the pipe must be the only one, or its death is not seen.
    drop(ready_writer);
    let (nodes, kept) = (resources.nodes(), resources.devices());
    drop((control, store));

    // The monitor builds meanwhile; the guest does not run, and so does not read, before it is unpaused.
    let mut ops = store_nodes::before_build(&record, plan);
    let limit_kib = node.settings().int("console-limit");
    ops.push(store_nodes::console_limit(domid, limit_kib));
    ops.extend(store_nodes::restored(domid, nodes));
    ops.extend(shown.into_iter().flat_map(|shown| shown.nodes));
    node.store.apply(&ops).map_err(internal)?;
    let site = Site { node, domain };
    let mut prepared = kept::prepare(site, kept, nodes)?;
    let log_path = resources::log_path(&node.options, &record.name);
    let limit = match resources.stream() {
        Some(_) => STREAM,
        None => node.options.build_limit,
    };
    wait_ready(&ready, &process, &log_path, limit)?;
    kernel.keep();
    pinning::apply(process.pid(), &plan.pinning)
        .map_err(|e| Fault::internal(format!("the vCPUs cannot be pinned to host CPUs: {e}")))?;
    let status = domain.monitor().status().map_err(internal)?;
    connect(node, domain, &status)?;
    if resources.stream().is_some() {
        let arrived = domain.monitor().arrived().map_err(internal)?;
        let nodes = saved::guests_own(arrived.nodes);
        kept::complete(site, &mut prepared, &nodes, &arrived.connected)?;
    }
    kept::join(site, prepared)
}

/// What a domain is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Fresh,
    File,
    Elsewhere,
}

/// Gives a domain that is built its devices; one that is restored has them. One from elsewhere runs there, still.
fn equip(node: &Node, domain: &Domain, origin: Origin) -> Result<(), Fault> {
    match origin {
        Origin::Fresh => devices::attach_configured(Site { node, domain })?,
        Origin::File => {}
        Origin::Elsewhere => return Ok(()),
    }
    node.save(domain, |r| r.phase = Phase::Running).map(drop)
}

/// Tells the store where the rings of a built domain are.
pub fn connect(node: &Node, domain: &Domain, status: &Status) -> Result<(), Fault> {
    let record = domain.record();
    if status.domid != record.domid {
        return Err(Fault::internal(format!(
            "the monitor on {} says that it runs domain {}, not {}",
            domain.monitor().socket().display(),
            status.domid,
            record.domid
        )));
    }
    node.store
        .apply(&store_nodes::after_build(&record, status))
        .map_err(internal)?;
    node.store
        .introduce(record.domid, status.store_mfn, status.store_port)
        .map_err(internal)
}

/// The spec in a file without a name, at its start.
pub fn spec_file(spec: &DomainSpec) -> io::Result<File> {
    let fd = rustix::fs::memfd_create("domain-spec", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.rewind()?;
    Ok(file)
}

/// A random UUID.
pub fn random_uuid() -> Result<String, Fault> {
    noxen_xend_api::random_uuid().map_err(internal)
}

/// Waits for the monitor's one line: `ready`, or `error: TEXT`.
pub fn wait_ready(
    ready: &OwnedFd,
    process: &Process,
    log: &Path,
    limit: Duration,
) -> Result<(), Fault> {
    let deadline = Instant::now() + limit;
    let mut line = Vec::new();
    let mut reader = File::from(ready.try_clone().map_err(internal)?);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(ready, PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(0) => {
                return Err(Fault::internal(format!(
                    "noxen-vmm did not build the domain within {} s; see {}",
                    limit.as_secs_f64(),
                    log.display()
                )))
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(internal(e)),
        }
        let mut chunk = [0; 4096];
        let n = reader.read(&mut chunk).map_err(internal)?;
        line.extend_from_slice(&chunk[..n]);
        if n == 0 || line.contains(&b'\n') || line.len() > READY_LIMIT {
            break;
        }
    }
    match judge_ready(&line) {
        Some(Ok(())) => Ok(()),
        Some(Err(text)) => Err(Fault::generic(text)),
        None => {
            process.wait(Duration::from_secs(1));
            Err(Fault::internal(format!(
                "noxen-vmm ended before the domain was built; see {}",
                log.display()
            )))
        }
    }
}

/// What a monitor says by that line; nothing: no such thing.
pub fn judge_ready(line: &[u8]) -> Option<Result<(), String>> {
    let text = String::from_utf8_lossy(line);
    let line = text.split('\n').next().unwrap_or("").trim();
    if line == "ready" {
        return Some(Ok(()));
    }
    let reason = line.strip_prefix("error:")?.trim();
    Some(Err(reason.replace(char::is_control, " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judge_ready_tells_success_failure_and_silence() {
        assert_eq!(judge_ready(b"ready\n"), Some(Ok(())));
        assert_eq!(
            judge_ready(b"error: not a kernel\tat all\nmore"),
            Some(Err("not a kernel at all".into()))
        );
        assert_eq!(judge_ready(b""), None);
        assert_eq!(judge_ready(b"Segmentation fault\n"), None);
    }
}
