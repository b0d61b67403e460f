//! What noxen-vmm hands to the monitor before the first entry: its image, MonInfo, the CPUID table, the
//! M2P, shared_info and the first grants.
//!
//! ```text
//!   Facts --mon_info()--> MonInfo --write_info()--> its page        all into the monitor region
//! ```

use crate::domain::image::Image;
use crate::domain::pv::{Config, CONSOLE_PORT, STORE_PORT, XEN_VERSION};
use crate::domain::region::{self, Region};
use crate::domain::time::Scale;
use crate::vstate::cpuid::{self, HostCpuid};
use crate::vstate::memory::GuestMemory;
use noxen_domain_builder::{count_up, OutsideMemory, PvLayout};
use noxen_monitor_abi::info::{FLAG_BITS32, FLAG_HOST_FLUSHES, FLAG_REPEATS_INTERRUPTS};
use noxen_monitor_abi::layout::{mfn_of_pfn, pfn_of_mfn, ABI_VERSION, MAGIC, PAGE_SIZE};
use noxen_monitor_abi::{CpuidEntry, MonInfo};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Bytes copied at a time. More than 2 KiB is one string instruction in the C library, of which an emulated processor takes each
/// byte as a step; less is done by wide moves, which are as fast where that is not so.
const WIDE: usize = 1 << 10;

/// noxen-vmm's memory as the builder wants it.
pub struct BuilderMemory<'a>(pub &'a GuestMemory);

impl noxen_domain_builder::GuestMemory for BuilderMemory<'_> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let len = bytes.len();
        let outside = OutsideMemory { gpa, len };
        let Ok(place) = self.0.get_slice(GuestAddress(gpa), len) else {
            return Err(outside);
        };
        for (index, part) in bytes.chunks(WIDE).enumerate() {
            place.write_slice(part, index * WIDE).map_err(|_| outside)?;
        }
        Ok(())
    }
}

fn write(memory: &GuestMemory, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
    noxen_domain_builder::GuestMemory::write(&mut BuilderMemory(memory), gpa, bytes)
}

/// Copies the image to its place.
pub fn load_monitor(
    memory: &GuestMemory,
    region: &Region,
    image: &Image<'_>,
) -> Result<(), OutsideMemory> {
    for part in &image.parts {
        write(memory, region.image + part.offset, part.bytes)?;
    }
    Ok(())
}

/// Machine frame -> pseudo-physical frame; all ones where there is none.
pub fn fill_m2p(memory: &GuestMemory, region: &Region, nr_pages: u64) -> Result<(), OutsideMemory> {
    match region.m2p_entry() {
        4 => fill_m2p_of::<4>(memory, region, nr_pages),
        _ => fill_m2p_of::<8>(memory, region, nr_pages),
    }
}

/// With entries of `N` bytes, which the compiler knows: it makes a short loop of them.
fn fill_m2p_of<const N: usize>(
    memory: &GuestMemory,
    region: &Region,
    nr_pages: u64,
) -> Result<(), OutsideMemory> {
    let mut page = [0; 4096];
    let per_page = page.len() / N;
    for first in (0..region.ram_end_mfn).step_by(per_page) {
        let entries = (region.ram_end_mfn - first).min(per_page as u64) as usize;
        let bytes = &mut page[..entries * N];
        let last = first + entries as u64 - 1;
        match (pfn_of_mfn(first), pfn_of_mfn(last)) {
            (Some(pfn), Some(end)) if end - pfn == last - first && end < nr_pages => {
                count_up::<N>(bytes, pfn);
                write(memory, region.m2p + first * N as u64, bytes)?;
                continue;
            }
            _ => {}
        }
        for (mfn, entry) in (first..).zip(bytes.chunks_exact_mut(N)) {
            let pfn = pfn_of_mfn(mfn).filter(|pfn| *pfn < nr_pages);
            debug_assert!(pfn.is_none_or(|pfn| mfn_of_pfn(pfn) == mfn));
            entry.copy_from_slice(&pfn.unwrap_or(u64::MAX).to_le_bytes()[..N]);
        }
        write(memory, region.m2p + first * N as u64, bytes)?;
    }
    Ok(())
}

/// The rows as the monitor reads them.
pub fn write_cpuid(
    memory: &GuestMemory,
    region: &Region,
    table: &[CpuidEntry],
) -> Result<(), OutsideMemory> {
    let bytes: Vec<u8> = table
        .iter()
        .flat_map(|row| {
            [
                row.leaf,
                row.subleaf,
                row.indexed,
                row.eax,
                row.ebx,
                row.ecx,
                row.edx,
            ]
        })
        .flat_map(u32::to_le_bytes)
        .collect();
    write(memory, region.cpuid, &bytes)
}

/// shared_info and the two grants that every domain starts with.
pub fn init_shared_pages(
    memory: &GuestMemory,
    region: &Region,
    layout: &PvLayout,
    boot_time: Duration,
) -> Result<(), OutsideMemory> {
    let shared_info = region.shared_info;
    noxen_domain_builder::init_shared_info(
        &mut BuilderMemory(memory),
        shared_info,
        layout.class,
        boot_time,
    )?;
    let seeds = noxen_domain_builder::grant_seeds(layout.console_mfn(), layout.store_mfn(), 0);
    write(memory, region.grants, &seeds)
}

/// All that goes into MonInfo.
#[derive(Debug)]
#[allow(missing_docs)] // Each field says what it is.
pub struct Facts<'a> {
    pub config: &'a Config,
    pub region: &'a Region,
    pub layout: &'a PvLayout,
    pub nr_pages: u64,
    pub max_pages: u64,
    pub tsc_khz: u32,
    pub clock: Scale,
    pub boot_time: Duration,
    pub nr_cpuid: u32,
    pub host: &'a HostCpuid,
}

/// Those flags of MonInfo that hold.
fn flags(known: [(u32, bool); 3]) -> u32 {
    known
        .iter()
        .filter(|(_, holds)| *holds)
        .fold(0, |flags, (flag, _)| flags | flag)
}

/// MonInfo's flags in the memory of a domain that was built before.
pub fn read_flags(memory: &GuestMemory, region: &Region) -> Result<u32, OutsideMemory> {
    let gpa = region.info + std::mem::offset_of!(MonInfo, flags) as u64;
    memory
        .read_obj(GuestAddress(gpa))
        .map_err(|_| OutsideMemory {
            gpa,
            len: size_of::<u32>(),
        })
}

impl Facts<'_> {
    /// MonInfo of these facts.
    pub fn mon_info(&self) -> MonInfo {
        let (region, layout) = (self.region, self.layout);
        MonInfo {
            magic: MAGIC,
            abi_version: ABI_VERSION,
            nr_vcpus: self.config.vcpus,
            domid: self.config.domid,
            flags: flags([
                (FLAG_BITS32, region.bits32),
                (FLAG_REPEATS_INTERRUPTS, cpuid::is_emulated()),
                (FLAG_HOST_FLUSHES, self.host.flushes_tlbs()),
            ]),
            nr_pages: self.nr_pages,
            max_pages: self.max_pages,
            ram_end_mfn: region.ram_end_mfn,
            region_gpa: region.base,
            region_size: region.size,
            l4_gpa: region.tables.l4,
            window_l1_gpa: region.tables.window_l1(),
            zero_gpa: region.zero,
            m2p_gpa: region.m2p,
            m2p_entries: region.ram_end_mfn,
            shared_info_gpa: region.shared_info,
            grant_gpa: region.grants,
            nr_grant_frames: region::GRANT_FRAMES,
            nr_evtchns: region::EVTCHN_PORTS,
            frame_table_gpa: region.frame_table,
            evtchn_gpa: region.evtchn,
            domain_gpa: region.domain,
            domain_size: region::DOMAIN_SIZE,
            doorbell_gpa: region.doorbell,
            call_gpa: region.call,
            counters_gpa: region.counters,
            crash_gpa: region.crash,
            public_gpa: region.public,
            cpuid_gpa: region.cpuid,
            nr_cpuid: self.nr_cpuid,
            xen_version: XEN_VERSION,
            uuid: self.config.uuid,
            start_rip: layout.entry.rip,
            start_rsp: layout.entry.rsp,
            start_rsi: layout.entry.rsi,
            start_cr3: layout.entry.cr3,
            store_port: STORE_PORT,
            console_port: CONSOLE_PORT,
            tsc_khz: u64::from(self.tsc_khz),
            tsc_mul: self.clock.mul,
            tsc_shift: self.clock.shift,
            // The TSC is written 0 on every vCPU when it is made.
            base_tsc: 0,
            base_ns: 0,
            wc_sec: self.boot_time.as_secs(),
            wc_nsec: self.boot_time.subsec_nanos(),
            reserved0: 0,
            xcr0_mask: self.host.xcr0_mask(),
            cr4: self.host.cr4(),
            compat_gpa: region.compat,
            console_gpa: layout.console_mfn() * PAGE_SIZE,
        }
    }
}

/// MonInfo as bytes: its fields in order, as `repr(C)` lays them out.
#[allow(unsafe_code)]
pub fn write_info(memory: &GuestMemory, gpa: u64, info: &MonInfo) -> Result<(), OutsideMemory> {
    let pointer = std::ptr::from_ref(info).cast::<u8>();
    // SAFETY: MonInfo is repr(C), holds integers only and has no padding (checked below), so all its
    // bytes are initialised; the slice lives within this function. The ABI crate is no_std without
    // dependencies and offers no byte view.
    let bytes = unsafe { std::slice::from_raw_parts(pointer, size_of::<MonInfo>()) };
    write(memory, gpa, bytes)
}

/// 35 fields of 8 bytes, 14 of 4, one of 16: no padding.
const _: () = assert!(size_of::<MonInfo>() == 35 * 8 + 14 * 4 + 16);

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
