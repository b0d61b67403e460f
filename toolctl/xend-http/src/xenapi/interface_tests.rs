//! The interface as xend had it, tried method by method; docs/compatibility.md has what came of it.
//!
//! ```text
//!   INTERFACE: class, attributes, methods ──call each──> there | NOT_IMPLEMENTED | MESSAGE_METHOD_UNKNOWN ──> rows == the document's
//! ```

use super::tests::{text, Client};
use super::*;
use crate::stand_in::UUID;

const DOCUMENT: &str = include_str!("../../../../docs/compatibility.md");

struct Class {
    name: &'static str,
    /// To look at, beside `uuid`.
    reads: &'static str,
    /// To look at and to set.
    writes: &'static str,
    methods: &'static str,
}

const fn class(
    name: &'static str,
    reads: &'static str,
    writes: &'static str,
    methods: &'static str,
) -> Class {
    Class {
        name,
        reads,
        writes,
        methods,
    }
}

/// Every class of xend's Xen-API, 3.1 to 4.1.
#[rustfmt::skip]
const INTERFACE: &[Class] = &[
    class("session", "this_host this_user last_active", "", "login_with_password logout"),
    class("task", "name_label name_description status progress type result error_info allowed_operations session", "", "cancel destroy get_by_name_label"),
    class("event", "", "", "register unregister next"),
    class("host", "software_version resident_VMs PBDs PIFs PPCIs PSCSIs host_CPUs cpu_configuration metrics capabilities supported_bootloaders sched_policy \
        API_version_major API_version_minor API_version_vendor enabled", "name_label name_description other_config logging",
        "disable enable reboot shutdown dmesg dmesg_clear get_log send_debug_keys list_methods get_by_name_label add_to_other_config remove_from_other_config"),
    class("host_cpu", "host number vendor speed modelname stepping flags utilisation features", "", ""),
    class("host_metrics", "memory_total memory_free last_updated", "", ""),
    class("VM", "power_state resident_on consoles VIFs VBDs VTPMs DPCIs DSCSIs tools_version domid is_control_domain metrics crash_dumps",
        "name_label name_description user_version is_a_template auto_power_on memory_static_max memory_static_min memory_dynamic_max memory_dynamic_min VCPUs_max \
        VCPUs_at_startup VCPUs_params actions_after_shutdown actions_after_reboot actions_after_suspend actions_after_crash PV_bootloader PV_kernel PV_ramdisk \
        PV_args PV_bootloader_args HVM_boot_policy HVM_boot_params platform PCI_bus other_config security_label",
        "create destroy clone start pause unpause clean_shutdown clean_reboot hard_shutdown hard_reboot suspend resume save restore migrate send_sysrq send_trigger \
        set_VCPUs_number_live add_to_VCPUs_params add_to_VCPUs_params_live remove_from_VCPUs_params set_memory_dynamic_max_live set_memory_dynamic_min_live \
        get_by_name_label"),
    class("VM_metrics", "memory_actual VCPUs_number VCPUs_utilisation VCPUs_CPU VCPUs_flags VCPUs_params state start_time last_updated", "", ""),
    class("VM_guest_metrics", "", "", ""),
    class("VBD", "VM VDI metrics runtime_properties", "device bootable mode type", "create destroy media_change"),
    class("VBD_metrics", "io_read_kbs io_write_kbs last_updated", "", ""),
    class("VIF", "network VM metrics runtime_properties", "device MAC MTU security_label", "create destroy"),
    class("VIF_metrics", "io_read_kbs io_write_kbs io_total_read_kbs io_total_write_kbs last_updated", "", ""),
    class("VDI", "SR VBDs physical_utilisation type", "name_label name_description virtual_size sharable read_only other_config security_label",
        "create destroy get_by_name_label"),
    class("SR", "VDIs PBDs virtual_allocation physical_utilisation physical_size type content_type", "name_label name_description", "get_by_name_label"),
    class("PBD", "host SR device_config currently_attached", "", "create destroy get_by_SR"),
    class("PIF", "network host metrics device VLAN", "MAC MTU", "create_VLAN plug unplug destroy"),
    class("PIF_metrics", "io_read_kbs io_write_kbs last_updated", "", ""),
    class("network", "VIFs PIFs managed", "name_label name_description other_config default_gateway default_netmask",
        "create destroy add_to_other_config remove_from_other_config get_by_name_label"),
    class("console", "location protocol VM", "other_config", "create"),
    class("VTPM", "", "", "create destroy"),
    class("PPCI", "", "", ""),
    class("DPCI", "", "", "create destroy"),
    class("PSCSI", "", "", ""),
    class("DSCSI", "", "", "create destroy"),
    class("crashdump", "", "", ""),
    class("XSPolicy", "", "", "get_xstype set_xspolicy reset_xspolicy get_xspolicy activate_xspolicy rm_xsbootpolicy get_resource_label set_resource_label \
        get_labeled_resources can_run"),
    class("ACMPolicy", "", "", "get_enforced_binary get_VM_ssidref"),
    class("debug", "", "", "wait return_failure create destroy"),
    class("cpu_pool", "resident_on started_VMs host_CPUs activated", "name_label name_description auto_power_on ncpu sched_policy proposed_CPUs other_config",
        "create destroy activate deactivate add_host_CPU_live remove_host_CPU_live get_by_name_label"),
    class("PSCSI_HBA", "", "", ""),
    class("DSCSI_HBA", "", "", "create destroy"),
];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    There,
    Refused,
    NotImplemented,
    Unknown,
}

/// Each call has a client of its own, whose VM is halted where that is asked for: some calls change what others see.
fn attempt(name: &str, words: &[Value], halted: bool) -> Outcome {
    let mut client = Client::new();
    client.ask.halted = halted;
    // Nobody sees another's session.
    let words = match name.split_once('.') {
        Some(("session", _)) => std::slice::from_ref(&client.session),
        _ => words,
    };
    match client.call(name, words).map_err(Failure::words) {
        Ok(_) => Outcome::There,
        Err(words) => match words[0].as_str() {
            "MESSAGE_METHOD_UNKNOWN" => Outcome::Unknown,
            "NOT_IMPLEMENTED" => Outcome::NotImplemented,
            _ => Outcome::Refused,
        },
    }
}

/// Some object of the class, if there is one.
fn one(client: &Client, class: &str) -> Option<Value> {
    match (class, client.call(&format!("{class}.get_all"), &[])) {
        ("VM" | "VM_metrics", Ok(_)) => Some(text(UUID)),
        (_, Ok(Value::Array(all))) => all.first().cloned(),
        _ => None,
    }
}

/// A value that the attribute could take.
fn value(attribute: &str) -> Value {
    let map = |key: &str, value: &str| Value::Struct([(key.to_owned(), text(value))].into());
    match attribute {
        "VCPUs_params" => map("weight", "300"),
        "HVM_boot_policy" => text("BIOS order"),
        "HVM_boot_params" => map("order", "d"),
        "platform" => map("acpi", "1"),
        "other_config" | "logging" => map("a", "b"),
        "is_a_template" | "auto_power_on" | "sharable" | "read_only" | "bootable" => {
            Value::Boolean(false)
        }
        _ if attribute.starts_with("memory_") => text("67108864"),
        _ if attribute.starts_with("actions_") => text("restart"),
        _ => text("1"),
    }
}

fn cell(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn row(class: &Class) -> String {
    let client = Client::new();
    let all = attempt(&format!("{}.get_all", class.name), &[], false);
    let some = one(&client, class.name);
    let handle = some.clone().unwrap_or_else(|| text("none"));
    let name = |method: &str| format!("{}.{method}", class.name);
    let (mut there, mut missing, mut settable) = (0, Vec::new(), Vec::new());
    // Without an object nothing can be said of its attributes.
    if some.is_some() {
        let writes = class.writes.split_whitespace();
        for attribute in class.reads.split_whitespace().chain(writes.clone()) {
            match attempt(
                &name(&format!("get_{attribute}")),
                std::slice::from_ref(&handle),
                false,
            ) {
                Outcome::There => there += 1,
                _ => missing.push(attribute),
            }
        }
        for attribute in writes {
            let words = [handle.clone(), value(attribute)];
            if attempt(&name(&format!("set_{attribute}")), &words, true) == Outcome::There {
                settable.push(attribute);
            }
        }
    }
    let (mut works, mut refuses, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for method in class.methods.split_whitespace() {
        match attempt(&name(method), std::slice::from_ref(&handle), false) {
            Outcome::There | Outcome::Refused => works.push(method),
            Outcome::NotImplemented => refuses.push(method),
            Outcome::Unknown => unknown.push(method),
        }
    }
    let attributes = match (all, &some, missing.as_slice()) {
        (Outcome::Unknown, ..) if class.name != "event" => "not yet: an unknown class".to_owned(),
        (Outcome::Unknown, ..) => String::new(),
        (_, None, _) if class.name != "task" => "always empty".to_owned(),
        (_, None, _) => "of a call with `Async.`".to_owned(),
        (.., []) => format!("all {there}"),
        (.., missing) => format!("{there}, without {}", cell(missing)),
    };
    let cells = [settable, works, refuses, unknown].map(|names| cell(&names));
    format!(
        "| {} | {attributes} | {} |\n",
        class.name,
        cells.join(" | ")
    )
}

#[test]
fn document_has_each_class_as_it_answers() {
    let head = "| Class | Attributes to read | to set | Methods | NOT_IMPLEMENTED, with the reason | MESSAGE_METHOD_UNKNOWN |\n|---|---|---|---|---|---|\n";
    let rows: String = INTERFACE.iter().map(row).collect();
    let table = format!("{head}{rows}");
    assert!(
        DOCUMENT.contains(&table),
        "docs/compatibility.md has another table of the Xen-API's classes; it is to have this one:\n{table}"
    );
}
