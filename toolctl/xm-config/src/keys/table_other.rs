//! Variables that configs carry though xm never had an effect for them, such as names of older releases.

use super::Guests::{All, Hvm, Pv};
use super::Kind::{Int, Str, StrOrList};
use super::Status::Ignored;
use super::{key, KeyDef};

#[rustfmt::skip]
pub(super) const OTHER: &[KeyDef] = &[
    key("console", Str, "PORT", "", Pv, Ignored("a name of Xen 2.0"), "Port of the console in Xen 2.0."),
    key("snapshot", Int, "0|1", "", Hvm, Ignored("xm never read it"), "Named in old examples."),
    key("vncserver", Str, "ADDRESS", "", Hvm, Ignored("xm never read it"), "Named in old examples."),
    key("cdrom", Str, "FILE", "", Hvm, Ignored("a name of Xen 3.0; use disk with :cdrom"), "Image in the CD-ROM drive."),
    key("ne2000", Int, "0|1", "", Hvm, Ignored("a name of Xen 3.0; use model= in vif"), "NE2000 network card."),
    key("lapic", Int, "0|1", "", Hvm, Ignored("a name of Xen 3.0; it is always there"), "Local APIC."),
    key("ssidref", Int, "N", "", All, Ignored("a name of Xen 3.0; use access_control"), "Security label by number."),
    key("ipaddr", Str, "ADDRESS", "", Pv, Ignored("a name of Xen 3.0; use ip"), "Address."),
    key("usbport", StrOrList, "PATH", "", Pv, Ignored("a name of Xen 3.0"), "USB port of the host."),
    key("broadcast", Str, "ADDRESS", "", Pv, Ignored("xen-tools writes it for itself"), "Broadcast address, kept by xen-tools."),
    key("xen_shell", Str, "USERS", "", Pv, Ignored("xen-shell reads it from the file"), "Users who may control the domain with xen-shell."),
    key("auto_console", Int, "0|1", "", All, Ignored("use -c"), "Attach to the console after create."),
];
