//! The server's host.

use super::word;
use crate::error::Error;
use crate::session::{list, map, number, text, Record, Session};
use noxen_xend_api::{NodeInfo, Response};

impl Session {
    /// The host's reference.
    pub(super) fn this_host(&mut self) -> Result<String, Error> {
        let hosts = self.references("host.get_all", &[])?;
        let first = hosts.into_iter().next();
        first.ok_or_else(|| self.strange("it knows no host"))
    }

    pub(super) fn host(&mut self) -> Result<Response, Error> {
        let host = self.this_host()?;
        let record = self.record("host.get_record", &[word(host)])?;
        let metrics = self.record("host_metrics.get_record", &[word(text(&record, "metrics"))])?;
        let node = Box::new(node(&record, &metrics));
        Ok(Response::Node { node })
    }

    pub(super) fn dmesg(&mut self, clear: bool) -> Result<Response, Error> {
        let host = self.this_host()?;
        let method = if clear {
            "host.dmesg_clear"
        } else {
            "host.dmesg"
        };
        let text = self.text(method, &[word(host)])?;
        Ok(Response::Text { text })
    }

    /// The server's log.
    pub fn log(&mut self) -> Result<String, Error> {
        let host = self.this_host()?;
        self.text("host.get_log", &[word(host)])
    }
}

fn node(record: &Record, metrics: &Record) -> NodeInfo {
    let software = map(record, "software_version");
    let processors = map(record, "cpu_configuration");
    let told = |name: &str| software.map_or_else(String::new, |all| text(all, name));
    let cpu = |name: &str| processors.map_or_else(String::new, |all| text(all, name));
    let lines = |name: &str| cpu(name).lines().map(str::to_owned).collect();
    let mib = |name| number::<u64>(metrics, name).map_or(0, |bytes| bytes >> 20);
    let count = |text: String| text.parse().unwrap_or(0);
    NodeInfo {
        host: text(record, "name_label"),
        release: told("release"),
        version: told("version"),
        machine: told("machine"),
        nr_cpus: match cpu("nr_cpus") {
            none if none.is_empty() => list(record, "host_CPUs").len().try_into().unwrap_or(0),
            number => count(number),
        },
        nr_nodes: count(cpu("nr_nodes")),
        cores_per_socket: count(cpu("cores_per_socket")),
        threads_per_core: count(cpu("threads_per_core")),
        cpu_mhz: cpu("cpu_mhz").parse().unwrap_or(0),
        hw_caps: cpu("hw_caps"),
        virt_caps: cpu("virt_caps"),
        total_memory: mib("memory_total"),
        free_memory: mib("memory_free"),
        node_to_cpu: lines("node_to_cpu"),
        node_to_memory: lines("node_to_memory"),
        xen_major: count(told("xen_major")),
        xen_minor: count(told("xen_minor")),
        xen_extra: told("xen_extra"),
        xen_caps: told("xen_caps"),
        xen_scheduler: text(record, "sched_policy"),
        xen_pagesize: count(told("xen_pagesize")),
        platform_params: told("platform_params"),
        xen_changeset: told("xen_changeset"),
        cc_compiler: told("cc_compiler"),
        cc_compile_by: told("cc_compile_by"),
        cc_compile_domain: told("cc_compile_domain"),
        cc_compile_date: told("cc_compile_date"),
        xend_config_format: count(told("xend_config_format")),
    }
}
