//! What xend tells about domains, vCPUs and the host.

use serde::{Deserialize, Serialize};

/// Which states `list --state=` asks for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum StateFilter {
    /// Every domain.
    #[default]
    All,
    /// Managed and not running.
    Halted,
    /// Paused.
    Paused,
    /// Running or blocked.
    Running,
    /// Suspended to disk.
    Suspended,
    /// Shut down and preserved.
    Shutdown,
    /// Crashed and preserved.
    Crashed,
    /// None of these.
    Unknown,
}

impl StateFilter {
    /// By the word on the command line.
    pub fn parse(word: &str) -> Option<StateFilter> {
        Some(match word {
            "all" => StateFilter::All,
            "halted" => StateFilter::Halted,
            "paused" => StateFilter::Paused,
            "running" => StateFilter::Running,
            "suspended" => StateFilter::Suspended,
            "shutdown" => StateFilter::Shutdown,
            "crashed" => StateFilter::Crashed,
            "unknown" => StateFilter::Unknown,
            _ => return None,
        })
    }

    /// Does `domain` count?
    pub fn takes(self, domain: &DomainInfo) -> bool {
        let state = &domain.state;
        if domain.domid.is_none() {
            return match self {
                StateFilter::All => true,
                StateFilter::Halted => !domain.suspended,
                StateFilter::Suspended => domain.suspended,
                _ => false,
            };
        }
        match self {
            StateFilter::All => true,
            StateFilter::Paused => state.paused,
            StateFilter::Crashed => state.crashed,
            StateFilter::Shutdown => state.shutdown,
            StateFilter::Running => {
                (state.running || state.blocked || state.letters() == "------") && !state.paused
            }
            StateFilter::Unknown => state.dying,
            StateFilter::Halted | StateFilter::Suspended => false,
        }
    }
}

/// The six state letters.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct DomainState {
    /// `r`: a vCPU is running.
    pub running: bool,
    /// `b`: every vCPU waits for an event.
    pub blocked: bool,
    /// `p`: paused.
    pub paused: bool,
    /// `s`: shut down and kept.
    pub shutdown: bool,
    /// `c`: crashed and kept.
    pub crashed: bool,
    /// `d`: being destroyed.
    pub dying: bool,
}

impl DomainState {
    /// `rbpscd`, each `-` when unset.
    pub fn letters(&self) -> String {
        [
            (self.running, 'r'),
            (self.blocked, 'b'),
            (self.paused, 'p'),
            (self.shutdown, 's'),
            (self.crashed, 'c'),
            (self.dying, 'd'),
        ]
        .map(|(set, letter)| if set { letter } else { '-' })
        .into_iter()
        .collect()
    }

    /// xend's numeric status: 1 paused, 2 running, 4 shutting down, 5 crashed, 6 unknown.
    pub fn status(&self) -> u32 {
        if self.crashed {
            5
        } else if self.shutdown {
            4
        } else if self.paused {
            1
        } else if self.dying {
            6
        } else {
            2
        }
    }
}

/// One domain as `list` shows it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DomainInfo {
    /// Name.
    pub name: String,
    /// Domain id; none for a managed domain that does not run.
    pub domid: Option<u32>,
    /// UUID.
    pub uuid: String,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Most memory ever, MiB.
    pub maxmem_mib: u64,
    /// vCPUs configured.
    pub vcpus: u32,
    /// vCPUs online: column `VCPUs`.
    pub online_vcpus: u32,
    /// State letters.
    pub state: DomainState,
    /// CPU time of all vCPUs, ns: column `Time(s)`.
    pub cpu_time_ns: u64,
    /// When it was built, seconds since the epoch.
    pub start_time: f64,
    /// Seconds since it was built.
    pub uptime_s: u64,
    /// How often it was started again under the same UUID.
    pub restart_count: u32,
    /// `poweroff`, `reboot`, `crash`, .. once it has shut down and is kept.
    pub shutdown_reason: Option<String>,
    /// Process id of its monitor.
    pub pid: Option<u32>,
    /// Pseudo-terminal of its console.
    pub console_tty: Option<String>,
    /// A managed domain that does not run, with its state on disk.
    #[serde(default)]
    pub suspended: bool,
    /// xend keeps its configuration when it does not run.
    #[serde(default)]
    pub managed: bool,
}

impl DomainInfo {
    /// CPU time, seconds.
    pub fn cpu_time_s(&self) -> f64 {
        self.cpu_time_ns as f64 / 1e9
    }
}

/// One vCPU as `vcpu-list` shows it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VcpuInfo {
    /// Index.
    pub vcpu: u32,
    /// The guest has it up.
    pub online: bool,
    /// Runs at the moment.
    pub running: bool,
    /// Waits for an event.
    pub blocked: bool,
    /// Host CPU it ran on last.
    pub cpu: Option<u32>,
    /// CPU time, ns.
    pub cpu_time_ns: u64,
    /// Host CPUs that it may use, ascending.
    pub affinity: Vec<u32>,
}

impl VcpuInfo {
    /// The three letters of column State: `r`/`-`, `b`/`-`, `-`; `--p` when offline.
    pub fn letters(&self) -> String {
        if !self.online {
            return "--p".into();
        }
        let r = if self.running { 'r' } else { '-' };
        let b = if self.blocked { 'b' } else { '-' };
        format!("{r}{b}-")
    }
}

/// The vCPUs of one domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DomainVcpus {
    /// Name.
    pub name: String,
    /// Domain id.
    pub domid: Option<u32>,
    /// Host CPUs that exist.
    pub host_cpus: u32,
    /// vCPUs.
    pub vcpus: Vec<VcpuInfo>,
}

/// Affinity in words: `any cpu`, `no cpus`, or ranges such as `0-3,5`.
pub fn affinity_text(cpus: &[u32], host_cpus: u32) -> String {
    let mut cpus: Vec<u32> = cpus.to_vec();
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() {
        return "no cpus".into();
    }
    if (0..host_cpus).all(|cpu| cpus.binary_search(&cpu).is_ok()) {
        return "any cpu".into();
    }
    ranges(&cpus)
}

/// Ascending numbers as `0-3,5`.
pub fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => parts.push((n, n)),
        }
    }
    parts
        .iter()
        .map(|(a, b)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            }
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// The host as `info` shows it; field order is xm's row order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct NodeInfo {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub release: String,
    /// Kernel version.
    pub version: String,
    /// Machine.
    pub machine: String,
    /// Host CPUs online.
    pub nr_cpus: u32,
    /// NUMA nodes.
    pub nr_nodes: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// Threads of a core.
    pub threads_per_core: u32,
    /// CPU clock, MHz.
    pub cpu_mhz: u64,
    /// CPUID words.
    pub hw_caps: String,
    /// `hvm`, `hvm_directio`; may be empty.
    pub virt_caps: String,
    /// MiB.
    pub total_memory: u64,
    /// MiB that new domains can have.
    pub free_memory: u64,
    /// Node -> CPUs, `node0:0-3`.
    pub node_to_cpu: Vec<String>,
    /// Node -> free MiB, `node0:123`.
    pub node_to_memory: Vec<String>,
    /// Version that guests see.
    pub xen_major: u32,
    /// Version that guests see.
    pub xen_minor: u32,
    /// Rest of the version.
    pub xen_extra: String,
    /// ABIs, each followed by a blank.
    pub xen_caps: String,
    /// Scheduler.
    pub xen_scheduler: String,
    /// Bytes.
    pub xen_pagesize: u32,
    /// `virt_start=0x..`.
    pub platform_params: String,
    /// Revision; may be empty.
    pub xen_changeset: String,
    /// Compiler.
    pub cc_compiler: String,
    /// Who compiled; may be empty.
    pub cc_compile_by: String,
    /// Where; may be empty.
    pub cc_compile_domain: String,
    /// When; may be empty.
    pub cc_compile_date: String,
    /// 4.
    pub xend_config_format: u32,
}

impl NodeInfo {
    /// `(row name, value)` in xm's order; a value may have several lines (`node_to_cpu`) or be empty.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let n = |v: u32| v.to_string();
        vec![
            ("host", self.host.clone()),
            ("release", self.release.clone()),
            ("version", self.version.clone()),
            ("machine", self.machine.clone()),
            ("nr_cpus", n(self.nr_cpus)),
            ("nr_nodes", n(self.nr_nodes)),
            ("cores_per_socket", n(self.cores_per_socket)),
            ("threads_per_core", n(self.threads_per_core)),
            ("cpu_mhz", self.cpu_mhz.to_string()),
            ("hw_caps", self.hw_caps.clone()),
            ("virt_caps", self.virt_caps.clone()),
            ("total_memory", self.total_memory.to_string()),
            ("free_memory", self.free_memory.to_string()),
            ("node_to_cpu", self.node_to_cpu.join("\n")),
            ("node_to_memory", self.node_to_memory.join("\n")),
            ("xen_major", n(self.xen_major)),
            ("xen_minor", n(self.xen_minor)),
            ("xen_extra", self.xen_extra.clone()),
            ("xen_caps", self.xen_caps.clone()),
            ("xen_scheduler", self.xen_scheduler.clone()),
            ("xen_pagesize", n(self.xen_pagesize)),
            ("platform_params", self.platform_params.clone()),
            ("xen_changeset", self.xen_changeset.clone()),
            ("cc_compiler", self.cc_compiler.clone()),
            ("cc_compile_by", self.cc_compile_by.clone()),
            ("cc_compile_domain", self.cc_compile_domain.clone()),
            ("cc_compile_date", self.cc_compile_date.clone()),
            ("xend_config_format", n(self.xend_config_format)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_reads_as_xm_writes_it() {
        assert_eq!(affinity_text(&[0, 1, 2, 3], 4), "any cpu");
        assert_eq!(affinity_text(&[], 4), "no cpus");
        assert_eq!(affinity_text(&[5, 0, 1, 2, 3], 8), "0-3,5");
        assert_eq!(affinity_text(&[7], 8), "7");
    }

    #[test]
    fn state_letters_keep_their_places() {
        let state = DomainState {
            blocked: true,
            dying: true,
            ..DomainState::default()
        };
        assert_eq!(state.letters(), "-b---d");
        assert_eq!(DomainState::default().letters(), "------");
    }

    #[test]
    fn vcpu_offline_shows_p() {
        let mut vcpu = VcpuInfo {
            vcpu: 0,
            online: false,
            running: false,
            blocked: true,
            cpu: None,
            cpu_time_ns: 0,
            affinity: vec![],
        };
        assert_eq!(vcpu.letters(), "--p");
        vcpu.online = true;
        assert_eq!(vcpu.letters(), "-b-");
    }

    #[test]
    fn state_filter_running_takes_a_domain_between_states() {
        let domain = |domid, state| DomainInfo {
            name: "a".into(),
            domid,
            uuid: String::new(),
            memory_mib: 1,
            maxmem_mib: 1,
            vcpus: 1,
            online_vcpus: 1,
            state,
            cpu_time_ns: 0,
            start_time: 0.0,
            uptime_s: 0,
            restart_count: 0,
            shutdown_reason: None,
            pid: None,
            console_tty: None,
            suspended: false,
            managed: false,
        };
        let nothing = DomainState::default();
        assert!(StateFilter::Running.takes(&domain(Some(1), nothing)));
        let paused = DomainState {
            paused: true,
            ..nothing
        };
        assert!(!StateFilter::Running.takes(&domain(Some(1), paused)));
        let halted = domain(None, nothing);
        assert!(StateFilter::Halted.takes(&halted) && StateFilter::All.takes(&halted));
        assert!(!StateFilter::Running.takes(&halted));
        assert!(!StateFilter::Halted.takes(&domain(Some(1), nothing)));
        let mut suspended = domain(None, nothing);
        suspended.suspended = true;
        assert!(StateFilter::Suspended.takes(&suspended) && !StateFilter::Halted.takes(&suspended));
        assert!(!StateFilter::Suspended.takes(&halted));
    }
}
