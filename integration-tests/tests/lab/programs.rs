//! Programs that Debian packages for a bare PC, each as a person with a VNC viewer meets it.
//!
//! ```text
//!   config: boot, disk, fda, vif ── xend ── SeaBIOS ── program ── picture by VNC ── its text
//!                                              ^── keys by VNC ──┘
//! ```

use crate::glyphs::Font;
use crate::in_lab;
use crate::store::xenstore;
use crate::support::{node_with_scripts, Bridge};
use crate::viewer::Viewer;
use noxen_integration_tests::assets;
use noxen_integration_tests::node::Node;

/// Creates an HVM domain with a screen and `lines` in its config; its viewer.
fn start(node: &Node, name: &str, lines: &str) -> Viewer {
    let text = format!(
        "name = '{name}'\nbuilder = 'hvm'\nkernel = '/usr/lib/xen/boot/hvmloader'\nmemory = 64\n\
         vnc = 1\nvncdisplay = 42\non_reboot = 'destroy'\n{lines}\n"
    );
    let path = node.config_text(name, &text).unwrap();
    node.toolctl(&["create", &path]).ok();
    let domid = node.toolctl(&["domid", name]).ok();
    let port = format!("/local/domain/{}/console/vnc-port", domid.trim());
    let port = xenstore(node, &["xenstore-read", &port]);
    Viewer::connect(port.trim().parse().unwrap())
}

/// The config's lines for a CD in hdc that is booted from.
fn cd(name: &str) -> String {
    let path = assets::program(name).unwrap();
    format!(
        "boot = 'd'\ndisk = [ 'file:{},hdc:cdrom,r' ]",
        path.display()
    )
}

#[test]
fn grub_rescue_boots_from_cd_and_floppy_takes_keys_and_reads_its_cd() {
    in_lab();
    let (node, font) = (node_with_scripts(), Font::of_bios());
    let mut from_cd = start(&node, "cd", &cd("grub.iso"));
    let floppy = assets::program("grub.img").unwrap();
    let lines = format!("boot = 'a'\nfda = '{}'", floppy.display());
    let mut from_floppy = start(&node, "floppy", &lines);
    for viewer in [&mut from_cd, &mut from_floppy] {
        let menu = ["GNU GRUB  version 2", "#*GNU/Linux", "Memtest86+"];
        viewer.wait_text(&font, &menu);
        viewer.type_text("c");
        viewer.wait_text(&font, &["grub> "]);
    }
    from_cd.type_text("ls (cd)/\n");
    from_cd.wait_text(&font, &["boot/"]);
    for name in ["cd", "floppy"] {
        node.toolctl(&["destroy", name]).ok();
    }
}

#[test]
fn memtest86_finds_the_memory_that_the_domain_has() {
    in_lab();
    let (node, font) = (node_with_scripts(), Font::of_bios());
    let mut viewer = start(&node, "memtest", &cd("memtest.iso"));
    viewer.wait_text(&font, &["Memtest86+ v6", "Memory  :   64MB"]);
    node.toolctl(&["destroy", "memtest"]).ok();
}

#[test]
fn isolinux_starts_the_program_that_is_typed_at_its_prompt() {
    in_lab();
    let (node, font) = (node_with_scripts(), Font::of_bios());
    let mut viewer = start(&node, "isolinux", &cd("loader.iso"));
    viewer.wait_text(&font, &["ISOLINUX 6.04", "Noxen tests ISOLINUX", "boot:"]);
    viewer.type_text("invaders\n");
    // Those who are to be shot at.
    viewer.wait_text(&font, &["-*-  -*-"]);
    node.toolctl(&["destroy", "isolinux"]).ok();
}

#[test]
fn ipxe_starts_as_a_cards_rom() {
    in_lab();
    let (node, font) = (node_with_scripts(), Font::of_bios());
    let _bridge = Bridge::new("nxbr10", "10.82.0.1/24");
    let card = "vif = [ 'type=ioemu, bridge=nxbr10' ]";
    let mut viewer = start(&node, "rom", &format!("boot = 'n'\n{card}"));
    let says = [
        "iPXE (PCI 00:04.0) starting execution...ok",
        "iPXE initialising devices...ok",
        "using rtl8139 on 0000:00:04.0",
    ];
    viewer.wait_text(&font, &says);
    node.toolctl(&["destroy", "rom"]).ok();
}

#[test]
fn monitor_and_serial_windows_stand_behind_the_screen_and_the_cd_is_changed_under_grub() {
    in_lab();
    let (node, font, windows) = (node_with_scripts(), Font::of_bios(), Font::of_windows());
    let lines = format!("{}\nserial = 'pty'\nmonitor = 1", cd("grub.iso"));
    let mut viewer = start(&node, "windows", &lines);
    viewer.wait_text(&font, &["GNU GRUB  version 2", "Memtest86+"]);
    viewer.type_text("c");
    viewer.wait_text(&font, &["grub> "]);
    viewer.type_line(&font, "ls (cd)/");
    viewer.wait_text(&font, &["boot/"]);

    let path = |name: &str| assets::program(name).unwrap().display().to_string();
    let (first, second) = (path("grub.iso"), path("loader.iso"));
    viewer.switch(2);
    viewer.wait_text(&windows, &["type 'help' for more information", "(qemu)"]);
    viewer.type_text("info name\n");
    viewer.wait_text(&windows, &["(qemu) info name\nwindows\n(qemu)"]);
    viewer.type_text(&format!("change ide1-cd0 {second}\ninfo block\n"));
    viewer.wait_text(
        &windows,
        &["(qemu) info block\nhdc: removable=1 locked=0 file="],
    );
    let listed = || node.toolctl(&["block-list", "-l", "windows"]).ok();
    let params = |domid: &str| {
        let node_of = format!("/local/domain/0/backend/vbd/{domid}/5632/params");
        xenstore(&node, &["xenstore-read", &node_of])
            .trim()
            .to_owned()
    };
    let domid = node.toolctl(&["domid", "windows"]).ok().trim().to_owned();
    assert_eq!(params(&domid), second, "{}", listed());

    // GRUB keeps what it has read for two seconds, and finds the other CD then.
    viewer.switch(1);
    viewer.type_line(&font, "sleep 3");
    viewer.type_line(&font, "ls (cd)/");
    viewer.wait_text(&font, &["invaders"]);
    node.toolctl(&[
        "block-configure",
        "windows",
        &format!("file:{first}"),
        "hdc:cdrom",
        "r",
    ])
    .ok();
    viewer.type_line(&font, "sleep 3");
    viewer.type_line(&font, "clear");
    viewer.type_line(&font, "ls (cd)/");
    viewer.wait_text(&font, &["boot/"]);

    // What the serial port says is in the third window, and what is typed there goes to it.
    for line in [
        "serial",
        "terminal_output console serial",
        "terminal_input console serial",
    ] {
        viewer.type_line(&font, line);
    }
    viewer.switch(3);
    viewer.type_text("\necho by the line\n");
    viewer.wait_text(&windows, &["grub> echo by the line\nby the line"]);

    viewer.switch(2);
    viewer.type_text("eject hdc\ninfo block\n");
    viewer.wait_text(&windows, &["hdc: removable=1 locked=0 [not inserted]"]);
    let picture = node.root().join("screen.ppm");
    viewer.type_text(&format!(
        "stop\nscreendump {}\ninfo status\n",
        picture.display()
    ));
    viewer.wait_text(&windows, &["VM status: paused"]);
    let table = node.toolctl(&["list", "windows"]).ok();
    assert!(table.contains("--p---"), "{table}");
    let bytes = std::fs::read(&picture).unwrap();
    let head = b"P6\n720 400\n255\n";
    assert!(bytes.starts_with(head), "{:?}", &bytes[..16]);
    assert_eq!(bytes.len(), head.len() + 720 * 400 * 3);
    viewer.type_text("screendump /etc/passwd\nformat c:\n");
    let refusals = [
        "/etc/passwd: it is there already",
        "unknown command: 'format'",
    ];
    viewer.wait_text(&windows, &refusals);
    viewer.type_text("cont\nq\n");
    node.wait_gone("windows", crate::LIMIT);
    assert!(node.domain_log("windows").contains("paused"));
}
