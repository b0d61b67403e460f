//! A Debian guest that suspends itself (`control/shutdown` = `suspend`) to be saved or moved: its kernel lets its devices,
//! event channels and grants go, and takes them up again where it goes on.
//!
//! ```text
//!   here: save -c --by-guest --cancelled: SHUTDOWN_suspend returns 1--> runs on
//!         save --by-guest --> file --restore: it returns 0--> xvda, eth0, console and store connect anew
//!         migrate --live --by-guest --> there, likewise
//! ```

use crate::busy::Busy;
use crate::moved::{open_node, take_an_id};
use crate::network::{configure, ping};
use crate::support::Bridge;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;

const HERE: &str = "8821";
const THERE: &str = "8822";

#[test]
fn guest_suspends_itself_to_be_saved_restored_moved_and_when_it_runs_on() {
    in_lab();
    let (here, there) = (open_node(HERE), open_node(THERE));
    let _bridge = Bridge::new("nxbr4", "10.84.0.1/24");
    let disk = here.root().join("suspended.disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let domain = Domain::debian("s", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line(&format!("disk = ['file:{},xvda,w']", disk.display()))
        .line("vif = ['bridge=nxbr4']");
    let mut console = here.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    configure(&mut console, "eth0", "10.84.0.2");
    // Taps of both sides are on this host, and named after the id.
    take_an_id(&there);
    let mut busy = Busy::start(&mut console, "10.84.0.1", 5084);
    let image = here.root().join("s.img");
    let image = image.to_str().unwrap();

    // One that is paused cannot.
    here.toolctl(&["pause", "s"]).ok();
    let said = here.toolctl(&["save", "--by-guest", "s", image]);
    assert!(said.stderr.contains("is paused"), "{}", said.stderr);
    here.toolctl(&["unpause", "s"]).ok();

    // Cancelled: it goes on with what it had, and its drivers have seen both.
    let words = ["save", "-c", "--by-guest", "s", image];
    here.try_toolctl(&words, LIMIT).unwrap().ok();
    busy.memory_is_right(&mut console);
    busy.talks_on(2);
    ping(&mut console, "10.84.0.1");

    let words = ["save", "-f", "--by-guest", "s", image];
    here.try_toolctl(&words, LIMIT).unwrap().ok();
    assert_eq!(here.domains(), [""; 0]);
    drop(console);
    let words = ["restore", image];
    here.try_toolctl(&words, LIMIT).unwrap().ok();
    let mut console = here.console("s").unwrap();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    busy.talks_on(2);
    ping(&mut console, "10.84.0.1");

    let words = [
        "migrate",
        "--live",
        "--by-guest",
        "s",
        "127.0.0.1",
        "-p",
        THERE,
        "--json",
    ];
    let said = here.try_toolctl(&words, LIMIT).unwrap();
    eprintln!("there: {}", said.ok());
    assert_eq!(here.domains(), [""; 0]);
    assert_eq!(there.domains(), ["other", "s"]);
    drop(console);
    let mut console = there.console("s").unwrap();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    busy.talks_on(2);
    ping(&mut console, "10.84.0.1");
    busy.disk_is_right(&mut console);
    console.run("storm 2 3", LIMIT).unwrap();
    let said = console
        .run("dmesg | grep -cE 'BUG:|Oops|Call Trace'; true", LIMIT)
        .unwrap();
    assert_eq!(
        said.trim(),
        "0",
        "{}",
        console.run("dmesg | tail -40", LIMIT).unwrap()
    );
    there.toolctl(&["shutdown", "-w", "s"]).ok();
    there.wait_gone("s", LIMIT);
    assert_eq!(there.domains(), ["other"]);
}
