//! `--xmldryrun`: the configuration as the XML document that xm's Xen-API mode made of it.
//!
//! ```text
//!   DomainConfig ──noxen_xen_api::vm_record──> attributes ──> <vm ..><name/><version/><pv/><memory/><vbd/>..<vif/>..<vcpu_param/>..</vm>
//!                └─disks──────────────────────────────────> <vdi ..>..            all within <xm>, in the order of xm's create.dtd
//! ```

use noxen_xen_api::{vm_record, Error, Value};
use noxen_xend_api::DomainConfig;
use std::fmt::Write;

/// An element: its name, attributes, and what is in it.
struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    inner: Inner,
}

enum Inner {
    Elements(Vec<Element>),
    Text(String),
}

fn element(
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    inner: Vec<Element>,
) -> Element {
    Element {
        name,
        attributes,
        inner: Inner::Elements(inner),
    }
}

fn text(name: &'static str, text: &str) -> Element {
    Element {
        name,
        attributes: Vec::new(),
        inner: Inner::Text(text.to_owned()),
    }
}

fn label(of: &str) -> Element {
    let parts = vec![text("label", of), text("description", "")];
    element("name", Vec::new(), parts)
}

/// The document; an error names what a VM of the Xen-API has no attribute for.
pub(super) fn document(config: &DomainConfig) -> Result<String, Error> {
    if config.is_hvm() {
        let line = "the document describes paravirtual domains only, not builder='hvm'";
        return Err(Error::not_supported(line));
    }
    let record = vm_record(config)?;
    let get = |name: &str| match record.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Boolean(flag)) => flag.to_string(),
        _ => String::new(),
    };
    let platform = |name: &str| match name {
        "platform_localtime" | "platform_std_VGA" | "platform_enable_audio" => "no".to_owned(),
        _ => String::new(),
    };
    let mut vm = Vec::from([
        "is_a_template",
        "auto_power_on",
        "actions_after_shutdown",
        "actions_after_reboot",
        "actions_after_crash",
    ])
    .into_iter()
    .map(|name| (name, get(name)))
    .collect::<Vec<_>>();
    vm.push(("vcpus_max", get("VCPUs_max")));
    vm.push(("vcpus_at_startup", get("VCPUs_at_startup")));
    for name in [
        "platform_std_VGA",
        "platform_serial",
        "platform_localtime",
        // The DTD's own spelling.
        "platform_clock_offet",
        "platform_enable_audio",
        "PCI_bus",
    ] {
        vm.push((name, platform(name)));
    }
    let pv = [
        ("kernel", "PV_kernel"),
        ("bootloader", "PV_bootloader"),
        ("ramdisk", "PV_ramdisk"),
        ("args", "PV_args"),
        ("bootloader_args", "PV_bootloader_args"),
    ];
    let memory = [
        ("static_min", "memory_static_min"),
        ("static_max", "memory_static_max"),
        ("dynamic_min", "memory_dynamic_min"),
        ("dynamic_max", "memory_dynamic_max"),
    ];
    let of = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs
            .iter()
            .map(|(name, from)| (*name, get(from)))
            .collect()
    };
    let mut inner = vec![
        label(&config.name),
        text("version", &get("user_version")),
        element("pv", of(&pv), Vec::new()),
        element("memory", of(&memory), Vec::new()),
    ];
    inner.extend(
        (0..)
            .zip(&config.disk)
            .map(|(number, disk)| vbd(number, disk)),
    );
    inner.extend(
        (0..)
            .zip(&config.vif)
            .map(|(number, vif)| interface(number, vif)),
    );
    if let Some(Value::Struct(parameters)) = record.get("VCPUs_params") {
        for (key, value) in parameters {
            if let Value::String(value) = value {
                let pair = vec![("key", key.clone()), ("value", value.clone())];
                inner.push(element("vcpu_param", pair, Vec::new()));
            }
        }
    }
    let mut all = vec![element("vm", vm, inner)];
    all.extend(
        (0..)
            .zip(&config.disk)
            .map(|(number, disk)| image(number, disk)),
    );
    let mut out = String::from("<?xml version=\"1.0\" ?>\n");
    write_into(&mut out, &element("xm", Vec::new(), all), 0);
    Ok(out)
}

fn vbd(number: u32, disk: &noxen_xend_api::Disk) -> Element {
    let mode = if disk.mode.writes() { "RW" } else { "RO" };
    let kind = if disk.cdrom { "CD" } else { "disk" };
    let attributes = vec![
        ("name", format!("vbd{number}")),
        ("vdi", format!("vdi{number}")),
        ("mode", mode.to_owned()),
        ("device", disk.dev.clone()),
        // The one that a boot loader looks at.
        ("bootable", u32::from(number == 0).to_string()),
        ("type", kind.to_owned()),
        ("qos_algorithm_type", String::new()),
    ];
    element("vbd", attributes, Vec::new())
}

fn image(number: u32, disk: &noxen_xend_api::Disk) -> Element {
    let attributes = vec![
        ("name", format!("vdi{number}")),
        ("src", disk.uname.clone()),
        ("type", "system".to_owned()),
        ("size", "-1".to_owned()),
        ("shareable", "False".to_owned()),
        (
            "read_only",
            if disk.mode.writes() { "False" } else { "True" }.to_owned(),
        ),
    ];
    element("vdi", attributes, vec![label(&disk.uname)])
}

fn interface(number: u32, vif: &noxen_xend_api::Vif) -> Element {
    let mut attributes = vec![
        ("name", format!("vif{number}")),
        ("mac", vif.mac.clone().unwrap_or_default()),
        ("mtu", String::new()),
        ("device", format!("eth{number}")),
        ("qos_algorithm_type", String::new()),
    ];
    if let Some(bridge) = &vif.bridge {
        attributes.push(("bridge", bridge.clone()));
    }
    element("vif", attributes, Vec::new())
}

/// Text that is only text. Control characters have no place in XML at all.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                // In an attribute it would be read as a blank.
                let _ = write!(out, "&#{};", u32::from(character));
            }
            other if other.is_control() => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

fn write_into(out: &mut String, element: &Element, depth: usize) {
    let indent = "\t".repeat(depth);
    let _ = write!(out, "{indent}<{}", element.name);
    for (name, value) in &element.attributes {
        let _ = write!(out, " {name}=\"{}\"", escape(value));
    }
    match &element.inner {
        Inner::Text(text) => {
            let _ = writeln!(out, ">{}</{}>", escape(text), element.name);
        }
        Inner::Elements(all) if all.is_empty() => out.push_str("/>\n"),
        Inner::Elements(all) => {
            out.push_str(">\n");
            for one in all {
                write_into(out, one, depth + 1);
            }
            let _ = writeln!(out, "{indent}</{}>", element.name);
        }
    }
}
