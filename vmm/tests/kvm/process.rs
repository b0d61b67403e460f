//! The program itself, as xend starts it.

use crate::kernel;
use noxen_control::client::{Client, Line};
use noxen_control::spec::{Kind, SPEC_VERSION};
use noxen_control::{DomainSpec, Reply, Request};
use rustix::io::{fcntl_dupfd_cloexec, fcntl_setfd, FdFlags};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct Started {
    child: Child,
    ready: String,
    socket: PathBuf,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A duplicate above the standard descriptors that a child inherits.
fn inheritable(fd: impl AsFd) -> OwnedFd {
    let copy = fcntl_dupfd_cloexec(fd, 20).unwrap();
    fcntl_setfd(&copy, FdFlags::empty()).unwrap();
    copy
}

/// Starts noxen-vmm with `kernel` and waits for what it says on ready_fd.
fn start(kernel: &[u8], edit: impl FnOnce(&mut DomainSpec)) -> Started {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let socket = std::env::temp_dir().join(format!(
        "noxen-vmm-test-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    ));
    let _ = std::fs::remove_file(&socket);
    let listener = inheritable(UnixListener::bind(&socket).unwrap());
    let kernel = inheritable(kernel::file_of(kernel));
    let node = File::options().read(true).write(true).open("/dev/kvm");
    let node = inheritable(node.unwrap());
    let (reader, writer) = std::io::pipe().unwrap();
    let ready = inheritable(&writer);
    drop(writer);
    let mut spec = DomainSpec {
        version: SPEC_VERSION,
        domid: 5,
        kind: Kind::Pv,
        name: "test".into(),
        uuid: "00112233-4455-6677-8899-aabbccddeeff".into(),
        memory_mib: 64,
        maxmem_mib: 64,
        vcpus: 2,
        kernel_path: "/boot/tiny".into(),
        kernel_fd: Some(kernel.as_raw_fd()),
        restore_fd: None,
        stream_fd: None,
        handover_fd: None,
        pages_fd: None,
        lazy: false,
        unpacked_fd: None,
        ramdisk_fd: None,
        cmdline: "console=hvc0".into(),
        tune_kernel: true,
        kvm_fd: node.as_raw_fd(),
        ram_fd: None,
        control_fd: listener.as_raw_fd(),
        store_fd: None,
        log_fd: None,
        ready_fd: ready.as_raw_fd(),
    };
    edit(&mut spec);
    let text = inheritable(kernel::file_of(&serde_json::to_vec(&spec).unwrap()));
    let child = Command::new(program())
        .arg("--spec-fd")
        .arg(text.as_raw_fd().to_string())
        .spawn()
        .unwrap();
    drop(ready);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    Started {
        child,
        ready: line,
        socket,
    }
}

/// The program as people run it, where the suite has built one: its size is part of what is measured here.
fn program() -> PathBuf {
    match std::env::var_os("NOXEN_BIN") {
        Some(directory) => PathBuf::from(directory).join("noxen-vmm"),
        None => env!("CARGO_BIN_EXE_noxen-vmm").into(),
    }
}

fn connect(started: &Started) -> Client {
    Client::connect(&started.socket, Some(Duration::from_secs(30))).unwrap()
}

/// Private memory of a process without guest memory, KiB (proc(5), smaps).
fn private_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut guest = false;
    let mut total = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Private_Clean:" | "Private_Dirty:") if !guest => {
                total += words.next().unwrap().parse::<u64>().unwrap();
            }
            Some(first) if !first.ends_with(':') => guest = line.contains("memfd:noxen-"),
            _ => {}
        }
    }
    total
}

#[test]
fn domain_from_a_spec_is_ready_paused_and_ends_when_destroyed() {
    let mut started = start(&kernel::tiny(), |_| ());
    assert_eq!(started.ready, "ready\n");
    let mut client = connect(&started);
    let Reply::Status(status) = client.ask(&Request::Status).unwrap() else {
        panic!("no status");
    };
    assert!(status.paused && status.shutdown.is_none());
    assert_eq!((status.domid, status.vcpus.len()), (5, 2));
    assert_eq!(status.pid, started.child.id());
    assert!(std::fs::metadata(&status.console_tty).is_ok());
    assert_eq!(client.ask(&Request::Destroy).unwrap(), Reply::Ok);
    assert!(started.child.wait().unwrap().success());
}

#[test]
fn private_memory_of_a_built_domain_is_below_five_mib() {
    let started = start(&kernel::tiny(), |_| ());
    assert_eq!(started.ready, "ready\n");
    let kib = private_kib(started.child.id());
    println!("private memory: {kib} KiB");
    assert!(kib < 5 << 10, "{kib} KiB");
}

#[test]
fn what_cannot_be_built_is_one_line_on_the_ready_descriptor() {
    let mut started = start(b"MZ, but no kernel", |_| ());
    assert!(
        started.ready.starts_with("error: kernel /boot/tiny: "),
        "{}",
        started.ready
    );
    assert_eq!(started.child.wait().unwrap().code(), Some(1));
    let started = start(&kernel::tiny(), |spec| spec.vcpus = 33_000);
    assert_eq!(
        started.ready,
        "error: vcpus = 33000: a domain has 1 to 32\n"
    );
    let started = start(&kernel::tiny(), |spec| spec.memory_mib = 1 << 40);
    assert!(
        started.ready.starts_with("error: memory = "),
        "{}",
        started.ready
    );
    let started = start(&kernel::tiny(), |spec| spec.ramdisk_fd = spec.kernel_fd);
    assert!(started.ready.starts_with("error: "), "{}", started.ready);
}

#[test]
fn nonsense_on_the_control_socket_is_answered_or_cut_off() {
    use std::io::Write;
    let started = start(&kernel::tiny(), |_| ());
    let mut noisy = std::os::unix::net::UnixStream::connect(&started.socket).unwrap();
    noisy
        .write_all(b"{\"request\":\"fly\"}\nnot json\n")
        .unwrap();
    let mut lines = BufReader::new(noisy.try_clone().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("\"error\""), "{line}");
    }
    let flood = vec![b'x'; 2 << 20];
    // The write or the next read fails: the connection is cut at the longest line.
    let cut = noisy.write_all(&flood).is_err() || matches!(lines.next(), None | Some(Err(_)));
    assert!(cut);
    let reply = connect(&started).ask(&Request::Status).unwrap();
    assert!(matches!(reply, Reply::Status(_)));
}

#[test]
fn subscriber_is_told_of_nothing_until_something_happens() {
    let started = start(&kernel::tiny(), |_| ());
    let mut client = connect(&started);
    assert_eq!(client.ask(&Request::Subscribe).unwrap(), Reply::Ok);
    client.send(&Request::Pause).unwrap();
    let line = client.next_line().unwrap();
    assert!(matches!(line, Line::Reply(Reply::Ok)), "{line:?}");
}
