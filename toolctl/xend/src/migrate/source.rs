//! A domain goes to another host.

use super::wire::{self, Answer, Link, PATIENCE};
use super::{pages, tls, Moving};
use crate::create::random_uuid;
use crate::devices::monitor_class;
use crate::domain::{Domain, Life};
use crate::monitor::MonitorError;
use crate::node::{internal, Node};
use crate::registry::Phase;
use crate::store_nodes::GUEST_DIRECTORIES;
use crate::under_way::Ticket;
use crate::watch::fresh_config;
use crate::{error, info, managed, teardown, warning};
use noxen_control::message::{Move, Moved};
use noxen_xend_api::migrate::{AtTimeout, Ledger, Postcopy, Wanted};
use noxen_xend_api::{DeviceConfig, Fault};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the other host may take to make the domain ready once it has all of it.
const PREPARE: Duration = Duration::from_secs(120);
/// How long it may take to let it run.
const START: Duration = Duration::from_secs(60);
/// How long it is asked whether it has the domain while whoever moves it waits, and how long by itself afterwards: its xend
/// may be starting on a busy machine, or the network may come back.
const WAIT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// How long after another.
const PAUSE: Duration = Duration::from_secs(1);

/// Moves a domain.
pub fn migrate(node: &Arc<Node>, domain: &str, wanted: &Wanted) -> Result<Ledger, Fault> {
    let _busy = node.begin();
    let domain = node.find_guest(domain, "migrate")?;
    let tls = match wanted.ssl || node.settings().bool("xend-relocation-ssl") {
        true => {
            Some(tls(&node.settings()).map_err(|why| Fault::generic(format!("SSL error: {why}")))?)
        }
        false => None,
    };
    let port = match wanted.port {
        Some(port) => port,
        None => default_port(node, tls.is_some())?,
    };
    let mut life = domain.enter();
    let record = domain.record();
    if life.gone || record.phase != Phase::Running {
        return Err(Fault::generic("Domain is not running"));
    }
    let was_paused = domain.monitor().status().map_err(internal)?.paused;
    let place = format!("{} port {port}", wanted.host);
    let cannot = |e: io::Error| {
        Fault::generic(format!(
            "can't connect: {e} ({place}; xend there is to have xend-relocation-server yes)"
        ))
    };
    let limit = wanted.timeout_s.map(|s| Duration::from_secs(s.into()));
    let (given_up, forced) = match wanted.at_timeout {
        AtTimeout::Cancel => (limit, None),
        AtTimeout::Force => (None, wanted.timeout_s),
    };
    let ticket = node.under_way.begin(record.domid, given_up);
    let ticket = ticket.map_err(internal)?;
    if wanted.postcopy && !wanted.live {
        return Err(Fault::generic(
            "post-copy is for a domain that runs meanwhile: ask for --live, too",
        ));
    }
    let token = random_uuid()?;
    let pages = match wanted.postcopy {
        true => Some(pages::connect(&wanted.host, port, tls.as_ref(), &token)?),
        false => None,
    };
    let stream = wire::connect(&wanted.host, port, tls.as_ref()).map_err(cannot)?;
    ticket.link(&stream)?;
    let word = match stream.is_secret() {
        true => "sslreceive",
        false => "receive",
    };
    let said = wire::say(&stream, word).and_then(|()| wire::answer(&stream));
    match said.map_err(|e| ticket.explain(cannot(e)))? {
        Answer::Ready(what) if what == "receive" => {}
        Answer::Refused(why) => return Err(Fault::generic(format!("can't connect: {why}"))),
        Answer::Ok(_) | Answer::Ready(_) => {
            return Err(Fault::generic("can't connect: it is no relocation server"))
        }
    }
    // The rest may take as long as it takes; a peer that is gone is noticed by the connection.
    stream.wait_for_writing(None).map_err(cannot)?;
    let config = fresh_config(&record.config, &record.name, &record.uuid);
    let devices = record.devices.iter().map(|device| {
        let mac = match &device.config {
            DeviceConfig::Vif(vif) => vif.mac.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let class = monitor_class(device.class()).to_string();
        (class, device.devid, mac)
    });
    let how = Move {
        token: token.clone(),
        config: managed::expression(&config).map_err(Fault::internal)?,
        directories: GUEST_DIRECTORIES.map(str::to_owned).to_vec(),
        devices: devices.collect(),
        live: wanted.live,
        force_s: forced,
        downtime_ms: wanted.downtime_ms,
        guest: wanted.by_guest,
        unthrottled: wanted.no_throttle,
        postcopy: wanted.postcopy,
    };
    let (name, domid, host) = (&record.name, record.domid, &wanted.host);
    let live = if wanted.live { ", live" } else { "" };
    match stream.is_secret() {
        true => info!("domain {name} (id={domid}) goes to {host}:{port}{live}, by TLS"),
        false => warning!(
            "domain {name} (id={domid}) goes to {host}:{port}{live}, in the clear: whoever is on the way can read and change its memory"
        ),
    }
    let begun = Instant::now();
    let sent = domain.monitor().migrate(how, &stream, pages.as_ref());
    let (moved, standing) = sent.map_err(|e| ticket.explain(refused(e, &stream)))?;
    let still = Instant::now();
    let there = Moving {
        token,
        host: wanted.host.clone(),
        port,
        tls: stream.is_secret(),
        postcopy: wanted.postcopy,
        ran: false,
    };
    hand_over(node, &domain, &stream, &there, &ticket)?;
    let start_us = micros(still.elapsed());
    if there.postcopy {
        let ran = Moving {
            ran: true,
            ..there.clone()
        };
        if let Err(e) = node.save(&domain, |r| r.moving = Some(ran)) {
            // The next xend would have to ask for what is known here.
            warning!(
                "domain {} (id={}): {}",
                record.name,
                record.domid,
                e.message
            );
        }
    }
    info!(
        "domain {} (id={}) runs on {}",
        record.name, record.domid, wanted.host
    );
    let followed = follow(&domain, &there);
    teardown::teardown(node, &domain, &mut life, false);
    let postcopy = followed?;
    if wanted.change_home_server {
        forget_managed(node, &record.uuid);
    }
    drop(standing);
    Ok(Ledger {
        start_us,
        total_us: micros(begun.elapsed()),
        paused: was_paused,
        encrypted: stream.is_secret(),
        postcopy,
        ..ledger(&moved)
    })
}

fn default_port(node: &Node, tls: bool) -> Result<u16, Fault> {
    let settings = node.settings();
    let key = match tls {
        true => "xend-relocation-ssl-port",
        false => "xend-relocation-port",
    };
    let text = settings.text(key);
    text.parse()
        .map_err(|_| Fault::generic(format!("{key} is {text}, which is no port")))
}

/// Why sending ended: the other side's own words, where it has said any.
fn refused(error: MonitorError, stream: &Link) -> Fault {
    let MonitorError::Refused(line) = error else {
        return internal(error);
    };
    let _ = stream.wait_for_reading(Some(Duration::from_secs(2)));
    match line.starts_with("the connection failed") {
        true => match wire::answer(stream) {
            Ok(Answer::Refused(why)) => Fault::generic(format!("the other host refused: {why}")),
            _ => Fault::generic(line),
        },
        false => Fault::generic(line),
    }
}

/// The conversation after all is sent. An error: the domain runs on here, or nobody knows and it stays paused.
fn hand_over(
    node: &Arc<Node>,
    domain: &Arc<Domain>,
    stream: &Link,
    there: &Moving,
    ticket: &Ticket,
) -> Result<(), Fault> {
    let lost = |e: io::Error| {
        ticket.explain(Fault::generic(format!(
            "the other host did not take the domain ({e}); it runs on here"
        )))
    };
    stream.wait_for_reading(Some(PREPARE)).map_err(lost)?;
    stream.wait_for_writing(Some(PATIENCE)).map_err(lost)?;
    match wire::answer(stream).map_err(lost)? {
        Answer::Ok(word) if word == "prepared" => {}
        Answer::Refused(why) => {
            return Err(Fault::generic(format!("the other host refused: {why}")))
        }
        _ => return Err(lost(io::Error::other("it said something else"))),
    }
    ticket.commit()?;
    // From here this xend may die: the next one asks the other host.
    node.save(domain, |r| r.moving = Some(there.clone()))?;
    domain.monitor().hold().map_err(internal)?;
    let said = wire::say(stream, "go").and_then(|()| {
        stream.wait_for_reading(Some(START))?;
        wire::answer(stream)
    });
    match said {
        Ok(Answer::Ok(word)) if word == "runs" => return Ok(()),
        Ok(Answer::Refused(why)) => {
            run_on(node, domain)?;
            return Err(Fault::generic(format!("the other host refused: {why}")));
        }
        Ok(_) | Err(_) => {}
    }
    match ask(node, there, WAIT, || true) {
        Some(true) => Ok(()),
        Some(false) => {
            run_on(node, domain)?;
            Err(Fault::generic(
                "the connection was lost before the domain ran on the other host; it runs on here",
            ))
        }
        None => {
            settle(node, domain, there);
            Err(Fault::generic(format!(
                "{} does not say whether the domain runs there, so it stays paused here until it does ({} minutes long): xm unpause it once \
                 you know that it does not run there, xm destroy it once you know that it does",
                there.host,
                LONGEST.as_secs() / 60
            )))
        }
    }
}

/// By post-copy: waits until the domain, which runs on the other host, has all its memory there. An error: it is lost. Either way it must
/// not run here any more.
fn follow(domain: &Domain, there: &Moving) -> Result<Option<Postcopy>, Fault> {
    if !there.postcopy {
        return Ok(None);
    }
    let pages = domain.monitor().pages().map_err(|error| {
        let record = domain.record();
        let line = format!(
            "domain {0} is lost, unless all its memory was on {1} by then: it ran there already when the connection for the rest broke ({error}); it does not run here any more",
            record.name, there.host
        );
        error!("{line}");
        Fault::generic(line)
    })?;
    Ok(Some(Postcopy {
        bytes: pages.bytes,
        asked: pages.asked,
        micros: pages.micros,
    }))
}

/// Does it run on the other host? Asks for `time`, and as long as `wanted`. None: no answer.
fn ask(node: &Node, there: &Moving, time: Duration, wanted: impl Fn() -> bool) -> Option<bool> {
    let tls = match there.tls.then(|| tls(&node.settings())).transpose() {
        Ok(tls) => tls,
        Err(why) => {
            warning!("{} cannot be asked: {why}", there.host);
            return None;
        }
    };
    let begun = Instant::now();
    loop {
        let said = wire::connect(&there.host, there.port, tls.as_ref()).and_then(|stream| {
            wire::say(&stream, &format!("moved {}", there.token))?;
            wire::answer(&stream)
        });
        match said {
            Ok(Answer::Ok(word)) if word == "yes" => return Some(true),
            Ok(Answer::Ok(word)) if word == "no" => return Some(false),
            _ => {}
        }
        if begun.elapsed() >= time || !wanted() {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

fn run_on(node: &Node, domain: &Domain) -> Result<(), Fault> {
    node.save(domain, |r| r.moving = None)?;
    domain.monitor().unpause().map_err(internal)
}

/// A domain is on its way, and nobody waits for it: a thread asks where it runs, and ends it here or lets it run on. It asks no
/// more once somebody has let the domain run or destroyed it.
pub fn settle(node: &Arc<Node>, domain: &Arc<Domain>, there: &Moving) {
    let (node, domain, there) = (node.clone(), domain.clone(), there.clone());
    let thread = std::thread::Builder::new().name("moving".into());
    if let Err(e) = thread.spawn(move || settled(&node, &domain, &there)) {
        error!("it is not found out where a domain runs: {e}");
    }
}

fn settled(node: &Node, domain: &Domain, there: &Moving) {
    let record = domain.record();
    let (name, domid, host) = (&record.name, record.domid, &there.host);
    let undecided = || domain.record().moving.as_ref() == Some(there);
    let answer = match there.ran {
        true => Some(true),
        false => ask(node, there, LONGEST, undecided),
    };
    let mut life: std::sync::MutexGuard<'_, Life> = domain.enter();
    if life.gone || !undecided() {
        return;
    }
    match answer {
        Some(true) => {
            info!("domain {name} (id={domid}) runs on {host}");
            // What went wrong is in the log; nobody waits here.
            let _ = follow(domain, there);
            teardown::teardown(node, domain, &mut life, false);
        }
        Some(false) => {
            info!("domain {name} (id={domid}) does not run on {host}; it runs on here");
            if let Err(e) = run_on(node, domain) {
                warning!("domain {name} (id={domid}): {}", e.message);
            }
        }
        None => warning!(
            "domain {name} (id={domid}) was on its way to {host}, which does not say whether it runs there; it stays paused"
        ),
    }
}

fn forget_managed(node: &Node, uuid: &str) {
    if node.managed.by_uuid(uuid).is_some() {
        if let Err(e) = node.managed.remove(uuid) {
            warning!("the managed domain {uuid} stays here: {e}");
        }
    }
}

fn ledger(moved: &Moved) -> Ledger {
    let round = |round: &noxen_control::message::Round| noxen_xend_api::migrate::Round {
        bytes: round.bytes,
        micros: round.micros,
        written: round.written,
        throttle: round.throttle,
    };
    Ledger {
        rounds: moved.rounds.iter().map(round).collect(),
        bytes: moved.bytes,
        stop_us: moved.stop_us,
        last_us: moved.last_us,
        state_us: moved.state_us,
        ..Ledger::default()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
