//! The hotplug scripts of `configs/scripts`, and Debian's own, run as xend runs them: in a network
//! namespace of their own, against a real store.
//!
//! ```text
//!   test ── Daemon (xenstored) ── unshare: net, mount ── bash: set up, SCRIPT online, show ── assertions
//! ```

mod daemon;

use daemon::{wait_for, Daemon};
use noxen_xenstore::client::Nodes;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The back end's directory of the interface under test, and its name as xend gives it to a script.
const BACKEND: &str = "/local/domain/0/backend/vif/5/0";

fn our_scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../configs/scripts")
}

/// Debian's, from package xen-utils-common, which is not installed.
fn debian_scripts() -> PathBuf {
    daemon::asset("xen-scripts")
}

/// A namespace with a store.
struct Host {
    daemon: Daemon,
}

/// What a scenario printed.
struct Shown {
    text: String,
}

impl Shown {
    #[track_caller]
    fn has(&self, part: &str) {
        assert!(self.text.contains(part), "no '{part}' in:\n{}", self.text);
    }

    #[track_caller]
    fn lacks(&self, part: &str) {
        assert!(!self.text.contains(part), "'{part}' in:\n{}", self.text);
    }
}

impl Host {
    /// A store that holds what xend writes for domain 5's first interface, and `nodes` of its back end.
    fn new(nodes: &[(&str, &str)]) -> Host {
        let daemon = Daemon::start();
        let mut client = daemon.client();
        let frontend = "/local/domain/5/device/vif/0";
        for (path, value) in [
            (format!("{frontend}/backend"), BACKEND),
            (format!("{BACKEND}/frontend"), frontend),
            (format!("{BACKEND}/frontend-id"), "5"),
            (format!("{BACKEND}/handle"), "0"),
            (format!("{BACKEND}/mac"), "00:16:3e:00:00:05"),
            (format!("{BACKEND}/state"), "2"),
        ] {
            client.write(&path, value.as_bytes()).unwrap();
        }
        for (name, value) in nodes {
            client
                .write(&format!("{BACKEND}/{name}"), value.as_bytes())
                .unwrap();
        }
        Host { daemon }
    }

    /// A node of the back end; empty if there is none.
    fn node(&self, name: &str) -> String {
        self.path(&format!("{BACKEND}/{name}"))
    }

    fn path(&self, path: &str) -> String {
        self.daemon.client().read(path).unwrap_or_default()
    }

    /// Runs `scenario` in fresh namespaces. In it: `run SCRIPT WORD...` as xend does, `guest CMD...` in
    /// another namespace that a cable (vif5.0 - eth0) leads to once `cable` was called, `reach` to ping.
    fn play(&self, scripts: &Path, scenario: &str) -> Shown {
        let prelude = format!(
            "mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log
            mkdir -p /var/log/xen /run/netns && ip link set lo up
            export XENBUS_PATH=backend/vif/5/0 XENBUS_TYPE=vif XENBUS_BASE_PATH=backend vif=vif5.0
            export script={scripts}/vif-bridge
            run() {{
                local program=$1; shift
                {scripts}/$program \"$@\" </dev/null; local status=$?
                [ $status = 0 ] || echo \"$program ended with $status\"
            }}
            cable() {{
                ip netns add guest
                ip link add ${{1:-vif5.0}} type veth peer name eth0 netns guest
                guest ip link set lo up; guest ip link set eth0 up
            }}
            guest() {{ ip netns exec guest \"$@\"; }}
            reach() {{ \"$@\" >/dev/null 2>&1 && echo reached || echo unreached; }}
            ",
            scripts = scripts.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let mut child = command
            .args(["bash", "-c", &format!("{prelude}\n{scenario}")])
            .env("NOXEN_ROOT", self.daemon.root())
            .env("XENSTORED_PATH", self.daemon.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the end of the scenario", || {
            child.try_wait().unwrap().is_some()
        });
        let out = child.wait_with_output().unwrap();
        let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&out.stderr));
        Shown { text }
    }
}

#[test]
fn vif_bridge_puts_the_interface_on_its_bridge_and_takes_it_off() {
    let host = Host::new(&[("bridge", "lan")]);
    let shown = host.play(
        &our_scripts(),
        "ip link add lan type bridge; ip link set lan up mtu 1400; cable
         run vif-bridge add; xenstore-read backend/vif/5/0/hotplug-status
         run vif-bridge online type_if=vif; ip -d link show vif5.0; bridge link
         run vif-bridge offline type_if=vif; echo after; bridge link; ip -br link show vif5.0",
    );
    shown.has("couldn't read path backend/vif/5/0/hotplug-status");
    shown.has("mtu 1400");
    shown.has("master lan");
    shown.has("NOARP");
    shown.has("fe:ff:ff:ff:ff:ff");
    let after = shown.text.split("after\n").nth(1).unwrap();
    assert!(!after.contains("lan"), "{after}");
    assert!(after.contains("DOWN"), "{after}");
    assert_eq!(host.node("hotplug-status"), "connected");
    assert_eq!(host.path("/local/domain/5/device/vif/0/mtu"), "1400");
    let log = host.daemon.root().join("var/log/xen/xen-hotplug.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("Successful vif-bridge online for vif5.0"),
        "{log}"
    );
}

#[test]
fn vif_bridge_takes_the_first_bridge_and_the_name_that_is_asked_for() {
    let host = Host::new(&[("vifname", "web")]);
    let shown = host.play(
        &our_scripts(),
        "unset XENSTORED_PATH; ip link add brb type bridge; ip link add bra type bridge; cable
         run vif-bridge online; bridge link; ip -br link show vif5.0
         run vif-bridge offline; echo after; bridge link",
    );
    shown.has("web@");
    shown.has("master bra");
    shown.has("\"vif5.0\" does not exist");
    assert!(!shown.text.split("after\n").nth(1).unwrap().contains("web"));
    assert_eq!(host.node("hotplug-status"), "connected");
}

#[test]
fn vif_bridge_that_cannot_says_why_in_the_store() {
    let none = Host::new(&[]);
    none.play(&our_scripts(), "cable; run vif-bridge online")
        .has("vif-bridge ended with 1");
    assert_eq!(none.node("hotplug-status"), "error");
    assert_eq!(
        none.node("hotplug-error"),
        "Could not find bridge, and none was specified"
    );

    let other = Host::new(&[("bridge", "nowhere")]);
    other.play(&our_scripts(), "cable; run vif-bridge online");
    assert_eq!(
        other.node("hotplug-error"),
        "Could not find bridge device nowhere"
    );

    let taken = Host::new(&[("bridge", "lan"), ("vifname", "lan")]);
    taken.play(
        &our_scripts(),
        "ip link add lan type bridge; cable; run vif-bridge online",
    );
    assert_eq!(
        taken.node("hotplug-error"),
        "Cannot rename interface vif5.0. An interface with name lan already exists."
    );

    let missing = Host::new(&[("bridge", "lan")]);
    let shown = missing.play(
        &our_scripts(),
        "ip link add lan type bridge; run vif-bridge online; run vif-bridge wrong",
    );
    shown.has("vif-bridge ended with 1\nvif-bridge ended with 1");
    assert!(missing.node("hotplug-error").ends_with("failed"));
}

#[test]
fn vif_with_addresses_can_use_no_others() {
    let host = Host::new(&[("bridge", "lan"), ("ip", "10.9.0.5 10.9.1.0/24 fd00::5")]);
    let shown = host.play(
        &our_scripts(),
        "ip link add lan type bridge forward_delay 0; ip link set lan up
         ip addr add 10.9.0.1/16 dev lan; ip addr add fd00::1/64 dev lan nodad; cable
         run vif-bridge online
         use() { guest ip addr flush dev eth0 scope global; guest ip addr add $1 dev eth0 nodad; }
         for a in 10.9.0.5/16 10.9.1.77/16 10.9.0.6/16; do
             use $a; echo $a $(reach guest busybox ping -c1 -W2 10.9.0.1)
             ip neigh flush dev lan
         done
         for a in fd00::5/64 fd00::6/64; do use $a; echo $a $(reach guest busybox ping -6 -c1 -W2 fd00::1); done
         run vif-bridge offline; nft list table bridge noxen",
    );
    shown.has("10.9.0.5/16 reached");
    shown.has("10.9.1.77/16 reached");
    shown.has("10.9.0.6/16 unreached");
    shown.has("fd00::5/64 reached");
    shown.has("fd00::6/64 unreached");
    shown.lacks("from-vif5.0");
    shown.lacks("\"vif5.0\"");
}

#[test]
fn vif_route_routes_to_the_guest_and_drops_foreign_sources() {
    let host = Host::new(&[("ip", "10.9.0.5")]);
    let shown = host.play(
        &our_scripts(),
        "ip link add up0 type bridge; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0
         run network-route netdev=up0 start; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/up0/proxy_arp
         cable; run vif-route online netdev=up0
         guest ip addr add 10.9.0.5/32 dev eth0; guest ip addr add 10.9.0.6/32 dev eth0; guest ip route add default dev eth0
         echo right $(reach guest busybox ping -c1 -W2 -I 10.9.0.5 192.0.2.1)
         echo wrong $(reach guest busybox ping -c1 -W1 -I 10.9.0.6 192.0.2.1)
         ip route show dev vif5.0; run vif-route offline netdev=up0; echo after; ip route show dev vif5.0",
    );
    shown.has("1\n1\n");
    shown.has("right reached");
    shown.has("wrong unreached");
    shown.has("10.9.0.5 scope link src 192.0.2.1 metric 2");
    assert_eq!(shown.text.split("after\n").nth(1), Some(""));
    assert_eq!(host.node("hotplug-status"), "connected");

    let down = Host::new(&[("ip", "10.9.0.5")]);
    down.play(&our_scripts(), "cable; run vif-route online netdev=gone0");
    assert_eq!(
        down.node("hotplug-error"),
        format!(
            "gone0 is not up.  Bring it up or specify another interface with netdev=<if> as a parameter to {}.",
            our_scripts().join("vif-route").display()
        )
    );
}

#[test]
fn vif_nat_hides_the_guest_behind_the_hosts_address() {
    let host = Host::new(&[("domain", "web.one")]);
    let conf = host.daemon.root().join("dhcpd.conf");
    std::fs::write(&conf, "default-lease-time 600;\n").unwrap();
    let shown = host.play(
        &our_scripts(),
        "export DHCPD_CONF=$NOXEN_ROOT/dhcpd.conf DHCPD_RESTART='touch /run/restarted'
         ip netns add outside; ip link add up0 type veth peer name far0 netns outside; ip link set up0 up
         ip addr add 192.0.2.1/24 dev up0; ip netns exec outside ip addr add 192.0.2.9/24 dev far0
         ip netns exec outside ip link set far0 up
         run network-nat netdev=up0 dhcp=yes start
         cable; run vif-nat online dhcp=yes; ls /run/restarted; cat $DHCPD_CONF
         guest ip addr add 10.0.5.1/16 dev eth0; guest ip route add default via 10.0.5.128
         echo ping $(reach guest busybox ping -c1 -W2 192.0.2.9)
         run vif-nat offline dhcp=yes; run network-nat netdev=up0 dhcp=yes stop
         echo after; cat $DHCPD_CONF; nft list tables; ip route show dev vif5.0",
    );
    shown.has("host web-one { hardware ethernet 00:16:3e:00:00:05; fixed-address 10.0.5.1; option routers 10.0.5.128;");
    shown.has("subnet 10.0.0.0 netmask 255.255.0.0 {");
    shown.has("/run/restarted\n");
    // The outside has no route to 10.0.0.0/16: an answer came back to the host's own address.
    shown.has("ping reached");
    assert_eq!(
        shown.text.split("after\n").nth(1),
        Some("default-lease-time 600;\n")
    );
    assert_eq!(host.node("hotplug-status"), "connected");
}

#[test]
fn network_nat_with_antispoof_lets_nothing_but_answers_in() {
    let host = Host::new(&[]);
    let shown = host.play(
        &our_scripts(),
        "ip netns add outside; ip link add up0 type veth peer name far0 netns outside; ip link set up0 up
         ip addr add 192.0.2.1/24 dev up0; ip netns exec outside ip addr add 192.0.2.9/24 dev far0
         ip netns exec outside ip link set far0 up; ip netns exec outside ip route add 10.0.0.0/16 via 192.0.2.1
         cable; run vif-nat online dhcp=no
         guest ip addr add 10.0.5.1/16 dev eth0; guest ip route add default via 10.0.5.128
         from_outside() { reach ip netns exec outside busybox ping -c1 -W1 10.0.5.1; }
         run network-nat netdev=up0 dhcp=no start; echo open $(from_outside)
         run network-nat netdev=up0 antispoof=yes dhcp=no start; echo held $(from_outside)
         echo answers $(reach guest busybox ping -c1 -W2 192.0.2.9)
         run network-nat netdev=up0 dhcp=no stop; nft list tables",
    );
    shown.lacks("ended with");
    shown.has("open reached");
    shown.has("held unreached");
    shown.has("answers reached");
    shown.lacks("noxen_nat");
}

#[test]
fn network_bridge_moves_addresses_and_routes_there_and_back() {
    let host = Host::new(&[]);
    let shown = host.play(
        &our_scripts(),
        "ip netns add outside; ip link add net0 type veth peer name far0 netns outside
         ip netns exec outside ip addr add 192.0.2.9/24 dev far0; ip netns exec outside ip link set far0 up
         ip link set net0 up; ip addr add 192.0.2.1/24 brd + dev net0; ip addr add 2001:db8::1/64 dev net0 nodad
         ip route add default via 192.0.2.9
         state() { echo \"[$1]\"; ip -br addr show dev net0 scope global | sed 's/@[^ ]*//; s/fe80[^ ]*//'; ip route; }
         state before; cat /sys/class/net/net0/address
         run network-bridge netdev=net0 start; run network-bridge netdev=net0 start; state bridged
         bridge link; cat /sys/class/net/net0/address; ls -d /sys/class/net/net0/bridge
         echo ping $(reach busybox ping -c1 -W2 192.0.2.9); run network-bridge netdev=net0 status >/dev/null
         run network-bridge netdev=net0 stop; state again; ls /sys/class/net
         run network-bridge wrong",
    );
    shown.has("Waiting for pnet0 to negotiate link");
    shown.has("pnet0: ");
    shown.has("master net0");
    shown.has("/sys/class/net/net0/bridge");
    shown.has("ping reached");
    shown.has("Unknown command: wrong\nValid commands are: start, stop, status");
    let state = |name: &str| {
        let text = shown.text.split(&format!("[{name}]\n")).nth(1).unwrap();
        let lines: Vec<String> = text
            .lines()
            .take(3)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines
    };
    assert_eq!(
        state("before")[1..],
        [
            "default via 192.0.2.9 dev net0",
            "192.0.2.0/24 dev net0 proto kernel scope link src 192.0.2.1"
        ]
    );
    assert!(
        state("before")[0].contains("2001:db8::1/64"),
        "{}",
        shown.text
    );
    assert_eq!(state("bridged"), state("before"));
    assert_eq!(state("again"), state("before"));
    shown.lacks("ended with 2");
}

#[test]
fn network_bridge_with_antispoof_forwards_only_for_known_interfaces() {
    let host = Host::new(&[("bridge", "net0")]);
    let shown = host.play(
        &our_scripts(),
        "for n in outside rogue; do ip netns add $n; done
         ip link add net0 type veth peer name far0 netns outside; ip link set net0 up
         ip netns exec outside ip addr add 10.9.0.9/16 dev far0; ip netns exec outside ip link set far0 up
         run network-bridge netdev=net0 antispoof=yes start >/dev/null
         cable; run vif-bridge online; guest ip addr add 10.9.0.5/16 dev eth0
         ip link add other type veth peer name eth0 netns rogue; ip link set other master net0 up
         ip netns exec rogue ip addr add 10.9.0.7/16 dev eth0; ip netns exec rogue ip link set eth0 up
         echo known $(reach guest busybox ping -c1 -W2 10.9.0.9)
         echo unknown $(reach ip netns exec rogue busybox ping -c1 -W1 10.9.0.9)",
    );
    shown.has("known reached");
    shown.has("unknown unreached");
}

#[test]
fn debians_vif_bridge_runs_unchanged() {
    let host = Host::new(&[("bridge", "lan")]);
    let shown = host.play(
        &debian_scripts(),
        "ip link add lan type bridge; ip link set lan up mtu 1400; cable
         run vif-bridge online type_if=vif; bridge link
         run vif-bridge offline type_if=vif; echo after; bridge link",
    );
    shown.lacks("ended with");
    shown.has("master lan");
    assert_eq!(shown.text.split("after\n").nth(1), Some(""));
    assert_eq!(host.node("hotplug-status"), "connected");
    assert_eq!(host.path("/local/domain/5/device/vif/0/mtu"), "1400");

    let none = Host::new(&[("bridge", "nowhere")]);
    none.play(
        &debian_scripts(),
        "cable; run vif-bridge online type_if=vif",
    )
    .has("vif-bridge ended with 1");
    assert_eq!(none.node("hotplug-status"), "error");
    assert_eq!(
        none.node("hotplug-error"),
        "Could not find bridge device nowhere"
    );
}

#[test]
fn debians_vif_nat_runs_unchanged() {
    let host = Host::new(&[]);
    let shown = host.play(
        &debian_scripts(),
        "cable; run vif-nat online type_if=vif; guest ip addr add 10.0.5.1/16 dev eth0
         echo ping $(reach guest busybox ping -c1 -W2 10.0.5.128)",
    );
    shown.lacks("ended with");
    shown.has("ping reached");
    assert_eq!(host.node("hotplug-status"), "connected");
}

#[test]
fn debians_vif_route_runs_unchanged() {
    let host = Host::new(&[("ip", "10.9.0.5")]);
    // It calls ifconfig, of net-tools; busybox has one.
    let shown = host.play(
        &debian_scripts(),
        "mkdir /run/bin; ln -s $(which busybox) /run/bin/ifconfig; PATH=/run/bin:$PATH
         ip link add up0 type veth peer name far0; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0
         ip route add default dev up0
         cable; export netdev=up0; run vif-route online type_if=vif; ip route show dev vif5.0
         guest ip addr add 10.9.0.5/24 dev eth0; guest ip route add default dev eth0
         echo ping $(reach guest busybox ping -c1 -W2 192.0.2.1)
         run vif-route offline type_if=vif; echo after; ip route show dev vif5.0",
    );
    shown.lacks("ended with");
    shown.has("10.9.0.5 scope link");
    shown.has("ping reached");
    assert_eq!(shown.text.split("after\n").nth(1), Some(""));
    assert_eq!(host.node("hotplug-status"), "connected");
}

#[test]
fn debians_block_runs_unchanged() {
    let Some(device) = block_device() else {
        // A container may have none.
        return;
    };
    let name = device.display().to_string();
    let host = Host::new(&[("type", "phy"), ("params", &name), ("mode", "w!")]);
    let shown = host.play(
        &debian_scripts(),
        "export XENBUS_TYPE=vbd; run block add; run block remove",
    );
    shown.lacks("ended with");
    assert_eq!(host.node("hotplug-status"), "connected");
    assert!(host.node("physical-device").contains(':'));
}

/// Some block device of this machine.
fn block_device() -> Option<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let entries = std::fs::read_dir("/dev").ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths
        .find(|path| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device()))
}

/// A store with a disk of `kind`, `params` and mode w at the usual place; what `block add` came to.
fn block(scripts: &Path, kind: &str, params: &str) -> Host {
    let host = Host::new(&[("type", kind), ("params", params), ("mode", "w")]);
    host.play(scripts, "run block add");
    host
}

#[test]
fn block_finds_a_device_and_says_what_is_wrong_with_others() {
    if let Some(device) = block_device() {
        let name = device.file_name().unwrap().to_str().unwrap();
        let host = block(&our_scripts(), "phy", name);
        assert_eq!(host.node("hotplug-status"), "connected");
        assert_eq!(host.node("node"), device.display().to_string());
        let numbers = host.node("physical-device");
        let (major, minor) = numbers.split_once(':').unwrap();
        assert!(u32::from_str_radix(major, 16).is_ok() && u32::from_str_radix(minor, 16).is_ok());
    }
    for (kind, params, why) in [
        ("phy", "no/such", "/dev/no/such does not exist."),
        ("phy", "/dev/null", "/dev/null is not a block device."),
        ("file", "/no/such", "/no/such does not exist."),
        ("", "x", "backend/vif/5/0 has no type"),
        ("../x", "x", "'../x' is no type of disk"),
    ] {
        let host = block(&our_scripts(), kind, params);
        assert_eq!(host.node("hotplug-status"), "error", "{kind} {params}");
        assert_eq!(host.node("hotplug-error"), why);
    }
    let host = block(&our_scripts(), "drbd", "r0");
    assert!(host
        .node("hotplug-error")
        .ends_with("for disks of type drbd"));
}

#[test]
fn block_leaves_other_types_to_the_script_of_that_name() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(our_scripts()).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let script = dir.path().join("block-mine");
    let text = "#!/bin/sh\nxenstore-write \"$XENBUS_PATH/node\" \"$1 $(xenstore-read $XENBUS_PATH/params)\"\n";
    std::fs::write(&script, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let host = block(dir.path(), "mine", "a b");
    assert_eq!(host.node("node"), "add a b");
}
