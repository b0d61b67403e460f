//! A move that goes wrong at every moment in every way: one copy runs afterwards, the other side has nothing left, and whoever
//! asked is told in a line. At no time do two run: each holds a lock while it does.
//!
//! ```text
//!   MOMENTS (support/relay.rs) x ACTS --> where it runs: here before the word `go` has passed, there afterwards; nowhere when
//!   the monitor was killed that held the only copy that could run
//! ```

mod support;

#[path = "support/moving.rs"]
mod moving;
#[path = "support/relay.rs"]
mod relay;

use moving::{migrate, migrate_as, target, wanted};
use noxen_xend_api::migrate::{AtTimeout, Wanted};
use noxen_xend_api::{Client, ClientError, DomainConfig, Request, Response};
use noxen_xenstore::client::Nodes;
use relay::{Moment, Relay, Then, MOMENTS};
use rustix::fs::{flock, FlockOperation};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{eventually, kill, Lab};

/// What happens at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Cut,
    Damage,
    KillSourceXend,
    KillTargetXend,
    KillSourceMonitor,
    KillTargetMonitor,
}

const ACTS: [Act; 6] = [
    Act::Cut,
    Act::Damage,
    Act::KillSourceXend,
    Act::KillTargetXend,
    Act::KillSourceMonitor,
    Act::KillTargetMonitor,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Here,
    There,
    Nowhere,
    /// Depends on who is quicker.
    Either,
}

/// Where it runs afterwards; None: there is nobody yet to whom that could happen.
fn outcome(moment: Moment, act: Act) -> Option<Where> {
    let taken = moment == Moment::Runs;
    let early = [
        Moment::Connect,
        Moment::Ready,
        Moment::Header,
        Moment::Outline,
    ];
    Some(match act {
        // The word is in the relay's hands, which passes it on; the next xend here asks meanwhile.
        Act::KillSourceXend if moment == Moment::Go => Where::Either,
        Act::KillSourceMonitor if moment == Moment::Go => Where::There,
        Act::KillSourceMonitor if !taken => Where::Nowhere,
        Act::KillTargetMonitor if taken => Where::Nowhere,
        Act::KillTargetMonitor if early.contains(&moment) => return None,
        _ if taken => Where::There,
        _ => Where::Here,
    })
}

/// The file that a domain locks while it runs.
struct Alive(PathBuf);

impl Alive {
    fn config(&self, lab: &Lab) -> DomainConfig {
        DomainConfig {
            extra: format!("alive={}", self.0.display()),
            memory: 8,
            ..lab.config("m")
        }
    }

    /// Is there one that runs?
    fn runs(&self) -> bool {
        let file = File::options().write(true).open(&self.0).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// There were two at some time.
    fn ran_twice(&self) -> bool {
        Path::new(&format!("{}.twice", self.0.display())).exists()
    }
}

fn kill_monitor(lab: &Lab) {
    let pid = eventually("its monitor", || {
        let domid = lab.guest("m")?.domid?;
        let text = std::fs::read_to_string(lab.paths().pid_file(domid)).ok()?;
        text.trim().parse().ok()
    });
    kill(pid);
}

/// Nothing of the domain is on `lab`.
fn is_empty(lab: &Lab) -> bool {
    lab.guests().is_empty() && lab.traces().is_empty()
}

fn runs_on(lab: &Lab) -> bool {
    let guest = lab.guest("m");
    guest.is_some_and(|guest| guest.state.letters().starts_with("-b"))
}

/// Waits until another xend than `before` answers.
fn wait_for_another(lab: &Lab, before: u32) {
    eventually("another xend", || {
        let text = std::fs::read_to_string(lab.paths().xend_pid()).ok()?;
        let mut client = Client::connect(&lab.paths()).ok()?;
        (text.trim().parse() != Ok(before) && client.ask(&Request::Ping).is_ok()).then_some(())
    });
}

/// Moves `m`; what xend says, or that its connection broke.
fn ask(lab: &Lab, port: u16) -> Result<Response, ClientError> {
    let request = Request::Migrate {
        domain: "m".into(),
        how: wanted(port),
    };
    lab.client().ask(&request)
}

impl Act {
    /// What the relay does of it.
    fn then(self) -> Then {
        match self {
            Act::Cut => Then::Cut,
            Act::Damage => Then::Damage,
            _ => Then::On,
        }
    }

    /// Does the rest of it now, and has the relay and the next xend go on.
    fn strike(self, here: &Lab, there: &Lab, relay: &Relay) {
        let xends = [here.pid(), there.pid()];
        match self {
            Act::Cut | Act::Damage => {}
            Act::KillSourceXend => kill(xends[0]),
            Act::KillTargetXend => kill(xends[1]),
            Act::KillSourceMonitor => kill_monitor(here),
            Act::KillTargetMonitor => kill_monitor(there),
        }
        relay.go_on();
        match self {
            Act::KillSourceXend => wait_for_another(here, xends[0]),
            Act::KillTargetXend => wait_for_another(there, xends[1]),
            _ => {}
        }
    }
}

/// Waits until it is on one of the two or on none, and nothing is under way any more.
fn settled(here: &Lab, there: &Lab, alive: &Alive) -> Where {
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = loop {
        match alive.runs() {
            true if runs_on(here) && is_empty(there) => break Where::Here,
            true if runs_on(there) && is_empty(here) => break Where::There,
            false if is_empty(here) && is_empty(there) => break Where::Nowhere,
            _ => {}
        }
        assert!(
            Instant::now() < deadline,
            "neither one copy nor none; one runs: {}, here: {:?}, there: {:?}",
            alive.runs(),
            (here.guests(), here.traces()),
            (there.guests(), there.traces())
        );
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(!alive.ran_twice(), "two copies ran");
    found
}

#[test]
fn whatever_goes_wrong_at_whatever_moment_leaves_one_copy() {
    let ((here, _), (there, port)) = (target(""), target(""));
    let alive = Alive(here.root().join("alive"));
    File::create(&alive.0).unwrap();
    let (mut longest, mut count) = (Duration::ZERO, 0);
    for (moment, act) in MOMENTS.into_iter().flat_map(|m| ACTS.map(|a| (m, a))) {
        let Some(wanted) = outcome(moment, act) else {
            continue;
        };
        let begun = Instant::now();
        if here.guest("m").is_none() {
            here.run(alive.config(&here));
        }
        let relay = Relay::new(port, moment, act.then());
        let said = std::thread::scope(|scope| {
            let moving = scope.spawn(|| ask(&here, relay.port));
            relay.moment();
            act.strike(&here, &there, &relay);
            moving.join().unwrap()
        });
        let found = settled(&here, &there, &alive);
        let case = format!("{act:?} at {moment:?}: {found:?}, {said:?}");
        assert!(wanted == Where::Either || found == wanted, "{case}");
        match said {
            Ok(_) => assert!(found != Where::Here && act != Act::KillSourceXend, "{case}"),
            Err(ClientError::Fault(fault)) => {
                assert!(found != Where::There, "{case}");
                let line = fault.message;
                assert!(line.len() > 10 && !line.contains('\n'), "{case}");
            }
            Err(_) => assert_eq!(act, Act::KillSourceXend, "{case}"),
        }
        if found == Where::There {
            there.destroy("m");
        }
        longest = longest.max(begun.elapsed());
        count += 1;
    }
    eprintln!("{count} cases, the longest took {longest:?}");
}

/// By post-copy, of which the relay has the connection for pages, as the first one that is made.
fn by_post_copy(port: u16) -> Request {
    Request::Migrate {
        domain: "m".into(),
        how: Wanted {
            postcopy: true,
            ..wanted(port)
        },
    }
}

#[test]
fn post_copy_that_loses_its_pages_leaves_no_copy_and_says_so() {
    let ((here, _), (there, port)) = (target(""), target(""));
    let alive = Alive(here.root().join("alive"));
    File::create(&alive.0).unwrap();
    for (act, wanted) in [
        (Act::Cut, Where::Nowhere),
        (Act::Damage, Where::Nowhere),
        // The page is in the relay's hands, which passes it on.
        (Act::KillSourceMonitor, Where::There),
        (Act::KillTargetMonitor, Where::Nowhere),
        // Their monitors go on without them.
        (Act::KillSourceXend, Where::There),
        (Act::KillTargetXend, Where::There),
    ] {
        here.run(alive.config(&here));
        // It runs there, and its page is on the way.
        let relay = Relay::new(port, Moment::Memory, act.then());
        let said = std::thread::scope(|scope| {
            let moving = scope.spawn(|| here.client().ask(&by_post_copy(relay.port)));
            relay.moment();
            eventually("a domain that runs there", || runs_on(&there).then_some(()));
            act.strike(&here, &there, &relay);
            moving.join().unwrap()
        });
        let found = settled(&here, &there, &alive);
        let case = format!("{act:?}: {found:?}, {said:?}");
        assert_eq!(found, wanted, "{case}");
        match said {
            Ok(_) => assert_eq!(act, Act::KillTargetXend, "{case}"),
            Err(ClientError::Fault(fault)) => {
                assert!(
                    found == Where::Nowhere || act == Act::KillSourceMonitor,
                    "{case}"
                );
                let line = fault.message;
                assert!(line.contains("is lost") && !line.contains('\n'), "{case}");
            }
            Err(_) => assert_eq!(act, Act::KillSourceXend, "{case}"),
        }
        if found == Where::There {
            there.destroy("m");
        }
    }
    // The monitor that has the rest is killed before that is on its way.
    let info = here.run(alive.config(&here));
    let path = here.root().join("never");
    let node = format!("/local/domain/{}/data/pages-wait", info.domid.unwrap());
    here.store().write(&node, path.to_str().unwrap()).unwrap();
    let said = std::thread::scope(|scope| {
        let moving = scope.spawn(|| here.client().ask(&by_post_copy(port)));
        eventually("a domain that runs there", || runs_on(&there).then_some(()));
        kill_monitor(&here);
        moving.join().unwrap()
    });
    assert!(
        matches!(&said, Err(ClientError::Fault(fault)) if fault.message.contains("is lost")),
        "{said:?}"
    );
    assert_eq!(settled(&here, &there, &alive), Where::Nowhere);
}

#[test]
fn post_copy_is_never_undone_also_by_xends_that_remember_nothing() {
    let ((here, _), (there, port)) = (target(""), target(""));
    let alive = Alive(here.root().join("alive"));
    File::create(&alive.0).unwrap();
    let info = here.run(alive.config(&here));
    let path = here.root().join("pages");
    let node = format!("/local/domain/{}/data/pages-wait", info.domid.unwrap());
    here.store().write(&node, path.to_str().unwrap()).unwrap();
    let said = std::thread::scope(|scope| {
        let moving = scope.spawn(|| here.client().ask(&by_post_copy(port)));
        eventually("a domain that has gone", || {
            here.log().contains("runs on 127.0.0.1").then_some(())
        });
        // It ends over there, and the xend that comes after has never heard of it.
        kill_monitor(&there);
        eventually("no domain", || there.guest("m").is_none().then_some(()));
        let xends = [here.pid(), there.pid()];
        kill(xends[1]);
        wait_for_another(&there, xends[1]);
        kill(xends[0]);
        wait_for_another(&here, xends[0]);
        std::fs::write(&path, "").unwrap();
        moving.join().unwrap()
    });
    assert!(
        !matches!(said, Err(ClientError::Fault(_)) | Ok(_)),
        "{said:?}"
    );
    assert_eq!(settled(&here, &there, &alive), Where::Nowhere);
}

#[test]
fn post_copy_that_fails_before_the_word_runs_on_here() {
    let ((here, _), (there, port)) = (target(""), target(""));
    let alive = Alive(here.root().join("alive"));
    File::create(&alive.0).unwrap();
    here.run(alive.config(&here));
    for then in [Then::Cut, Then::Damage] {
        let relay = Relay::new(port, Moment::Ready, then);
        let said = std::thread::scope(|scope| {
            let moving = scope.spawn(|| here.client().ask(&by_post_copy(relay.port)));
            relay.moment();
            relay.go_on();
            moving.join().unwrap()
        });
        let Err(ClientError::Fault(fault)) = said else {
            panic!("{then:?}: {said:?}")
        };
        assert!(
            fault.message.starts_with("can't connect for post-copy"),
            "{fault:?}"
        );
        assert_eq!(settled(&here, &there, &alive), Where::Here);
    }
    // Over there its monitor is killed before it is ready, while pages go to it already.
    let domid = here.guest("m").and_then(|guest| guest.domid).unwrap();
    let path = here.root().join("never");
    let node = format!("/local/domain/{domid}/data/wait");
    here.store().write(&node, path.to_str().unwrap()).unwrap();
    let said = std::thread::scope(|scope| {
        let moving = scope.spawn(|| here.client().ask(&by_post_copy(port)));
        kill_monitor(&there);
        moving.join().unwrap()
    });
    assert!(matches!(said, Err(ClientError::Fault(_))), "{said:?}");
    assert_eq!(settled(&here, &there, &alive), Where::Here);
}

#[test]
fn move_that_hangs_is_cancelled_by_request_or_when_its_time_is_up() {
    let ((here, _), (there, port)) = (target(""), target(""));
    let alive = Alive(here.root().join("alive"));
    File::create(&alive.0).unwrap();
    here.run(alive.config(&here));
    let cancel = Request::Cancel { domain: "m".into() };
    let idle = here.ask(&cancel).unwrap_err().message;
    assert!(idle.starts_with("nothing of this domain"), "{idle}");
    for moment in [
        Moment::Ready,
        Moment::Outline,
        Moment::State,
        Moment::Prepared,
    ] {
        for by_time in [false, true] {
            let relay = Relay::new(port, moment, Then::Stall);
            let mut how = wanted(relay.port);
            how.timeout_s = by_time.then_some(1);
            how.at_timeout = AtTimeout::Cancel;
            let line = std::thread::scope(|scope| {
                let moving = scope.spawn(|| migrate_as(&here, how));
                relay.moment();
                relay.go_on();
                if !by_time {
                    here.ask(&cancel).unwrap();
                }
                moving.join().unwrap().unwrap_err()
            });
            let word = match by_time {
                true => "not done within 1 s, and so cancelled",
                false => "cancelled; the domain runs on here",
            };
            assert!(line.starts_with(word), "{moment:?}: {line}");
            assert_eq!(settled(&here, &there, &alive), Where::Here);
        }
    }
    // Once it may run there, it is too late.
    let relay = Relay::new(port, Moment::Go, Then::On);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| migrate(&here, relay.port));
        relay.moment();
        let late = here.ask(&cancel).unwrap_err().message;
        assert!(late.contains("too late"), "{late}");
        relay.go_on();
        moving.join().unwrap().unwrap();
    });
    assert_eq!(settled(&here, &there, &alive), Where::There);
}

/// Seconds of killing.
const KILLING: Duration = Duration::from_secs(20);

/// Numbers without a pattern, from a seed that the test prints.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[test]
fn processes_killed_at_random_never_lose_or_double_a_domain() {
    let nodes = [target(""), target("")];
    let alive = Alive(nodes[0].0.root().join("alive"));
    File::create(&alive.0).unwrap();
    let seed = u64::from(std::process::id()) | 1 << 40;
    let (mut dice, mut at) = (Dice(seed), 0);
    let (mut kills, mut moves, mut ends) = (0, 0, 0);
    let end = Instant::now() + KILLING;
    while Instant::now() < end {
        let ((here, _), (there, port)) = (&nodes[at], &nodes[1 - at]);
        if here.guest("m").is_none() {
            here.run(alive.config(here));
        }
        let (victim, delay) = (dice.below(4), Duration::from_millis(dice.below(120)));
        let xends = [here.pid(), there.pid()];
        let domid = here.guest("m").and_then(|guest| guest.domid).unwrap();
        let source = std::fs::read_to_string(here.paths().pid_file(domid)).unwrap();
        let source: u32 = source.trim().parse().unwrap();
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| ask(here, *port));
            // Any moment will do.
            std::thread::sleep(delay);
            match victim {
                0 => kill(xends[0]),
                1 => kill(xends[1]),
                2 => kill(source),
                _ => {
                    // Its monitor, if there is one already.
                    let runs = there.paths().domains_run_dir();
                    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
                        let domid = entry.file_name().to_string_lossy().parse().unwrap();
                        let pid = std::fs::read_to_string(there.paths().pid_file(domid));
                        if let Some(pid) = pid.ok().and_then(|text| text.trim().parse().ok()) {
                            kill(pid);
                        }
                    }
                }
            }
            if victim < 2 {
                wait_for_another([here, there][victim as usize], xends[victim as usize]);
            }
            let _ = moving.join().unwrap();
        });
        kills += 1;
        match settled(here, there, &alive) {
            Where::There => {
                moves += 1;
                at = 1 - at;
            }
            // Its monitor was killed.
            Where::Nowhere => {
                assert!(victim >= 2, "lost by a xend's death, seed {seed}");
                ends += 1;
            }
            _ => {}
        }
    }
    eprintln!("seed {seed}: {kills} killed, {moves} times it went, {ends} times it ended with its monitor");
    assert!(kills > 4, "{kills}");
}
