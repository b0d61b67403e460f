//! A xend of our own for the tests: speaks noxen-xend-api on a socket below a private root, answers as the test says and
//! remembers what it was asked.
#![allow(dead_code, reason = "each test binary uses a part")]

use noxen_xend_api::{
    Answer, DomainInfo, DomainState, DomainVcpus, Fault, NodeInfo, Request, Response, VcpuInfo,
};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A directory that goes away with the value.
pub struct Root(PathBuf);

impl Root {
    pub fn new() -> Root {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("noxen-toolctl-{}-{n}", std::process::id()));
        std::fs::create_dir_all(path.join("var/run/xend")).unwrap();
        Root(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below the root; its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// toolctl with this root and, unless the test says otherwise, no xend program to start.
    pub fn toolctl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toolctl"));
        command
            .env("NOXEN_ROOT", &self.0)
            .env("NOXEN_XEND", "/nonexistent/xend")
            .current_dir(&self.0);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.toolctl().args(args).output().unwrap())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run printed.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Exactly this.
    #[track_caller]
    pub fn is(&self, status: i32, out: &str, err: &str) {
        assert_eq!((self.out.as_str(), self.err.as_str()), (out, err));
        assert_eq!(self.status, Some(status));
    }
}

pub type Asked = Arc<Mutex<Vec<Request>>>;

/// Serves `root`'s socket until the test ends; `answer` gets every request.
pub fn serve(root: &Root, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Asked {
    let listener = UnixListener::bind(root.path().join("var/run/xend/noxen.sock")).unwrap();
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            std::thread::spawn(move || talk(stream, &log, &*answer));
        }
    });
    asked
}

fn talk(stream: UnixStream, log: &Asked, answer: &dyn Fn(&Request) -> Answer) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Request = serde_json::from_str(&line).expect("toolctl speaks the protocol");
        // A client may ask whether we are there at any time; that is no part of what a command does.
        let reply = match request {
            Request::Ping => ok(),
            _ => {
                log.lock().unwrap().push(request.clone());
                answer(&request)
            }
        };
        let mut text = serde_json::to_string(&reply).unwrap();
        text.push('\n');
        if writer.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

pub fn ok() -> Answer {
    Answer::Ok(Response::Ok)
}

pub fn no_such(name: &str) -> Answer {
    Answer::Fault(Fault::invalid_domain(name))
}

pub fn generic(text: &str) -> Answer {
    Answer::Fault(Fault::generic(text))
}

pub fn domain(name: &str, domid: u32) -> DomainInfo {
    DomainInfo {
        name: name.into(),
        domid: Some(domid),
        uuid: format!("5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a{domid:02x}"),
        memory_mib: 192,
        maxmem_mib: 256,
        vcpus: 2,
        online_vcpus: 2,
        state: DomainState {
            blocked: true,
            ..DomainState::default()
        },
        cpu_time_ns: 12_260_000_000,
        start_time: 1_231_150_000.5,
        uptime_s: 3_661,
        restart_count: 0,
        shutdown_reason: None,
        pid: Some(42),
        console_tty: None,
        suspended: false,
        managed: false,
    }
}

pub fn domain0() -> DomainInfo {
    DomainInfo {
        memory_mib: 1024,
        cpu_time_ns: 2_904_170_000_000,
        uptime_s: 90_061,
        state: DomainState {
            running: true,
            ..DomainState::default()
        },
        ..domain("Domain-0", 0)
    }
}

pub fn domains(all: Vec<DomainInfo>) -> Answer {
    Answer::Ok(Response::Domains { domains: all })
}

pub fn one(domain: DomainInfo) -> Answer {
    Answer::Ok(Response::Domain {
        domain: Box::new(domain),
    })
}

pub fn text(text: &str) -> Answer {
    Answer::Ok(Response::Text { text: text.into() })
}

pub fn vcpus() -> Answer {
    let vcpu = |vcpu: u32, online: bool, running: bool, affinity: &[u32]| VcpuInfo {
        vcpu,
        online,
        running,
        blocked: !running,
        cpu: Some(vcpu),
        cpu_time_ns: 1_450_000_000,
        affinity: affinity.to_vec(),
    };
    let domains = vec![
        DomainVcpus {
            name: "Domain-0".into(),
            domid: Some(0),
            host_cpus: 8,
            vcpus: vec![vcpu(0, true, true, &[0, 1, 2, 3, 4, 5, 6, 7])],
        },
        DomainVcpus {
            name: "tenant03".into(),
            domid: Some(3),
            host_cpus: 8,
            vcpus: vec![
                vcpu(0, true, false, &[0, 1, 2, 3, 5]),
                vcpu(1, false, false, &[]),
            ],
        },
    ];
    Answer::Ok(Response::Vcpus { domains })
}

pub fn node() -> Answer {
    let node = NodeInfo {
        host: "alpha".into(),
        release: "6.1.0".into(),
        version: "#1 SMP".into(),
        machine: "x86_64".into(),
        nr_cpus: 4,
        nr_nodes: 2,
        cores_per_socket: 2,
        threads_per_core: 1,
        cpu_mhz: 2400,
        hw_caps: "178bfbff:2fd3fbff".into(),
        total_memory: 8191,
        free_memory: 4000,
        node_to_cpu: vec!["node0:0-1".into(), "node1:2-3".into()],
        node_to_memory: vec!["node0:2000".into(), "node1:2000".into()],
        xen_major: 4,
        xen_minor: 17,
        xen_extra: ".0".into(),
        xen_caps: "xen-3.0-x86_64 ".into(),
        xen_scheduler: "credit".into(),
        xen_pagesize: 4096,
        platform_params: "virt_start=0xffff800000000000".into(),
        cc_compiler: "rustc".into(),
        xend_config_format: 4,
        ..NodeInfo::default()
    };
    Answer::Ok(Response::Node {
        node: Box::new(node),
    })
}
