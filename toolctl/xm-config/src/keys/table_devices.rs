//! Variables that give a domain devices, and the network settings of paravirtual kernels.

use super::Guests::{All, Hvm, Pv};
use super::Kind::{Bool, Int, List, Str};
use super::Status::{Ignored, Later, NotOnKvm, Refused, Used};
use super::{key, KeyDef};

#[rustfmt::skip]
pub(super) const DEVICES: &[KeyDef] = &[
    key("disk", List, "['UNAME,DEV,MODE']", "[]", All, Used, "Disks: phy:, file: or tap: device, name in the guest, r, w or w!."),
    key("vif", List, "['KEY=VALUE,...']", "[]", All, Used, "Network interfaces: mac, bridge, ip, script, type, vifname, rate, model. An empty text is one with defaults."),
    key("vif2", List, "['KEY=VALUE,...']", "[]", Pv, Refused, "Network interfaces of the netchannel2 kind."),
    key("nics", Int, "N", "", All, Ignored("deprecated; use empty texts in vif"), "Deprecated: number of network interfaces."),
    key("vfb", List, "['KEY=VALUE,...']", "[]", Pv, Used, "Frame buffers: vnc, vncdisplay, vnclisten, vncpasswd, vncunused, sdl, display, keymap, videoram."),
    key("vtpm", List, "['instance=N,backend=D']", "[]", All, Refused, "Virtual TPM; only the first counts."),
    key("pci", List, "['[DOM:]BUS:SLOT.FUNC']", "[]", All, Refused, "PCI devices of the host, with ,msitranslate= and ,power_mgmt=."),
    key("pci_msitranslate", Int, "0|1", "1", All, Later, "Default of msitranslate for every PCI device."),
    key("pci_power_mgmt", Int, "0|1", "0", All, Later, "Default of power_mgmt for every PCI device."),
    key("gfx_passthru", Int, "0|1", "0", Hvm, Later, "Hand over the host's primary graphics card."),
    key("vscsi", List, "['PDEV,VDEV']", "[]", All, Refused, "SCSI devices: host:channel:target:lun or name, and where the guest sees it."),
    key("vusb", List, "['KEY=VALUE,...']", "[]", Pv, Refused, "USB host controllers."),
    key("ioports", List, "['HEX-HEX']", "[]", Pv, Refused, "I/O ports that the domain may use."),
    key("irq", List, "['N']", "[]", Pv, Refused, "Interrupts that the domain may use."),
    key("access_control", List, "['policy=P,label=L']", "[]", All, Refused, "Security label."),
    key("blkif", Bool, "no|yes", "no", Pv, Later, "The domain serves block devices to others."),
    key("netif", Bool, "no|yes", "no", Pv, Later, "The domain serves network interfaces to others."),
    key("tpmif", Bool, "no|yes", "no", Pv, Later, "The domain serves virtual TPMs to others."),
    key("machine_address_size", Int, "BITS", "", Pv, NotOnKvm("a domain does not see the addresses of the host"), "Give the domain memory below this address width only."),
    key("suppress_spurious_page_faults", Bool, "no|yes", "no", Pv, NotOnKvm("there are no shadow page tables"), "Hide page faults that need no handling from the guest."),
];

#[rustfmt::skip]
pub(super) const NETWORK: &[KeyDef] = &[
    key("ip", Str, "ADDRESS", "", Pv, Used, "Address in the ip= argument of the kernel."),
    key("netmask", Str, "MASK", "", Pv, Used, "Network mask in the ip= argument."),
    key("gateway", Str, "ADDRESS", "", Pv, Used, "Gateway in the ip= argument."),
    key("hostname", Str, "NAME", "", Pv, Used, "Host name in the ip= argument."),
    key("interface", Str, "NAME", "eth0", Pv, Used, "Interface in the ip= argument."),
    key("dhcp", Str, "off|dhcp", "off", Pv, Used, "How the kernel configures the interface."),
    key("nfs_server", Str, "ADDRESS", "", Pv, Used, "NFS server of the root file system."),
    key("nfs_root", Str, "PATH", "", Pv, Used, "Directory of the root file system on the NFS server."),
];
