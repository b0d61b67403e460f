//! Device texts of a configuration to `(vbd ...)`, `(vif ...)` and the like, and back.

use crate::error::{ConfigError, Result};
use crate::sxp::Node;
use noxen_xend_api::{Disk, DomainConfig, Vfb, Vif};

/// Members of `(vif ..)` that a running domain's listing has and a configuration has not.
const NOT_OF_A_CONFIG: &[&str] = &["uuid", "handle", "security_label", "devid"];
const VTPM_KEYS: &[&str] = &["instance", "backend", "type"];
const PCI_OPTIONS: &[&str] = &["msitranslate", "power_mgmt"];

fn error<T>(message: String) -> Result<T> {
    Err(ConfigError::config(message))
}

/// All devices of `config` in xm's order.
pub(super) fn emit(config: &DomainConfig) -> Result<Vec<Node>> {
    let mut all = Vec::new();
    all.extend(config.disk.iter().map(disk_node));
    let pci: Vec<Node> = config
        .pci
        .iter()
        .map(|text| pci(text))
        .collect::<Result<_>>()?;
    if !pci.is_empty() {
        all.push(Node::list("pci", pci));
    }
    for text in &config.vscsi {
        all.push(vscsi(text)?);
    }
    for text in &config.ioports {
        all.push(ioports(text)?);
    }
    for text in &config.irq {
        all.push(Node::list("irq", vec![Node::pair("irq", text.as_str())]));
    }
    all.extend(config.vif.iter().map(vif_node));
    // Only the first TPM counted, and its instance has another name on the wire.
    if let Some(text) = config.vtpm.first() {
        let vtpm = options("vtpm", text, VTPM_KEYS, |key| {
            format!("Invalid vtpm option: {key}")
        })?;
        if vtpm.get("instance") == Some("0") {
            return error("VM config error: vTPM instance must not be 0.".into());
        }
        let members = vtpm.members().iter().map(|member| match member.key() {
            Some("instance") => Node::list("pref_instance", member.members().to_vec()),
            _ => member.clone(),
        });
        all.push(Node::list("vtpm", members.collect()));
    }
    for text in &config.vfb {
        let vfb = options("vfb", text, Vfb::KEYS, |key| {
            format!("configuration option {key} unknown to vfbs")
        })?;
        all.push(Node::list("vkbd", Vec::new()));
        all.push(vfb);
    }
    Ok(all)
}

/// `(vbd (uname ..)(dev ..)(mode ..))`, or `tap`.
pub fn disk_node(disk: &Disk) -> Node {
    let mut node = Node::list(
        disk.class(),
        vec![
            Node::pair("uname", disk.uname.as_str()),
            Node::pair("dev", disk.dev_text()),
            Node::pair("mode", disk.mode.text()),
        ],
    );
    for (key, value) in [("backend", &disk.backend), ("protocol", &disk.protocol)] {
        if let Some(value) = value {
            node.push(Node::pair(key, value.as_str()));
        }
    }
    node
}

/// `(vif (mac ..)(bridge ..)..)`.
pub fn vif_node(vif: &Vif) -> Node {
    let pairs = vif.pairs().into_iter();
    Node::list(
        "vif",
        pairs.map(|(key, value)| Node::pair(key, value)).collect(),
    )
}

/// `(vfb (vnc 1)..)`.
pub fn vfb_node(vfb: &Vfb) -> Node {
    let pairs = vfb.pairs();
    Node::list(
        "vfb",
        pairs.map(|(key, value)| Node::pair(key, value)).collect(),
    )
}

/// `key=value,key=value` into `(name (key value)...)`.
fn options(
    name: &str,
    text: &str,
    known: &[&str],
    unknown: impl Fn(&str) -> String,
) -> Result<Node> {
    let mut node = Node::list(name, Vec::new());
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((key, value)) = part.split_once('=') else {
            return error(format!(
                "'{part}' should be a pair, separated by an equals sign."
            ));
        };
        let (key, value) = (key.trim(), value.trim());
        if !known.contains(&key) {
            return error(unknown(key));
        }
        node.push(Node::pair(key, value));
    }
    Ok(node)
}

/// `[DOMAIN:]BUS:SLOT.FUNC[@VSLOT][,OPTION=VALUE]`; commas may stand for the colon and the point.
fn pci(text: &str) -> Result<Node> {
    let bad = || ConfigError::config(format!("Error in PCI slot syntax \"{text}\""));
    let mut options = Vec::new();
    let mut slot = text.trim();
    while let Some((head, option)) = slot
        .rsplit_once(',')
        .filter(|(_, option)| option.contains('='))
    {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if !PCI_OPTIONS.contains(&key.trim()) {
            return error(format!("Invalid pci option: {}", key.trim()));
        }
        options.insert(0, (key.trim(), value.trim()));
        slot = head;
    }
    let (slot, vslot) = match slot.split_once('@') {
        Some((slot, vslot)) => (slot, Some(hex(vslot).ok_or_else(bad)?)),
        None => (slot, None),
    };
    let numbers: Vec<u32> = slot
        .split([':', ',', '.'])
        .map(hex)
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let (domain, bus, device, func) = match numbers[..] {
        [bus, slot, func] => (0, bus, slot, func),
        [domain, bus, slot, func] => (domain, bus, slot, func),
        _ => return Err(bad()),
    };
    if domain > 0xffff || bus > 0xff || device > 0x1f || func > 7 {
        return Err(bad());
    }
    let field = |key: &str, value: u32| Node::pair(key, format!("0x{value:x}"));
    let mut node = Node::list(
        "dev",
        vec![
            field("domain", domain),
            field("bus", bus),
            field("slot", device),
            field("func", func),
        ],
    );
    if let Some(vslot) = vslot {
        node.push(field("vslot", vslot));
    }
    if !options.is_empty() {
        let pairs = options
            .into_iter()
            .map(|(key, value)| Node::List(vec![Node::atom(key), Node::atom(value)]))
            .collect();
        node.push(Node::List(vec![Node::atom("opts"), Node::List(pairs)]));
    }
    Ok(node)
}

fn hex(text: &str) -> Option<u32> {
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// `HEX[-HEX]`.
fn ioports(text: &str) -> Result<Node> {
    let bad = || ConfigError::config(format!("Invalid i/o port range specifier: {text}"));
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (hex(from).ok_or_else(bad)?, hex(to).ok_or_else(bad)?);
    if from > to || to > 0xffff {
        return Err(bad());
    }
    let ends = vec![
        Node::pair("from", format!("0x{from:x}")),
        Node::pair("to", format!("0x{to:x}")),
    ];
    Ok(Node::list("ioports", ends))
}

/// `PDEV,VDEV[,DOMAIN]`.
fn vscsi(text: &str) -> Result<Node> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let (pdev, vdev, backend) = match parts.as_slice() {
        [pdev, vdev] => (*pdev, *vdev, None),
        [pdev, vdev, backend] => (*pdev, *vdev, Some(*backend)),
        _ => return error(format!("vscsi syntax error \"{text}\"")),
    };
    if pdev.is_empty() || vdev.is_empty() {
        return error(format!("vscsi syntax error \"{text}\""));
    }
    let mut members = vec![Node::pair("p-dev", pdev), Node::pair("v-dev", vdev)];
    members.extend(backend.map(|backend| Node::pair("backend", backend)));
    Ok(Node::list("vscsi", vec![Node::list("dev", members)]))
}

/// `policy=P,label=L` to `(security ((access_control (policy P)(label L))))`.
pub(super) fn security(config: &DomainConfig) -> Result<Option<Node>> {
    let text = match config.access_control.as_slice() {
        [] => return Ok(None),
        [only] => only,
        _ => return error("VM config error: Multiple access_control definitions!".into()),
    };
    let label = options(
        "access_control",
        text,
        &["policy", "label", "type"],
        |key| format!("Invalid access_control option: {key}"),
    )?;
    Ok(Some(Node::list("security", vec![Node::List(vec![label])])))
}

/// Adds the device of `(device NODE)` to `config` as the text that a file would hold.
pub(super) fn accept(node: &Node, config: &mut DomainConfig) -> Result<()> {
    let get = |key: &str| node.get(key).unwrap_or("");
    let pairs = |skip: &[&str]| {
        let all: Vec<String> = node
            .members()
            .iter()
            .filter_map(|member| Some((member.key()?, member.members().first()?.text()?)))
            .filter(|(key, _)| !skip.contains(key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        all.join(",")
    };
    match node.key().unwrap_or("") {
        "vbd" | "tap" => {
            let mut text = format!("{},{},{}", get("uname"), get("dev"), get("mode"));
            for key in ["backend", "protocol"] {
                text.push_str(&format!(",{}", get(key)));
            }
            let text = text.trim_end_matches(',');
            config
                .disk
                .push(Disk::parse(text).map_err(|e| ConfigError::config(e.to_string()))?);
        }
        "vif" => {
            let mut vif = Vif::default();
            for member in node.members() {
                let value = member.members().first().and_then(Node::text);
                if let (Some(key), Some(value)) = (member.key(), value) {
                    if !NOT_OF_A_CONFIG.contains(&key) {
                        vif.set(key, value)
                            .map_err(|e| ConfigError::config(e.to_string()))?;
                    }
                }
            }
            config.vif.push(vif);
        }
        "vfb" => config
            .vfb
            .push(pairs(&["uuid", "location", "other_config"])),
        "vtpm" => config
            .vtpm
            .push(pairs(&["uuid"]).replace("pref_instance=", "instance=")),
        "pci" => {
            for dev in node.children("dev") {
                let number = |key: &str| dev.get(key).and_then(hex).unwrap_or(0);
                let mut text = format!(
                    "{:04x}:{:02x}:{:02x}.{:x}",
                    number("domain"),
                    number("bus"),
                    number("slot"),
                    number("func")
                );
                if let Some(vslot) = dev.get("vslot") {
                    text.push_str(&format!("@{}", vslot.trim_start_matches("0x")));
                }
                for option in dev
                    .child("opts")
                    .into_iter()
                    .flat_map(|opts| opts.members())
                {
                    if let Node::List(pairs) = option {
                        for pair in pairs {
                            if let (Some(key), Some(value)) =
                                (pair.key(), pair.members().first().and_then(Node::text))
                            {
                                text.push_str(&format!(",{key}={value}"));
                            }
                        }
                    }
                }
                config.pci.push(text);
            }
        }
        "vscsi" => {
            for dev in node.children("dev") {
                let mut text = format!(
                    "{},{}",
                    dev.get("p-dev").unwrap_or(""),
                    dev.get("v-dev").unwrap_or("")
                );
                if let Some(backend) = dev.get("backend") {
                    text.push_str(&format!(",{backend}"));
                }
                config.vscsi.push(text);
            }
        }
        "ioports" => config
            .ioports
            .push(format!("{}-{}", get("from"), get("to"))),
        "irq" => config.irq.push(get("irq").to_owned()),
        // A frame buffer brings its keyboard, and every domain its console.
        "vkbd" | "console" => {}
        other => {
            let shown: String = other.chars().take(40).collect();
            return error(format!("device class '{shown}' is not known"));
        }
    }
    Ok(())
}
