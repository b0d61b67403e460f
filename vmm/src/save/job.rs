//! A save, a move or a core dump under way, as the main loop sees it.
//!
//! ```text
//!   dump: halted (live: runs) --> a thread writes --done or the asker gone--> answered, runs on
//!   save: (suspends itself -->) halted --> a thread writes --done--> answered; stands still --Unpause, Destroy--> over
//!   hand over: a thread waits for the other process --> halted, images closed --> all given --done--> as after a save
//!   move: a thread sends rounds while the guest runs --wants it to stand still--> halted --> sends the rest --done--> as above
//!      \--error--> answered, runs on            \--the asker's connection ends--> runs on, unless told to Hold
//!   by post-copy a second thread sends pages from `done` on: Pages waits for it
//! ```

use crate::console_end::ConsoleEnd;
use crate::core_dump::Core;
use crate::domain::calls::Shared;
use crate::domain::hub::Hub;
use crate::log::{Level, Log};
use crate::save::push::Push;
use crate::save::send::{self, Course, Ledger, Subject};
use crate::save::upgrade::{self, Goods};
use crate::save::{self, lazy, memory, suspended, Parts};
use crate::vstate::memory::DomainMemory;
use noxen_control::message::{Move, Pages, SaveHow, Saving};
use noxen_control::Reply;
use noxen_saved_image::state::Announced;
use noxen_saved_image::{Header, Saved, State, Writer};
use rustix::net::{shutdown, Shutdown};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What is not done meanwhile.
pub const BUSY: &str = "the domain is being saved or dumped; wait until that is over";
/// Bytes that are written at a time.
pub const BUFFER: usize = 1 << 20;

/// How far it is; shared with the thread that writes.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    passed: AtomicU64,
    rounds: AtomicU32,
    dirty_rate: AtomicU64,
    throttle: AtomicU32,
    cancelled: AtomicBool,
}

impl Progress {
    /// There is so much to do, from now on.
    pub fn begin(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// A round is over; meanwhile the guest has written so many bytes per second.
    pub fn round(&self, dirty_rate: u64) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.dirty_rate.store(dirty_rate, Ordering::Relaxed);
    }

    /// The guest is held back for so much of the time from now on, per cent.
    pub fn throttle(&self, percent: u32) {
        self.throttle.store(percent, Ordering::Relaxed);
    }

    /// So much more is done; an error if nobody waits for it any more.
    pub fn pass(&self, bytes: u64) -> io::Result<()> {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(io::Error::other("whoever asked for it is gone")),
            false => Ok(()),
        }
    }
}

/// What the thread says.
#[derive(Debug)]
pub enum News {
    /// The guest is to suspend itself; answered once it has.
    Suspend(Sender<Result<(), String>>),
    /// The guest is to stand still now; its state is the answer.
    Halt(Sender<Result<Saved, String>>),
    /// The guest is to stand still now, and all of it is to be given to another process.
    HandOver(Sender<Result<(Saved, Goods), String>>),
    /// All is written.
    Done(Result<Ledger, String>),
    /// All pages that were missing are over there, or cannot get there.
    Pushed(Result<Pages, String>),
}

/// The thread's way to the main loop.
#[derive(Debug, Clone)]
pub struct Mailbox {
    sender: Sender<News>,
    hub: Arc<Hub>,
}

impl Mailbox {
    /// Says `news`.
    pub fn send(&self, news: News) {
        // The main loop is gone with its process, not before.
        let _ = self.sender.send(news);
        let _ = self.hub.wake.write(1);
    }

    /// Has the guest stand still; its state.
    pub fn halt(&self) -> Result<Saved, String> {
        let (answer, answered) = channel();
        self.send(News::Halt(answer));
        answered
            .recv()
            .map_err(|_| "noxen-vmm is ending".to_owned())?
    }

    /// The same, with what another process is to go on with.
    pub fn hand_over(&self) -> Result<(Saved, Goods), String> {
        let (answer, answered) = channel();
        self.send(News::HandOver(answer));
        answered
            .recv()
            .map_err(|_| "noxen-vmm is ending".to_owned())?
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest runs, and its memory is sent meanwhile.
    Rounds,
    /// It stands still, and is being written.
    Still,
    /// All is written and answered.
    Written {
        /// Nobody's going away lets it run on.
        held: bool,
    },
}

/// A domain whose job it is.
pub trait Host {
    /// What its threads share.
    fn hub(&self) -> Arc<Hub>;

    /// The place for its job.
    fn job(&mut self) -> &mut Option<Job>;

    /// Has the guest suspend itself, which [`guest_news`] is told of.
    fn ask_suspend(&mut self) -> Result<(), String>;

    /// The guest need not suspend itself any more.
    fn take_back_suspend(&mut self);

    /// Has it suspended itself, and is held?
    fn is_suspended(&self) -> bool;

    /// Has it stand still, as [`save::halt`].
    fn halt(&mut self, directories: &[String]) -> Result<Saved, String>;

    /// What another process is to go on with, of a domain that stands still; what only one may have open is closed until it runs on.
    /// After an error nothing was.
    fn goods(&mut self) -> Result<Goods, String>;

    /// Lets it do what it did before.
    fn run_on(&mut self);

    /// What it writes need not be noted any more.
    fn stop_logging(&mut self);
}

impl Host for Parts<'_> {
    fn hub(&self) -> Arc<Hub> {
        self.machine.shared().hub.clone()
    }

    fn job(&mut self) -> &mut Option<Job> {
        self.job
    }

    fn ask_suspend(&mut self) -> Result<(), String> {
        if self.machine.is_paused() {
            return Err("the domain is paused, so its guest cannot suspend itself; unpause it, or leave --by-guest out".into());
        }
        let node = suspended::node(self.machine.domid());
        self.devices.write_node(node, "suspend")
    }

    fn take_back_suspend(&mut self) {
        let node = suspended::node(self.machine.domid());
        if let Err(error) = self.devices.write_node(node, "") {
            // A guest that reads it late runs on at once.
            self.hub().log.line(Level::Warning, error);
        }
    }

    fn is_suspended(&self) -> bool {
        self.machine.suspended().is_some()
    }

    fn halt(&mut self, directories: &[String]) -> Result<Saved, String> {
        save::halt(self, directories).map(|state| Saved::Pv(Box::new(state)))
    }

    fn goods(&mut self) -> Result<Goods, String> {
        let cannot = |error: io::Error| format!("its descriptors cannot be had: {error}");
        let console = match self.end {
            ConsoleEnd::Pty(pty) => Some(pty.master.try_clone().map_err(cannot)?),
            ConsoleEnd::Stream { .. } => None,
        };
        Ok(Goods {
            memory: DomainMemory::files(&self.machine.shared().memory).map_err(cannot)?,
            console: console.map(Into::into),
            viewers: None,
            video: None,
            devices: self.devices.put_away()?,
        })
    }

    fn run_on(&mut self) {
        save::run_on(self);
    }

    fn stop_logging(&mut self) {
        let shared = self.machine.shared();
        shared.written.watch(false);
        if let Err(error) = self.vm.log_writes(false) {
            // The guest runs on, slower.
            shared.log.line(Level::Warning, error);
        }
    }
}

/// One save, move or dump.
#[derive(Debug)]
pub struct Job {
    /// Number of the connection that asked.
    asker: u64,
    directories: Vec<String>,
    progress: Arc<Progress>,
    news: Receiver<News>,
    phase: Phase,
    /// KVM notes what the guest writes.
    logging: bool,
    /// Once all is written the domain does what it did before.
    dump: bool,
    /// Waits for the guest to suspend itself.
    awaits: Option<Sender<Result<(), String>>>,
    /// Closed with the job, or this process: whom the domain is handed over to learns by that that it will not be.
    link: Option<UnixStream>,
    /// By post-copy.
    after: Option<After>,
}

/// Pages that are sent after a domain.
#[derive(Debug)]
struct After {
    /// Their connection.
    link: File,
    /// What became of them.
    done: Option<Result<Pages, String>>,
    /// Number of the connection that waits for that.
    waits: Option<u64>,
}

impl Drop for After {
    fn drop(&mut self) {
        // The domain runs on here, or is over: whoever sends or takes pages is to notice at once, and one that has noticed needs nothing.
        let _ = shutdown(&self.link, Shutdown::Both);
    }
}

fn reply_of(pages: Result<Pages, String>) -> Reply {
    match pages {
        Ok(pages) => Reply::Pages { pages },
        Err(message) => Reply::Error { message },
    }
}

impl Job {
    /// Number of the connection that asked.
    pub fn asker(&self) -> u64 {
        self.asker
    }

    /// All is written, and the domain stands still.
    pub fn is_written(&self) -> bool {
        matches!(self.phase, Phase::Written { .. })
    }

    /// The guest stands still.
    pub fn is_still(&self) -> bool {
        self.phase != Phase::Rounds
    }

    /// For the status.
    pub fn saving(&self) -> Saving {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Saving {
            done: read(&self.progress.done),
            total: read(&self.progress.total),
            rounds: self.progress.rounds.load(Ordering::Relaxed),
            passed: read(&self.progress.passed),
            dirty_rate: read(&self.progress.dirty_rate),
            throttle: self.progress.throttle.load(Ordering::Relaxed),
            still: self.is_still(),
            follows: self.is_written() && self.after.is_some(),
        }
    }
}

/// Halts the domain and begins to write it into `file`, for connection `asker`; first it suspends itself if that is how it is
/// to be saved. An error line: it runs on.
pub fn begin(
    parts: &mut Parts<'_>,
    asker: u64,
    config: String,
    directories: Vec<String>,
    how: SaveHow,
    file: File,
) -> Result<(), String> {
    let shared = parts.machine.shared().clone();
    if how.guest {
        if parts.machine.over().is_some() {
            return Err("the domain has shut down; there is nothing to save".into());
        }
        let domid = parts.machine.domid();
        let writes = move |mailbox: &Mailbox, progress: &Arc<Progress>| {
            suspended::wait(mailbox, progress, domid)?;
            let Saved::Pv(state) = mailbox.halt()? else {
                return Err("it is a PC".into());
            };
            let written = write(&shared, &config, &state, how.compress, file, progress);
            written.map_err(|error| error.to_string())
        };
        return start(parts, asker, directories, Phase::Rounds, writes);
    }
    let state = save::halt(parts, &directories).inspect_err(|line| {
        shared
            .log
            .line(Level::Error, format_args!("not saved: {line}"));
    })?;
    let writes = move |_: &Mailbox, progress: &Arc<Progress>| {
        let written = write(&shared, &config, &state, how.compress, file, progress);
        written.map_err(|error| error.to_string())
    };
    start(parts, asker, directories, Phase::Still, writes).inspect_err(|_| save::run_on(parts))
}

/// Where a domain is sent.
#[derive(Debug)]
pub struct Ways {
    /// All but what comes later.
    pub stream: File,
    /// Pages that come later, by post-copy.
    pub pages: Option<File>,
}

/// Begins to send the domain `ways`, for connection `asker`. An error line: it runs on.
pub fn begin_move(
    parts: &mut Parts<'_>,
    asker: u64,
    wanted: Move,
    ways: Ways,
) -> Result<(), String> {
    if parts.machine.over().is_some() {
        return Err("the domain has shut down; there is nothing to move".into());
    }
    let shared = parts.machine.shared().clone();
    let subject = Subject {
        hub: shared.hub.clone(),
        vm: parts.vm.clone(),
        written: shared.written,
        region: (shared.region.base, memory::MONITOR),
        what: Announced::Pv(Box::new(parts.machine.constants().domain.clone())),
        video: None,
        vcpus: Mutex::new(parts.machine.nudges()),
    };
    begin_sending(parts, asker, wanted, ways, subject)
}

/// Begins to send `subject`, which `host` is.
pub fn begin_sending(
    host: &mut dyn Host,
    asker: u64,
    wanted: Move,
    ways: Ways,
    subject: Subject,
) -> Result<(), String> {
    let Ways { stream, pages } = ways;
    let broken = |error: io::Error| format!("the connection for pages failed: {error}");
    let after = pages.as_ref().map(File::try_clone).transpose();
    let after = after.map_err(broken)?;
    let push = pages.map(|link| {
        let hub = subject.hub.clone();
        Push::new(hub, subject.region, link, &wanted.token)
    });
    let push = push.transpose().map_err(broken)?;
    let (live, directories) = (wanted.live, wanted.directories.clone());
    if live {
        subject
            .vm
            .log_writes(true)
            .map_err(|error| error.to_string())?;
        subject.written.watch(true);
    }
    let sends = move |mailbox: &Mailbox, progress: &Arc<Progress>| {
        let course = Course {
            subject: &subject,
            wanted: &wanted,
            progress,
            mailbox,
        };
        let (ledger, missing) = course.run(stream)?;
        if let Some(push) = push {
            let (mailbox, progress) = (mailbox.clone(), progress.clone());
            let thread = std::thread::Builder::new().name("push".into());
            let started = thread.spawn(move || {
                let done = push.run(missing, &progress);
                mailbox.send(News::Pushed(done));
            });
            started.map_err(|error| format!("no thread to send pages: {error}"))?;
        }
        Ok(ledger)
    };
    let started = start(host, asker, directories, Phase::Rounds, sends);
    match host.job() {
        Some(job) => {
            job.logging = live;
            job.after = after.map(|link| After {
                link,
                done: None,
                waits: None,
            });
        }
        None => host.stop_logging(),
    }
    started
}

/// Begins to write `core` into `file`, for connection `asker`; `still`: the domain stands still meanwhile, as it does already.
pub fn begin_dump(
    host: &mut dyn Host,
    asker: u64,
    core: Core,
    still: bool,
    file: File,
) -> Result<(), String> {
    let phase = if still { Phase::Still } else { Phase::Rounds };
    let log = host.hub();
    let writes = move |_: &Mailbox, progress: &Arc<Progress>| {
        let begun = Instant::now();
        let bytes = core.write(&file, progress).map_err(|e| e.to_string())?;
        log.log.line(
            Level::Info,
            format_args!("core dumped: {} MiB in {:?}", bytes >> 20, begun.elapsed()),
        );
        Ok(Ledger::of_file(bytes))
    };
    start(host, asker, Vec::new(), phase, writes)?;
    if let Some(job) = host.job() {
        job.dump = true;
    }
    Ok(())
}

/// Begins to have `work` write the domain, which stands still already, for connection `asker`.
pub fn begin_still(
    host: &mut dyn Host,
    asker: u64,
    work: impl FnOnce(&Progress) -> Result<Ledger, String> + Send + 'static,
) -> Result<(), String> {
    let writes = move |_: &Mailbox, progress: &Arc<Progress>| work(progress);
    start(host, asker, Vec::new(), Phase::Still, writes)
}

fn start(
    host: &mut dyn Host,
    asker: u64,
    directories: Vec<String>,
    phase: Phase,
    work: impl FnOnce(&Mailbox, &Arc<Progress>) -> Result<Ledger, String> + Send + 'static,
) -> Result<(), String> {
    let progress = Arc::new(Progress::default());
    let (sender, news) = channel();
    let mailbox = Mailbox {
        sender,
        hub: host.hub(),
    };
    let shown = progress.clone();
    std::thread::Builder::new()
        .name("save".into())
        .spawn(move || {
            // The files of its memory are read, which may not have all of it yet.
            lazy::FILLING.wait();
            let done = work(&mailbox, &shown);
            mailbox.send(News::Done(done));
        })
        .map_err(|error| format!("no thread to save it: {error}"))?;
    *host.job() = Some(Job {
        asker,
        directories,
        progress,
        news,
        phase,
        logging: false,
        dump: false,
        awaits: None,
        link: None,
        after: None,
    });
    Ok(())
}

/// Begins to hand the domain over to the process at the other end of `link`, for connection `asker`. An error line: it runs on.
pub fn begin_handover(
    host: &mut dyn Host,
    asker: u64,
    directories: Vec<String>,
    link: UnixStream,
) -> Result<(), String> {
    let kept = link.try_clone().map_err(|error| error.to_string())?;
    let log = host.hub();
    let gives = move |mailbox: &Mailbox, progress: &Arc<Progress>| {
        upgrade::expect(&link)?;
        let begun = Instant::now();
        let (state, goods) = mailbox.hand_over()?;
        progress.pass(0).map_err(|error| error.to_string())?;
        let bytes = upgrade::give(&link, &state, &goods)?;
        log.log.line(
            Level::Info,
            format_args!("handed over, stopped for {:?} so far", begun.elapsed()),
        );
        Ok(Ledger::of_file(bytes))
    };
    start(host, asker, directories, Phase::Rounds, gives)?;
    if let Some(job) = host.job() {
        job.link = Some(kept);
    }
    Ok(())
}

/// Takes what the thread says: the reply for the connection that asked, once there is one. After an error the domain
/// runs on.
pub fn take_news(host: &mut dyn Host) -> Option<(u64, Reply)> {
    loop {
        let job = host.job().as_mut()?;
        if job.is_written() && job.after.is_none() {
            return None;
        }
        let asker = job.asker;
        let done = match job.news.try_recv() {
            Ok(News::Pushed(done)) => {
                if let Some(reply) = take_pushed(host, done) {
                    return Some(reply);
                }
                continue;
            }
            // Its threads are gone, which have said all.
            Err(TryRecvError::Disconnected) if job.is_written() => return None,
            Ok(News::Suspend(answer)) => {
                match host.ask_suspend() {
                    Ok(()) => {
                        if let Some(job) = host.job().as_mut() {
                            job.awaits = Some(answer);
                        }
                    }
                    Err(line) => {
                        let _ = answer.send(Err(line));
                    }
                }
                continue;
            }
            Ok(News::Halt(answer)) => {
                let directories = job.directories.clone();
                let halted = host.halt(&directories);
                if let (Some(job), true) = (host.job().as_mut(), halted.is_ok()) {
                    job.phase = Phase::Still;
                }
                let _ = answer.send(halted);
                continue;
            }
            Ok(News::HandOver(answer)) => {
                let directories = job.directories.clone();
                let given = host.halt(&directories).and_then(|state| {
                    let goods = host.goods();
                    goods
                        .map(|goods| (state, goods))
                        .inspect_err(|_| host.run_on())
                });
                if let (Some(job), true) = (host.job().as_mut(), given.is_ok()) {
                    job.phase = Phase::Still;
                }
                let _ = answer.send(given);
                continue;
            }
            Ok(News::Done(done)) => done,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the thread that wrote it has failed".into()),
        };
        return match done {
            Ok(ledger) => {
                if job.dump {
                    end(host);
                } else {
                    job.phase = Phase::Written { held: false };
                }
                Some((asker, ledger.reply()))
            }
            Err(message) => {
                let what = if job.dump {
                    "no core dumped"
                } else {
                    "not saved"
                };
                host.hub()
                    .log
                    .line(Level::Error, format_args!("{what}: {message}"));
                end(host);
                Some((asker, Reply::Error { message }))
            }
        };
    }
}

/// Pages that were missing are over there, or not: the reply for who waits for that.
fn take_pushed(host: &mut dyn Host, done: Result<Pages, String>) -> Option<(u64, Reply)> {
    let hub = host.hub();
    match &done {
        Ok(pages) => hub.log.line(
            Level::Info,
            format_args!(
                "{} KiB went after the domain, {} pages of it asked for, in {} us",
                pages.bytes >> 10,
                pages.asked,
                pages.micros
            ),
        ),
        Err(line) => hub.log.line(Level::Error, line),
    }
    let after = host.job().as_mut()?.after.as_mut()?;
    after.done = Some(done.clone());
    Some((after.waits.take()?, reply_of(done)))
}

/// The reply to connection `asker` once all pages are over there; none yet if they are still on their way.
pub fn pages(host: &mut dyn Host, asker: u64) -> Option<Reply> {
    let job = host.job().as_mut().filter(|job| job.is_written());
    let Some(after) = job.and_then(|job| job.after.as_mut()) else {
        let message =
            "the domain was not sent by post-copy; no pages of it are on their way".into();
        return Some(Reply::Error { message });
    };
    match &after.done {
        Some(done) => Some(reply_of(done.clone())),
        None => {
            after.waits = Some(asker);
            None
        }
    }
}

/// The guest may have suspended itself, or be `over`: whoever waits for that goes on, and one that nobody asked runs on.
pub fn guest_news(host: &mut dyn Host, over: bool) {
    let suspended = host.is_suspended();
    let awaits = match host.job() {
        Some(job) if suspended || over => job.awaits.take(),
        _ => None,
    };
    match awaits {
        Some(answer) => {
            let _ = answer.send(match over {
                true => Err("the guest has shut down instead of suspending itself".into()),
                false => Ok(()),
            });
        }
        // A job that has it stand still already lets it run on at its end.
        None if suspended && host.job().is_none() => {
            let hub = host.hub();
            hub.log.guest_line(
                Level::Info,
                "the guest has suspended itself, and nobody asked for it; it runs on",
            );
            host.run_on();
        }
        None => {}
    }
}

/// Keeps a domain that is written still, whoever goes.
pub fn hold(host: &mut dyn Host) -> Result<(), String> {
    match host.job().as_mut() {
        Some(job) if job.is_written() => {
            job.phase = Phase::Written { held: true };
            Ok(())
        }
        _ => Err("the domain is not saved; there is nothing to hold".into()),
    }
}

/// Nobody waits for it any more: one that is written is given up at once, another as soon as its thread notices.
pub fn abandon(host: &mut dyn Host) {
    let Some(job) = host.job().as_ref() else {
        return;
    };
    match job.phase {
        Phase::Written { held: true } => {}
        Phase::Written { held: false } => {
            let hub = host.hub();
            hub.log
                .line(Level::Warning, "nobody takes the saved domain; it runs on");
            end(host);
        }
        Phase::Rounds | Phase::Still => job.progress.cancelled.store(true, Ordering::Relaxed),
    }
}

/// Gives up what is written, since the domain is to run.
pub fn give_up_written(host: &mut dyn Host) -> Result<(), String> {
    match host.job().as_ref().map(Job::is_written) {
        Some(false) => return Err(BUSY.into()),
        Some(true) => end(host),
        None => {}
    }
    Ok(())
}

/// Ends it: the domain does what it did before.
pub fn end(host: &mut dyn Host) {
    let Some(job) = host.job().take() else {
        return;
    };
    if job.logging {
        host.stop_logging();
    }
    if job.awaits.is_some() {
        host.take_back_suspend();
    }
    if job.is_still() || host.is_suspended() {
        host.run_on();
    }
}

fn write(
    shared: &Shared,
    config: &str,
    state: &State,
    compress: bool,
    file: File,
    progress: &Progress,
) -> io::Result<Ledger> {
    let seconds = send::seconds(state);
    write_file(&shared.log, config, seconds, compress, file, |writer| {
        writer.state(state)?;
        memory::write(writer, &shared.memory, shared.region.base, progress)
    })
}

/// Writes an image made at `seconds` into `file`, its memory compressed or not; `fill` writes all between its head and its end.
pub fn write_file(
    log: &Log,
    config: &str,
    seconds: u64,
    compress: bool,
    file: File,
    fill: impl FnOnce(&mut Writer<BufWriter<File>>) -> io::Result<()>,
) -> io::Result<Ledger> {
    let begun = Instant::now();
    let header = match compress {
        true => Header::compressed(save::WRITER, seconds),
        false => Header::new(save::WRITER, seconds),
    };
    let out = BufWriter::with_capacity(BUFFER, file);
    let mut writer = Writer::begin(out, config, &header)?;
    fill(&mut writer)?;
    let (mut out, totals) = writer.end()?;
    out.flush()?;
    log.line(
        Level::Info,
        format_args!(
            "saved: {} MiB in {:?}",
            totals.memory >> 20,
            begun.elapsed()
        ),
    );
    Ok(Ledger::of_file(totals.memory))
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
