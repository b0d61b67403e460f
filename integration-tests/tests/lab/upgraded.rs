//! `upgrade` of a guest at work: it goes on in another noxen-vmm with its memory, its disk and its connection, and notices nothing.

use crate::busy::Busy;
use crate::hvm_saved::{counting_pc, counts, counts_beyond};
use crate::network::{configure, ping};
use crate::support::{node_with_scripts, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;

#[test]
fn guest_at_work_goes_on_in_another_noxen_vmm() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr5", "10.85.0.1/24");
    let disk = node.root().join("up.disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let domain = Domain::debian("up", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line(&format!("disk = ['file:{},xvda,w']", disk.display()))
        .line("vif = ['bridge=nxbr5']");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    configure(&mut console, "eth0", "10.85.0.2");
    let mut busy = Busy::start(&mut console, "10.85.0.1", 5085);
    let id = node.toolctl(&["domid", "up"]).ok();
    for round in 0..2 {
        let before = node.processes_of("noxen-vmm");
        node.toolctl(&["upgrade", "up"]).ok();
        let after = node.processes_of("noxen-vmm");
        assert_eq!((before.len(), after.len()), (1, 1), "round {round}");
        assert_ne!(before[0].pid, after[0].pid, "round {round}");
        assert_eq!(node.toolctl(&["domid", "up"]).ok(), id);
        // The console's terminal is the same one, and whoever looks at it still does.
        console.send("\n").unwrap();
        busy.memory_is_right(&mut console);
        busy.talks_on(3);
        ping(&mut console, "10.85.0.1");
    }
    busy.disk_is_right(&mut console);
    let log = node.domain_log("up");
    let stopped = log.lines().filter(|line| line.contains("stopped for"));
    stopped.for_each(|line| eprintln!("{line}"));
    console.run("storm 2 3", LIMIT).unwrap();
    // The guest hears of the store still: its watches went along.
    node.toolctl(&["shutdown", "-w", "up"]).ok();
    node.wait_gone("up", LIMIT);
    assert_eq!(node.domains(), [""; 0]);
    assert!(node.processes_of("noxen-vmm").is_empty());
}

#[test]
fn pc_in_the_midst_of_its_disks_work_goes_on_in_another_noxen_vmm() {
    in_lab();
    let node = Node::new().unwrap();
    let disk = node.root().join("count.img");
    let config = node.config_text("pc", &counting_pc(&disk)).unwrap();
    node.toolctl(&["create", &config]).ok();
    let mut last = counts_beyond(&disk, 20);
    for _ in 0..3 {
        let before = node.only_vmm().pid;
        node.toolctl(&["upgrade", "pc"]).ok();
        assert_ne!(node.only_vmm().pid, before);
        last = counts_beyond(&disk, last + 20);
        let (all, in_memory) = counts(&disk);
        assert_eq!(all, in_memory, "the PC began anew");
    }
    node.toolctl(&["destroy", "pc"]).ok();
    assert!(node.processes_of("noxen-vmm").is_empty());
}
