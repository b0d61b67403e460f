use super::*;
use crate::domain::hub::{lock, Hub};
use crate::domain::pv::{CONSOLE_PORT, STORE_PORT};
use crate::domain::region::ram_pieces;
use crate::hvm::xen::domain::{Drivers, Host, Parts};
use crate::hvm::xen::pages;
use crate::log::Log;
use crate::vstate::irq::{Channel, Links};
use crate::vstate::memory::{DomainMemory, GuestMemory, Piece};
use noxen_devices::pv::grant::Access;
use noxen_monitor::cpu::info;
use noxen_pv_abi::domid::DomId;
use noxen_pv_abi::event_channel::*;
use noxen_pv_abi::grant_table::{GnttabOp, QuerySize};
use noxen_pv_abi::hvm::{HvmEvtchnUpcallVector, HvmOp, HvmParam, HvmParamArg};
use noxen_pv_abi::memory::{
    AddToPhysmap32, AddToPhysmap64, E820Entry, MapSpace, MemoryMap32, MemoryOp,
    MemoryReservation32, MemoryReservation64,
};
use noxen_pv_abi::vcpu::{RegisterVcpuInfo, SetSingleshotTimer64, VcpuOp};
use noxen_pv_abi::version::{FeatureInfo, VersionOp};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

/// Frames of RAM: 16 MiB.
const FRAMES: u64 = 4096;
/// Where arguments are put.
const ARGS: u64 = 0x10_0000;
/// A guest address that nothing maps.
const UNMAPPED: u64 = 1 << 40;
const SHARED: u64 = 0x20_0000;
const VCPU_INFO: u64 = 0x30_0040;

/// Memory beside RAM.
const RESERVE: Piece = Piece {
    gpa: 0xfc00_0000,
    len: 0x10_0000,
};

#[derive(Debug, Default)]
struct Told {
    interrupts: Mutex<Vec<(u32, u8)>>,
    shown: Mutex<Vec<(u32, Option<u64>)>>,
    lines: Mutex<Vec<(u8, bool)>>,
    /// vCPUs whose local APIC is off, a bit each.
    deaf: AtomicU64,
}

impl Host for Told {
    fn interrupt(&self, vcpu: u32, vector: u8) -> Result<bool, String> {
        if self.deaf.load(Ordering::SeqCst) >> vcpu & 1 == 1 {
            return Ok(false);
        }
        lock(&self.interrupts).push((vcpu, vector));
        Ok(true)
    }

    fn show(
        &self,
        number: u32,
        _memory: &GuestMemory,
        _from: GuestAddress,
        at: Option<u64>,
        _length: u64,
    ) -> Result<(), String> {
        lock(&self.shown).push((number, at));
        Ok(())
    }

    fn line_by(&self, input: u8, _up: &EventFd, _taken: &EventFd) -> Result<(), String> {
        lock(&self.lines).push((input, true));
        Ok(())
    }

    fn take_line_off(&self, input: u8, _up: &EventFd) -> Result<(), String> {
        lock(&self.lines).push((input, false));
        Ok(())
    }

    fn wired_by_io_apic(&self) -> Result<bool, String> {
        Ok(false)
    }
}

struct World {
    xen: Arc<Xen>,
    told: Arc<Told>,
}

fn world() -> World {
    world_with(true)
}

fn world_with(console: bool) -> World {
    let region = Piece {
        gpa: 1 << 40,
        len: 4096,
    };
    let memory = DomainMemory::new(None, &ram_pieces(FRAMES), region).unwrap();
    let (sender, _) = channel();
    let log = Log::new(None, 7, "test");
    let hub = Hub::new(log, memory.map, sender, EventFd::new(0).unwrap());
    let told = Arc::new(Told::default());
    let xen = Xen::new(Parts {
        hub: Arc::new(hub),
        host: told.clone(),
        ram_file: memory.ram_file,
        domid: 7,
        uuid: [3; 16],
        vcpus: 2,
        frames: FRAMES,
        tsc_khz: 2_000_000,
        tsc: 0,
        microcode: 0,
        drivers: Drivers {
            console,
            map: vec![E820Entry {
                addr: 1 << 20,
                size: 15 << 20,
                kind: 1,
            }],
            reserve: Some(RESERVE),
            ..Drivers::default()
        },
    });
    World {
        xen: xen.unwrap(),
        told,
    }
}

/// The guest's addresses are its frames'.
fn eyes(va: u64) -> Option<u64> {
    (va < UNMAPPED).then_some(va)
}

impl World {
    fn make_on(&self, vcpu: u32, call: Hypercall, args: [u64; 3]) -> Outcome {
        let [a, b, c] = args;
        self.xen
            .make(vcpu, &eyes, u64::from(call.0), &[a, b, c, 0, 0, 0])
    }

    fn make(&self, call: Hypercall, cmd: u32, bytes: &[u8]) -> Result<u64, Errno> {
        self.put(ARGS, bytes);
        match self.make_on(0, call, [cmd.into(), ARGS, 1]) {
            Outcome::Answer(answer) => answer,
            stop => panic!("{stop:?}"),
        }
    }

    /// As 32-bit code does it.
    fn narrow(&self, call: Hypercall, args: [u32; 3]) -> Result<u64, Errno> {
        let [a, b, c] = args;
        match self.xen.make_narrow(0, &eyes, call.0, &[a, b, c, 0, 0, 0]) {
            Outcome::Answer(answer) => answer,
            stop => panic!("{stop:?}"),
        }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let memory = self.xen.memory();
        memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let memory = self.xen.memory();
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn map(&self, space: MapSpace, idx: u64, gpfn: u64) -> Result<u64, Errno> {
        let asked = AddToPhysmap64 {
            domid: DomId::SELF.0,
            size: 0,
            space: space.0,
            idx,
            gpfn,
        };
        let op = MemoryOp::ADD_TO_PHYSMAP.0;
        self.make(Hypercall::MEMORY_OP, op, &asked.to_bytes())
    }

    fn param(&self, op: HvmOp, param: HvmParam, value: u64) -> Result<u64, Errno> {
        let asked = HvmParamArg {
            domid: DomId::SELF.0,
            pad: 0,
            index: param.0,
            value,
        };
        self.make(Hypercall::HVM_OP, op.0, &asked.to_bytes())
            .map(|_| HvmParamArg::from_bytes(&self.get(ARGS)).value)
    }

    fn set_vector(&self, vcpu: u32, vector: u8) -> Result<u64, Errno> {
        let asked = HvmEvtchnUpcallVector {
            vcpu,
            vector,
            ..Default::default()
        };
        let op = HvmOp::SET_EVTCHN_UPCALL_VECTOR.0;
        self.make(Hypercall::HVM_OP, op, &asked.to_bytes())
    }

    fn event(&self, op: EvtchnOp, bytes: &[u8]) -> Result<u64, Errno> {
        self.make(Hypercall::EVENT_CHANNEL_OP, op.0, bytes)
    }

    /// As Linux does it: shared_info, a vcpu_info, a vector.
    fn boot(&self) {
        self.map(MapSpace::SHARED_INFO, 0, SHARED >> 12).unwrap();
        let asked = RegisterVcpuInfo {
            mfn: VCPU_INFO >> 12,
            offset: (VCPU_INFO & 0xfff) as u32,
            rsvd: 0,
        };
        self.put(ARGS, &asked.to_bytes());
        let register = u64::from(VcpuOp::REGISTER_VCPU_INFO.0);
        let made = self.make_on(0, Hypercall::VCPU_OP, [register, 0, ARGS]);
        assert_eq!(made, Outcome::Answer(Ok(0)));
        self.set_vector(0, 0xf3).unwrap();
        // What it was told so far it has looked at.
        self.put(VCPU_INFO + info::PENDING, &[0]);
        self.put(VCPU_INFO + 8, &[0; 8]);
        lock(&self.told.interrupts).clear();
    }

    /// A port for domain 0.
    fn unbound(&self) -> u32 {
        let asked = EvtchnAllocUnbound {
            dom: DomId::SELF.0,
            remote_dom: 0,
            port: 0,
        };
        self.event(EvtchnOp::ALLOC_UNBOUND, &asked.to_bytes())
            .unwrap();
        EvtchnAllocUnbound::from_bytes(&self.get(ARGS)).port
    }

    fn reserve(&self, op: MemoryOp, frames: &[u64]) -> Result<u64, Errno> {
        let list = ARGS + 0x1000;
        for (index, frame) in (0u64..).zip(frames) {
            self.put(list + 8 * index, &frame.to_le_bytes());
        }
        let asked = MemoryReservation64 {
            extent_start: list,
            nr_extents: frames.len() as u64,
            extent_order: 0,
            mem_flags: 0,
            domid: DomId::SELF.0,
            ..Default::default()
        };
        self.make(Hypercall::MEMORY_OP, op.0, &asked.to_bytes())
    }
}

#[test]
fn version_and_features_are_those_of_an_hvm_guests_xen() {
    let world = world();
    let version = world.make(Hypercall::XEN_VERSION, VersionOp::VERSION.0, &[]);
    assert_eq!(version, Ok(4 << 16 | 17));
    let asked = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    let op = VersionOp::GET_FEATURES.0;
    world
        .make(Hypercall::XEN_VERSION, op, &asked.to_bytes())
        .unwrap();
    // writable_page_tables, writable_descriptor_tables, auto_translated_physmap, supervisor_mode_kernel, hvm_safe_pvclock
    assert_eq!(FeatureInfo::from_bytes(&world.get(ARGS)).submap, 0x20f);
}

#[test]
fn event_of_a_back_end_comes_as_an_interrupt_once_until_it_is_looked_at() {
    let world = world();
    world.boot();
    let port = world.unbound();
    let links: Arc<dyn Links> = world.xen.clone();
    let channel = Channel::bind(&links, port).unwrap();
    channel.kick();
    channel.kick();
    assert_eq!(*lock(&world.told.interrupts), [(0, 0xf3)]);
    let pending: [u8; 8] = world.get(SHARED + 0x800);
    assert_eq!(u64::from_le_bytes(pending), 1 << port);
    assert_eq!(world.get(VCPU_INFO + info::PENDING), [1]);
    assert_eq!(world.get::<8>(VCPU_INFO + 8), 1u64.to_le_bytes());
    // The guest takes it; the next one interrupts again.
    world.put(VCPU_INFO + info::PENDING, &[0]);
    world.put(VCPU_INFO + 8, &[0; 8]);
    world.put(SHARED + 0x800, &[0; 8]);
    channel.kick();
    assert_eq!(lock(&world.told.interrupts).len(), 2);
}

#[test]
fn guest_notifies_the_back_end_of_a_bound_port_and_nobody_of_others() {
    let world = world();
    world.boot();
    let (port, other) = (world.unbound(), world.unbound());
    let links: Arc<dyn Links> = world.xen.clone();
    let channel = Channel::bind(&links, port).unwrap();
    let send = |port: u32| world.event(EvtchnOp::SEND, &port.to_le_bytes());
    assert_eq!((send(port), send(port), send(other)), (Ok(0), Ok(0), Ok(0)));
    assert_eq!(channel.event().read().unwrap(), 2);
    assert_eq!(send(99), Err(Errno::EINVAL));
    channel.set_quiet(true);
    send(port).unwrap();
    assert!(channel.event().read().is_err());
    drop(channel);
    assert_eq!(send(port), Ok(0));
}

#[test]
fn port_of_the_store_is_there_and_others_cannot_be_rung() {
    let world = world();
    world.boot();
    assert_eq!(
        world.param(HvmOp::GET_PARAM, HvmParam::STORE_EVTCHN, 0),
        Ok(u64::from(STORE_PORT))
    );
    world.xen.ring(STORE_PORT);
    assert_eq!(lock(&world.told.interrupts).len(), 1);
    world.put(VCPU_INFO + info::PENDING, &[0]);
    world.xen.ring(77);
    world.xen.ring(u32::MAX);
    assert_eq!(lock(&world.told.interrupts).len(), 1);
}

#[test]
fn event_before_the_vector_is_known_is_told_when_it_is() {
    let world = world();
    world.map(MapSpace::SHARED_INFO, 0, SHARED >> 12).unwrap();
    world.xen.ring(STORE_PORT);
    assert!(lock(&world.told.interrupts).is_empty());
    assert_eq!(world.set_vector(0, 15), Err(Errno::EINVAL));
    assert_eq!(world.set_vector(2, 0x40), Err(Errno::ENOENT));
    world.set_vector(0, 0x40).unwrap();
    assert_eq!(*lock(&world.told.interrupts), [(0, 0x40)]);
}

#[test]
fn shared_info_takes_what_is_pending_along_to_its_new_place() {
    let world = world();
    world.boot();
    let port = world.unbound();
    world.xen.ring(port);
    let other = SHARED + 0x1000;
    world.map(MapSpace::SHARED_INFO, 0, other >> 12).unwrap();
    let pending: [u8; 8] = world.get(other + 0x800);
    assert_eq!(u64::from_le_bytes(pending), 1 << port);
    // The clock is there: version, seconds.
    let clock: [u8; 8] = world.get(other + 0xc00);
    assert_eq!(clock[..4], [2, 0, 0, 0]);
    assert_ne!(clock[4..], [0; 4]);
    for gpfn in [0, 1 << 20, 1 << 40, u64::MAX] {
        let refused = world.map(MapSpace::SHARED_INFO, 0, gpfn);
        assert_eq!(refused, Err(Errno::EINVAL), "{gpfn:#x}");
    }
    assert_eq!(world.map(MapSpace::SHARED_INFO, 1, 9), Err(Errno::EINVAL));
}

#[test]
fn time_of_a_vcpu_is_where_its_information_is() {
    let world = world();
    world.boot();
    let time: [u8; 32] = world.get(VCPU_INFO + info::TIME);
    let version = u32::from_le_bytes(time[..4].try_into().unwrap());
    assert!(version > 0 && version.is_multiple_of(2), "{version}");
    // 2 GHz: half a nanosecond a cycle; stable.
    assert_eq!(time[24..30], [0, 0, 0, 0x80, 0, 1]);
}

#[test]
fn grant_frames_are_shown_where_the_guest_has_no_ram_and_back_ends_read_them() {
    let world = world();
    let at = 0xfd00_0000u64 >> 12;
    assert_eq!(world.map(MapSpace::GRANT_TABLE, 1, at + 1), Ok(0));
    assert_eq!(world.map(MapSpace::GRANT_TABLE, 0, at), Ok(0));
    assert_eq!(world.map(MapSpace::GRANT_TABLE, 0, at), Ok(0));
    assert_eq!(world.map(MapSpace::GRANT_TABLE, 0, at + 9), Ok(0));
    let (one, two) = (Some((at + 1) << 12), Some(at << 12));
    let moved = Some((at + 9) << 12);
    assert_eq!(
        lock(&world.told.shown)[1..],
        [(2, one), (1, two), (1, None), (1, moved)]
    );
    assert_eq!(world.map(MapSpace::GRANT_TABLE, 2, 5), Err(Errno::ENOSYS));
    for index in [64, 1 << 31, u64::MAX] {
        let refused = world.map(MapSpace::GRANT_TABLE, index, at);
        assert_eq!(refused, Err(Errno::EINVAL), "{index:#x}");
    }
    let refused = world.map(MapSpace::GRANT_TABLE, 3, u64::MAX >> 4);
    assert_eq!(refused, Err(Errno::EINVAL));
    // Grant 5: access for domain 0 to frame 0x123.
    world.put(pages::GRANTS + 5 * 8, &[1, 0, 0, 0, 0x23, 1, 0, 0]);
    let links: Arc<dyn Links> = world.xen.clone();
    let context = world.xen.context(links);
    let grant = context.grants().map(context.memory(), 5, Access::Write);
    assert_eq!(grant.unwrap().page(), GuestAddress(0x12_3000));
    // No page that is not the guest's RAM, even one that it sees.
    let hidden = (pages::STORE >> 12) as u32;
    world.put(pages::GRANTS + 6 * 8 + 4, &hidden.to_le_bytes());
    world.put(pages::GRANTS + 6 * 8, &[1, 0, 0, 0]);
    assert!(context
        .grants()
        .map(context.memory(), 6, Access::Read)
        .is_err());
    let asked = QuerySize {
        dom: DomId::SELF.0,
        ..Default::default()
    };
    let op = GnttabOp::QUERY_SIZE.0;
    world
        .make(Hypercall::GRANT_TABLE_OP, op, &asked.to_bytes())
        .unwrap();
    let answer = QuerySize::from_bytes(&world.get(ARGS));
    assert_eq!((answer.nr_frames, answer.max_nr_frames), (2, 64));
}

#[test]
fn parameters_are_the_guests_own_or_refused() {
    let world = world();
    let get = |param| world.param(HvmOp::GET_PARAM, param, 0);
    let set = |param, value| world.param(HvmOp::SET_PARAM, param, value);
    assert_eq!(get(HvmParam::STORE_PFN), Ok(0xfeff8));
    assert_eq!(get(HvmParam::CONSOLE_PFN), Ok(0xfeff9));
    let port = get(HvmParam::CONSOLE_EVTCHN).unwrap();
    assert_eq!(port, u64::from(CONSOLE_PORT));
    assert_eq!(set(HvmParam::VM_GENERATION_ID_ADDR, 5), Ok(5));
    assert_eq!(get(HvmParam::VM_GENERATION_ID_ADDR), Ok(5));
    assert_eq!(set(HvmParam::STORE_PFN, 5), Err(Errno::EPERM));
    assert_eq!(get(HvmParam::IOREQ_PFN), Err(Errno::EPERM));
    assert_eq!(get(HvmParam(39)), Err(Errno::EINVAL));
}

#[test]
fn guest_whose_console_is_a_serial_port_finds_no_other() {
    let world = world_with(false);
    for param in [HvmParam::CONSOLE_PFN, HvmParam::CONSOLE_EVTCHN] {
        assert_eq!(world.param(HvmOp::GET_PARAM, param, 0), Ok(0));
    }
}

#[test]
fn memory_is_given_back_and_taken_again_frame_by_frame() {
    let world = world();
    let pages = || world.make(Hypercall::MEMORY_OP, MemoryOp::CURRENT_RESERVATION.0, &[]);
    world.put(0x40_0000, b"data");
    let frame = 0x40_0000 >> 12;
    let down = |frames: &[u64]| world.reserve(MemoryOp::DECREASE_RESERVATION, frames);
    let up = |frames: &[u64]| world.reserve(MemoryOp::POPULATE_PHYSMAP, frames);
    assert_eq!(down(&[frame, frame + 1]), Ok(2));
    assert_eq!(pages(), Ok(FRAMES - 2));
    assert_eq!(world.get(0x40_0000), [0; 4]);
    // Twice, or no RAM: it ends there.
    assert_eq!(down(&[frame + 2, frame, frame + 3]), Ok(1));
    assert_eq!(down(&[u64::MAX]), Ok(0));
    assert_eq!(up(&[frame, frame + 9, frame + 1]), Ok(1));
    assert_eq!(up(&[frame + 1, frame + 2]), Ok(2));
    assert_eq!(pages(), Ok(FRAMES));
}

#[test]
fn timer_fires_at_its_vcpus_port() {
    let world = world();
    world.boot();
    let asked = EvtchnBindVirq {
        virq: Virq::TIMER.0,
        vcpu: 0,
        port: 0,
    };
    world.event(EvtchnOp::BIND_VIRQ, &asked.to_bytes()).unwrap();
    world.xen.start().unwrap();
    let timer = SetSingleshotTimer64 {
        timeout_abs_ns: 1,
        ..Default::default()
    };
    world.put(ARGS, &timer.to_bytes());
    let set = u64::from(VcpuOp::SET_SINGLESHOT_TIMER.0);
    let made = world.make_on(0, Hypercall::VCPU_OP, [set, 0, ARGS]);
    assert_eq!(made, Outcome::Answer(Ok(0)));
    let start = std::time::Instant::now();
    while lock(&world.told.interrupts).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    assert_eq!(*lock(&world.told.interrupts), [(0, 0xf3)]);
}

#[test]
fn guest_ends_itself_and_is_refused_what_is_not_its_own() {
    let world = world();
    let shut = |reason: u32| {
        world.put(ARGS, &reason.to_le_bytes());
        world.make_on(0, Hypercall::SCHED_OP, [2, ARGS, 0])
    };
    assert_eq!(shut(0), Outcome::Stop(ShutdownReason::Poweroff));
    assert_eq!(shut(1), Outcome::Stop(ShutdownReason::Reboot));
    assert_eq!(shut(3), Outcome::Stop(ShutdownReason::Crash));
    assert_eq!(shut(2), Outcome::Answer(Ok(1)));
    assert_eq!(shut(9), Outcome::Answer(Err(Errno::EINVAL)));
    for (call, cmd, expected) in [
        (Hypercall::SCHED_OP, 4, Errno::EPERM),
        (Hypercall::DOMCTL, 0, Errno::EPERM),
        (Hypercall::MMU_UPDATE, 0, Errno::ENOSYS),
        (Hypercall::PHYSDEV_OP, 13, Errno::ENOSYS),
        (Hypercall::HVM_OP, 9, Errno::ENOSYS),
        (Hypercall::VCPU_OP, 0, Errno::EOPNOTSUPP),
    ] {
        let made = world.make_on(0, call, [cmd, 0, ARGS]);
        assert_eq!(made, Outcome::Answer(Err(expected)), "{call:?}");
    }
    let made = world.make_on(0, Hypercall::EVENT_CHANNEL_OP, [4, UNMAPPED, 0]);
    assert_eq!(made, Outcome::Answer(Err(Errno::EFAULT)));
    let made = world.xen.make(9, &eyes, 17, &[0; 6]);
    assert_eq!(made, Outcome::Answer(Err(Errno::ENOSYS)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any calls with any arguments are answered; what is in memory is any argument too.
    #[test]
    fn any_hypercalls_are_answered(
        bytes in proptest::collection::vec(any::<u8>(), 256),
        calls in proptest::collection::vec((0u64..64, 0u64..40, prop_oneof![Just(ARGS), Just(ARGS + 64), any::<u64>()], any::<u64>(), 0u32..3), 1..40),
    ) {
        let world = world();
        world.boot();
        for (number, cmd, at, third, vcpu) in calls {
            world.put(ARGS, &bytes);
            let third = if third & 1 == 0 { ARGS } else { third & 0xff };
            let _ = world.xen.make(vcpu, &eyes, number, &[cmd, at, third, 0, 0, 0]);
        }
        world.xen.ring(STORE_PORT);
    }
}

#[test]
fn shared_info_is_shown_where_there_is_no_ram_until_it_has_a_place_in_ram() {
    let world = world();
    let hole = 0xfeff7u64;
    world.map(MapSpace::SHARED_INFO, 0, hole).unwrap();
    let number = 1 + crate::domain::region::GRANT_FRAMES;
    assert_eq!(lock(&world.told.shown)[1..], [(number, Some(hole << 12))]);
    world.xen.ring(STORE_PORT);
    let pending: [u8; 8] = world.get(pages::SHARED_INFO + 0x800);
    assert_eq!(u64::from_le_bytes(pending), 1 << STORE_PORT);
    world.map(MapSpace::SHARED_INFO, 0, SHARED >> 12).unwrap();
    assert_eq!(lock(&world.told.shown)[2..], [(number, None)]);
    assert_eq!(world.get::<8>(SHARED + 0x800), pending);
    // And out of RAM again, with what came meanwhile.
    world.put(SHARED + 0x800, &[0; 8]);
    world.xen.ring(STORE_PORT);
    world.map(MapSpace::SHARED_INFO, 0, hole).unwrap();
    assert_eq!(world.get::<8>(pages::SHARED_INFO + 0x800), pending);
}

#[test]
fn loaders_32_bit_hypercalls_are_read_in_their_own_layout() {
    let world = world();
    let version = world.narrow(Hypercall::XEN_VERSION, [VersionOp::VERSION.0, 0, 0]);
    assert_eq!(version, Ok(4 << 16 | 17));
    let memory = |op: MemoryOp, bytes: &[u8]| {
        world.put(ARGS, bytes);
        world.narrow(Hypercall::MEMORY_OP, [op.0, ARGS as u32, 0])
    };
    let place = AddToPhysmap32 {
        domid: DomId::SELF.0,
        size: 0,
        space: MapSpace::SHARED_INFO.0,
        idx: 0,
        gpfn: 0xfeff7,
    };
    assert_eq!(memory(MemoryOp::ADD_TO_PHYSMAP, &place.to_bytes()), Ok(0));
    assert_eq!(lock(&world.told.shown)[1].1, Some(0xfeff_7000));

    // The memory map, as much as there is room for.
    let room = MemoryMap32 {
        nr_entries: 128,
        buffer: ARGS as u32 + 0x100,
    };
    assert_eq!(memory(MemoryOp::MEMORY_MAP, &room.to_bytes()), Ok(0));
    let told = MemoryMap32::from_bytes(&world.get(ARGS));
    assert_eq!((told.nr_entries, told.buffer), (1, room.buffer));
    let entry = E820Entry::from_bytes(&world.get(ARGS + 0x100));
    assert_eq!((entry.addr, entry.size, entry.kind), (1 << 20, 15 << 20, 1));

    // Memory in the reserve is there, elsewhere it is not.
    let populate = |frames: &[u32]| {
        for (index, frame) in (0u64..).zip(frames) {
            world.put(ARGS + 0x200 + 4 * index, &frame.to_le_bytes());
        }
        let asked = MemoryReservation32 {
            extent_start: ARGS as u32 + 0x200,
            nr_extents: frames.len() as u32,
            domid: DomId::SELF.0,
            ..Default::default()
        };
        memory(MemoryOp::POPULATE_PHYSMAP, &asked.to_bytes())
    };
    assert_eq!(populate(&[0xfc000, 0xfc0ff, 0xfc100]), Ok(2));
    assert_eq!(populate(&[5]), Ok(0));
    let many: Vec<u32> = (0..1000).map(|index| 0xfc000 + index % 256).collect();
    assert_eq!(populate(&many), Ok(1000));
    for op in [MemoryOp::EXCHANGE, MemoryOp::ACQUIRE_RESOURCE] {
        assert_eq!(memory(op, &[0; 64]), Err(Errno::ENOSYS));
    }

    // Parameters and events are laid out alike.
    let asked = HvmParamArg {
        domid: DomId::SELF.0,
        pad: 0,
        index: HvmParam::STORE_EVTCHN.0,
        value: 0,
    };
    world.put(ARGS, &asked.to_bytes());
    let get = [HvmOp::GET_PARAM.0, ARGS as u32, 0];
    assert_eq!(world.narrow(Hypercall::HVM_OP, get), Ok(0));
    let port = HvmParamArg::from_bytes(&world.get(ARGS)).value;
    assert_eq!(port, u64::from(STORE_PORT));
    let copy = [GnttabOp::COPY.0, ARGS as u32, 1];
    assert_eq!(
        world.narrow(Hypercall::GRANT_TABLE_OP, copy),
        Err(Errno::ENOSYS)
    );
}

proptest! {
    #[test]
    fn no_32_bit_hypercall_of_any_kind_does_harm(
        number in 0u32..64,
        cmd in 0u32..40,
        args: [u32; 5],
        bytes: [u8; 64],
    ) {
        let world = world();
        world.put(ARGS, &bytes);
        for at in [ARGS as u32, args[0], u32::MAX - 7] {
            let all = [cmd, at, args[1], args[2], args[3], args[4]];
            let _ = world.xen.make_narrow(1, &eyes, number, &all);
        }
    }
}

#[test]
fn guest_without_vectors_is_told_by_a_line_as_long_as_something_is_pending() {
    let world = world();
    let set = |value| world.param(HvmOp::SET_PARAM, HvmParam::CALLBACK_IRQ, value);
    world.map(MapSpace::SHARED_INFO, 0, SHARED >> 12).unwrap();
    world.put(SHARED + info::PENDING, &[0]);
    world.put(SHARED + 8, &[0; 8]);
    // Device 3's pin A, which goes nowhere yet.
    set(1 << 56 | 3 << 11).unwrap();
    assert!(lock(&world.told.lines).is_empty());
    world.xen.ring(STORE_PORT);
    assert_eq!(world.xen.callback.raised(), 0);
    // Where it comes to lie it is up at once.
    world.xen.route([Some(10), Some(11), Some(5), Some(9)]);
    assert_eq!(*lock(&world.told.lines), [(5, true)]);
    assert_eq!(world.xen.callback.raised(), 1);
    // The end of an interrupt has it looked at again: up until the guest has seen all.
    world.xen.look_at_callback();
    assert_eq!(world.xen.callback.raised(), 1);
    world.put(SHARED + info::PENDING, &[0]);
    world.put(SHARED + 8, &[0; 8]);
    world.put(SHARED + 0x800, &[0; 8]);
    world.xen.look_at_callback();
    assert_eq!(world.xen.callback.raised(), 0);
    world.xen.ring(STORE_PORT);
    assert_eq!(world.xen.callback.raised(), 1);
    // Another line, none; one that there is not; a vector for all.
    set(9).unwrap();
    set(0).unwrap();
    assert_eq!(
        lock(&world.told.lines)[1..],
        [(5, false), (9, true), (9, false)]
    );
    assert_eq!(set(99), Err(Errno::EINVAL));
    assert_eq!(set(2 << 56 | 0xf3), Err(Errno::ENOSYS));
    // A vector of the vCPU's own comes first, whatever is set then.
    set(9).unwrap();
    world.set_vector(0, 0xf3).unwrap();
    set(1).unwrap();
    assert_eq!(lock(&world.told.lines)[4..], [(9, true), (9, false)]);
    assert!(lock(&world.told.interrupts).contains(&(0, 0xf3)));
}

#[test]
fn end_of_an_interrupt_wakes_whoever_looks_at_the_line() {
    let world = world();
    world.map(MapSpace::SHARED_INFO, 0, SHARED >> 12).unwrap();
    let set = world.param(HvmOp::SET_PARAM, HvmParam::CALLBACK_IRQ, 9);
    set.unwrap();
    world.xen.ring(STORE_PORT);
    world.xen.callback.raised();
    world.xen.start().unwrap();
    world.xen.callback.take();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while world.xen.callback.raised() == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn upcall_of_a_vcpu_whose_apic_is_off_is_made_again_when_it_is_on() {
    let world = world();
    world.boot();
    world.told.deaf.store(0b10, Ordering::SeqCst);
    // As the first vCPU prepares the second: its information, its vector. All is pending then, and stays so.
    let asked = RegisterVcpuInfo {
        mfn: VCPU_INFO >> 12,
        offset: (VCPU_INFO & 0xfff) as u32 + 64,
        rsvd: 0,
    };
    world.put(ARGS, &asked.to_bytes());
    let register = u64::from(VcpuOp::REGISTER_VCPU_INFO.0);
    let made = world.make_on(0, Hypercall::VCPU_OP, [register, 1, ARGS]);
    assert_eq!(made, Outcome::Answer(Ok(0)));
    world.set_vector(1, 0xf3).unwrap();
    assert_eq!(world.get(VCPU_INFO + 64 + info::PENDING), [1]);
    assert!(lock(&world.told.interrupts).is_empty());
    // It runs, and whatever anybody calls next interrupts it, once.
    world.told.deaf.store(0, Ordering::SeqCst);
    for _ in 0..3 {
        world.make_on(1, Hypercall::SCHED_OP, [0, 0, 0]);
    }
    assert_eq!(*lock(&world.told.interrupts), [(1, 0xf3)]);
    // What it has looked at meanwhile is not made again.
    world.told.deaf.store(0b10, Ordering::SeqCst);
    world.set_vector(1, 0xf3).unwrap();
    world.told.deaf.store(0, Ordering::SeqCst);
    world.put(VCPU_INFO + 64 + info::PENDING, &[0]);
    world.make_on(1, Hypercall::SCHED_OP, [0, 0, 0]);
    assert_eq!(lock(&world.told.interrupts).len(), 1);
}
