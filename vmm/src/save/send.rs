//! A running domain over a stream to another host: memory in rounds while it runs, then the rest.
//!
//! ```text
//!   header, domain, outline --> all memory --(live)--> what was written meanwhile --> ... until the rest is sent fast enough
//!      --> Halt: the guest stands still, its state --> what was written since, and what noxen-vmm writes at any time
//!      --> the rest of the state, end: whoever asked says what becomes of the domain
//!   by post-copy, where rounds do not get there: --> Halt --> which pages are missing, state, end --> the pages go after it (push.rs)
//! ```
//! pace.rs says when a round ends the rounds, and how much the guest is held back for that (domain/brake.rs); when the time is up after
//! which it is forced, they are over all the same. Not live, the guest stands still from the beginning.

use crate::domain::brake::Brake;
use crate::domain::hub::Hub;
use crate::domain::runner::Nudge;
use crate::hvm::video::Video;
use crate::log::Level;
use crate::save::job::{Mailbox, Progress, BUFFER};
use crate::save::mark::Asks;
use crate::save::memory::{self, Frames};
use crate::save::missing::Missing;
use crate::save::pace::{self, Means, Next, Pace};
use crate::save::{suspended, WRITER};
use crate::vstate::vm::Vm;
use noxen_control::message::{Move, Moved, Round};
use noxen_control::Reply;
use noxen_devices::pv::written::Written;
use noxen_pc::backing::Backing;
use noxen_saved_image::state::{Announced, Outline, Outlined};
use noxen_saved_image::{Header, Saved, State, Writer, PAGE};
use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ledger {
    /// Into a file: bytes of memory.
    File(u64),
    /// To another host.
    Moved(Moved),
}

impl Ledger {
    /// Of a save.
    pub fn of_file(bytes: u64) -> Ledger {
        Ledger::File(bytes)
    }

    /// As whoever asked gets it.
    pub fn reply(self) -> Reply {
        match self {
            Ledger::File(bytes) => Reply::Saved { bytes },
            Ledger::Moved(ledger) => Reply::Moved { ledger },
        }
    }
}

/// Seconds since the epoch at which `state` was taken.
pub fn seconds(state: &State) -> u64 {
    state.clock.host_ns / 1_000_000_000
}

/// What is moved.
pub struct Subject {
    /// What its threads share.
    pub hub: Arc<Hub>,
    /// Its VM.
    pub vm: Arc<Vm>,
    /// What this process writes of its memory.
    pub written: &'static Written,
    /// Where its memory has what is no RAM, and what that is called.
    pub region: (u64, &'static str),
    /// What the stream begins with.
    pub what: Announced,
    /// Memory of a PC's display.
    pub video: Option<Arc<Video>>,
    /// Its vCPUs, to be held back; taken once.
    pub vcpus: Mutex<Vec<Nudge>>,
}

impl Subject {
    /// Bytes of RAM that it can have.
    fn whole(&self) -> u64 {
        PAGE * match &self.what {
            Announced::Pv(domain) => domain.max_pages,
            Announced::Hvm(pc) => pc.pages,
        }
    }

    fn domid(&self) -> u32 {
        match &self.what {
            Announced::Pv(domain) => domain.domid,
            Announced::Hvm(pc) => pc.domid,
        }
    }
}

/// One move.
pub struct Course<'a> {
    /// The domain.
    pub subject: &'a Subject,
    /// How it is to be moved.
    pub wanted: &'a Move,
    /// How far it is.
    pub progress: &'a Progress,
    /// The way to the main loop.
    pub mailbox: &'a Mailbox,
}

type Out = Writer<BufWriter<File>>;

impl Course<'_> {
    /// Sends everything, but for pages that are missing over there then; an error line says what went wrong, and the domain is to run on.
    pub fn run(self, stream: File) -> Result<(Ledger, Missing), String> {
        let (ledger, missing) = self.send(stream)?;
        let log = &self.subject.hub.log;
        log.line(
            Level::Info,
            format_args!(
                "sent: {} rounds, {} MiB; stopped for {} us so far",
                ledger.rounds.len(),
                ledger.bytes >> 20,
                ledger.stop_us + ledger.last_us + ledger.state_us
            ),
        );
        Ok((Ledger::Moved(ledger), missing))
    }

    fn send(&self, stream: File) -> Result<(Moved, Missing), String> {
        let failed = |error: io::Error| format!("the connection failed: {error}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = now.unwrap_or_default().as_secs();
        let header = Header::of_stream(WRITER, created, &self.wanted.token);
        let mut asks = Asks::on(&stream).map_err(failed)?;
        let out = BufWriter::with_capacity(BUFFER, stream);
        let mut writer = Writer::begin(out, &self.wanted.config, &header).map_err(failed)?;
        match &self.subject.what {
            Announced::Pv(domain) => writer.unit(&**domain),
            Announced::Hvm(pc) => writer.unit(&**pc),
        }
        .map_err(failed)?;
        writer.unit(&self.outline()).map_err(failed)?;
        writer.flush().map_err(failed)?;
        let mut ledger = Moved::default();
        // Not live: the guest stands still before its memory is looked at.
        let early = match self.wanted.live {
            true => None,
            false => Some(self.halt()?),
        };
        let began = Instant::now();
        let mut picture = Vec::new();
        self.all(&mut writer, &mut asks, &mut ledger, &mut picture)
            .map_err(failed)?;
        let region = self.subject.region;
        let none = Missing::new(0);
        let (state, left, missing) = match early {
            Some((state, took)) => {
                ledger.stop_us = micros(took);
                (state, Frames::default(), none)
            }
            None => {
                // From here it is held back no more: it may have to do something before it stands still.
                let (mut left, next) = self.rounds(&mut writer, &mut asks, &mut ledger, began)?;
                let (state, took) = self.halt()?;
                ledger.stop_us = micros(took);
                self.add_written(&mut left)?;
                let mut staying = Frames::default();
                staying.add(self.subject.written.staying());
                let missing = match next {
                    Next::Switch => left.take_ram(&self.subject.hub.memory, region.0, &staying),
                    Next::Last | Next::Round | Next::Slower(_) => none,
                };
                left.add(self.subject.written.staying());
                (state, left, missing)
            }
        };
        let began = match self.wanted.live {
            true => Instant::now(),
            false => began,
        };
        self.progress.throttle(0);
        self.progress.begin(left.bytes());
        memory::write_again(
            &mut writer,
            &self.subject.hub.memory,
            self.subject.region,
            &left,
            self.progress,
        )
        .and_then(|()| self.video(&mut writer, &mut picture))
        .and_then(|()| missing.write(&mut writer))
        .map_err(failed)?;
        ledger.last_us = micros(began.elapsed());
        let began = Instant::now();
        match &state {
            Saved::Pv(state) => writer.state_but_domain(state),
            Saved::Hvm(state) => writer.hvm_state_but_pc(state),
        }
        .map_err(failed)?;
        let (_, totals) = writer.end().map_err(failed)?;
        ledger.state_us = micros(began.elapsed());
        ledger.bytes = totals.memory;
        Ok((ledger, missing))
    }

    fn outline(&self) -> Outline {
        let device = |(class, devid, mac): &(String, u32, String)| Outlined {
            class: class.clone(),
            devid: *devid,
            mac: mac.clone(),
        };
        Outline {
            devices: self.wanted.devices.iter().map(device).collect(),
        }
    }

    /// Has the guest stand still; its state, and how long that took.
    fn halt(&self) -> Result<(Saved, Duration), String> {
        if self.wanted.guest {
            suspended::wait(self.mailbox, self.progress, self.subject.domid())?;
        }
        let began = Instant::now();
        let state = self.mailbox.halt()?;
        Ok((state, began.elapsed()))
    }

    /// The first round: everything. `picture` is what has been sent of a display's memory.
    fn all(
        &self,
        writer: &mut Out,
        asks: &mut Asks,
        ledger: &mut Moved,
        picture: &mut Vec<u8>,
    ) -> io::Result<()> {
        let began = Instant::now();
        memory::write_beside(
            writer,
            &self.subject.hub.memory,
            self.subject.region,
            self.progress,
        )?;
        self.video(writer, picture)?;
        match self.wanted.live {
            true => asks.arrived(writer)?,
            // Nothing is foreseen from how long it took.
            false => writer.flush()?,
        }
        ledger.rounds.push(Round {
            bytes: writer.totals().memory,
            micros: micros(began.elapsed()),
            written: 0,
            throttle: 0,
        });
        Ok(())
    }

    /// Sends what of the display's memory is not as in `picture`, and notes it there. KVM's log of it is the viewers', so it is
    /// compared: that is some megabytes at most.
    fn video(&self, writer: &mut Out, picture: &mut Vec<u8>) -> io::Result<()> {
        let Some(video) = &self.subject.video else {
            return Ok(());
        };
        let length = video.length();
        picture.resize(length as usize, 0);
        let mut page = [0; PAGE as usize];
        for (at, sent) in (0..length)
            .step_by(PAGE as usize)
            .zip(picture.chunks_mut(page.len()))
        {
            video.read(at, &mut page);
            if page != *sent {
                sent.copy_from_slice(&page);
                writer.memory_again(memory::VIDEO, at, &page)?;
            }
        }
        Ok(())
    }

    /// Rounds until little enough is left; what is left, and how it goes on.
    fn rounds(
        &self,
        writer: &mut Out,
        asks: &mut Asks,
        ledger: &mut Moved,
        begun: Instant,
    ) -> Result<(Frames, Next), String> {
        let failed = |error: io::Error| format!("the connection failed: {error}");
        let means = match (self.wanted.postcopy, self.wanted.unthrottled) {
            (true, _) => Means::PostCopy,
            (false, true) => Means::Patience,
            (false, false) => Means::Throttle,
        };
        let mut pace = Pace::new(self.wanted.downtime_ms, self.subject.whole(), means);
        let mut brake = None;
        let limit = self.wanted.force_s.map(|s| Duration::from_secs(s.into()));
        let over = || limit.is_some_and(|limit| begun.elapsed() >= limit);
        loop {
            let mut left = Frames::default();
            self.add_written(&mut left)?;
            let Some(last) = ledger.rounds.last_mut() else {
                return Ok((left, Next::Last));
            };
            last.written = left.bytes();
            let last = *last;
            self.progress.round(pace::dirty_rate(&last));
            let next = match over() {
                true => pace.forced(),
                false => pace.next(&last, ledger.rounds.len(), writer.totals().memory),
            };
            match next {
                Next::Last | Next::Switch => return Ok((left, next)),
                Next::Slower(percent) => self.hold_back(&mut brake, percent)?,
                Next::Round => {}
            }
            let began = Instant::now();
            self.progress.begin(left.bytes());
            memory::write_again(
                writer,
                &self.subject.hub.memory,
                self.subject.region,
                &left,
                self.progress,
            )
            .and_then(|()| asks.arrived(writer))
            .map_err(failed)?;
            ledger.rounds.push(Round {
                bytes: left.bytes(),
                micros: micros(began.elapsed()),
                written: 0,
                throttle: pace.percent(),
            });
        }
    }

    /// Has `brake` hold the guest back for `percent` of the time.
    fn hold_back(&self, brake: &mut Option<Brake>, percent: u32) -> Result<(), String> {
        let hub = &self.subject.hub;
        hub.log.line(
            Level::Info,
            format_args!("it writes its memory faster than that is sent: its vCPUs are held back for {percent} % of the time"),
        );
        if brake.is_none() {
            let mut vcpus = self
                .subject
                .vcpus
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let made = Brake::new(hub.clone(), std::mem::take(&mut vcpus));
            *brake =
                Some(made.map_err(|error| format!("no thread to hold its vCPUs back: {error}"))?);
        }
        if let Some(brake) = brake {
            brake.set(percent);
        }
        self.progress.throttle(percent);
        Ok(())
    }

    /// What guest and back ends have written since the last time.
    fn add_written(&self, frames: &mut Frames) -> Result<(), String> {
        for (piece, bits) in self
            .subject
            .vm
            .written()
            .map_err(|error| error.to_string())?
        {
            frames.add_bits(piece.gpa, &bits);
        }
        frames.add(self.subject.written.take());
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
