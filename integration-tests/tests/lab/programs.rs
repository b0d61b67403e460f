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
fn xens_own_hvmloader_sets_the_machine_up_and_starts_the_bios_and_that_grub() {
    in_lab();
    let (node, font) = (node_with_scripts(), Font::of_bios());
    let loader = assets::program("hvmloader").unwrap();
    let lines = format!(
        "firmware_override = '{}'\nxen_platform_pci = 1\nvcpus = 2\n{}",
        loader.display(),
        cd("grub.iso")
    );
    let mut viewer = start(&node, "loader", &lines);
    viewer.wait_text(&font, &["GNU GRUB  version 2", "#*GNU/Linux"]);
    // The timer and the keyboard interrupt.
    viewer.type_text("c");
    viewer.wait_text(&font, &["grub> "]);
    let log = node.domain_log("loader");
    for line in [
        "HVM Loader",
        "Detected Xen v4.17",
        "System requested SeaBIOS",
        "PCI-ISA link 0 routed to IRQ5",
        "CPU1 ... ",
        "Writing SMBIOS tables",
        "Loading ACPI",
        "Invoking SeaBIOS",
        "xen: copy BIOS tables",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    node.toolctl(&["destroy", "loader"]).ok();
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
