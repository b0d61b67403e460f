//! All subcommands, in the order of the long help; one line each.

use super::command::{Command, Group};
use crate::commands::{
    api_only, config, console, cpupool, create, debug_keys, delete, destroy, device, dmesg, domid,
    domname, domstate, dump_core, gen, help, image, info, list, log, mem_max, mem_set, migrate,
    new, no_devices, pause, planned, reboot, rename, reset, restore, save, sched_credit,
    sched_sedf, serve, shell, shutdown, start, sysrq, top, trigger, unpause, upgrade, uptime,
    vcpu_list, vcpu_pin, vcpu_set, vncviewer,
};

/// A command, built or planned.
enum Entry {
    Built(&'static Command),
    Planned(&'static str),
}
use Entry::{Built, Planned};

const ENTRIES: &[Entry] = &[
    Built(&console::COMMAND),
    Built(&vncviewer::COMMAND),
    Built(&create::COMMAND),
    Built(&new::COMMAND),
    Built(&delete::COMMAND),
    Built(&destroy::COMMAND),
    Built(&domid::COMMAND),
    Built(&domname::COMMAND),
    Built(&domstate::COMMAND),
    Built(&dump_core::COMMAND),
    Built(&list::COMMAND),
    Built(&mem_max::COMMAND),
    Built(&mem_set::COMMAND),
    Built(&migrate::COMMAND),
    Built(&pause::COMMAND),
    Built(&reboot::COMMAND),
    Built(&rename::COMMAND),
    Built(&reset::COMMAND),
    Built(&restore::COMMAND),
    Built(&restore::RESUME),
    Built(&save::COMMAND),
    Built(&shutdown::COMMAND),
    Built(&start::COMMAND),
    Built(&save::SUSPEND),
    Built(&sysrq::COMMAND),
    Built(&trigger::COMMAND),
    Built(&top::COMMAND),
    Built(&unpause::COMMAND),
    Built(&uptime::COMMAND),
    Built(&vcpu_list::COMMAND),
    Built(&vcpu_pin::COMMAND),
    Built(&vcpu_set::COMMAND),
    Built(&debug_keys::COMMAND),
    Built(&dmesg::COMMAND),
    Built(&info::COMMAND),
    Built(&log::COMMAND),
    Built(&serve::COMMAND),
    Built(&sched_credit::COMMAND),
    Built(&sched_credit::COMMAND_2),
    Built(&sched_sedf::COMMAND),
    Built(&device::block_attach::COMMAND),
    Built(&device::block_detach::COMMAND),
    Built(&device::block_list::COMMAND),
    Built(&device::block_configure::COMMAND),
    Built(&device::network_attach::COMMAND),
    Built(&device::network_detach::COMMAND),
    Built(&device::network_list::COMMAND),
    Built(&no_devices::VTPM),
    Planned("pci-attach"),
    Planned("pci-detach"),
    Built(&no_devices::PCI),
    Built(&no_devices::PCI_ASSIGNABLE),
    Planned("scsi-attach"),
    Planned("scsi-detach"),
    Built(&no_devices::SCSI),
    Planned("network2-attach"),
    Planned("network2-detach"),
    Built(&no_devices::NETWORK2),
    Planned("usb-attach"),
    Planned("usb-detach"),
    Built(&no_devices::USB),
    Built(&no_devices::USB_ASSIGNABLE),
    Planned("usb-hc-create"),
    Planned("usb-hc-destroy"),
    Planned("usb-add"),
    Planned("usb-del"),
    Planned("vnet-list"),
    Planned("vnet-create"),
    Planned("vnet-delete"),
    Planned("labels"),
    Planned("addlabel"),
    Planned("rmlabel"),
    Planned("getlabel"),
    Planned("dry-run"),
    Planned("resources"),
    Planned("dumppolicy"),
    Planned("setpolicy"),
    Planned("resetpolicy"),
    Planned("getpolicy"),
    Built(&api_only::GETENFORCE),
    Built(&api_only::SETENFORCE),
    Planned("cpupool-create"),
    Planned("cpupool-new"),
    Planned("cpupool-start"),
    Built(&cpupool::COMMAND),
    Planned("cpupool-destroy"),
    Planned("cpupool-delete"),
    Planned("cpupool-cpu-add"),
    Planned("cpupool-cpu-remove"),
    Planned("cpupool-migrate"),
    Planned("tmem-list"),
    Planned("tmem-freeze"),
    Planned("tmem-thaw"),
    Planned("tmem-destroy"),
    Planned("tmem-set"),
    Planned("tmem-shared-auth"),
    Planned("tmem-freeable"),
    Built(&shell::COMMAND),
    Built(&api_only::EVENT_MONITOR),
    Built(&api_only::NETWORK_NEW),
    Built(&api_only::NETWORK_DEL),
    Built(&api_only::NETWORK_SHOW),
    Built(&config::COMMAND),
    Built(&image::COMMAND),
    Built(&upgrade::COMMAND),
    Built(&gen::COMMAND),
];

/// What bare `xm` lists, in its order.
const COMMON: &[&str] = &[
    "console",
    "vncviewer",
    "create",
    "new",
    "delete",
    "destroy",
    "dump-core",
    "help",
    "list",
    "mem-set",
    "migrate",
    "pause",
    "reboot",
    "reset",
    "restore",
    "resume",
    "save",
    "shell",
    "shutdown",
    "start",
    "suspend",
    "top",
    "unpause",
    "uptime",
    "vcpu-set",
];

/// Old names.
const DEPRECATED: &[(&str, &str)] = &[
    ("balloon", "mem-set"),
    ("set-vcpus", "vcpu-set"),
    ("vif-list", "network-list"),
    ("vbd-create", "block-attach"),
    ("vbd-destroy", "block-detach"),
    ("vbd-list", "block-list"),
    ("pool-create", "cpupool-create"),
    ("pool-new", "cpupool-new"),
    ("pool-start", "cpupool-start"),
    ("pool-list", "cpupool-list"),
    ("pool-destroy", "cpupool-destroy"),
    ("pool-delete", "cpupool-delete"),
    ("pool-cpu-add", "cpupool-cpu-add"),
    ("pool-cpu-remove", "cpupool-cpu-remove"),
    ("pool-migrate", "cpupool-migrate"),
];

/// Old names and new ones.
pub fn deprecated() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEPRECATED.iter().copied()
}

/// What a word names.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A command, by its name or a prefix that only it has.
    Exact(&'static Command),
    /// A command by an old name.
    Deprecated(&'static Command),
    /// None, or several.
    Nothing,
}

fn definition(entry: &Entry) -> Option<&'static Command> {
    match entry {
        Built(command) => Some(command),
        Planned(name) => planned::find(name),
    }
}

/// All of them in order.
pub fn all() -> impl Iterator<Item = &'static Command> {
    ENTRIES.iter().filter_map(definition)
}

/// The common ones in order.
pub fn common() -> impl Iterator<Item = &'static Command> {
    COMMON.iter().filter_map(|name| match *name {
        "help" => Some(&help::COMMAND),
        name => by_name(name),
    })
}

fn by_name(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

/// Exact name, then old name, then a prefix of two letters or more that exactly one command has.
pub fn find(word: &str) -> Found {
    if let Some(command) = by_name(word) {
        return Found::Exact(command);
    }
    if let Some((_, new)) = DEPRECATED.iter().find(|(old, _)| *old == word) {
        return by_name(new).map_or(Found::Nothing, Found::Deprecated);
    }
    let mut matching = all().filter(|command| {
        // Our own commands shorten none of xm's prefixes.
        word.len() >= 2 && command.group != Group::Hidden && command.name.starts_with(word)
    });
    match (matching.next(), matching.next()) {
        (Some(command), None) => Found::Exact(command),
        _ => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_entry_is_defined_once() {
        let mut seen = BTreeSet::new();
        for command in all() {
            assert!(seen.insert(command.name), "{}", command.name);
            assert!(command.summary.ends_with('.'), "{}", command.name);
        }
        assert_eq!(seen.len(), ENTRIES.len(), "an entry has no definition");
        assert_eq!(common().count(), COMMON.len());
        for (_, new) in DEPRECATED {
            assert!(seen.contains(new), "{new}");
        }
    }

    #[test]
    fn options_of_a_command_do_not_clash() {
        for command in all() {
            let mut seen = BTreeSet::new();
            for option in command.options {
                assert!(
                    seen.insert(option.long.to_owned()),
                    "{} {option:?}",
                    command.name
                );
                if let Some(short) = option.short {
                    assert!(
                        seen.insert(short.to_string()),
                        "{} {option:?}",
                        command.name
                    );
                }
            }
        }
    }

    #[test]
    fn words_find_commands_by_name_alias_and_unique_prefix() {
        let name = |word: &str| match find(word) {
            Found::Exact(command) => command.name.to_owned(),
            Found::Deprecated(command) => format!("old {}", command.name),
            Found::Nothing => "none".into(),
        };
        assert_eq!(name("list"), "list");
        assert_eq!(name("unp"), "unpause");
        assert_eq!(name("con"), "console");
        assert_eq!(name("desc"), "none");
        assert_eq!(name("re"), "none");
        assert_eq!(name("u"), "none");
        assert_eq!(name("balloon"), "old mem-set");
        assert_eq!(name("vif-list"), "old network-list");
        assert_eq!(name("frobnicate"), "none");
    }
}
