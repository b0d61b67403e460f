//! A vCPU's thread.
//!
//! ```text
//!            Run                      Over (call, crash)
//!   Paused -------> Running ---------------------------> Stopped      Running waits while Guest::may_run is false
//!      ^   <-------    |                                   | Pause, Registers: answered; Run: ignored
//!           Pause,     +-- enter, decide, act, enter ...             or Hub::held is set (brake.rs)
//!           Hold
//! ```
//! Commands come over a channel; while running, a kick makes the thread look at it. A pause is
//! answered once the pending exit is complete, so that registers read then are the guest's own.

use crate::counters::ExitCounters;
use crate::crash::{registers_text, stack_rows};
use crate::domain::host_tick::Ticks;
use crate::domain::hub::{Hub, Report};
use crate::vstate::clock;
use crate::vstate::exit::{Exit, Io};
use crate::vstate::saved;
use crate::vstate::stats::Stats;
use crate::vstate::vcpu::{Kicker, Registers, Snapshot, Vcpu};
use noxen_control::ShutdownReason;
use noxen_monitor_abi::layout::PAGE_SIZE;
use rustix::thread::{sched_getaffinity, CpuSet, Pid};
use std::fmt::Debug;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Receiver, Sender, TryRecvError};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// Stack of a vCPU thread: the loop needs little, a crash record some.
const STACK: usize = 256 << 10;
/// Words of stack in a record of KVM's registers.
const STACK_WORDS: usize = 24;

/// The kind of guest that a vCPU thread runs.
pub trait Guest: Debug + Send + Sync {
    /// What its threads share.
    fn hub(&self) -> &Hub;

    /// Who answers accesses to ports and addresses, before [`Guest::after`] sees the exit.
    fn io(&self) -> &dyn Io;

    /// Whether that vCPU enters the guest when it is to run; its thread looks again at each exit and command.
    fn may_run(&self, _vcpu: u32) -> bool {
        true
    }

    /// What follows from `exit` of `vcpu`, whose thread this is.
    fn after(&self, exit: Exit, vcpu: &Vcpu) -> Next;
}

/// What a vCPU thread does after an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Enters again.
    Resume,
    /// The same; the guest notified somebody who does not exist.
    StrayNotify,
    /// Stands still until it is told to run.
    Hold,
    /// Stops for good.
    Stop {
        /// How.
        reason: ShutdownReason,
        /// Why, one line.
        detail: Option<String>,
        /// The record for the log, several lines; KVM's registers if it is empty and the guest crashed.
        record: String,
    },
}

/// What a vCPU thread is told.
#[derive(Debug)]
pub enum Command {
    /// Enter the guest.
    Run,
    /// See whether it may enter the guest.
    Look,
    /// Be again as a processor is after reset; the vCPU must not be in the guest.
    Reset(Sender<Result<(), String>>),
    /// Leave it; answered when done.
    Pause(Sender<()>),
    /// Registers as text; the vCPU must be paused or stopped.
    Registers(Sender<String>),
    /// Registers for a core file; the vCPU must be paused or stopped.
    Snapshot(Sender<Result<Snapshot, String>>),
    /// Clock set forward to have the guest's ticks meet the host's; answered with the cycles, if it was. The vCPU must be the
    /// first, and paused.
    MeetHost(Ticks, Sender<Result<Option<u64>, String>>),
    /// Clock set forward by as many cycles, after the first vCPU's; the vCPU must be paused.
    Follow(u64, Sender<Result<(), String>>),
    /// The state for an image, with these MSRs; the vCPU must be paused.
    Save(Arc<[u32]>, Sender<Result<Saved, String>>),
}

/// A vCPU's part of an image.
#[derive(Debug)]
pub struct Saved {
    /// Its time-stamp counter.
    pub tsc: u64,
    /// The rest.
    pub state: noxen_saved_image::state::Vcpu,
}

/// A vCPU thread from outside.
#[derive(Debug)]
pub struct Handle {
    commands: Sender<Command>,
    kicker: Kicker,
    thread_id: i32,
    /// Exits by kind.
    pub counters: Arc<ExitCounters>,
    /// KVM's own counters.
    pub stats: Option<Stats>,
}

impl Handle {
    /// Sends `command` and gets the vCPU out of the guest to see it.
    pub fn send(&self, command: Command) {
        // The thread lives as long as the process; if it is gone its answer channel says so.
        let _ = self.commands.send(command);
        self.kicker.kick();
    }

    /// The part that other threads than the main loop have.
    pub fn nudge(&self) -> Nudge {
        Nudge {
            commands: self.commands.clone(),
            kicker: self.kicker.clone(),
        }
    }

    /// CPU time used, ns.
    pub fn cpu_time_ns(&self) -> u64 {
        self.kicker.cpu_time_ns()
    }

    /// Host CPU that it ran on last.
    pub fn last_cpu(&self) -> Option<u32> {
        let path = format!("/proc/self/task/{}/stat", self.thread_id);
        let text = std::fs::read_to_string(path).ok()?;
        // Field 39 of proc(5); the name in field 2 may hold anything but its closing parenthesis last.
        let after_name = text.rsplit_once(')')?.1;
        after_name.split_whitespace().nth(36)?.parse().ok()
    }
}

/// Has a vCPU's thread see whether it may enter the guest.
#[derive(Debug)]
pub struct Nudge {
    commands: Sender<Command>,
    kicker: Kicker,
}

impl Nudge {
    /// See now; one that may not comes out.
    pub fn look(&self) {
        // As [`Handle::send`].
        let _ = self.commands.send(Command::Look);
        self.kicker.kick();
    }
}

/// Host processors that threads of `vcpus` may run on, each counted once; 0 when the host does not say.
pub fn processors(vcpus: &[Handle]) -> usize {
    let sets: Option<Vec<CpuSet>> = vcpus
        .iter()
        .map(|vcpu| sched_getaffinity(Pid::from_raw(vcpu.thread_id)).ok())
        .collect();
    sets.map_or(0, |sets| in_any(&sets))
}

fn in_any(sets: &[CpuSet]) -> usize {
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| sets.iter().any(|set| set.is_set(*cpu)))
        .count()
}

/// Starts the thread of `vcpu`, paused.
pub fn spawn<G: Guest + 'static>(vcpu: Vcpu, guest: Arc<G>) -> io::Result<Handle> {
    let (commands, inbox) = channel();
    let (hello, ready) = channel();
    let counters = Arc::new(ExitCounters::default());
    let stats = Stats::open(vcpu.fd());
    let flag = vcpu.flag();
    let runner = Runner {
        vcpu,
        inbox,
        guest,
        counters: counters.clone(),
    };
    std::thread::Builder::new()
        .name(format!("vcpu{}", runner.vcpu.id()))
        .stack_size(STACK)
        .spawn(move || {
            let kicker = Kicker::for_this_thread(flag);
            let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            if hello.send((kicker, thread_id)).is_ok() {
                runner.run();
            }
        })?;
    let (kicker, thread_id) = ready
        .recv()
        .map_err(|_| io::Error::other("a vCPU thread ended at once"))?;
    Ok(Handle {
        commands,
        kicker,
        thread_id,
        counters,
        stats,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Paused,
    Running,
    Stopped,
}

struct Runner<G> {
    vcpu: Vcpu,
    inbox: Receiver<Command>,
    guest: Arc<G>,
    counters: Arc<ExitCounters>,
}

impl<G: Guest> Runner<G> {
    fn run(mut self) {
        let mut state = State::Paused;
        loop {
            let command = match state {
                State::Running => {
                    // Cleared first: a command sent after the look at the inbox sets it again.
                    self.vcpu.clear_kick();
                    match self.inbox.try_recv() {
                        Ok(command) => Some(command),
                        // What changes that is followed by a command.
                        Err(TryRecvError::Empty) if !self.may_run() => match self.inbox.recv() {
                            Ok(command) => Some(command),
                            Err(_) => return,
                        },
                        Err(TryRecvError::Empty) => None,
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
                State::Paused | State::Stopped => match self.inbox.recv() {
                    Ok(command) => Some(command),
                    Err(_) => return,
                },
            };
            state = match command {
                Some(command) => self.obey(command, state),
                None => self.enter_until_news(),
            };
        }
    }

    fn obey(&mut self, command: Command, state: State) -> State {
        match (command, state) {
            (Command::Run, State::Paused) => State::Running,
            (Command::Run, state) => state,
            (Command::Look, state) => state,
            (Command::Reset(answer), state) => {
                let _ = answer.send(self.vcpu.start_again().map_err(|error| error.to_string()));
                state
            }
            (Command::Pause(done), State::Running) => {
                let state = self.settle();
                let _ = done.send(());
                state
            }
            (Command::Pause(done), state) => {
                let _ = done.send(());
                state
            }
            (Command::Registers(answer), state) => {
                let _ = answer.send(self.registers_text());
                state
            }
            (Command::Snapshot(answer), state) => {
                let _ = answer.send(self.vcpu.snapshot().map_err(|error| error.to_string()));
                state
            }
            (Command::MeetHost(ticks, answer), state) => {
                let moved = clock::meet_host(self.vcpu.fd(), ticks);
                let _ = answer.send(moved.map_err(|error| error.to_string()));
                state
            }
            (Command::Follow(cycles, answer), state) => {
                let moved = clock::follow(self.vcpu.fd(), self.vcpu.id(), cycles);
                let _ = answer.send(moved.map_err(|error| error.to_string()));
                state
            }
            (Command::Save(msrs, answer), state) => {
                let _ = answer.send(self.saved(&msrs, state));
                state
            }
        }
    }

    fn may_run(&self) -> bool {
        !self.guest.hub().held.load(Ordering::SeqCst) && self.guest.may_run(self.vcpu.id())
    }

    fn saved(&self, msrs: &[u32], state: State) -> Result<Saved, String> {
        let id = self.vcpu.id();
        if state != State::Paused {
            return Err(format!(
                "vCPU {id} does not stand still; the domain is ending"
            ));
        }
        let fd = self.vcpu.fd();
        saved::capture(fd, id, msrs)
            .map(|state| Saved {
                tsc: saved::tsc(fd),
                state,
            })
            .map_err(|error| error.to_string())
    }

    /// Completes the pending exit, serving what comes of it.
    fn settle(&mut self) -> State {
        while let Some(exit) = self.vcpu.complete_exit(self.guest.io()) {
            if let State::Stopped = self.act(exit) {
                return State::Stopped;
            }
        }
        State::Paused
    }

    /// Runs the guest until there may be a command or it is over.
    fn enter_until_news(&mut self) -> State {
        loop {
            let exit = self.vcpu.enter(self.guest.io());
            if exit == Exit::Interrupted {
                self.counters.count(exit);
                return State::Running;
            }
            match self.act(exit) {
                State::Running if self.may_run() => {}
                state => return state,
            }
        }
    }

    fn act(&mut self, exit: Exit) -> State {
        self.counters.count(exit);
        match self.guest.after(exit, &self.vcpu) {
            Next::Resume => State::Running,
            Next::StrayNotify => {
                self.counters.count_stray_notify();
                State::Running
            }
            // What follows the exit is the guest's answer to it, which is not known yet.
            Next::Hold => self.settle(),
            Next::Stop {
                reason,
                detail,
                record,
            } => self.stop(reason, detail, record),
        }
    }

    fn stop(
        &mut self,
        reason: ShutdownReason,
        detail: Option<String>,
        mut record: String,
    ) -> State {
        // A broken monitor, or a guest without one, filled no record: KVM's registers show where it stands.
        if reason == ShutdownReason::Crash && record.is_empty() {
            record = self.registers_text();
        }
        self.guest.hub().report(Report::Over {
            reason,
            detail,
            record,
        });
        State::Stopped
    }

    fn registers_text(&self) -> String {
        match self.vcpu.registers() {
            Ok(registers) => {
                let mut text = registers_text(self.vcpu.id(), &registers);
                stack_rows(&mut text, registers.general.rsp, &self.stack(&registers));
                text.push_str(&self.code(&registers));
                text
            }
            Err(error) => format!("vcpu {}: no registers: {error}\n", self.vcpu.id()),
        }
    }

    fn stack(&self, registers: &Registers) -> Vec<u64> {
        (0..STACK_WORDS as u64)
            .map_while(|index| {
                let bytes = self.peek(registers.general.rsp.wrapping_add(index * 8), 8)?;
                bytes.try_into().ok().map(u64::from_le_bytes)
            })
            .collect()
    }

    fn code(&self, registers: &Registers) -> String {
        let Some(bytes) = self.peek(registers.general.rip, 16) else {
            return "  code: not mapped\n".into();
        };
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  code: {}\n", hex.join(" "))
    }

    /// Reads guest-virtual memory as the vCPU sees it now; `None` where nothing is mapped.
    fn peek(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = address;
        let end = address.checked_add(length)?;
        while at < end {
            let page_end = (at & !(PAGE_SIZE - 1)).saturating_add(PAGE_SIZE);
            let chunk = end.min(page_end) - at;
            let translation = self.vcpu.fd().translate_gva(at).ok()?;
            if translation.valid == 0 {
                return None;
            }
            let mut part = vec![0; chunk as usize];
            self.guest
                .hub()
                .memory
                .read_slice(&mut part, GuestAddress(translation.physical_address))
                .ok()?;
            bytes.extend(part);
            at += chunk;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        set
    }

    #[test]
    fn processor_that_several_vcpus_may_use_counts_once() {
        assert_eq!(in_any(&[set(&[3]), set(&[3])]), 1);
        assert_eq!(in_any(&[set(&[0]), set(&[1]), set(&[0, 1])]), 2);
        assert_eq!(in_any(&[set(&[0, 1000])]), 2);
        assert_eq!(in_any(&[]), 0);
    }
}
