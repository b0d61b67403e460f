//! Every key of xend-config.sxp: its kind, its default, and what becomes of it here.

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// yes or no.
    Bool,
    /// A whole number.
    Int,
    /// One of these, in any case.
    Word(&'static [&'static str]),
    /// An absolute path.
    Path,
    /// Anything.
    Text,
}

/// What becomes of a key that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what it says.
    Used,
    /// What it is about is not built; the text goes after `KEY is set to VALUE, but`.
    Missing(&'static str),
    /// It is built with the default only.
    Fixed(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Values.
    pub kind: Kind,
    /// As text.
    pub default: &'static str,
    /// What it does.
    pub effect: Effect,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, effect: Effect) -> Key {
    Key {
        name,
        kind,
        default,
        effect,
    }
}

use Effect::{Fixed, Missing, Used};
use Kind::{Bool, Int, Path, Text, Word};

const ONE_PLACE: Effect = Fixed("this version keeps its files in the usual place only");
const LEVELS: &[&str] = &["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// All of them.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("logfile", Path, "/var/log/xen/xend.log", Used),
    key("loglevel", Word(LEVELS), "DEBUG", Used),
    key("network-script", Text, "", Used),
    key("vif-script", Text, "vif-bridge", Used),
    key("console-limit", Int, "1024", Used),
    key("dom0-min-mem", Int, "0", Used),
    key("enable-dom0-ballooning", Bool, "yes", Fixed("domain 0 is the host itself: its kernel gives memory to domains by itself")),
    key("dom0-cpus", Int, "0", Missing("this version takes no CPU of the host offline")),
    key("enable-dump", Bool, "no", Used),
    key("device-create-timeout", Int, "100", Used),
    key("device-destroy-timeout", Int, "100", Used),
    key("xend-http-server", Bool, "no", Used),
    key("xend-unix-server", Bool, "no", Used),
    key("xend-unix-path", Path, "/var/lib/xend/xend-socket", Used),
    key("xend-port", Int, "8000", Used),
    key("xend-address", Text, "", Used),
    key("xend-http-server-ssl-key-file", Text, "", Used),
    key("xend-http-server-ssl-cert-file", Text, "", Used),
    key("novnc-path", Path, "/usr/share/novnc", Used),
    key("xterm-path", Path, "/usr/local/lib/node_modules/@xterm/xterm", Used),
    key("xend-tcp-xmlrpc-server", Bool, "no", Used),
    key("xend-tcp-xmlrpc-server-address", Text, "localhost", Used),
    key("xend-tcp-xmlrpc-server-port", Int, "8006", Used),
    key("xend-tcp-xmlrpc-server-ssl-key-file", Text, "", Used),
    key("xend-tcp-xmlrpc-server-ssl-cert-file", Text, "", Used),
    key("xend-unix-xmlrpc-server", Bool, "yes", Used),
    key("xen-api-server", Text, "((unix))", Used),
    key("xend-relocation-server", Bool, "no", Used),
    key("xend-relocation-ssl-server", Bool, "no", Used),
    key("xend-relocation-port", Int, "8002", Used),
    key("xend-relocation-ssl-port", Int, "8003", Used),
    key("xend-relocation-server-ssl-key-file", Text, "", Used),
    key("xend-relocation-server-ssl-cert-file", Text, "", Used),
    key("xend-relocation-ssl-ca-file", Text, "", Used),
    key("xend-relocation-ssl", Bool, "no", Used),
    key("xend-relocation-address", Text, "", Used),
    key("xend-relocation-hosts-allow", Text, "", Used),
    key("external-migration-tool", Text, "", Missing("no program is run for devices that move")),
    key("xend-udev-event-server", Bool, "no", Missing("this version takes no udev events")),
    key("vnc-listen", Text, "127.0.0.1", Used),
    key("vncpasswd", Text, "", Used),
    key("vnc-tls", Bool, "no", Used),
    key("vnc-x509-cert-dir", Text, "/etc/xen/vnc", Used),
    key("vnc-x509-verify", Bool, "no", Used),
    key("keymap", Text, "", Used),
    key("xsm_module_name", Word(&["dummy", "acm", "flask"]), "dummy", Missing("this version has no access control")),
    key("resource-label-change-script", Text, "", Missing("this version has no access control")),
    key("qemu-dm-logrotate-count", Int, "10", Missing("there is no qemu-dm; a domain's log keeps one old file")),
    key("xend-domains-path", Path, "/var/lib/xend/domains", ONE_PLACE),
    key("xend-domains-lock-path", Path, "/var/lib/xend/domains", ONE_PLACE),
    key("xend-state-path", Path, "/var/lib/xend/state", ONE_PLACE),
    key("xend-storage-path", Path, "/var/lib/xend/storage", ONE_PLACE),
    key("xend-security-path", Path, "/var/lib/xend/security", ONE_PLACE),
    key("total_available_memory", Int, "0", Missing("what domains can have is counted, not configured")),
    key("pci-passthrough-strict-check", Bool, "yes", Missing("this version passes no PCI devices through")),
    key("pscsi-device-mask", Text, "(*)", Missing("this version passes no SCSI devices through")),
];
