//! A domain out of an image, up to where it stood: paused, before its next instruction.
//!
//! ```text
//!   image --State, checked--> region planned as then --> memory filled, to the image's end, or about to be (lazy.rs)
//!      --> VM --> vCPUs: CPUID, state, TSC moved on by the time that has passed --> Domain
//! ```
//! Nothing runs before the whole image was found good, but for the pages that are read later. One that comes from another host has its memory before most of
//! its state: there only the vCPUs' state is left to be set at the end.

use crate::domain::assemble::{self, Assembly};
use crate::domain::handover;
use crate::domain::machine::Constants;
use crate::domain::pv::{Domain, PvError, LAYOUT, XEN_VERSION};
use crate::domain::region::{self, Needs, Region};
use crate::domain::time::scale;
use crate::log::{Level, Log};
use crate::save::mark::Answers;
use crate::save::pull::Pull;
use crate::save::{lazy, memory};
use crate::vstate::cpuid::{HostCpuid, PvParameters};
use crate::vstate::features;
use crate::vstate::memory::{DomainMemory, MemoryError, Piece};
use crate::vstate::vcpu::{Vcpu, VcpuError};
use crate::vstate::vm::{Vm, VmError};
use kvm_ioctls::{Kvm, VcpuFd};
use noxen_monitor_abi::info::FLAG_HOST_FLUSHES;
use noxen_monitor_abi::layout::{mfn_of_pfn, pfn_of_mfn, ABI_VERSION, PAGE_SIZE};
use noxen_saved_image::state::{self, Clock, State};
use noxen_saved_image::{ImageError, Reader};
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;
/// Rates further apart than this are another clock to a guest, parts per million.
const TSC_TOLERANCE_PPM: u64 = 250;

/// Why a domain could not be restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum RestoreError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the image was laid out by rule {layout} for a monitor of interface {abi}; this noxen-vmm has {LAYOUT} and {ABI_VERSION}")]
    Layout { layout: u32, abi: u32 },
    #[error("not a valid guest state file: {0}")]
    Nonsense(&'static str),
    #[error("this CPU lacks what the domain may use: CPUID {leaf:#x}.{subleaf} {register}, bits {bits:#x}; restore it on a host that has it")]
    Cpu {
        leaf: u32,
        subleaf: u32,
        register: String,
        bits: u32,
    },
    #[error("the domain's clock runs at {saved} kHz, this host's at {here}, and KVM cannot change it ({source})")]
    Tsc {
        saved: u32,
        here: u32,
        source: kvm_ioctls::Error,
    },
    #[error("the domain leaves flushes of its vCPUs to KVM, and this host's KVM does not do them (KVM_FEATURE_PV_TLB_FLUSH, since Linux 4.16); restore it on a host that does")]
    Flushes,
    #[error(transparent)]
    Pv(#[from] PvError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Region(#[from] region::TooLarge),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
}

impl From<state::Feature> for RestoreError {
    /// What this host's CPU lacks.
    fn from(lacks: state::Feature) -> RestoreError {
        RestoreError::Cpu {
            leaf: lacks.leaf,
            subleaf: lacks.subleaf,
            register: lacks.register,
            bits: lacks.bits,
        }
    }
}

/// Where a domain comes from.
#[derive(Debug)]
pub struct Origin {
    /// Its image, or the beginning of one that goes on in `stream`.
    pub image: File,
    /// Comes from another host.
    pub stream: Option<File>,
    /// Of a stream: the connection for pages that come after it, by post-copy; a log for what is found then.
    pub pages: Option<(File, Log)>,
    /// Of a file: memory is read as the guest touches it; a log for what is found then.
    pub lazy: Option<Log>,
}

/// Restores the domain of `origin` as domain `domid`; also gives what its back ends go on with.
pub fn restore(
    kvm: &Kvm,
    origin: Origin,
    ram: Option<File>,
    domid: u32,
    log: Log,
) -> Result<(Domain, State), RestoreError> {
    let begun = Instant::now();
    let Origin {
        image,
        stream,
        pages,
        lazy,
    } = origin;
    let how = if lazy.is_some() { "so far" } else { "whole" };
    let (made, state, bytes) = match stream {
        None => {
            let file = image.try_clone().map_err(ImageError::Io)?;
            let mut reader = Reader::open(BufReader::new(file))?;
            let (state, first) = State::read(&mut reader)?;
            let places = reader.places()?;
            let bytes = places.iter().map(|place| place.length).sum();
            let made = Made::prepare(kvm, &state.domain, ram)?;
            let (map, other) = (&made.guest.map, (made.region.base, memory::MONITOR));
            let sink = memory::Sink::beside(map, other)?;
            first.map(|record| sink.put(record)).transpose()?;
            lazy::fill(map, image, places, other, lazy, |record| sink.put(record))?;
            drop(sink);
            (made, state, bytes)
        }
        Some(stream) => {
            let mut answers = Answers::on(&stream).map_err(ImageError::Io)?;
            let whole = image.chain(BufReader::with_capacity(BUFFER, stream));
            let mut reader = Reader::open(whole)?;
            let (domain, _) = state::read_outline(&mut reader)?;
            let made = Made::prepare(kvm, &domain, ram)?;
            let other = (made.region.base, memory::MONITOR);
            let map = &made.guest.map;
            let pages = pages.map(|(link, log)| Pull::prepare(map, other, link, log));
            let mut pull = pages.transpose()?;
            let sink = memory::Sink::beside(map, other)?;
            let state = State::read_stream(&mut reader, domain, |record| {
                let record = match (answers.take(record)?, &mut pull) {
                    (Some(record), Some(pull)) => pull.note(record)?,
                    (record, _) => record,
                };
                record.map_or(Ok(()), |record| sink.put(record))
            })?;
            drop(sink);
            if let Some(pull) = pull {
                pull.begin(reader.header().moving.clone())?;
            }
            (made, state, reader.totals().memory)
        }
    };
    log.line(
        Level::Info,
        format_args!(
            "restored from an image, {how}: {} MiB in {:?}",
            bytes >> 20,
            begun.elapsed()
        ),
    );
    Ok((made.finish(kvm, &state, domid, log)?, state))
}

/// The domain of `state`, whose memory is in `files`, which another process has handed over. Nothing in them is written.
pub fn take_over(
    kvm: &Kvm,
    state: &State,
    files: Vec<File>,
    domid: u32,
    log: Log,
) -> Result<Domain, RestoreError> {
    let made = Made::of(kvm, &state.domain, |ram, region| {
        DomainMemory::handed(files, ram, region)
    })?;
    made.finish(kvm, state, domid, log)
}

/// A machine whose vCPUs have no state yet.
struct Made {
    region: Region,
    guest: DomainMemory,
    host: HostCpuid,
    vm: Arc<Vm>,
    fds: Vec<VcpuFd>,
}

impl Made {
    /// Makes it, if this host can run it; every number of `domain` is checked.
    fn prepare(kvm: &Kvm, domain: &state::Domain, ram: Option<File>) -> Result<Made, RestoreError> {
        Made::of(kvm, domain, |pieces, region| {
            DomainMemory::new(ram, pieces, region)
        })
    }

    /// The same in the memory that `make` makes.
    fn of(
        kvm: &Kvm,
        domain: &state::Domain,
        make: impl FnOnce(&[Piece], Piece) -> Result<DomainMemory, MemoryError>,
    ) -> Result<Made, RestoreError> {
        let region = plan(domain)?;
        assemble::check(domain.vcpus, domain.boot_pages >> 8)?;
        let pieces = region::ram_pieces(domain.max_pages);
        let guest = make(&pieces, region.piece())?;
        let host = assemble::host_cpuid(kvm)?;
        let vm = Arc::new(Vm::create(kvm, &guest)?);
        let fds = (0..domain.vcpus)
            .map(|id| vm.create_vcpu(id))
            .collect::<Result<Vec<_>, _>>()?;
        let made = Made {
            region,
            guest,
            host,
            vm,
            fds,
        };
        // What a clock changes of CPUID is no feature.
        made.check_cpu(domain, assemble::tsc_khz(&made.fds)?)?;
        Ok(made)
    }

    fn check_cpu(&self, domain: &state::Domain, tsc_khz: u32) -> Result<(), RestoreError> {
        let table = self.host.pv_table(parameters(domain, tsc_khz));
        Ok(features::check(&domain.features, &table)?)
    }

    /// Gives the vCPUs their state, and the domain its devices' places.
    fn finish(
        self,
        kvm: &Kvm,
        state: &State,
        domid: u32,
        log: Log,
    ) -> Result<Domain, RestoreError> {
        let flags = handover::read_flags(&self.guest.map, &self.region).map_err(PvError::from)?;
        if flags & FLAG_HOST_FLUSHES != 0 && !self.host.flushes_tlbs() {
            return Err(RestoreError::Flushes);
        }
        hold_rate(&self.fds, state.clock.tsc_khz)?;
        let parameters = parameters(&state.domain, state.clock.tsc_khz);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let tsc = tsc_at(&state.clock, now.unwrap_or_default());
        let mut vcpus = Vec::new();
        for (saved, fd) in state.vcpus.iter().zip(self.fds) {
            let cpuid = assemble::vcpu_cpuid(&self.host, saved.id, parameters)?;
            vcpus.push(Vcpu::restored(fd, &cpuid, saved, tsc, None)?);
        }
        let constants = Constants {
            // With the id that the guest knows, which it may not have here.
            domain: state.domain.clone(),
            tsc_khz: state.clock.tsc_khz,
            msrs: assemble::msrs(kvm)?,
        };
        let assembly = Assembly {
            domid,
            vm: self.vm,
            memory: &self.guest,
            region: self.region,
            vcpus,
            constants,
            log,
            echo: None,
        };
        Ok(assembly.finish()?)
    }
}

fn parameters(domain: &state::Domain, tsc_khz: u32) -> PvParameters {
    let clock = scale(u64::from(tsc_khz));
    PvParameters {
        bits32: domain.bits32,
        xen_version: XEN_VERSION,
        tsc_khz,
        tsc_mul: clock.mul,
        tsc_shift: clock.shift,
    }
}

/// Lays the region out as it was when the domain was built; every number of the image is checked here.
fn plan(domain: &state::Domain) -> Result<Region, RestoreError> {
    if domain.layout != LAYOUT || domain.monitor_abi != ABI_VERSION {
        return Err(RestoreError::Layout {
            layout: domain.layout,
            abi: domain.monitor_abi,
        });
    }
    if domain.boot_pages == 0 || domain.boot_pages > domain.max_pages {
        return Err(RestoreError::Nonsense(
            "its memory is larger than its maxmem",
        ));
    }
    if domain.image_size > noxen_monitor_abi::layout::IMAGE_MAX {
        return Err(RestoreError::Nonsense("its monitor is too large"));
    }
    let region = Region::plan(Needs {
        max_pages: domain.max_pages,
        vcpus: domain.vcpus,
        image_size: domain.image_size,
        bits32: domain.bits32,
    })?;
    if region.size != domain.region_size {
        return Err(RestoreError::Nonsense(
            "its monitor's region has another size",
        ));
    }
    let frame = |mfn: u64| pfn_of_mfn(mfn).is_some_and(|pfn| pfn < domain.max_pages);
    if !frame(domain.store_mfn) || !frame(domain.console_mfn) {
        return Err(RestoreError::Nonsense("its rings are not in its memory"));
    }
    debug_assert!(mfn_of_pfn(0) == 0 && PAGE_SIZE == noxen_saved_image::PAGE);
    Ok(region)
}

/// Makes the vCPUs' TSC run at `khz`, if it does not as good as do so already.
pub fn hold_rate(fds: &[VcpuFd], khz: u32) -> Result<(), RestoreError> {
    let here = assemble::tsc_khz(fds)?;
    let apart = u64::from(here.abs_diff(khz)) * 1_000_000;
    if apart <= u64::from(here) * TSC_TOLERANCE_PPM {
        return Ok(());
    }
    for fd in fds {
        fd.set_tsc_khz(khz).map_err(|source| RestoreError::Tsc {
            saved: khz,
            here,
            source,
        })?;
    }
    Ok(())
}

/// The time that has passed since `clock`. A host clock that was set back does not turn anything back.
pub fn passed(clock: &Clock, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(clock.host_ns))
}

/// The TSC now: the guest's clock has run on all the while, as it does for a domain that is paused.
pub fn tsc_at(clock: &Clock, now: Duration) -> u64 {
    let passed = passed(clock, now).as_nanos();
    let ticks = passed.saturating_mul(u128::from(clock.tsc_khz)) / 1_000_000;
    clock
        .tsc
        .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            tsc: 1000,
            tsc_khz: 2_000_000,
            host_ns: 10_000_000_000,
        }
    }

    #[test]
    fn tsc_runs_on_by_the_time_that_has_passed_and_never_back() {
        assert_eq!(
            tsc_at(&clock(), Duration::from_secs(11)),
            1000 + 2_000_000_000
        );
        assert_eq!(tsc_at(&clock(), Duration::from_secs(10)), 1000);
        assert_eq!(tsc_at(&clock(), Duration::from_secs(3)), 1000);
    }

    fn domain() -> state::Domain {
        let needs = Needs {
            max_pages: 128 << 8,
            vcpus: 2,
            image_size: 300_000,
            bits32: false,
        };
        state::Domain {
            domid: 1,
            boot_pages: 64 << 8,
            max_pages: needs.max_pages,
            vcpus: needs.vcpus,
            bits32: needs.bits32,
            layout: LAYOUT,
            image_size: needs.image_size,
            region_size: Region::plan(needs).unwrap().size,
            monitor_abi: ABI_VERSION,
            store_mfn: 5,
            console_mfn: 6,
            features: Vec::new(),
        }
    }

    #[test]
    fn image_whose_numbers_do_not_fit_each_other_is_refused() {
        assert!(plan(&domain()).is_ok());
        type Change = fn(&mut state::Domain);
        let changes: [(Change, &str); 8] = [
            (|d| d.layout = 2, "rule 2"),
            (|d| d.monitor_abi = 9, "interface 9"),
            (|d| d.boot_pages = 0, "maxmem"),
            (|d| d.boot_pages = u64::MAX, "maxmem"),
            (|d| d.max_pages = u64::MAX, "than a domain can have"),
            (|d| d.image_size = u64::MAX, "too large"),
            (|d| d.region_size += 4096, "another size"),
            (|d| d.store_mfn = 128 << 8, "rings"),
        ];
        for (change, word) in changes {
            let mut domain = domain();
            change(&mut domain);
            let text = plan(&domain).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
