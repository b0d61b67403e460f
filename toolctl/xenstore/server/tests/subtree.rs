//! Reading a tree of the store: what is found, and in how many round trips.

mod daemon;

use daemon::Daemon;
use noxen_xenstore::client::{subtree, Client, Nodes};

/// How often the daemon has gone to sleep.
fn sleeps(client: &mut Client) -> u64 {
    let report = client.control(&["memreport"]).unwrap();
    let row = report.lines().find_map(|line| {
        let (left, right) = line.split_once(':')?;
        (left.trim() == "sleeps").then(|| right.trim().parse().unwrap())
    });
    row.unwrap_or_else(|| panic!("no sleeps in {report}"))
}

#[test]
fn tree_is_read_a_level_at_a_time_with_parents_before_children() {
    let daemon = Daemon::start_with(&["--poll-us", "0"]);
    let mut client = daemon.client();
    let mut wanted = vec![("device".to_owned(), String::new())];
    for index in 0..60 {
        let path = format!("device/vif/{index}");
        client.write(&format!("/h/{path}/mac"), "aa").unwrap();
        client.write(&format!("/h/{path}/state"), "4").unwrap();
        wanted.push((format!("{path}/mac"), "aa".into()));
        wanted.push((format!("{path}/state"), "4".into()));
        wanted.push((path, String::new()));
    }
    wanted.push(("device/vif".into(), String::new()));
    client.write("/h/control/platform", "1").unwrap();
    wanted.push(("control".into(), String::new()));
    wanted.push(("control/platform".into(), "1".into()));
    // Too many names for one message.
    for index in 0..300 {
        let path = format!("data/a-name-of-many-letters-{index}");
        client.write(&format!("/h/{path}"), "x").unwrap();
        wanted.push((path, "x".into()));
    }
    wanted.push(("data".into(), String::new()));
    client.write("/h/other/secret", "no").unwrap();
    // An event in between is put aside, not lost.
    client.watch("/h", "token").unwrap();

    let before = sleeps(&mut client);
    let asked = ["control", "device", "data", "absent"].map(str::to_owned);
    let mut found = subtree(&mut client, "/h", &asked).unwrap();
    let slept = sleeps(&mut client) - before;
    for (index, (path, _)) in found.iter().enumerate() {
        if let Some((parent, _)) = path.rsplit_once('/') {
            assert!(found[..index].iter().any(|(earlier, _)| earlier == parent));
        }
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    // A round trip for each node and one for its children would be 970.
    assert!(slept < 200, "{slept} round trips");
    let event = client
        .next_event(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    assert_eq!(event.unwrap().token, "token");
    // In a transaction as well.
    let inside = client.transaction(|tx| subtree(tx, "/h", &["control".to_owned()]));
    assert_eq!(inside.unwrap().len(), 2);
}
