//! The PC while it runs: answers the vCPUs' accesses, gives devices their ticks, does what they want done.
//!
//! ```text
//!   vCPU: access --> Board (one lock) --> bus --> device --> effects --> lines, log, Report::Over
//!                        |  a device wants its tick earlier than the alarm thread thinks
//!                        v
//!   alarm thread: waits for the first tick that is due --> Board --> bus.tick
//! ```

mod look;

use crate::domain::hub::{lock, Hub, Report};
use crate::domain::runner::{Guest, Next};
use crate::hvm::clock::Clock;
use crate::hvm::exits::{decide, Verdict};
use crate::hvm::lines::{Changes, Held, Lines, Wiring};
use crate::hvm::xen::{Xen, HYPERCALL_PORT, MICROCODE_MSR, PAGE_MSR};
use crate::log::Level;
use crate::vstate::exit::{Exit, Io};
use crate::vstate::memory::GuestMemory;
use crate::vstate::vcpu::Vcpu;
use crate::vstate::vm::{Signal, Vm, VmError};
use noxen_control::ShutdownReason;
use noxen_devices::pv::written::Written;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_pc::bus::Happened;
use noxen_pc::usb::Uhci;
use noxen_pc::vga::View;
use noxen_pc::{Bus, Button, Effect, Memory, Outside, Pointing, Touch, Turn, Width};
use noxen_saved_image::hvm::{Board, PcDevice};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Stack of the alarm thread.
const STACK: usize = 256 << 10;

/// The guest's RAM, for devices.
#[derive(Debug)]
struct Ram {
    memory: GuestMemory,
    /// What devices have written, for a move.
    written: &'static Written,
}

impl Memory for Ram {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        self.memory
            .read_slice(into, GuestAddress(address))
            .map_err(|_| Outside {
                address,
                length: into.len(),
            })
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Outside> {
        let written = self.memory.write_slice(from, GuestAddress(address));
        // Also of a write that failed in its midst.
        let end = address.saturating_add(from.len() as u64);
        (address / PAGE_SIZE..end.div_ceil(PAGE_SIZE)).for_each(|frame| self.written.mark(frame));
        written.map_err(|_| Outside {
            address,
            length: from.len(),
        })
    }
}

/// What is changed under one lock.
#[derive(Debug)]
struct Inside {
    bus: Bus,
    lines: Lines,
    clock: Clock,
    /// When the alarm thread wakes, in guest time.
    planned: u64,
    /// By how much the guest has set its clock in all, seconds.
    moved: i64,
    /// [`Bus::looks`] when memory was last mapped where BARs lie.
    placed: u64,
}

/// The PC.
#[derive(Debug)]
pub struct Pc {
    hub: Arc<Hub>,
    vm: Arc<Vm>,
    ram: Ram,
    wiring: Wiring,
    board: Mutex<Inside>,
    alarm: Condvar,
    /// What happens outside is not looked at: the machine is being written.
    frozen: AtomicBool,
    /// What the guest has of Xen.
    xen: Option<Arc<Xen>>,
    /// How the machine ended, if it has: index into [`ENDINGS`], counted from 1.
    ended: AtomicU8,
    /// The machine sleeps (ACPI S3): no vCPU runs.
    asleep: AtomicBool,
    /// The vCPUs that are in the machine, a bit for each.
    present: AtomicU64,
    /// vCPUs may not run any more that did, until [`Self::take_standing`].
    standing: AtomicBool,
    /// Kinds of devices that the guest wants unplugged, until [`Self::take_unplugged`].
    unplugged: AtomicU16,
}

const ENDINGS: [ShutdownReason; 2] = [ShutdownReason::Poweroff, ShutdownReason::Reboot];

impl Pc {
    /// A PC with its devices, stopped.
    pub fn new(hub: Arc<Hub>, vm: Arc<Vm>, bus: Bus, wiring: Wiring, xen: Option<Arc<Xen>>) -> Pc {
        let end = hub.memory.last_addr().0 / PAGE_SIZE + 1;
        let present = bus.processors();
        Pc {
            ram: Ram {
                memory: hub.memory.clone(),
                // A process has one domain, and its memory lives as long as the process.
                written: Box::leak(Box::new(Written::new(end))),
            },
            hub,
            vm,
            wiring,
            board: Mutex::new(Inside {
                bus,
                lines: Lines::default(),
                clock: Clock::default(),
                planned: u64::MAX,
                moved: 0,
                placed: 0,
            }),
            alarm: Condvar::new(),
            frozen: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            present: AtomicU64::new(present),
            standing: AtomicBool::new(false),
            xen,
            ended: AtomicU8::new(0),
            unplugged: AtomicU16::new(0),
        }
    }

    /// What its threads share.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What its devices write of its memory.
    pub fn written(&self) -> &'static Written {
        self.ram.written
    }

    /// What the guest has of Xen, if it has any.
    pub fn xen(&self) -> Option<&Arc<Xen>> {
        self.xen.as_ref()
    }

    /// What the guest has unplugged since the last call (`UNPLUG_*` in [`noxen_pc::xen_platform`]).
    pub fn take_unplugged(&self) -> u16 {
        self.unplugged.swap(0, Ordering::SeqCst)
    }

    /// Lets the guest's time pass, or not.
    pub fn set_running(&self, running: bool) {
        let mut board = lock(&self.board);
        match running {
            true => board.clock.start(Instant::now()),
            false => board.clock.stop(Instant::now()),
        }
        self.alarm.notify_one();
    }

    /// Puts one more device into the machine, whose firmware has not run yet; returns its number.
    pub fn add(&self, make: impl FnOnce(&mut Bus) -> usize) -> usize {
        make(&mut lock(&self.board).bus)
    }

    /// From now on nothing that happens outside changes the machine; or everything that did is looked at.
    pub fn set_frozen(&self, frozen: bool) {
        // Under the lock, in which it is asked for.
        let board = lock(&self.board);
        let before = self.frozen.swap(frozen, Ordering::SeqCst);
        let devices = board.bus.len();
        drop(board);
        if before && !frozen {
            (0..devices).for_each(|number| self.attend(number));
        }
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// What an image has of the board and of its devices.
    pub fn saved(&self) -> (Board, Vec<PcDevice>) {
        let board = lock(&self.board);
        let (config_address, devices) = board.bus.save();
        let held = board.lines.saved();
        let saved = Board {
            now: board.clock.now(Instant::now()),
            config_address,
            isa: held.isa,
            pci: held.pci,
            routes: held.routes,
        };
        let device = |(name, state)| PcDevice { name, state };
        (saved, devices.into_iter().map(device).collect())
    }

    /// Takes that over, `passed` later; the line says why it cannot be.
    pub fn take_up(
        &self,
        saved: &Board,
        devices: &[PcDevice],
        passed: Duration,
    ) -> Result<(), String> {
        let devices: Vec<_> = devices
            .iter()
            .map(|device| (device.name.clone(), device.state.clone()))
            .collect();
        let mut board = lock(&self.board);
        board
            .bus
            .restore(saved.config_address, &devices)
            .map_err(|error| format!("not a valid guest state file: {error}"))?;
        self.present.store(board.bus.processors(), Ordering::SeqCst);
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        board.clock = Clock::standing_at(saved.now.saturating_add(passed));
        let held = Held {
            isa: saved.isa.clone(),
            pci: saved.pci.clone(),
            routes: saved.routes,
        };
        self.drive(board.lines.take_up(&held));
        drop(board);
        // Memory is mapped where the BARs lie now.
        self.act(|_, _, _| ((), Vec::new()));
        Ok(())
    }

    /// Takes a device out of the running machine.
    pub fn unplug(&self, number: usize) {
        let mut board = lock(&self.board);
        self.follow(&mut board, vec![(number, Effect::Pin(false))]);
        board.bus.unplug(number);
    }

    /// Has a device look at what lies behind it.
    pub fn attend(&self, number: usize) {
        self.act(|bus, now, ram| match self.is_frozen() {
            true => ((), Vec::new()),
            false => bus.call(number, now, ram, |device, turn| device.attend(turn)),
        });
    }

    /// Does something with the USB controller, by its number. The line says why not.
    pub fn usb<T>(
        &self,
        number: usize,
        action: impl FnOnce(&mut Uhci, &mut Turn) -> Result<T, String>,
    ) -> Result<T, String> {
        self.act(|bus, now, ram| match self.is_frozen() {
            true => {
                let line = "the domain is being saved; try again when it is not";
                (Err(line.into()), Vec::new())
            }
            false => bus.call(number, now, ram, |device, turn| match device.usb() {
                Some(usb) => action(usb, turn),
                None => Err("that device is no USB controller".into()),
            }),
        })
    }

    /// Presses a button; false if the machine has none.
    pub fn press(&self, button: Button) -> bool {
        self.act(|bus, now, ram| match self.is_frozen() {
            true => (true, Vec::new()),
            false => bus.press(button, now, ram),
        })
    }

    /// The vCPUs that are in the machine, a bit for each.
    pub fn present(&self) -> u64 {
        self.present.load(Ordering::SeqCst)
    }

    /// Asks the guest to have these vCPUs, a bit for each; false where it cannot be asked.
    pub fn want_processors(&self, wanted: u64) -> bool {
        self.act(|bus, now, ram| match self.is_frozen() {
            true => (false, Vec::new()),
            false => bus.want_processors(wanted, now, ram),
        })
    }

    /// It sleeps (ACPI S3).
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether vCPUs may have stopped running since the last call, because it fell asleep or they went.
    pub fn take_standing(&self) -> bool {
        self.standing.swap(false, Ordering::SeqCst)
    }

    /// Wakes its devices; the vCPUs, which have been reset, may run.
    pub fn wake(&self) {
        self.act(|bus, now, ram| ((), bus.wake(now, ram)));
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// The button that resets the machine.
    pub fn reset(&self) {
        self.end(ShutdownReason::Reboot);
    }

    /// Gives a vCPU a signal that no program can mask.
    pub fn signal(&self, vcpu: u32, signal: Signal) -> Result<(), VmError> {
        self.vm.signal(vcpu, signal)
    }

    /// A person did something; false if no device takes it.
    pub fn touch(&self, touch: Touch) -> bool {
        self.act(|bus, now, ram| match self.is_frozen() {
            true => (true, Vec::new()),
            false => bus.touch(touch, now, ram),
        })
    }

    /// What a pointer is to the machine.
    pub fn pointing(&self) -> Option<Pointing> {
        lock(&self.board).bus.pointing()
    }

    /// What its display shows, if it has one.
    pub fn view(&self) -> Option<View> {
        let board = lock(&self.board);
        let now = board.clock.now(Instant::now());
        board.bus.view(now)
    }

    /// By how much the guest has set its clock in all, seconds.
    pub fn clock_moved(&self) -> i64 {
        lock(&self.board).moved
    }

    /// Accesses that no device answered.
    pub fn strays(&self) -> u64 {
        lock(&self.board).bus.strays()
    }

    /// Does something on the bus, and what comes of it.
    fn act<T>(&self, action: impl FnOnce(&mut Bus, u64, &dyn Memory) -> (T, Happened)) -> T {
        let mut board = lock(&self.board);
        let now = board.clock.now(Instant::now());
        let (value, happened) = action(&mut board.bus, now, &self.ram);
        self.follow(&mut board, happened);
        if board.bus.looks() != board.placed {
            board.placed = board.bus.looks();
            for line in board.bus.place_backings() {
                self.hub.log.guest_line(Level::Warning, line);
            }
        }
        if board.bus.next().is_some_and(|at| at < board.planned) {
            self.alarm.notify_one();
        }
        value
    }

    fn follow(&self, board: &mut Inside, happened: Happened) {
        for (device, effect) in happened {
            match effect {
                Effect::Line(line, up) => self.drive(board.lines.isa(device, line, up)),
                Effect::Pin(up) => {
                    let place = board.bus.place(device);
                    let pin = board
                        .bus
                        .device(device)
                        .and_then(|device| device.pci())
                        .map(|pci| pci.function().identity().pin);
                    let line = place
                        .zip(pin)
                        .and_then(|(place, pin)| self.wiring.pci_line(place, pin));
                    if let Some(line) = line {
                        self.drive(board.lines.pci(device, line, up));
                    }
                }
                Effect::Routes(routes) => {
                    self.drive(board.lines.route(routes));
                    if let Some(xen) = &self.xen {
                        xen.route(routes);
                    }
                }
                Effect::Reset => self.end(ShutdownReason::Reboot),
                Effect::PowerOff => self.end(ShutdownReason::Poweroff),
                Effect::Sleep => {
                    self.asleep.store(true, Ordering::SeqCst);
                    self.standing.store(true, Ordering::SeqCst);
                    self.hub
                        .log
                        .guest_line(Level::Info, "asleep (ACPI S3) until it is woken");
                    self.hub.wake();
                }
                Effect::Processors(now) => {
                    let before = self.present.swap(now, Ordering::SeqCst);
                    if before & !now != 0 {
                        self.standing.store(true, Ordering::SeqCst);
                    }
                    self.tell_processors(before, now);
                }
                Effect::Unplug(kinds) => {
                    self.unplugged.fetch_or(kinds, Ordering::SeqCst);
                    // The main loop has the drives and the cards. A full counter is readable already.
                    let _ = self.hub.wake.write(1);
                }
                Effect::Log(line) => {
                    lock(&self.hub.messages).push(format!("{line}\n").as_bytes());
                    self.hub.log.firmware_line(line);
                }
                Effect::ClockMoved(seconds) => {
                    board.moved = board.moved.saturating_add(seconds);
                    self.hub.log.guest_line(
                        Level::Info,
                        format_args!("the guest set its clock by {seconds} s"),
                    );
                    self.hub.wake();
                }
                // Addresses have more than 20 bits whatever the gate says, as on every PC since; the bus did Remap itself.
                Effect::A20(_) | Effect::Remap => {}
            }
        }
    }

    fn tell_processors(&self, before: u64, now: u64) {
        for vcpu in 0..u64::BITS {
            let is = |set: u64| set >> vcpu & 1 == 1;
            if is(before) != is(now) {
                self.hub.report(Report::Online {
                    vcpu,
                    online: is(now),
                });
            }
        }
    }

    fn drive(&self, changes: Changes) {
        for (line, up) in changes {
            if let Err(error) = self.vm.set_line(line, up) {
                self.hub.log.guest_line(Level::Error, error);
            }
        }
    }

    fn end(&self, reason: ShutdownReason) {
        let number = ENDINGS.iter().position(|ending| *ending == reason);
        let number = number.map_or(0, |index| index as u8 + 1);
        let first = self
            .ended
            .compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.hub.report(Report::Over {
                reason,
                detail: None,
                record: String::new(),
            });
        }
    }

    fn ended(&self) -> Option<ShutdownReason> {
        let number = usize::from(self.ended.load(Ordering::SeqCst));
        ENDINGS.get(number.checked_sub(1)?).copied()
    }

    /// Starts the thread that gives devices their ticks; it ends with the process.
    pub fn start_alarm(self: &Arc<Pc>) -> io::Result<()> {
        let pc = self.clone();
        std::thread::Builder::new()
            .name("alarm".into())
            .stack_size(STACK)
            .spawn(move || pc.watch_alarm())
            .map(drop)
    }

    fn watch_alarm(&self) {
        let mut board = lock(&self.board);
        loop {
            let now = board.clock.now(Instant::now());
            let next = board.bus.next().filter(|_| board.clock.runs());
            board = match next {
                Some(at) if at <= now => {
                    let happened = board.bus.tick(now, &self.ram);
                    self.follow(&mut board, happened);
                    board
                }
                Some(at) => {
                    board.planned = at;
                    let wait = Duration::from_nanos(at - now);
                    let woken = self.alarm.wait_timeout(board, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    board.planned = u64::MAX;
                    let woken = self.alarm.wait(board);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// Pieces of `width` bytes, where that is a width of ports.
fn port_width(width: usize, data: &[u8]) -> Option<Width> {
    Width::of(width).filter(|width| data.len().is_multiple_of(width.bytes()))
}

impl Io for Pc {
    fn port_in(&self, port: u16, width: usize, data: &mut [u8]) {
        let Some(width) = port_width(width, data) else {
            data.fill(0xff);
            return;
        };
        for piece in data.chunks_exact_mut(width.bytes()) {
            let value = self.act(|bus, now, ram| bus.read_port(port, width, now, ram));
            piece.copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
        }
    }

    fn port_out(&self, port: u16, width: usize, data: &[u8]) {
        // A hypercall, which is served once the exit has been taken.
        if self.xen.is_some() && port == u16::from(HYPERCALL_PORT) && width == 1 {
            return;
        }
        let Some(width) = port_width(width, data) else {
            return;
        };
        for piece in data.chunks_exact(width.bytes()) {
            let mut bytes = [0; 4];
            bytes[..piece.len()].copy_from_slice(piece);
            let value = u32::from_le_bytes(bytes);
            self.act(|bus, now, ram| ((), bus.write_port(port, width, value, now, ram)));
        }
    }

    fn memory_read(&self, address: u64, data: &mut [u8]) {
        self.act(|bus, now, ram| ((), bus.read_memory(address, data, now, ram)));
    }

    fn memory_write(&self, address: u64, data: &[u8]) {
        self.act(|bus, now, ram| ((), bus.write_memory(address, data, now, ram)));
    }

    fn msr_read(&self, index: u32) -> Option<u64> {
        let xen = self.xen.as_ref().filter(|_| index == MICROCODE_MSR)?;
        Some(xen.microcode())
    }

    fn msr_write(&self, index: u32, value: u64) -> bool {
        // There is one page, number 0.
        self.xen.is_some() && index == PAGE_MSR && value & 0xfff == 0
    }
}

impl Guest for Pc {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn io(&self) -> &dyn Io {
        self
    }

    fn may_run(&self, vcpu: u32) -> bool {
        !self.is_asleep() && self.present().checked_shr(vcpu).unwrap_or(0) & 1 == 1
    }

    fn after(&self, exit: Exit, vcpu: &Vcpu) -> Next {
        if let Some(next) = self.xen.as_ref().and_then(|xen| xen.after(exit, vcpu)) {
            return next;
        }
        let vcpu = vcpu.id();
        let stop = |reason, detail| Next::Stop {
            reason,
            detail,
            record: String::new(),
        };
        match decide(exit) {
            Verdict::Resume => match self.ended() {
                Some(reason) => stop(reason, None),
                None => Next::Resume,
            },
            Verdict::Reset(why) => {
                self.hub.log.line(
                    Level::Warning,
                    format_args!("vCPU {vcpu} resets the machine: {why}"),
                );
                stop(ShutdownReason::Reboot, Some(why.into()))
            }
            Verdict::Crash(line) => stop(ShutdownReason::Crash, Some(line)),
        }
    }
}
