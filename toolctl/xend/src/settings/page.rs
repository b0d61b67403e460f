//! xend-config.sxp(5), made from the table of keys: `xend manual` prints it, `xend manual-table` that of docs/compatibility.md.

use super::table::{Effect, Key, Kind, KEYS};

/// What a key is about; its kind, default and effect are said from the table.
fn about(name: &str) -> &'static str {
    match name {
        "logfile" => "Where xend writes what it does.",
        "loglevel" => "How much it writes there.",
        "network-script" => "Script below /etc/xen/scripts, with arguments, that is run with start when xend starts, to set up the network of the host.",
        "vif-script" => "Script for network interfaces of domains whose configuration names none.",
        "console-limit" => "KiB of console output that may be held for a domain.",
        "dom0-min-mem" => "MiB of memory that are never given to domains.",
        "enable-dom0-ballooning" => "Take memory from domain 0 for a domain that needs more than is free.",
        "dom0-cpus" => "CPUs of the host that domain 0 uses; 0 for all.",
        "enable-dump" => "Write a core file when a domain crashes.",
        "device-create-timeout" => "Seconds that a device may take to be connected.",
        "device-destroy-timeout" => "Seconds that a device may take to be disconnected.",
        "xend-http-server" => "Serve HTTP: the web page, and S-expressions. Whoever can connect may look; changing something needs the token of /var/lib/xend/web-token.",
        "xend-unix-server" => "Serve HTTP on a unix socket.",
        "xend-unix-path" => "That socket.",
        "xend-port" => "TCP port of the HTTP server.",
        "xend-address" => "Address of the HTTP server; empty for every one.",
        "xend-http-server-ssl-key-file" => "Key of the HTTP server; with it and the certificate it speaks TLS. (Of our own.)",
        "xend-http-server-ssl-cert-file" => "Certificate of the HTTP server. (Of our own.)",
        "novnc-path" => "Directory of noVNC, with which the web page shows the screens of domains; Debian's package novnc puts it there. (Of our own.)",
        "xterm-path" => "Directory of xterm.js (the npm package @xterm/xterm, which npm install -g puts there), in which the web page shows consoles; without it they are text. (Of our own.)",
        "xend-tcp-xmlrpc-server" => "Serve XML-RPC over TCP.",
        "xend-tcp-xmlrpc-server-address" => "Address of that server.",
        "xend-tcp-xmlrpc-server-port" => "Port of that server.",
        "xend-tcp-xmlrpc-server-ssl-key-file" => "Key of that server; with it and the certificate it speaks TLS.",
        "xend-tcp-xmlrpc-server-ssl-cert-file" => "Certificate of that server.",
        "xend-unix-xmlrpc-server" => "Serve XML-RPC on a unix socket.",
        "xen-api-server" => "Where the Xen-API is served: a list of (unix) and (ADDRESS:PORT pam|token|none [HOSTS [KEY CERT]]). HOSTS are regular expressions of the addresses that may connect, KEY and CERT files for TLS. With token, users log in with what xend token add USER prints; with pam, which is meant where no word is, the host's users with their passwords (service xend of /etc/pam.d if it is there, otherwise login); with none whoever can connect rules the host.",
        "xend-relocation-server" => "Take in domains that other hosts send.",
        "xend-relocation-ssl-server" => "The same over TLS.",
        "xend-relocation-port" => "Port for domains that are sent.",
        "xend-relocation-ssl-port" => "The same over TLS.",
        "xend-relocation-server-ssl-key-file" => "Key for TLS, also of this host where it sends.",
        "xend-relocation-server-ssl-cert-file" => "Certificate for TLS, also of this host where it sends; it has the name by which others call this host.",
        "xend-relocation-ssl-ca-file" => "Certificates of those who sign the hosts' certificates; a key of Noxen's own.",
        "xend-relocation-ssl" => "Send domains over TLS unless told otherwise.",
        "xend-relocation-address" => "Address on which domains are taken in; empty for every one.",
        "xend-relocation-hosts-allow" => "Regular expressions, separated by blanks, of the hosts that may send domains; empty for every one.",
        "external-migration-tool" => "Program that moves a domain's disks and TPMs along.",
        "xend-udev-event-server" => "Take udev's events.",
        "vnc-listen" => "Address on which displays listen unless a domain says otherwise.",
        "vncpasswd" => "Password of displays unless a domain says otherwise.",
        "vnc-tls" => "Show displays by TLS only (VeNCrypt), with server-cert.pem and server-key.pem of vnc-x509-cert-dir.",
        "vnc-x509-cert-dir" => "Directory of the displays' certificate and key, and of ca-cert.pem, who signs the viewers' certificates.",
        "vnc-x509-verify" => "Let only viewers in that show a certificate signed by ca-cert.pem.",
        "keymap" => "Keyboard layout of displays unless a domain says otherwise.",
        "xsm_module_name" => "Module of access control.",
        "resource-label-change-script" => "Program that is told of changed labels.",
        "qemu-dm-logrotate-count" => "Old logs of the device model that are kept.",
        "xend-domains-path" => "Directory of the managed domains.",
        "xend-domains-lock-path" => "Directory of their lock.",
        "xend-state-path" => "Directory of the state of the Xen-API's objects.",
        "xend-storage-path" => "Directory of the storage repository.",
        "xend-security-path" => "Directory of the policies.",
        "total_available_memory" => "MiB that all domains may have together.",
        "pci-passthrough-strict-check" => "Refuse PCI devices that cannot be kept apart.",
        "pscsi-device-mask" => "SCSI devices that domains may be given.",
        _ => "",
    }
}

/// Text safe in a manual page.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn values(key: &Key) -> String {
    match key.kind {
        Kind::Bool => "yes|no".into(),
        Kind::Int => "NUMBER".into(),
        Kind::Word(words) => words.join("|"),
        Kind::Path => "PATH".into(),
        Kind::Text => "TEXT".into(),
    }
}

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        ".TH XEND\\-CONFIG.SXP 5 \"\" Noxen \"Noxen\"\n.SH NAME\nxend\\-config.sxp \\- settings of xend\n\
         .SH SYNOPSIS\n.I /etc/xen/xend\\-config.sxp\n\
         .SH DESCRIPTION\nS\\-expressions of the form (KEY VALUE). What follows a # is a comment. Of a key that stands there twice \
         the first one counts; without the file every key has its default. A value of the wrong kind keeps xend from starting. \
         \\fBxend reload\\fR reads the file again. The environment variable XEND_CONFIG names another file.\n\
         .SH KEYS\n",
    );
    for key in KEYS {
        let default = match key.default {
            "" => "empty",
            default => default,
        };
        let effect = match key.effect {
            Effect::Used => String::new(),
            Effect::Missing(why) => format!(" Accepted, without effect yet: {why}."),
            Effect::Fixed(why) => format!(" Only the default is there: {why}."),
        };
        page.push_str(&format!(
            ".TP\n(\\fB{}\\fR {})\n{}\n",
            escape(key.name),
            escape(&values(key)),
            escape(&format!("{} Default: {default}.{effect}", about(key.name)))
        ));
    }
    page.push_str(".SH SEE ALSO\n.BR xm (1),\n.BR xmdomain.cfg (5)\n");
    page
}

/// The keys as a table of docs/compatibility.md, with the lines around it.
pub fn table() -> String {
    let mut text = String::from(
        "<!-- what follows is printed by `xend manual-table` -->\n\n| Key | Today | Why, or what happens |\n|---|---|---|\n",
    );
    for key in KEYS {
        let (today, why) = match key.effect {
            Effect::Used => ("works", String::new()),
            Effect::Missing(why) => ("not yet", why.to_owned()),
            Effect::Fixed(why) => ("its default only", why.to_owned()),
        };
        text.push_str(&format!("| `{}` | {today} | {why} |\n", key.name));
    }
    text.push_str("<!-- end of what `xend manual-table` prints -->\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/compatibility.md");

    #[test]
    fn document_has_the_table_of_keys_as_the_definitions_have_it() {
        let table = table();
        let stale = table.lines().find(|line| !DOCUMENT.contains(line));
        assert!(
            DOCUMENT.contains(&table),
            "docs/compatibility.md is not what `xend manual-table` prints; first line that is not in it: {stale:?}"
        );
    }
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn every_key_is_described() {
        let page = page();
        for key in KEYS {
            assert!(!about(key.name).is_empty(), "{}", key.name);
            assert!(page.contains(&format!("(\\fB{}\\fR ", escape(key.name))));
        }
    }

    #[test]
    fn page_renders_without_warnings() {
        let mut groff = Command::new("groff")
            .args(["-man", "-ww", "-z", "-Kutf8"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("groff, which `cargo xtask assets` installs");
        let mut stdin = groff.stdin.take().unwrap();
        stdin.write_all(page().as_bytes()).unwrap();
        drop(stdin);
        let output = groff.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
    }
}
