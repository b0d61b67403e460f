//! Two xends and a domain `m` that goes from one to the other.
#![allow(dead_code)] // Each test file uses its part.

use super::support::{eventually, free_port, kill, Lab};
use noxen_xend_api::migrate::{Ledger, Wanted};
use noxen_xend_api::{Request, Response};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A xend that takes domains in, and its port.
pub fn target(allow: &str) -> (Lab, u16) {
    let port = free_port();
    let lab = with_settings(&format!(
        "(xend-relocation-server yes)(xend-relocation-port {port})(xend-relocation-address 127.0.0.1)\
         (xend-relocation-hosts-allow '{allow}')"
    ));
    (lab, port)
}

/// Who signs certificates, in a directory of its own.
pub struct Authority(PathBuf);

impl Authority {
    pub fn new(directory: &Path) -> Authority {
        std::fs::create_dir_all(directory).unwrap();
        let authority = Authority(directory.to_owned());
        let name = directory.file_name().unwrap().display();
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -days 2 -keyout ca.key -out ca.pem"
        ));
        authority
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        command.current_dir(&self.0).args(words.split_whitespace());
        let made = command.output().unwrap();
        assert!(made.status.success(), "{words}: {made:?}");
    }

    /// Settings of a host with a certificate of this authority, which believes those of `trusted`.
    pub fn settings(&self, name: &str, trusted: &Authority) -> String {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 \
             -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out {name}.pem"
        ));
        let own = self.0.join(name);
        format!(
            "(xend-relocation-server-ssl-key-file {0}.key)(xend-relocation-server-ssl-cert-file {0}.pem)(xend-relocation-ssl-ca-file {1})",
            own.display(),
            trusted.0.join("ca.pem").display()
        )
    }
}

/// A xend with these settings.
pub fn with_settings(settings: &str) -> Lab {
    let lab = Lab::new();
    lab.stop();
    lab.settings(settings);
    lab.start();
    lab
}

/// How a domain is moved to that port.
pub fn wanted(port: u16) -> Wanted {
    Wanted {
        host: "127.0.0.1".into(),
        port: Some(port),
        live: true,
        downtime_ms: 60,
        timeout_s: None,
        at_timeout: Default::default(),
        ssl: false,
        change_home_server: false,
        by_guest: false,
        no_throttle: false,
        postcopy: false,
    }
}

/// Moves `m` to that port, live.
pub fn migrate(lab: &Lab, port: u16) -> Result<(), String> {
    migrate_as(lab, wanted(port))
}

/// Moves `m` so.
pub fn migrate_as(lab: &Lab, how: Wanted) -> Result<(), String> {
    ledger_of(lab, how).map(drop)
}

/// Moves `m` so: what it came to.
pub fn ledger_of(lab: &Lab, how: Wanted) -> Result<Ledger, String> {
    let request = Request::Migrate {
        domain: "m".into(),
        how,
    };
    match lab.ask(&request) {
        Ok(Response::Moved { ledger }) => Ok(*ledger),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.message),
    }
}

/// It runs on `lab`, and stops when it is asked to.
pub fn runs(lab: &Lab) {
    eventually("a domain that runs", || {
        lab.letters("m").starts_with("-b").then_some(())
    });
}

/// Kills a xend, and waits for the one that is started in its place.
pub fn kill_and_wait(lab: &Lab) {
    let pid = lab.pid();
    kill(pid);
    eventually("another xend", || {
        let paths = lab.paths();
        let text = std::fs::read_to_string(paths.xend_pid()).ok()?;
        let other = text.trim().parse() != Ok(pid);
        let mut client = noxen_xend_api::Client::connect(&paths).ok()?;
        (other && client.ask(&Request::Ping).is_ok()).then_some(())
    });
}
