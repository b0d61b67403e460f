//! Subcommands of xm that are known by name and not built yet.
//!
//! When one is built it gets a module of its own and its line here goes.

use crate::cli::command::{Command, Group};
use Group::{Device, Domain, Other, Security, Vnet};

const fn planned(
    group: Group,
    name: &'static str,
    args: &'static str,
    summary: &'static str,
) -> Command {
    Command {
        name,
        args,
        summary,
        group,
        ..Command::DEFAULT
    }
}

/// The definition of that name.
pub fn find(name: &str) -> Option<&'static Command> {
    PLANNED.iter().find(|command| command.name == name)
}

#[rustfmt::skip]
const PLANNED: &[Command] = &[
    planned(Domain, "vncviewer", "[--[vncviewer-]autopass] <Domain>", "Open a VNC viewer on a domain's screen."),
    planned(Domain, "dump-core", "[-L|--live] [-C|--crash] [-R|--reset] <Domain> [Filename]", "Write the memory of a domain to a core file."),
    planned(Domain, "migrate", "<Domain> <Host> [-l|--live] [-p|--port=PORT] [-n|--node=NODE] [-s|--ssl]", "Move a domain to another host."),
    planned(Domain, "restore", "<CheckpointFile> [-p|--paused]", "Restore a domain from a saved state."),
    planned(Domain, "resume", "<Domain> [-p|--paused]", "Resume a managed domain that was suspended."),
    planned(Domain, "save", "[-c|--checkpoint] <Domain> <CheckpointFile>", "Save a domain's state to restore it later."),
    planned(Domain, "suspend", "<Domain>", "Suspend a managed domain to disk."),
    planned(Device, "pci-attach", "<Domain> <domain:bus:slot.func> [virtual slot]", "Give a domain a PCI device."),
    planned(Device, "pci-detach", "<Domain> <domain:bus:slot.func>", "Take a PCI device from a domain."),
    planned(Device, "scsi-attach", "<Domain> <PhysScsiDevice> <VirtScsiDevice> [BackDomain]", "Give a domain a SCSI device."),
    planned(Device, "scsi-detach", "<Domain> <VirtScsiDevice>", "Take a SCSI device from a domain."),
    planned(Device, "usb-attach", "<Domain> <DevId> <PortNumber> <BusId>", "Give a domain a USB device."),
    planned(Device, "usb-detach", "<Domain> <DevId> <PortNumber>", "Take a USB device from a domain."),
    planned(Device, "usb-hc-create", "<Domain> <USBSpecVer> <NumberOfPorts>", "Give a domain a USB controller."),
    planned(Device, "usb-hc-destroy", "<Domain> <DevId>", "Take a USB controller from a domain."),
    planned(Vnet, "vnet-list", "[-l|--long]", "List the virtual networks."),
    planned(Vnet, "vnet-create", "<ConfigFile>", "Create a virtual network from a file."),
    planned(Vnet, "vnet-delete", "<VnetId>", "Delete a virtual network."),
    planned(Security, "labels", "[policy] [type=dom|res|any]", "List the labels of a policy."),
    planned(Security, "addlabel", "<label> {dom <ConfigFile>|res <resource>|mgt <managed domain>} [<policy>]", "Label a domain, resource or managed domain."),
    planned(Security, "rmlabel", "{dom <ConfigFile>|res <Resource>|mgt <managed domain>}", "Remove a label."),
    planned(Security, "getlabel", "{dom <ConfigFile>|res <Resource>|mgt <managed domain>}", "Show a label."),
    planned(Security, "dry-run", "<ConfigFile>", "Test whether a domain may use its resources."),
    planned(Security, "resources", "", "List the labelled resources."),
    planned(Security, "dumppolicy", "", "Print the policy in force."),
    planned(Security, "setpolicy", "<policytype> <policyname> [options]", "Set the policy."),
    planned(Security, "resetpolicy", "", "Set the policy back to the default one."),
    planned(Security, "getpolicy", "[options]", "Show which policy is set."),
    planned(Other, "cpupool-create", "<ConfigFile> [vars]", "Create a CPU pool from a file."),
    planned(Other, "cpupool-new", "<ConfigFile> [vars]", "Add a CPU pool to xend without starting it."),
    planned(Other, "cpupool-start", "<CPU Pool>", "Start a CPU pool."),
    planned(Other, "cpupool-destroy", "<CPU Pool>", "Stop a CPU pool."),
    planned(Other, "cpupool-delete", "<CPU Pool>", "Remove a CPU pool from xend."),
    planned(Other, "cpupool-cpu-add", "<CPU Pool> <CPU nr>", "Add a host CPU to a pool."),
    planned(Other, "cpupool-cpu-remove", "<CPU Pool> <CPU nr>", "Take a host CPU from a pool."),
    planned(Other, "cpupool-migrate", "<Domain> <CPU Pool>", "Move a domain to another pool."),
    planned(Other, "tmem-list", "[-l|--long] [-a|--all|<Domain>]", "List transcendent memory pools."),
    planned(Other, "tmem-freeze", "[-a|--all|<Domain>]", "Freeze transcendent memory pools."),
    planned(Other, "tmem-thaw", "[-a|--all|<Domain>]", "Thaw transcendent memory pools."),
    planned(Other, "tmem-destroy", "[-a|--all|<Domain>]", "Destroy transcendent memory pools."),
    planned(Other, "tmem-set", "[-a|--all|<Domain>] [weight=<weight>] [cap=<cap>] [compress=<compress>]", "Change settings of transcendent memory."),
    planned(Other, "tmem-shared-auth", "[-a|--all|<Domain>] [--uuid=<uuid>] [--auth=<0|1>]", "Allow or deny shared transcendent memory pools."),
    planned(Other, "tmem-freeable", "", "Print how much transcendent memory can be freed, MiB."),
    planned(Device, "usb-add", "<Domain> <[host:bus.addr] [host:vendor_id:product_id]>", "Give a domain a USB device of the host."),
    planned(Device, "usb-del", "<Domain> <[host:bus.addr] [host:vendor_id:product_id]>", "Take a USB device of the host from a domain."),
    planned(Device, "network2-attach", "<Domain> [options]", "Give a domain a netchannel2 interface."),
    planned(Device, "network2-detach", "<Domain> <DevId>", "Take a netchannel2 interface from a domain."),
];
