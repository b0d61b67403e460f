//! The host: what `info` tells, and how much memory is left.
//!
//! Memory is counted as a hypervisor would: a guest owns all of its memory from the start, although Linux gives it
//! page by page. So free = MemAvailable - sum over guests of (their memory - what is resident of it).

use crate::domain::Domain;
use noxen_control::kvm::HostCpu;
use noxen_xend_api::{info, NodeInfo};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Xen version that guests are told (XENVER_version), the ABI that the monitor implements.
pub const XEN_MAJOR: u32 = 4;
/// See [`XEN_MAJOR`].
pub const XEN_MINOR: u32 = 17;
/// What guests are told after the version (XENVER_extraversion).
const XEN_EXTRA: &str = ".0-noxen";
/// ABIs that domains can have here; each is followed by a blank, as Xen prints them.
const XEN_CAPS: &str = "xen-3.0-x86_64 xen-3.0-x86_32p ";
/// Where the hypervisor's part of a 64-bit guest's address space starts.
const PLATFORM_PARAMS: &str = "virt_start=0xffff800000000000";

fn parse_meminfo(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The host's memory, MiB.
pub fn total_memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    parse_meminfo(&text, "MemTotal") / 1024
}

/// Who has the host's memory, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryAccount {
    total: u64,
    /// What Linux could give at once.
    available: u64,
    /// What the guests own.
    owned: u64,
    /// What the guests own but do not have yet.
    promised: u64,
}

impl MemoryAccount {
    /// As it is now, but what each of `domains` has resident may be as it was `age` ago: it is the one part whose cost
    /// grows with the number of domains.
    pub fn of<'a>(domains: impl IntoIterator<Item = &'a Arc<Domain>>, age: Duration) -> Self {
        MemoryAccount::with(domains, |domain| domain.resident_kib(age, resident_kib))
    }

    /// As if no guest had any of its memory yet: there is at least that much free, and no guest is looked at.
    pub fn at_worst<'a>(domains: impl IntoIterator<Item = &'a Arc<Domain>>) -> Self {
        MemoryAccount::with(domains, |_| 0)
    }

    fn with<'a>(
        domains: impl IntoIterator<Item = &'a Arc<Domain>>,
        resident: impl Fn(&Domain) -> u64,
    ) -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mut account = MemoryAccount {
            total: parse_meminfo(&text, "MemTotal"),
            available: parse_meminfo(&text, "MemAvailable"),
            ..MemoryAccount::default()
        };
        for domain in domains {
            let own = domain.look(|record| record.config.memory.max(0).unsigned_abs() * 1024);
            account.owned += own;
            account.promised += own.saturating_sub(resident(domain));
        }
        account
    }

    /// MiB that a new domain can have.
    pub fn free_mib(&self) -> u64 {
        self.available.saturating_sub(self.promised) / 1024
    }

    /// MiB that domain 0 is listed with: what neither is free nor belongs to a guest.
    pub fn domain_0_mib(&self) -> u64 {
        (self.total / 1024).saturating_sub(self.free_mib() + self.owned / 1024)
    }
}

/// Shared memory that a process has resident, KiB: a monitor's is its guest's RAM.
fn resident_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_meminfo(&text, "RssShmem")
}

/// Host CPUs online.
pub fn cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = count_list(text.trim());
    if count > 0 {
        return count;
    }
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// How many numbers `0-3,5` has.
fn count_list(text: &str) -> u32 {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

/// One online vCPU of domain 0 is one host CPU; its time, ns, guests' time left out.
pub fn cpu_times_ns() -> Vec<u64> {
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
        .map(|line| busy_ticks(line) * tick_ns)
        .collect()
}

/// user + nice + system + irq + softirq of a /proc/stat line, less guest and guest_nice (part of user, nice).
fn busy_ticks(line: &str) -> u64 {
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|f| f.parse().ok())
        .collect();
    let at = |i: usize| fields.get(i).copied().unwrap_or(0);
    (at(0) + at(1) + at(2) + at(5) + at(6)).saturating_sub(at(8) + at(9))
}

/// Seconds since the host booted.
pub fn uptime_s() -> u64 {
    fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split('.').next()?.parse().ok())
        .unwrap_or(0)
}

/// What `xm info` prints.
pub fn node_info(domains: &[Arc<Domain>]) -> NodeInfo {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let (cores, threads) = topology();
    NodeInfo {
        host: text(uname.nodename()),
        release: text(uname.release()),
        version: text(uname.version()),
        machine: text(uname.machine()),
        nr_cpus: cpus(),
        nr_nodes: nodes().len().max(1) as u32,
        cores_per_socket: cores,
        threads_per_core: threads,
        cpu_mhz: cpu_mhz(),
        hw_caps: hw_caps(),
        virt_caps: virt_caps(),
        total_memory: total_memory_mib(),
        free_memory: MemoryAccount::of(domains, Duration::ZERO).free_mib(),
        node_to_cpu: node_to_cpu(),
        node_to_memory: node_to_memory(),
        xen_major: XEN_MAJOR,
        xen_minor: XEN_MINOR,
        xen_extra: XEN_EXTRA.into(),
        xen_caps: XEN_CAPS.into(),
        // vCPUs are threads of the host; its own scheduler runs them.
        xen_scheduler: "linux".into(),
        xen_pagesize: 4096,
        platform_params: PLATFORM_PARAMS.into(),
        xen_changeset: concat!("noxen ", env!("CARGO_PKG_VERSION")).into(),
        cc_compiler: "rustc".into(),
        cc_compile_by: "noxen".into(),
        cc_compile_domain: String::new(),
        cc_compile_date: String::new(),
        xend_config_format: 4,
    }
}

fn cpuinfo(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

fn cpu_mhz() -> u64 {
    cpuinfo("cpu MHz")
        .and_then(|v| v.parse::<f64>().ok())
        .map_or(0, |mhz| mhz.round() as u64)
}

/// Cores of a socket, threads of a core.
fn topology() -> (u32, u32) {
    let cpu0 = Path::new("/sys/devices/system/cpu/cpu0/topology");
    let threads = fs::read_to_string(cpu0.join("thread_siblings_list"))
        .map_or(1, |text| count_list(text.trim()).max(1));
    let package = fs::read_to_string(cpu0.join("core_siblings_list"))
        .map_or(threads, |text| count_list(text.trim()).max(1));
    ((package / threads).max(1), threads)
}

/// CPUID words in the order of Xen's boot_cpu_data: 1.EDX, 80000001.EDX, -, -, 1.ECX, -, 80000001.ECX, 7.EBX.
fn hw_caps() -> String {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    let one = __cpuid(1);
    let extended = if __cpuid(0x8000_0000).eax > 0x8000_0000 {
        let leaf = __cpuid(0x8000_0001);
        (leaf.edx, leaf.ecx)
    } else {
        (0, 0)
    };
    let seven = if __cpuid(0).eax >= 7 {
        __cpuid_count(7, 0).ebx
    } else {
        0
    };
    [one.edx, extended.0, 0, 0, one.ecx, 0, extended.1, seven]
        .map(|word| format!("{word:08x}"))
        .join(":")
}

/// What the CPU and the IOMMU offer, whether or not this version makes use of it.
fn virt_caps() -> String {
    let mut caps = Vec::new();
    if HostCpu::read().can_run_guests() {
        caps.push("hvm");
    }
    let groups = fs::read_dir("/sys/kernel/iommu_groups");
    if groups.is_ok_and(|mut entries| entries.next().is_some()) {
        caps.push("hvm_directio");
    }
    caps.join(" ")
}

fn nodes() -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("node")?.parse().ok())
        .collect()
}

fn node_to_cpu() -> Vec<String> {
    let nodes = nodes();
    if nodes.is_empty() {
        let all: Vec<u32> = (0..cpus()).collect();
        return vec![format!("node0:{}", info::ranges(&all))];
    }
    nodes
        .into_iter()
        .map(|node| {
            let path = format!("/sys/devices/system/node/node{node}/cpulist");
            let list = fs::read_to_string(path).unwrap_or_default();
            match list.trim() {
                "" => format!("node{node}:no cpus"),
                list => format!("node{node}:{list}"),
            }
        })
        .collect()
}

fn node_to_memory() -> Vec<String> {
    let nodes = nodes();
    if nodes.is_empty() {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        return vec![format!("node0:{}", parse_meminfo(&text, "MemFree") / 1024)];
    }
    nodes
        .into_iter()
        .map(|node| {
            let path = format!("/sys/devices/system/node/node{node}/meminfo");
            let text = fs::read_to_string(path).unwrap_or_default();
            let kib = parse_meminfo(&text, &format!("Node {node} MemFree"));
            format!("node{node}:{}", kib / 1024)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_of_both_kinds_parse() {
        let text = "MemTotal:       24683724 kB\nMemAvailable:   123 kB\n";
        assert_eq!(parse_meminfo(text, "MemTotal"), 24_683_724);
        assert_eq!(parse_meminfo(text, "Mem"), 0);
        let node = "Node 0 MemTotal:  10 kB\nNode 0 MemFree:  2048 kB\n";
        assert_eq!(parse_meminfo(node, "Node 0 MemFree"), 2048);
    }

    #[test]
    fn busy_ticks_leave_guests_out() {
        assert_eq!(busy_ticks("cpu0 100 10 20 1000 5 3 2 0 60 4"), 71);
    }

    #[test]
    fn count_list_counts_ranges_and_singles() {
        assert_eq!(count_list("0-3,5,7-8"), 7);
        assert_eq!(count_list(""), 0);
        assert_eq!(count_list("3-1"), 0);
    }

    #[test]
    fn node_info_of_this_host_adds_up_as_ganeti_computes() {
        let node = node_info(&[]);
        let domain_0 = MemoryAccount::of(&[], Duration::ZERO).domain_0_mib();
        assert!(node.total_memory > 0 && node.nr_cpus > 0);
        assert!(node.total_memory >= node.free_memory);
        assert!(domain_0 <= node.total_memory);
        assert_eq!(node.hw_caps.len(), 8 * 9 - 1);
    }
}
