//! Two samples as lines of text, in xentop's columns.

use super::sample::{Disk, Row, Sample};
use noxen_xend_api::{DiskTraffic, DomainState};
use std::cmp::Ordering;

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub networks: bool,
    pub disks: bool,
    pub vcpus: bool,
    pub repeat_header: bool,
    pub full_name: bool,
    pub sort: Sort,
}

/// Column that the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    State,
    Time,
    Cpu,
    Memory,
    Vcpus,
}

impl Sort {
    /// The column after this one.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Name => Sort::State,
            Sort::State => Sort::Time,
            Sort::Time => Sort::Cpu,
            Sort::Cpu => Sort::Memory,
            Sort::Memory => Sort::Vcpus,
            Sort::Vcpus => Sort::Name,
        }
    }
}

/// Bytes of the unit that disks are counted in.
const SECTOR: u64 = 512;
const HEADER: &str =
    "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS \
                      NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID";

/// Lines that stand above the table on a screen.
pub(super) fn summary(now: &Sample, time: &str) -> Vec<String> {
    let count = |holds: fn(&Row) -> bool| now.rows.iter().filter(|row| holds(row)).count();
    let total = now.node.total_memory * 1024;
    let free = now.node.free_memory * 1024;
    vec![
        format!(
            "xentop - {time}   Xen {}.{}{}",
            now.node.xen_major, now.node.xen_minor, now.node.xen_extra
        ),
        format!(
            "{} domains: {} running, {} blocked, {} paused, {} crashed, {} dying, {} shutdown",
            now.rows.len(),
            count(|row| row.info.state.running),
            count(|row| row.info.state.blocked),
            count(|row| row.info.state.paused),
            count(|row| row.info.state.crashed),
            count(|row| row.info.state.dying),
            count(|row| row.info.state.shutdown),
        ),
        format!(
            "Mem: {total}k total, {}k used, {free}k free    CPUs: {} @ {}MHz",
            total.saturating_sub(free),
            now.node.nr_cpus,
            now.node.cpu_mhz
        ),
    ]
}

/// Heading and rows of `now`; `before` is what CPU(%) is measured against.
pub(super) fn table(now: &Sample, before: Option<&Sample>, view: &View) -> Vec<String> {
    let mut rows: Vec<(&Row, f64)> = now
        .rows
        .iter()
        .map(|row| (row, busy(row, now, before)))
        .collect();
    rows.sort_by(|a, b| order(a, b, view.sort));
    let mut lines = Vec::new();
    for (index, (row, cpu)) in rows.into_iter().enumerate() {
        if index == 0 || view.repeat_header {
            lines.push(HEADER.to_owned());
        }
        lines.push(line(row, cpu, now, view));
        if view.vcpus {
            lines.extend(vcpus(row));
        }
        if view.networks {
            lines.extend(row.networks.iter().map(|network| {
                format!(
                    "Net{:>2} RX: {:>8}bytes TX: {:>8}bytes",
                    network.devid, network.received, network.sent
                )
            }));
        }
        if view.disks {
            lines.extend(row.disks.iter().map(disk));
        }
    }
    lines
}

/// One disk in a line of its own.
fn disk(disk: &Disk) -> String {
    let (major, minor) = (disk.devid >> 8 & 0xffff, disk.devid & 0xff);
    let DiskTraffic {
        reads,
        read_bytes,
        writes,
        written_bytes,
    } = disk.carried.unwrap_or_default();
    format!(
        "VBD BlkBack {} [{major:>2x}:{minor:>2x}]  OO: {:>8}   RD: {reads:>8}   WR: {writes:>8}  RSECT: {:>10}  WSECT: {:>10}",
        disk.devid,
        0,
        read_bytes / SECTOR,
        written_bytes / SECTOR
    )
}

fn order(a: &(&Row, f64), b: &(&Row, f64), sort: Sort) -> Ordering {
    let ((a, a_cpu), (b, b_cpu)) = (a, b);
    let by_column = match sort {
        Sort::Name => Ordering::Equal,
        Sort::State => a.info.state.letters().cmp(&b.info.state.letters()),
        Sort::Time => b.info.cpu_time_ns.cmp(&a.info.cpu_time_ns),
        Sort::Cpu => b_cpu.total_cmp(a_cpu),
        Sort::Memory => b.info.memory_mib.cmp(&a.info.memory_mib),
        Sort::Vcpus => b.info.online_vcpus.cmp(&a.info.online_vcpus),
    };
    by_column.then_with(|| a.info.name.cmp(&b.info.name))
}

/// Per cent of one CPU since `before`.
pub(super) fn busy(row: &Row, now: &Sample, before: Option<&Sample>) -> f64 {
    let Some(before) = before else { return 0.0 };
    let same =
        |other: &&Row| other.info.uuid == row.info.uuid && other.info.domid == row.info.domid;
    let Some(old) = before.rows.iter().find(same) else {
        return 0.0;
    };
    let elapsed = now.at.duration_since(before.at).as_nanos() as f64;
    let used = row.info.cpu_time_ns.saturating_sub(old.info.cpu_time_ns) as f64;
    if elapsed > 0.0 {
        used * 100.0 / elapsed
    } else {
        0.0
    }
}

fn line(row: &Row, cpu: f64, now: &Sample, view: &View) -> String {
    let info = &row.info;
    let total = now.node.total_memory.max(1) as f64;
    let per_cent = |mib: u64| format!("{:.1}", mib as f64 * 100.0 / total);
    let name: String = match view.full_name {
        true => info.name.clone(),
        false => info.name.chars().take(10).collect(),
    };
    let (maximum, of_total) = match info.domid {
        Some(0) => ("no limit".to_owned(), "n/a".to_owned()),
        _ => (
            (info.maxmem_mib * 1024).to_string(),
            per_cent(info.maxmem_mib),
        ),
    };
    let kib = |bytes: fn(&super::sample::Network) -> u64| {
        row.networks.iter().map(bytes).sum::<u64>() / 1024
    };
    let disks = |count: fn(&DiskTraffic) -> u64| {
        let all: Option<Vec<u64>> = row
            .disks
            .iter()
            .map(|disk| disk.carried.as_ref().map(count))
            .collect();
        // A zero would look like idle disks.
        all.map_or_else(|| "-".to_owned(), |all| all.iter().sum::<u64>().to_string())
    };
    format!(
        "{name:>10} {} {:>10.0} {cpu:>6.1} {:>10} {:>6} {maximum:>10} {of_total:>9} {:>5} {:>4} {:>8} {:>8} {:>4} \
         {:>8} {:>8} {:>8} {:>10} {:>10} {:>4}",
        letters(&info.state),
        info.cpu_time_s(),
        info.memory_mib * 1024,
        per_cent(info.memory_mib),
        info.online_vcpus,
        row.networks.len(),
        kib(|network| network.sent),
        kib(|network| network.received),
        row.disks.len(),
        // A back end has a place for each request that fits into its rings, so none ever waits for one.
        disks(|_| 0),
        disks(|disk| disk.reads),
        disks(|disk| disk.writes),
        disks(|disk| disk.read_bytes / SECTOR),
        disks(|disk| disk.written_bytes / SECTOR),
        0,
    )
}

/// The state in xentop's own order.
fn letters(state: &DomainState) -> String {
    [
        (state.dying, 'd'),
        (state.shutdown, 's'),
        (state.blocked, 'b'),
        (state.crashed, 'c'),
        (state.paused, 'p'),
        (state.running, 'r'),
    ]
    .map(|(set, letter)| if set { letter } else { '-' })
    .into_iter()
    .collect()
}

/// vCPUs, five in a line.
fn vcpus(row: &Row) -> Vec<String> {
    let all = row.vcpus.iter().flat_map(|domain| &domain.vcpus);
    let cells: Vec<String> = all
        .filter(|vcpu| vcpu.online)
        .map(|vcpu| {
            format!(
                "{:>2}: {:>10}s",
                vcpu.vcpu,
                vcpu.cpu_time_ns / 1_000_000_000
            )
        })
        .collect();
    let lines = cells.chunks(5).enumerate();
    lines
        .map(|(index, cells)| {
            let head = if index == 0 {
                "VCPUs(sec): "
            } else {
                "            "
            };
            format!("{head}  {}", cells.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Disk, Network};
    use super::*;
    use crate::commands::fake;
    use noxen_xend_api::NodeInfo;
    use std::time::{Duration, Instant};

    fn sample(at: Instant, domains: &[(&str, u32, u64)]) -> Sample {
        Sample {
            at,
            node: NodeInfo {
                total_memory: 1920,
                free_memory: 920,
                nr_cpus: 2,
                cpu_mhz: 2400,
                ..NodeInfo::default()
            },
            rows: domains
                .iter()
                .map(|(name, domid, seconds)| {
                    let mut info = fake::domain(name, *domid);
                    info.cpu_time_ns = seconds * 1_000_000_000;
                    Row {
                        info,
                        networks: vec![Network {
                            devid: 0,
                            sent: 4096,
                            received: 2048,
                        }],
                        disks: Vec::new(),
                        vcpus: Some(fake::vcpus(name, *domid)),
                    }
                })
                .collect(),
        }
    }

    #[test]
    fn rows_stand_under_xentops_heading() {
        let at = Instant::now();
        let before = sample(at, &[("alpha", 1, 10)]);
        let now = sample(at + Duration::from_secs(2), &[("alpha", 1, 11)]);
        let lines = table(&now, Some(&before), &View::default());
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), lines[1].len(), "{lines:#?}");
        assert_eq!(
            lines[1],
            "     alpha --b---         11   50.0     196608   10.0     262144      13.3     2    1        4        2    0        0        0        0          0          0    0"
        );
        let first = table(&now, None, &View::default());
        assert!(first[1].contains(" 0.0 "), "nothing to measure against");
        let mut busy = now.clone();
        let carried = |reads| DiskTraffic {
            reads,
            read_bytes: reads * 4096,
            writes: 1,
            written_bytes: 512,
        };
        let disk = |devid, carried| Disk { devid, carried };
        busy.rows[0].disks = vec![disk(51712, Some(carried(5))), disk(51728, Some(carried(2)))];
        let line = &table(&busy, None, &View::default())[1];
        assert_eq!(line.len(), lines[0].len());
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells[12..], ["2", "0", "7", "2", "56", "2", "0"]);
        busy.rows[0].disks[1].carried = None;
        let line = &table(&busy, None, &View::default())[1];
        assert!(
            line.ends_with("2        -        -        -          -          -    0"),
            "{line}"
        );
    }

    #[test]
    fn rows_are_sorted_by_name_or_the_chosen_column() {
        let at = Instant::now();
        let now = sample(at, &[("b", 1, 1), ("a", 2, 5), ("c", 3, 9)]);
        let names = |sort| -> Vec<String> {
            let view = View {
                sort,
                ..View::default()
            };
            let lines = table(&now, None, &view);
            lines[1..]
                .iter()
                .map(|l| l.split_whitespace().next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(Sort::Name), ["a", "b", "c"]);
        assert_eq!(names(Sort::Time), ["c", "a", "b"]);
    }

    #[test]
    fn vcpus_and_networks_have_lines_below_their_domain() {
        let now = sample(Instant::now(), &[("alpha", 1, 1)]);
        let view = View {
            vcpus: true,
            networks: true,
            ..View::default()
        };
        let lines = table(&now, None, &view);
        assert_eq!(
            lines[2..],
            [
                "VCPUs(sec):    0:         11s",
                "Net 0 RX:     2048bytes TX:     4096bytes"
            ]
        );
    }
}
