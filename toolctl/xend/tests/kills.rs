//! xend and xenstored killed and upgraded two hundred times while domains are made and ended: no domain is lost, none is
//! left over, no id is given twice.
//!
//! ```text
//!   two workers: create, some destroy, ..     killer: wait until a domain was made -> kill or upgrade -> 200 times
//!   known: name -> it must be there, or its request broke off and either may be        in the end: what there is
//! ```

mod support;

use noxen_xend_api::{Client, ClientError, DomainConfig, Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{eventually, is_alive, kill, parent_of, Lab};

const ROUNDS: usize = 200;
const WORKERS: usize = 2;
/// Domains that a worker leaves running before it ends the oldest.
const MOST_LEFT: usize = 6;

/// Asks until xend answers; none when the connection broke and it is not known whether it was done.
fn ask_through(lab: &Lab, request: &Request) -> Option<Result<Response, String>> {
    let mut client = eventually("xend listens", || Client::connect(&lab.paths()).ok());
    client.set_timeout(Some(Duration::from_secs(60))).unwrap();
    match client.ask(request) {
        Ok(response) => Some(Ok(response)),
        Err(ClientError::Fault(fault)) => Some(Err(fault.message)),
        Err(_) => None,
    }
}

/// What one worker knows in the end.
#[derive(Default)]
struct Known {
    /// Name -> is there for sure, or may be.
    domains: BTreeMap<String, bool>,
    /// Ids that it was told, in the order told.
    ids: Vec<u32>,
}

impl Known {
    fn create(&mut self, lab: &Lab, name: &str) {
        let config = Box::new(DomainConfig {
            memory: 8,
            ..lab.config(name)
        });
        let sure = match ask_through(lab, &Request::Create { config }) {
            Some(Ok(Response::Domain { domain })) => {
                self.ids.push(domain.domid.unwrap());
                true
            }
            Some(other) => panic!("{name}: {other:?}"),
            None => false,
        };
        self.domains.insert(name.to_owned(), sure);
    }

    fn destroy(&mut self, lab: &Lab, name: &str) {
        let domain = name.to_owned();
        match ask_through(lab, &Request::Destroy { domain }) {
            Some(Ok(_)) => {
                self.domains.remove(name);
            }
            Some(Err(message)) => {
                let unsure = self.domains.remove(name) == Some(false);
                assert!(unsure && message.contains("does not exist"), "{message}");
            }
            None => {
                self.domains.insert(name.to_owned(), false);
            }
        }
    }
}

/// Makes and ends domains until told to stop.
fn churn(lab: &Lab, worker: usize, stop: &AtomicBool) -> Known {
    let mut known = Known::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("churn-{worker}-{n}");
        known.create(lab, &name);
        if n % 3 != 0 {
            known.destroy(lab, &name);
        }
        if known.domains.len() > MOST_LEFT {
            let oldest = known.domains.keys().next().cloned();
            known.destroy(lab, &oldest.unwrap());
        }
    }
    known
}

/// Stops the workers when it goes, also by a panic: a test that fails has to end.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The xend program under a name of its own, which an upgrade replaces.
fn installed(lab: &Lab) -> PathBuf {
    let (directory, new) = (lab.root().join("sbin"), lab.root().join("sbin/xend.new"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_xend"), &new).unwrap();
    let program = directory.join("xend");
    std::fs::rename(&new, &program).unwrap();
    program
}

fn run(lab: &Lab, program: &Path, verb: &str) {
    let said = lab.command(program).arg(verb).output().unwrap();
    assert!(said.status.success(), "{verb}: {said:?}");
}

/// Ends or replaces a daemon, each time in another way.
fn strike(lab: &Lab, round: usize) {
    let xend = lab.root().join("sbin/xend");
    match round % 10 {
        // The program is replaced under the running daemon, then restarted as the administrator does it.
        3 => run(lab, &installed(lab), "restart"),
        // The store. Nobody starts it but who misses it.
        6 => {
            let pid = std::fs::read_to_string(lab.root().join("var/run/xenstore.pid"));
            kill(pid.unwrap().trim().parse().unwrap());
        }
        // Both, at once.
        9 => {
            let pid = std::fs::read_to_string(lab.root().join("var/run/xenstore.pid"));
            let daemon = lab.pid();
            kill(pid.unwrap().trim().parse().unwrap());
            kill(daemon);
            run(lab, &xend, "start");
        }
        // The daemon with its supervisor.
        8 => {
            let daemon = lab.pid();
            kill(parent_of(daemon));
            kill(daemon);
            run(lab, &xend, "start");
        }
        // The daemon, and nobody waits until its supervisor has started it again.
        _ => {
            kill(lab.pid());
            run(lab, &xend, "start");
        }
    }
}

#[test]
fn daemons_killed_and_upgraded_200_times_under_load_lose_no_domain() {
    let lab = Lab::new();
    run(&lab, &installed(&lab), "restart");
    let stop = AtomicBool::new(false);
    let counter = lab.root().join("var/lib/xend/next-domid");
    let known: Vec<Known> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|w| {
                let (lab, stop) = (&lab, &stop);
                scope.spawn(move || churn(lab, w, stop))
            })
            .collect();
        let end = StopAtEnd(&stop);
        for round in 0..ROUNDS {
            let before = std::fs::read(&counter).ok();
            eventually("it makes domains", || {
                assert!(
                    !workers.iter().any(|w| w.is_finished()),
                    "a worker has failed"
                );
                (std::fs::read(&counter).ok() != before).then_some(())
            });
            // At another moment of the making each time.
            std::thread::sleep(Duration::from_micros(700 * (round as u64 % 17)));
            strike(&lab, round);
        }
        drop(end);
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    eventually("xend listens", || Client::connect(&lab.paths()).ok());
    let ids: Vec<u32> = known.iter().flat_map(|k| k.ids.iter().copied()).collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "{ids:?}"
    );
    let known: BTreeMap<String, bool> = known.into_iter().flat_map(|k| k.domains).collect();
    let guests = lab.guests();
    for (name, sure) in &known {
        let found = guests.iter().any(|g| g.name == *name);
        assert!(found || !sure, "{name} is lost");
    }
    for guest in &guests {
        assert!(
            known.contains_key(&guest.name),
            "{} was destroyed",
            guest.name
        );
        assert!(is_alive(guest.pid.unwrap()));
        lab.destroy(&guest.name);
    }
    eventually("nothing is left", || lab.traces().is_empty().then_some(()));
    let root = lab.root().as_os_str().as_encoded_bytes();
    assert_eq!(monitors_of(root), Vec::<u32>::new());
}

/// Fake monitors whose environment names `root`.
fn monitors_of(root: &[u8]) -> Vec<u32> {
    let want = [b"NOXEN_ROOT=", root, b"\0"].concat();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
        .filter(|pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            name.starts_with("xend-fake") && environment.windows(want.len()).any(|w| w == want)
        })
        .collect()
}
