//! The nodes that a domain has in the store (xm-reference: "xenstore layout").
//!
//! ```text
//!   /vm/UUID/..             n0 rN   configuration, restart count; the guest may read
//!   /local/domain/N/..      n0 rN   identity, console and store rings, memory, CPUs: the guest may read
//!   /local/domain/N/{control,device,data,drivers,feature,attr,error}
//!                           nN      the guest's own to write
//! ```
//! Only these are the guest's: a guest that owned its whole directory could point `console/tty` at any file
//! of the host (libxl draws the same line).

use crate::registry::Record;
use crate::store::StoreOp;
use crate::validate::Plan;
use noxen_control::Status;

/// Subdirectories of /local/domain/N that belong to the guest.
pub const GUEST_DIRECTORIES: [&str; 7] = [
    "control", "device", "data", "drivers", "feature", "attr", "error",
];

/// Store home of a domain.
pub fn home(domid: u32) -> String {
    format!("/local/domain/{domid}")
}

fn write(path: String, value: impl ToString) -> StoreOp {
    StoreOp::Write(path, value.to_string())
}

/// How much console output a console daemon may hold for a domain: the setting is in KiB, the node in bytes.
pub fn console_limit(domid: u32, kib: i64) -> StoreOp {
    let bytes = kib.max(0).saturating_mul(1024);
    write(format!("{}/console/limit", home(domid)), bytes)
}

/// Everything that is known of a new domain before its monitor has built it.
pub fn before_build(record: &Record, plan: &Plan) -> Vec<StoreOp> {
    let (domid, vm, home) = (record.domid, &record.vm_path, home(record.domid));
    let readable = |path: String| StoreOp::Perms(path, format!("n0 r{domid}"));
    let c = &record.config;
    let mut ops = vec![
        StoreOp::Mkdir(vm.clone()),
        readable(vm.clone()),
        write(format!("{vm}/uuid"), &record.uuid),
        write(format!("{vm}/name"), &record.name),
        write(format!("{vm}/vcpus"), plan.vcpus),
        write(format!("{vm}/vcpu_avail"), plan.vcpu_avail),
        write(format!("{vm}/memory"), plan.memory_mib),
        write(format!("{vm}/maxmem"), plan.maxmem_mib),
        write(format!("{vm}/shadow_memory"), 0),
        write(format!("{vm}/start_time"), record.start_time),
        write(format!("{vm}/on_poweroff"), &c.on_poweroff),
        write(format!("{vm}/on_reboot"), &c.on_reboot),
        write(format!("{vm}/on_crash"), &c.on_crash),
        write(format!("{vm}/on_xend_start"), &c.on_xend_start),
        write(format!("{vm}/on_xend_stop"), &c.on_xend_stop),
        write(format!("{vm}/image/ostype"), &c.builder),
        write(format!("{vm}/image/kernel"), &c.kernel),
        write(format!("{vm}/image/cmdline"), &plan.cmdline),
        write(format!("{vm}/image/ramdisk"), &c.ramdisk),
        write(format!("{vm}/xend/restart_count"), record.restart_count),
        write(format!("{vm}/rtc/timeoffset"), c.rtc_timeoffset),
        StoreOp::Remove(home.clone()),
        StoreOp::Mkdir(home.clone()),
        readable(home.clone()),
        write(format!("{home}/domid"), domid),
        write(format!("{home}/vm"), vm),
        write(format!("{home}/name"), &record.name),
        write(format!("{home}/memory/target"), plan.memory_mib * 1024),
        write(format!("{home}/memory/static-max"), plan.maxmem_mib * 1024),
    ];
    ops.extend(availability(domid, plan.vcpus, plan.vcpu_avail));
    for directory in GUEST_DIRECTORIES {
        let path = format!("{home}/{directory}");
        ops.push(StoreOp::Mkdir(path.clone()));
        ops.push(StoreOp::Perms(path, format!("n{domid}")));
    }
    if plan.hvm.as_ref().is_some_and(|hvm| hvm.early.is_some()) {
        ops.extend(for_hvmloader(&home, c.hvm.acpi));
    }
    let feature = format!("{home}/control/platform-feature-multiprocessor-suspend");
    ops.push(write(feature.clone(), 1));
    ops.push(readable(feature));
    ops
}

/// What Xen's own hvmloader reads (public header `hvm/hvm_xs_strings.h`), as libxl writes it for a machine that is QEMU's.
fn for_hvmloader(home: &str, acpi: bool) -> Vec<StoreOp> {
    let nodes = [
        ("hvmloader/bios", "seabios"),
        // RAM is not moved to make room for devices: what does not fit goes above 4 GiB.
        ("hvmloader/allow-memory-relocate", "0"),
        ("platform/device-model", "qemu_xen"),
        ("platform/acpi", if acpi { "1" } else { "0" }),
        // A guest with drivers for Xen does not sleep.
        ("platform/acpi_s3", "0"),
        ("platform/acpi_s4", "0"),
    ];
    let node = |(path, value): (&str, &str)| write(format!("{home}/{path}"), value);
    nodes.into_iter().map(node).collect()
}

/// Which of a domain's vCPUs are to be online: what the guest's kernel watches.
pub fn availability(domid: u32, vcpus: u32, avail: u64) -> Vec<StoreOp> {
    let node = |vcpu: u32| {
        let word = if avail >> vcpu & 1 == 1 {
            "online"
        } else {
            "offline"
        };
        write(format!("{}/cpu/{vcpu}/availability", home(domid)), word)
    };
    (0..vcpus).map(node).collect()
}

/// The nodes that a restored guest had, below its home.
pub fn restored(domid: u32, nodes: &[(String, String)]) -> Vec<StoreOp> {
    let home = home(domid);
    let op = |(path, value): &(String, String)| write(format!("{home}/{path}"), value);
    nodes.iter().map(op).collect()
}

/// What is known once the monitor has built the domain.
pub fn after_build(record: &Record, status: &Status) -> Vec<StoreOp> {
    let home = home(record.domid);
    vec![
        write(format!("{home}/console/ring-ref"), status.console_mfn),
        write(format!("{home}/console/port"), status.console_port),
        write(format!("{home}/console/type"), "xenconsoled"),
        write(format!("{home}/console/tty"), &status.console_tty),
        write(format!("{home}/store/ring-ref"), status.store_mfn),
        write(format!("{home}/store/port"), status.store_port),
    ]
}

/// After a domain took another name and UUID.
pub fn renamed(record: &Record, old_vm: &str) -> Vec<StoreOp> {
    let (vm, home) = (&record.vm_path, home(record.domid));
    vec![
        StoreOp::Remove(old_vm.to_owned()),
        StoreOp::Mkdir(vm.clone()),
        StoreOp::Perms(vm.clone(), format!("n0 r{}", record.domid)),
        write(format!("{vm}/uuid"), &record.uuid),
        write(format!("{vm}/name"), &record.name),
        write(format!("{home}/vm"), vm),
        write(format!("{home}/name"), &record.name),
    ]
}

/// A domain is gone; its /vm node stays when a successor uses it.
pub fn gone(record: &Record, keep_vm: bool) -> Vec<StoreOp> {
    let mut ops = vec![StoreOp::Remove(home(record.domid))];
    if !keep_vm {
        ops.push(StoreOp::Remove(record.vm_path.clone()));
    }
    ops
}

/// Domain 0: this host.
pub fn domain_0(host_cpus: u32, memory_kib: u64) -> Vec<StoreOp> {
    let vm = format!("/vm/{DOMAIN_0_UUID}");
    let home = home(0);
    let mut ops = vec![
        write(format!("{vm}/uuid"), DOMAIN_0_UUID),
        write(format!("{vm}/name"), DOMAIN_0_NAME),
        write(format!("{vm}/vcpus"), host_cpus),
        write(format!("{vm}/on_poweroff"), "destroy"),
        write(format!("{vm}/on_reboot"), "restart"),
        write(format!("{vm}/on_crash"), "restart"),
        write(format!("{vm}/image/ostype"), "linux"),
        write(format!("{home}/domid"), 0),
        write(format!("{home}/vm"), &vm),
        write(format!("{home}/name"), DOMAIN_0_NAME),
        write(format!("{home}/memory/target"), memory_kib),
        write("/tool/xenstored/domid".into(), 0),
    ];
    for cpu in 0..host_cpus {
        ops.push(write(format!("{home}/cpu/{cpu}/availability"), "online"));
    }
    ops
}

/// Domain 0's name.
pub const DOMAIN_0_NAME: &str = "Domain-0";
/// Domain 0's UUID.
pub const DOMAIN_0_UUID: &str = "00000000-0000-0000-0000-000000000000";

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_xend_api::DomainConfig;

    fn record_and_plan() -> (Record, Plan) {
        let config = DomainConfig {
            name: "a".into(),
            kernel: "/k".into(),
            vcpus: 2,
            ..DomainConfig::default()
        };
        let plan = crate::validate::check(&config, 1).unwrap();
        (Record::new(3, "boot", "a", "u-u", config, 1.5), plan)
    }

    fn value<'a>(ops: &'a [StoreOp], path: &str) -> Option<&'a str> {
        ops.iter().find_map(|op| match op {
            StoreOp::Write(p, v) if p == path => Some(v.as_str()),
            _ => None,
        })
    }

    #[test]
    fn before_build_gives_what_tools_read() {
        let (record, plan) = record_and_plan();
        let ops = before_build(&record, &plan);
        assert_eq!(value(&ops, "/local/domain/3/vm"), Some("/vm/u-u"));
        assert_eq!(value(&ops, "/local/domain/3/memory/target"), Some("131072"));
        assert_eq!(
            value(&ops, "/local/domain/3/cpu/1/availability"),
            Some("online")
        );
        assert_eq!(value(&ops, "/vm/u-u/vcpu_avail"), Some("3"));
        assert_eq!(value(&ops, "/vm/u-u/xend/restart_count"), Some("0"));
    }

    #[test]
    fn hvmloaders_nodes_are_there_for_it_alone() {
        let dir = crate::testing::TempDir::new("nodes");
        let loader = dir.path().join("hvmloader");
        std::fs::write(&loader, b"\x7fELF\x01").unwrap();
        let ops = |path: &str| {
            let mut config = DomainConfig {
                name: "a".into(),
                builder: "hvm".into(),
                kernel: "hvmloader".into(),
                ..DomainConfig::default()
            };
            config.hvm.firmware_override = path.into();
            config.hvm.acpi = false;
            let plan = crate::validate::check(&config, 1).unwrap();
            before_build(&Record::new(3, "boot", "a", "u-u", config, 1.5), &plan)
        };
        let with = ops(loader.to_str().unwrap());
        let node = |name: &str| value(&with, &format!("/local/domain/3/{name}"));
        assert_eq!(node("hvmloader/bios"), Some("seabios"));
        assert_eq!(node("platform/acpi"), Some("0"));
        assert_eq!(node("platform/device-model"), Some("qemu_xen"));
        assert_eq!(value(&ops(""), "/local/domain/3/hvmloader/bios"), None);
    }

    #[test]
    fn before_build_makes_each_directory_before_its_permissions() {
        let (record, plan) = record_and_plan();
        let ops = before_build(&record, &plan);
        for (i, op) in ops.iter().enumerate() {
            if let StoreOp::Perms(path, _) = op {
                let made = ops[..i].iter().any(|o| match o {
                    StoreOp::Mkdir(p) | StoreOp::Write(p, _) => p == path,
                    _ => false,
                });
                assert!(made, "{path}");
            }
        }
    }

    #[test]
    fn guest_owns_no_node_that_the_host_reads_a_path_from() {
        let (record, plan) = record_and_plan();
        for op in before_build(&record, &plan) {
            if let StoreOp::Perms(path, perms) = op {
                let tail = path.strip_prefix("/local/domain/3/").unwrap_or("");
                let guests = perms.starts_with("n3");
                assert_eq!(guests, GUEST_DIRECTORIES.contains(&tail), "{path} {perms}");
            }
        }
    }
}
