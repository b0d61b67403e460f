//! A noxen-vmm without a VM: the same command line, descriptors, control socket and events, and a guest that
//! does what its store nodes say. For xend's tests on hosts without KVM.
//!
//! ```text
//!   kernel image (a text): ok | console (a guest that types "login: ", and "you typed X" for each line X) | error: TEXT | die | wait PATH (build until PATH exists)
//!                          packed TEXT (\x7fELF TEXT is written to the file for the unpacked kernel)
//!                          \x7fELF [error: TEXT]
//!   guest: control/shutdown = poweroff|halt|reboot -> Shutdown event    data/fault = crash|exit
//!          data/hold = DEVID: does not let go of that device
//!          data/pages-wait = PATH: by post-copy no page goes after it before PATH exists
//!          command line alive=PATH: it holds a lock on that file while it runs; PATH.twice is made when another does, too
//!   data/upgrade = new exits|new refuses|old refuses|old exits|new exits late|new refuses late|new exits last|wait PATH: how it is handed over
//!   devices: attached ones are in the state InitWait; what is in the image is copied into the log
//! ```
#![allow(unsafe_code)] // Descriptors arrive as numbers in the spec.

#[path = "fake_image.rs"]
mod saved;

use noxen_control::device::{DeviceId, DeviceSpec, DeviceState, DeviceStatus, DiskCounts};
use noxen_control::fds::{receive, FdQueue};
use noxen_control::framing::LineBuffer;
use noxen_control::handover::{self, Part};
use noxen_control::message::{Moved, Pages, Round, VcpuStatus};
use noxen_control::{DomainSpec, Event, Reply, Request, ShutdownReason, Status};
use noxen_saved_image::device as state;
use noxen_saved_image::Device;
use noxen_xenstore::client::{subtree, Client, Nodes};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Guest {
    paused: bool,
    shutdown: Option<ShutdownReason>,
    subscribers: Vec<UnixStream>,
    devices: Vec<Attached>,
    /// Saved or sent: whether it was paused before.
    standing: Option<bool>,
    held: bool,
    /// It is another monitor's still.
    coming: bool,
    /// Held as long as it is to stand still.
    link: Option<UnixStream>,
    alive: Option<File>,
    /// By post-copy: the connection for pages, and what became of them.
    pages: Option<File>,
    pushed: Option<Result<Pages, String>>,
}

impl Guest {
    /// It is sent no more.
    fn let_go(&mut self) {
        if let Some(link) = self.pages.take() {
            let _ = rustix::net::shutdown(&link, rustix::net::Shutdown::Both);
        }
    }

    /// It runs from now on, or does not.
    fn set_paused(&mut self, paused: bool, spec: &DomainSpec) {
        use rustix::fs::{flock, FlockOperation};
        self.paused = paused;
        let words = spec.cmdline.split_whitespace();
        let Some(path) = words.filter_map(|w| w.strip_prefix("alive=")).next() else {
            return;
        };
        if paused {
            self.alive = None;
        } else if self.alive.is_none() {
            let file = File::create(path).unwrap();
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                File::create(format!("{path}.twice")).unwrap();
            }
            self.alive = Some(file);
        }
    }
}

struct Attached {
    spec: DeviceSpec,
    state: DeviceState,
    fds: Vec<OwnedFd>,
}

struct Machine {
    log: File,
    spec: DomainSpec,
    guest: Mutex<Guest>,
    changed: Condvar,
    tty: String,
    /// Its terminal's master.
    console: Mutex<Option<OwnedFd>>,
    /// What it brought along from another host: nodes, devices in use.
    arrived: Option<saved::Came>,
}

/// A pseudo-terminal with a guest behind it; its name and its master.
fn console() -> (String, OwnedFd) {
    use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let name = name.into_string().unwrap();
    // Held open, so that the master does not hang up between two readers.
    let held = File::options().read(true).write(true).open(&name).unwrap();
    let kept = master.try_clone().unwrap();
    let mut raw = rustix::termios::tcgetattr(&held).unwrap();
    raw.make_raw();
    rustix::termios::tcsetattr(&held, rustix::termios::OptionalActions::Now, &raw).unwrap();
    std::thread::spawn(move || {
        let (_held, mut master) = (held, File::from(master));
        let mut line = Vec::new();
        master.write_all(b"\x1b[1mlogin:\x1b[0m ").unwrap();
        let mut byte = [0];
        while master.read_exact(&mut byte).is_ok() {
            match byte[0] {
                b'\r' => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    write!(master, "\r\nyou typed {text}\r\nlogin: ").unwrap();
                    line.clear();
                }
                0x7f => {
                    line.pop();
                    master.write_all(b"\x08 \x08").unwrap();
                }
                other => {
                    line.push(other);
                    master.write_all(&byte).unwrap();
                }
            }
        }
    });
    (name, kept)
}

fn take<T: From<OwnedFd>>(fd: i32) -> T {
    // SAFETY: each number in the spec was inherited for this process alone and is taken once; there is no safe
    // way to own an inherited descriptor.
    T::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn main() {
    let mut args = std::env::args().skip(1);
    if let [say, path, value] = &args.by_ref().take(3).collect::<Vec<_>>()[..] {
        // A hotplug script speaks.
        assert_eq!(say, "--say");
        return host_store().write(path, value).unwrap();
    }
    let mut args = std::env::args().skip(1);
    assert_eq!(args.next().as_deref(), Some("--spec-fd"));
    let spec_fd: i32 = args.next().unwrap().parse().unwrap();
    let mut text = String::new();
    take::<File>(spec_fd).read_to_string(&mut text).unwrap();
    let spec: DomainSpec = serde_json::from_str(&text).unwrap();
    let mut ready: File = take(spec.ready_fd);
    let listener: UnixListener = take(spec.control_fd);
    let (mut image, mut arrived) = (String::new(), None);
    if let Some(link) = spec.handover_fd {
        return goes_on(spec, ready, listener, take(link));
    }
    match (spec.kernel_fd, spec.restore_fd) {
        (Some(kernel), None) => drop(take::<File>(kernel).read_to_string(&mut image).unwrap()),
        // What the one that wrote it was built of.
        (None, Some(restore)) if spec.stream_fd.is_some() => {
            match saved::receive(take(restore), take(spec.stream_fd.unwrap())) {
                Ok(came) => arrived = Some(came),
                Err(line) => return writeln!(ready, "error: {line}").unwrap(),
            }
            image = "ok".into();
        }
        (None, Some(restore)) => image = saved::read(take(restore)),
        other => panic!("{other:?}"),
    }
    let (word, rest) = image.trim().split_once(' ').unwrap_or((image.trim(), ""));
    // No device of that name: nothing is to be read there.
    let (mut tty, mut terminal) = (String::from("/dev/pts/99"), None);
    match word {
        "ok" => {}
        "console" => {
            let (name, master) = console();
            (tty, terminal) = (name, Some(master));
        }
        "error:" => {
            writeln!(ready, "error: {rest}").unwrap();
            return;
        }
        "packed" => {
            let mut unpacked: File = take(spec.unpacked_fd.unwrap());
            write!(unpacked, "\x7fELF {rest}").unwrap();
        }
        "\x7fELF" => match rest.strip_prefix("error: ") {
            None => {}
            Some(rest) => {
                writeln!(ready, "error: {rest}").unwrap();
                return;
            }
        },
        "wait" => {
            while !std::path::Path::new(rest).exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        _ => std::process::exit(9),
    }
    if let Some(pages) = spec.pages_fd.map(take::<File>) {
        std::thread::spawn(move || saved::pull(pages));
    }
    let store: UnixStream = take(spec.store_fd.unwrap());
    let mut log: File = take(spec.log_fd.unwrap());
    writeln!(log, "domain {} built of {}", spec.domid, image.trim()).unwrap();
    if let noxen_control::spec::Kind::Hvm(hvm) = &spec.kind {
        let text = serde_json::to_string(hvm).unwrap();
        writeln!(log, "machine {text}").unwrap();
    }
    if !spec.tune_kernel {
        writeln!(log, "kernel as its file has it").unwrap();
    }
    let machine = Arc::new(Machine {
        guest: Mutex::new(Guest {
            paused: true,
            ..Guest::default()
        }),
        changed: Condvar::new(),
        arrived,
        tty,
        console: Mutex::new(terminal),
        log,
        spec,
    });
    start_vcpus(machine.spec.vcpus);
    writeln!(ready, "ready").unwrap();
    drop(ready);
    let guest = machine.clone();
    std::thread::spawn(move || run_guest(&guest, store));
    for stream in listener.incoming() {
        let machine = machine.clone();
        std::thread::spawn(move || control(&machine, stream.unwrap()));
    }
}

/// A word of the store about how this upgrade goes.
fn ordered(domid: u32) -> String {
    let path = format!("/local/domain/{domid}/data/upgrade");
    host_store()
        .read_if_present(&path)
        .unwrap()
        .unwrap_or_default()
}

/// Takes a domain over from another monitor. `data/upgrade` has it fail.
fn goes_on(spec: DomainSpec, mut ready: File, listener: UnixListener, link: UnixStream) {
    let order = ordered(spec.domid);
    match order.as_str() {
        "new exits" => std::process::exit(7),
        "new refuses" => return writeln!(ready, "error: not this one").unwrap(),
        _ => {}
    }
    let waiting = Part::Waiting {
        version: handover::VERSION,
    };
    handover::send(&link, &waiting, &[]).unwrap();
    let mut incoming = handover::Incoming::new(&link);
    let (mut tty, mut console, mut devices) = (String::new(), None, Vec::new());
    loop {
        match incoming.part() {
            Ok((Part::Console { .. }, mut fds)) => {
                let fd = fds.remove(0);
                tty = rustix::pty::ptsname(&fd, Vec::new())
                    .unwrap()
                    .into_string()
                    .unwrap();
                console = Some(fd);
            }
            Ok((Part::Device { device, .. }, fds)) => devices.push((*device, fds)),
            Ok((Part::End { .. }, _)) => break,
            Ok(_) => {}
            Err(error) => return writeln!(ready, "error: {error}").unwrap(),
        }
    }
    match order.as_str() {
        "new exits late" => std::process::exit(7),
        "new refuses late" => return writeln!(ready, "error: not like this").unwrap(),
        _ => {}
    }
    let mut log: File = take(spec.log_fd.unwrap());
    writeln!(
        log,
        "domain {} goes on, {} devices",
        spec.domid,
        devices.len()
    )
    .unwrap();
    let attached = devices.into_iter().map(|(spec, fds)| Attached {
        spec,
        state: DeviceState::Connected,
        fds,
    });
    let machine = Arc::new(Machine {
        guest: Mutex::new(Guest {
            paused: true,
            devices: attached.collect(),
            coming: true,
            ..Guest::default()
        }),
        changed: Condvar::new(),
        arrived: None,
        tty,
        console: Mutex::new(console),
        log,
        spec,
    });
    start_vcpus(machine.spec.vcpus);
    let watched = machine.clone();
    std::thread::spawn(move || {
        let _ = (&link).read(&mut [0]);
        if watched.guest.lock().unwrap().coming {
            std::process::exit(1);
        }
    });
    writeln!(ready, "ready").unwrap();
    drop(ready);
    for stream in listener.incoming() {
        let machine = machine.clone();
        std::thread::spawn(move || control(&machine, stream.unwrap()));
    }
}

/// Hands the domain over; what cannot be is an error line.
fn hand_over(machine: &Machine, guest: &Guest, link: UnixStream) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    match handover::Incoming::new(&link).part() {
        Ok((Part::Waiting { .. }, _)) => {}
        other => return Err(format!("the new one says {other:?}").replace('\n', " ")),
    }
    let order = ordered(machine.spec.domid);
    if let Some(path) = order.strip_prefix("wait ") {
        File::create(format!("{path}.reached")).unwrap();
        while !std::path::Path::new(path).exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    match order.as_str() {
        "old refuses" => return Err("the guest stays in a transaction".into()),
        "old exits" => std::process::exit(7),
        _ => {}
    }
    let memory =
        File::from(rustix::fs::memfd_create("m", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    let part = Part::Memory {
        version: handover::VERSION,
        fds: 1,
    };
    handover::send(&link, &part, &[memory.as_fd()]).map_err(failed)?;
    if let Some(console) = &*machine.console.lock().unwrap() {
        handover::send(&link, &Part::Console { fds: 1 }, &[console.as_fd()]).map_err(failed)?;
    }
    for attached in &guest.devices {
        let part = Part::Device {
            device: Box::new(attached.spec.clone()),
            fds: attached.fds.len() as u32,
        };
        let fds: Vec<_> = attached.fds.iter().map(|fd| fd.as_fd()).collect();
        handover::send(&link, &part, &fds).map_err(failed)?;
    }
    let devices = guest.devices.len() as u32;
    handover::send(&link, &Part::End { devices }, &[]).map_err(failed)
}

/// Threads with the names of vCPUs, which each has by now: it gives it to itself.
fn start_vcpus(count: u32) {
    let named = Arc::new(std::sync::Barrier::new(count as usize + 1));
    for vcpu in 0..count {
        let named = named.clone();
        let parks = move || {
            named.wait();
            loop {
                std::thread::park();
            }
        };
        let thread = std::thread::Builder::new().name(format!("vcpu{vcpu}"));
        thread.spawn(parks).unwrap();
    }
    named.wait();
}

/// The guest: acts on its store nodes, but only while it is not paused.
fn run_guest(machine: &Machine, store: UnixStream) {
    let mut store = Client::from_stream(store);
    let _ = guest_loop(machine, &mut store);
}

fn guest_loop(machine: &Machine, store: &mut Client) -> Result<(), Box<dyn std::error::Error>> {
    store.watch("control/shutdown", "c")?;
    store.watch("data/fault", "f")?;
    loop {
        store.next_event(None)?;
        let mut guest = machine.guest.lock().unwrap();
        while guest.paused {
            guest = machine.changed.wait(guest).unwrap();
        }
        drop(guest);
        let asked = store.read_if_present("control/shutdown")?;
        let reason = match asked.as_deref() {
            Some("poweroff" | "halt") => Some(ShutdownReason::Poweroff),
            Some("reboot") => Some(ShutdownReason::Reboot),
            _ => None,
        };
        if let Some(reason) = reason {
            store.write("control/shutdown", "")?;
            stop(machine, reason);
        }
        match store.read_if_present("data/fault")?.as_deref() {
            Some("crash") => stop(machine, ShutdownReason::Crash),
            Some("exit") => std::process::exit(7),
            Some(other) => {
                if let Some(wish) = other.strip_prefix("wish ") {
                    let wish = serde_json::from_str(wish)?;
                    let wished = Event::Wished { number: 1, wish };
                    for subscriber in &machine.guest.lock().unwrap().subscribers {
                        tell(subscriber, &wished);
                    }
                }
                if let Some(seconds) = other.strip_prefix("clock ") {
                    let seconds = seconds.parse()?;
                    for subscriber in &machine.guest.lock().unwrap().subscribers {
                        tell(subscriber, &Event::ClockMoved { seconds });
                    }
                }
            }
            None => {}
        }
    }
}

fn stop(machine: &Machine, reason: ShutdownReason) {
    let mut guest = machine.guest.lock().unwrap();
    if guest.shutdown.replace(reason).is_none() {
        for subscriber in &guest.subscribers {
            tell(subscriber, &shutdown_event(reason));
        }
    }
}

fn shutdown_event(reason: ShutdownReason) -> Event {
    Event::Shutdown {
        reason,
        detail: None,
    }
}

fn tell(mut stream: &UnixStream, line: &impl serde::Serialize) {
    let mut text = serde_json::to_vec(line).unwrap();
    text.push(b'\n');
    // A peer that has gone is its own affair.
    let _ = stream.write_all(&text);
}

fn control(machine: &Arc<Machine>, stream: UnixStream) {
    let (mut lines, mut fds) = (LineBuffer::new(1 << 20), FdQueue::default());
    let mut asked = false;
    loop {
        let mut bytes = [0; 4096];
        match receive(&stream, &mut bytes, &mut fds) {
            Ok(0) | Err(_) => break,
            Ok(n) => lines.push(&bytes[..n]).unwrap(),
        }
        while let Some(line) = lines.next_line() {
            answer(machine, &stream, &line, &mut fds);
            let guest = machine.guest.lock().unwrap();
            asked |= guest.standing.is_some() && is_save(&line);
        }
    }
    let mut guest = machine.guest.lock().unwrap();
    if asked && !guest.held {
        if let Some(before) = guest.standing.take() {
            guest.link = None;
            guest.let_go();
            guest.set_paused(before, &machine.spec);
            machine.changed.notify_all();
        }
    }
}

fn is_save(line: &[u8]) -> bool {
    let request = serde_json::from_slice(line);
    matches!(
        request,
        Ok(Request::Save { .. } | Request::Move { .. } | Request::HandOver { .. })
    )
}

/// Sends pages after the domain, from a thread.
fn push(machine: &Arc<Machine>, link: File, token: String, wait: Option<String>) {
    let machine = machine.clone();
    std::thread::spawn(move || {
        let done = saved::push(&link, &token, wait).map(|()| Pages {
            bytes: 4096,
            asked: 1,
            micros: 1,
        });
        let message = |e| format!("the connection for pages failed: {e}");
        machine.guest.lock().unwrap().pushed = Some(done.map_err(message));
        machine.changed.notify_all();
    });
}

fn answer(machine: &Arc<Machine>, stream: &UnixStream, line: &[u8], fds: &mut FdQueue) {
    {
        let request: Request = serde_json::from_slice(line).unwrap();
        let mut guest = machine.guest.lock().unwrap();
        match request {
            Request::Status => {
                let status = status(machine, &guest);
                tell(stream, &Reply::Status(Box::new(status)));
            }
            Request::Pause => {
                guest.set_paused(true, &machine.spec);
                tell(stream, &Reply::Ok);
            }
            Request::Unpause => {
                guest.standing = None;
                guest.held = false;
                guest.link = None;
                guest.let_go();
                guest.set_paused(false, &machine.spec);
                machine.changed.notify_all();
                tell(stream, &Reply::Ok);
            }
            Request::SetMaxMemory { kib } => {
                let most = machine.spec.maxmem_mib * 1024;
                let reply = match kib <= most {
                    true => Reply::Ok,
                    false => Reply::Error {
                        message: format!("at most {most} KiB"),
                    },
                };
                tell(stream, &reply);
            }
            Request::Nmi { vcpu } => {
                let message = format!("no NMI for vCPU {vcpu}");
                tell(stream, &Reply::Error { message });
            }
            Request::Init { vcpu } => {
                println!("init {vcpu}");
                tell(stream, &Reply::Ok);
            }
            Request::SetVcpus { present } => {
                println!("vcpus {present:#b}");
                tell(stream, &Reply::Ok);
            }
            Request::Press { button } => {
                println!("press {button:?}");
                tell(stream, &Reply::Ok);
            }
            Request::Destroy => {
                tell(stream, &Reply::Ok);
                std::process::exit(0);
            }
            Request::ConsoleLog => {
                let text = format!("hello from {}\n", machine.spec.name);
                tell(stream, &Reply::Text { text });
            }
            Request::Subscribe => {
                tell(stream, &Reply::Ok);
                if let Some(reason) = guest.shutdown {
                    tell(stream, &shutdown_event(reason));
                }
                guest.subscribers.push(stream.try_clone().unwrap());
            }
            Request::Save {
                config,
                directories,
                how,
                fds: count,
            } => {
                if !how.is_plain() {
                    println!("save {how:?}");
                }
                let file = File::from(fds.take(count).unwrap().remove(0));
                let home = format!("/local/domain/{}", machine.spec.domid);
                let nodes = subtree(&mut host_store(), &home, &directories).unwrap();
                let devices = guest.devices.iter().map(saved_device).collect();
                let reply = match saved::write(file, &machine.spec, &config, nodes, devices) {
                    Ok(()) => {
                        guest.standing = Some(guest.paused);
                        guest.set_paused(true, &machine.spec);
                        Reply::Saved { bytes: 4096 }
                    }
                    Err(error) => Reply::Error {
                        message: error.to_string(),
                    },
                };
                tell(stream, &reply);
            }
            Request::DumpCore { live, fds: count } => {
                let mut file = File::from(fds.take(count).unwrap().remove(0));
                let (name, shutdown) = (&machine.spec.name, guest.shutdown);
                let written = write!(file, "core of {name}, live {live}, {shutdown:?}");
                let reply = match written {
                    Ok(()) => Reply::Saved { bytes: 4096 },
                    Err(error) => Reply::Error {
                        message: error.to_string(),
                    },
                };
                tell(stream, &reply);
            }
            Request::AttachDevice { device, fds: count } => {
                let fds = fds.take(count).unwrap();
                let reply = attach(machine, &mut guest, device, fds);
                tell(stream, &reply);
            }
            Request::DetachDevice {
                class,
                devid,
                force,
            } => {
                tell(stream, &Reply::Ok);
                detach(machine, &mut guest, DeviceId { class, devid }, force);
            }
            Request::Devices => {
                let devices = guest.devices.iter().map(|attached| DeviceStatus {
                    id: attached.spec.id(),
                    state: attached.state,
                    reason: None,
                    disk: disk(&attached.spec),
                });
                let devices = devices.collect();
                tell(stream, &Reply::Devices { devices });
            }
            Request::Move { how, fds: count } => {
                let mut ways = fds.take(count).unwrap();
                let out = File::from(ways.remove(0));
                let home = format!("/local/domain/{}", machine.spec.domid);
                let nodes = subtree(&mut host_store(), &home, &how.directories).unwrap();
                let wait = nodes.iter().find(|(path, _)| path == "data/pages-wait");
                let wait = wait.map(|(_, path)| path.clone());
                let devices = guest.devices.iter().map(saved_device).collect();
                let reply = match saved::send(out, &machine.spec, &how, nodes, devices) {
                    Ok(()) => {
                        guest.pushed = None;
                        if how.postcopy {
                            let link = File::from(ways.remove(0));
                            guest.pages = Some(link.try_clone().unwrap());
                            push(machine, link, how.token, wait);
                        }
                        guest.standing = Some(guest.paused);
                        guest.set_paused(true, &machine.spec);
                        // As if its guest wrote faster than was sent.
                        let round = Round {
                            bytes: 4096,
                            micros: 1,
                            written: 4096,
                            throttle: if how.unthrottled { 0 } else { 20 },
                        };
                        let ledger = Moved {
                            rounds: vec![round],
                            ..Moved::default()
                        };
                        Reply::Moved { ledger }
                    }
                    Err(error) => Reply::Error {
                        message: format!("the connection failed: {error}"),
                    },
                };
                tell(stream, &reply);
            }
            Request::HandOver { fds: count, .. } => {
                let link = UnixStream::from(fds.take(count).unwrap().remove(0));
                let kept = link.try_clone().unwrap();
                let reply = match hand_over(machine, &guest, link) {
                    Ok(()) => {
                        guest.standing = Some(guest.paused);
                        guest.set_paused(true, &machine.spec);
                        guest.link = Some(kept);
                        Reply::Saved { bytes: 1 }
                    }
                    Err(message) => Reply::Error { message },
                };
                tell(stream, &reply);
            }
            Request::Pages => {
                while guest.pushed.is_none() {
                    guest = machine.changed.wait(guest).unwrap();
                }
                let reply = match guest.pushed.clone().unwrap() {
                    Ok(pages) => Reply::Pages { pages },
                    Err(message) => Reply::Error { message },
                };
                tell(stream, &reply);
            }
            Request::TakeOver { fds: count } => {
                let store = fds.take(count).unwrap().pop();
                let order = ordered(machine.spec.domid);
                if order == "new exits last" {
                    std::process::exit(7);
                }
                let reply = match (guest.coming, store) {
                    (false, _) => Reply::Ok,
                    (true, None) => Reply::Error {
                        message: "no store".into(),
                    },
                    (true, Some(store)) => {
                        guest.coming = false;
                        let (machine, store) = (machine.clone(), UnixStream::from(store));
                        std::thread::spawn(move || run_guest(&machine, store));
                        Reply::Ok
                    }
                };
                tell(stream, &reply);
            }
            Request::Hold => {
                guest.held = true;
                tell(stream, &Reply::Ok);
            }
            Request::Screendump { fds: count } => {
                let mut file = File::from(fds.take(count).unwrap().remove(0));
                file.write_all(b"P6\n1 1\n255\nabc").unwrap();
                tell(stream, &Reply::Ok);
            }
            Request::Fulfilled { number, refusal } => {
                let line = refusal.unwrap_or_else(|| "done".into());
                host_store()
                    .write(
                        &format!("/local/domain/{}/data/fulfilled", machine.spec.domid),
                        &format!("{number} {line}"),
                    )
                    .unwrap();
                tell(stream, &Reply::Ok);
            }
            Request::Arrived => {
                let (nodes, connected) = machine.arrived.clone().unwrap();
                tell(stream, &Reply::Arrived { nodes, connected });
            }
            Request::Counters
            | Request::Registers
            | Request::Screen { .. }
            | Request::Pixels { .. }
            | Request::Input { .. } => {
                let message = "the fake monitor has none".into();
                tell(stream, &Reply::Error { message });
            }
        }
    }
}

/// A connection of the back end's own, with domain 0's rights.
fn host_store() -> Client {
    Client::connect().unwrap()
}

fn attach(machine: &Machine, guest: &mut Guest, spec: DeviceSpec, fds: Vec<OwnedFd>) -> Reply {
    let (frontend, backend) = spec.paths();
    let mut store = host_store();
    let state = store.read(&format!("{frontend}/state")).unwrap();
    let used = machine.spec.restore_fd.is_some() && state == "4";
    assert!(used || state == "1", "{state}");
    assert_eq!(store.read(&format!("{backend}/state")).unwrap(), "1");
    let mut log = &machine.log;
    if let DeviceSpec::Vbd { image, .. } = &spec {
        let mut text = String::new();
        // Opened anew, so that it may be read without regard to O_DIRECT.
        let file = File::open(format!("/proc/self/fd/{}", fds[0].as_raw_fd())).unwrap();
        file.take(16).read_to_string(&mut text).unwrap();
        if text == "refuse" {
            let message = "the image is not of its format".into();
            return Reply::Error { message };
        }
        writeln!(log, "image {} begins with {text:?}", image.path).unwrap();
    }
    writeln!(log, "attached {}", serde_json::to_string(&spec).unwrap()).unwrap();
    let (word, state) = match used {
        true => ("4", DeviceState::Connected),
        false => ("2", DeviceState::Waiting),
    };
    store.write(&format!("{backend}/state"), word).unwrap();
    let id = spec.id();
    guest.devices.push(Attached { spec, state, fds });
    let event = Event::DeviceState {
        class: id.class,
        devid: id.devid,
        state,
        reason: None,
    };
    for subscriber in &guest.subscribers {
        tell(subscriber, &event);
    }
    Reply::Ok
}

/// A device as an image has it; what its front end says decides whether it is in use.
fn saved_device(attached: &Attached) -> Device {
    let (frontend, _) = attached.spec.paths();
    let state = host_store().read(&format!("{frontend}/state")).unwrap();
    let connected = state == "4";
    match &attached.spec {
        DeviceSpec::Vbd { devid, .. } => Device::Vbd(state::Vbd {
            devid: *devid,
            connected,
        }),
        DeviceSpec::Vif { devid, mac, .. } => Device::Vif(state::Vif {
            devid: *devid,
            connected,
            mac: mac.clone(),
            multicast: Vec::new(),
        }),
        DeviceSpec::Vfb { devid, .. } => Device::Vfb(state::Vfb {
            devid: *devid,
            geometry: None,
        }),
        DeviceSpec::Vkbd { devid, .. } => Device::Vkbd(state::Vkbd {
            devid: *devid,
            connected,
            last: None,
            pending: Vec::new(),
        }),
    }
}

fn detach(machine: &Machine, guest: &mut Guest, id: DeviceId, force: bool) {
    let at = guest.devices.iter().position(|a| a.spec.id() == id);
    let Some(at) = at else { return };
    let mut store = host_store();
    let backend = guest.devices[at].spec.paths().1.to_owned();
    assert_eq!(store.read(&format!("{backend}/online")).unwrap(), "0");
    let hold = format!("/local/domain/{}/data/hold", machine.spec.domid);
    let held = store.read_if_present(&hold).unwrap();
    if !force && held == Some(id.devid.to_string()) {
        guest.devices[at].state = DeviceState::Closing;
        return;
    }
    guest.devices.remove(at);
    let event = Event::DeviceState {
        class: id.class,
        devid: id.devid,
        state: DeviceState::Closed,
        reason: None,
    };
    for subscriber in &guest.subscribers {
        tell(subscriber, &event);
    }
}

fn status(machine: &Machine, guest: &Guest) -> Status {
    let spec = &machine.spec;
    let vcpu = VcpuStatus {
        online: true,
        blocked: true,
        cpu_ns: 1_500_000_000,
        cpu: Some(0),
    };
    Status {
        domid: spec.domid,
        pid: std::process::id(),
        paused: guest.paused,
        shutdown: guest.shutdown,
        crash_reason: None,
        vcpus: vec![vcpu; spec.vcpus as usize],
        memory_kib: spec.memory_mib * 1024,
        cpu_ns: 1_500_000_000 * u64::from(spec.vcpus),
        uptime_s: 1,
        console_tty: machine.tty.clone(),
        store_mfn: 11,
        store_port: 1,
        console_mfn: 12,
        console_port: 2,
        saving: None,
    }
}

/// Every disk here has carried the same.
fn disk(spec: &DeviceSpec) -> Option<DiskCounts> {
    match spec {
        DeviceSpec::Vbd { .. } => Some(DiskCounts {
            reads: 3,
            read_bytes: 3 << 10,
            writes: 2,
            written_bytes: 2 << 10,
        }),
        _ => None,
    }
}
