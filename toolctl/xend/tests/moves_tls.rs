//! `migrate` by TLS: both sides show a certificate, and nobody on the way reads what passes.

mod support;

#[path = "support/moving.rs"]
mod moving;
#[path = "support/relay.rs"]
mod relay;

use moving::{migrate_as, runs, wanted, with_settings, Authority};
use noxen_xend_api::migrate::Wanted;
use relay::{Moment, Relay, Then};
use support::{free_port, Lab};

fn by_tls(port: u16) -> Wanted {
    Wanted {
        ssl: true,
        ..wanted(port)
    }
}

/// A xend that takes domains in by TLS, with `files`.
fn tls_target(files: &str) -> (Lab, u16) {
    let port = free_port();
    let lab = with_settings(&format!(
        "(xend-relocation-ssl-server yes)(xend-relocation-ssl-port {port})(xend-relocation-address 127.0.0.1){files}"
    ));
    (lab, port)
}

#[test]
fn domain_goes_by_tls_between_hosts_that_believe_each_other_and_to_no_other() {
    let home = std::env::temp_dir().join(format!("noxen-tls-{}", std::process::id()));
    let ours = Authority::new(&home.join("ours"));
    let theirs = Authority::new(&home.join("theirs"));
    let (there, port) = tls_target(&ours.settings("there", &ours));

    // Whoever has no certificate, or one of somebody else, does not get in; nor does one that is not believed get the domain.
    let here = Lab::new();
    here.run(here.config("m"));
    let line = migrate_as(&here, by_tls(port)).unwrap_err();
    assert!(
        line.starts_with("SSL error: xend-relocation-server-ssl-key-file is not set"),
        "{line}"
    );
    let line = migrate_as(&here, wanted(port)).unwrap_err();
    assert!(line.starts_with("can't connect: "), "{line}");
    runs(&here);
    for (files, word) in [
        (theirs.settings("stranger", &ours), "alert"),
        (ours.settings("doubter", &theirs), "UnknownIssuer"),
    ] {
        let stranger = with_settings(&files);
        stranger.run(stranger.config("m"));
        let line = migrate_as(&stranger, by_tls(port)).unwrap_err();
        assert!(
            line.starts_with("can't connect: SSL error: ") && line.contains(word),
            "{line}"
        );
        runs(&stranger);
    }
    assert!(there.guests().is_empty());

    let here = with_settings(&ours.settings("here", &ours));
    here.run(here.config("m"));
    let relay = Relay::new(port, Moment::Header, Then::On);
    migrate_as(&here, by_tls(relay.port)).unwrap();
    assert!(!relay.struck(), "it went in the clear");
    assert!(here.guests().is_empty() && here.traces().is_empty());
    runs(&there);
    assert!(here.log().contains("live, by TLS"), "{}", here.log());
    // The connection for pages of a move by post-copy goes by it, too.
    there.destroy("m");
    here.run(here.config("m"));
    let relay = Relay::new(port, Moment::Header, Then::On);
    let how = Wanted {
        postcopy: true,
        ..by_tls(relay.port)
    };
    migrate_as(&here, how).unwrap();
    assert!(!relay.struck(), "it went in the clear");
    assert!(here.guests().is_empty() && here.traces().is_empty());
    runs(&there);
    let _ = std::fs::remove_dir_all(home);
}

#[test]
fn server_without_its_files_does_not_start() {
    let lab = Lab::new();
    lab.stop();
    lab.settings("(xend-relocation-ssl-server yes)(xend-relocation-ssl-port 1)");
    let said = lab.xend(&["start"]);
    assert!(!said.status.success());
    let text = format!("{}{}", String::from_utf8_lossy(&said.stderr), lab.log());
    assert!(
        text.contains("xend-relocation-ssl-server: xend-relocation-server-ssl-key-file is not set"),
        "{text}"
    );
    lab.settings("");
}
