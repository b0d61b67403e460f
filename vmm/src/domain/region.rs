//! Layout of the monitor region: guest-physical memory above guest RAM.
//!
//! ```text
//!   0 .. ram_end          guest RAM (hole 3.5 .. 4 GiB left out)
//!   base (1 GiB aligned)  info, small pages | page tables | windows | image | grants, domain |
//!                         event channels | frame table | (2 MiB) M2P
//! ```
//! A 32-bit guest reaches shared_info and its grants by addresses below 4 GiB: where RAM goes beyond the hole, its
//! region is in the hole, at 3.5 GiB.
//!
//! Pages that are used at once lie together, so that few host pages back them; the tables at the end
//! are sized for the worst case and cost memory only where they are touched. The M2P is alone on its
//! 2 MiB pages, because guests may read all of those.

use crate::domain::paging::{self, TablePlan};
use crate::vstate::memory::Piece;
use noxen_domain_builder::MAX_PAGES_32;
use noxen_monitor_abi::info::MAX_CPUID;
use noxen_monitor_abi::layout::compat::PAGES_PER_VCPU;
use noxen_monitor_abi::layout::{self, mfn_of_pfn, window, HOLE_PAGES, HOLE_START_PFN, PAGE_SIZE};
use noxen_monitor_abi::CpuidEntry;

/// Frames of the grant table (v1: 512 entries each).
pub const GRANT_FRAMES: u32 = 64;
/// Event-channel ports that the table has room for (FIFO's 2^17).
pub const EVTCHN_PORTS: u32 = 1 << 17;
/// Bytes per port.
const EVTCHN_SIZE: u64 = 32;
/// Bytes for the monitor's domain-wide state.
pub const DOMAIN_SIZE: u64 = 64 << 10;

const HUGE: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

/// What the layout depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Most frames of guest RAM, ever.
    pub max_pages: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Bytes of the monitor image in memory.
    pub image_size: u64,
    /// The guest is a 32-bit one.
    pub bits32: bool,
}

/// A domain too large to be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory of {mib} MiB is more than a {kind} can have ({most} MiB)", kind = if *.bits32 { "domain with a 32-bit kernel" } else { "domain" })]
pub struct TooLarge {
    /// What was asked for.
    pub mib: u64,
    /// What can be had.
    pub most: u64,
    /// By a 32-bit guest.
    pub bits32: bool,
}

/// Where everything is; addresses are guest-physical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each field is the MonInfo field of the same name.
pub struct Region {
    pub base: u64,
    pub size: u64,
    pub ram_end_mfn: u64,
    pub info: u64,
    pub cpuid: u64,
    pub zero: u64,
    pub doorbell: u64,
    pub call: u64,
    pub counters: u64,
    pub crash: u64,
    pub public: u64,
    pub shared_info: u64,
    pub tables: TablePlan,
    pub windows: u64,
    pub image: u64,
    pub grants: u64,
    pub domain: u64,
    pub evtchn: u64,
    pub frame_table: u64,
    pub m2p: u64,
    pub m2p_size: u64,
    pub compat: u64,
    pub bits32: bool,
}

/// Bytes of an M2P entry: a frame number as wide as the guest's words.
fn m2p_entry(bits32: bool) -> u64 {
    if bits32 {
        4
    } else {
        8
    }
}

/// Pages that back one vCPU's window.
pub fn window_pages() -> u64 {
    window::RANGES
        .iter()
        .map(|(_, bytes, _)| bytes / PAGE_SIZE)
        .sum()
}

/// The pieces of guest RAM for `max_pages` frames, in frame order.
pub fn ram_pieces(max_pages: u64) -> Vec<Piece> {
    let low = max_pages.min(HOLE_START_PFN);
    let high = max_pages - low;
    let mut pieces = Vec::new();
    if low > 0 {
        pieces.push(Piece {
            gpa: 0,
            len: low * PAGE_SIZE,
        });
    }
    if high > 0 {
        pieces.push(Piece {
            gpa: (HOLE_START_PFN + HOLE_PAGES) * PAGE_SIZE,
            len: high * PAGE_SIZE,
        });
    }
    pieces
}

impl Region {
    /// Lays the region out.
    pub fn plan(needs: Needs) -> Result<Region, TooLarge> {
        let most = match needs.bits32 {
            true => MAX_PAGES_32,
            false => layout::DIRECT_MAP_MAX / 2 / PAGE_SIZE - 1,
        };
        if needs.max_pages > most {
            return Err(TooLarge {
                mib: needs.max_pages >> 8,
                most: (most + 1) >> 8,
                bits32: needs.bits32,
            });
        }
        let ram_end_mfn = mfn_of_pfn(needs.max_pages.max(1) - 1) + 1;
        let after_ram = (ram_end_mfn * PAGE_SIZE).next_multiple_of(GIB);
        let first = Region::plan_at(after_ram, ram_end_mfn, needs);
        let hole = HOLE_START_PFN * PAGE_SIZE..(HOLE_START_PFN + HOLE_PAGES) * PAGE_SIZE;
        if needs.bits32 && first.base + first.size > hole.start {
            return Ok(Region::plan_at(hole.start, ram_end_mfn, needs));
        }
        if first.base < hole.end && first.base + first.size > hole.start {
            return Ok(Region::plan_at(hole.end, ram_end_mfn, needs));
        }
        Ok(first)
    }

    /// The pages of it that noxen-vmm writes while the domain runs.
    pub fn written_by_vmm(&self) -> Vec<u64> {
        let grants = self.grants..self.grants + u64::from(GRANT_FRAMES) * PAGE_SIZE;
        let pages = |range: std::ops::Range<u64>| range.step_by(PAGE_SIZE as usize);
        let mut all = vec![self.doorbell, self.public];
        all.extend(pages(self.call..self.counters));
        all.extend(pages(grants));
        all
    }

    fn plan_at(base: u64, ram_end_mfn: u64, needs: Needs) -> Region {
        let vcpus = u64::from(needs.vcpus);
        let mut next = base;
        let mut take = |bytes: u64| {
            let start = next;
            next += bytes.next_multiple_of(PAGE_SIZE);
            start
        };
        let info = take(PAGE_SIZE);
        let cpuid = take((MAX_CPUID * size_of::<CpuidEntry>()) as u64);
        let zero = take(PAGE_SIZE);
        let doorbell = take(PAGE_SIZE);
        let crash = take(PAGE_SIZE);
        let public = take(PAGE_SIZE);
        let shared_info = take(PAGE_SIZE);
        let call = take(vcpus * PAGE_SIZE);
        let counters = take(vcpus * PAGE_SIZE);
        let windows = take(vcpus * window_pages() * PAGE_SIZE);
        let image = take(needs.image_size);
        let grants = take(u64::from(GRANT_FRAMES) * PAGE_SIZE);
        let domain = take(DOMAIN_SIZE);
        let compat = match needs.bits32 {
            true => take(vcpus * PAGES_PER_VCPU * PAGE_SIZE),
            false => 0,
        };
        // The tables' number depends on where the region ends, which depends on them: count for the
        // end without them plus ample room for themselves.
        let evtchn_size = u64::from(EVTCHN_PORTS) * EVTCHN_SIZE;
        let m2p_size = (ram_end_mfn * m2p_entry(needs.bits32)).next_multiple_of(HUGE);
        let rest = evtchn_size + ram_end_mfn + m2p_size + 2 * HUGE;
        // What is in the hole has RAM above it, which the direct map must reach too.
        let estimate = (domain.max(compat) + DOMAIN_SIZE + rest).max(ram_end_mfn * PAGE_SIZE);
        let end_bound =
            estimate + paging::pages_needed(estimate * 2, m2p_size, needs.vcpus) * PAGE_SIZE;
        let table_pages = paging::pages_needed(end_bound, m2p_size, needs.vcpus);
        let tables = take(table_pages * PAGE_SIZE);
        let evtchn = take(evtchn_size);
        let frame_table = take(ram_end_mfn);
        let m2p = next.next_multiple_of(HUGE);
        Region {
            base,
            size: m2p + m2p_size - base,
            ram_end_mfn,
            info,
            cpuid,
            zero,
            doorbell,
            call,
            counters,
            crash,
            public,
            shared_info,
            tables: TablePlan::new(tables, table_pages, needs.vcpus),
            windows,
            image,
            grants,
            domain,
            evtchn,
            frame_table,
            m2p,
            m2p_size,
            compat,
            bits32: needs.bits32,
        }
    }

    /// Bytes of an M2P entry.
    pub fn m2p_entry(&self) -> u64 {
        m2p_entry(self.bits32)
    }

    /// The region as a piece of memory.
    pub fn piece(&self) -> Piece {
        Piece {
            gpa: self.base,
            len: self.size,
        }
    }

    /// First address above everything: the direct map ends here.
    pub fn end(&self) -> u64 {
        (self.base + self.size).max(self.ram_end_mfn * PAGE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(mib: u64, vcpus: u32) -> Region {
        Region::plan(Needs {
            max_pages: mib << 8,
            vcpus,
            image_size: 300_000,
            bits32: false,
        })
        .unwrap()
    }

    fn plan_32(mib: u64, vcpus: u32) -> Region {
        Region::plan(Needs {
            max_pages: mib << 8,
            vcpus,
            image_size: 300_000,
            bits32: true,
        })
        .unwrap()
    }

    /// Every part as (start, bytes), from the same needs.
    fn parts(region: &Region, vcpus: u64) -> Vec<(u64, u64)> {
        let page = PAGE_SIZE;
        vec![
            (region.info, page),
            (region.cpuid, (MAX_CPUID * size_of::<CpuidEntry>()) as u64),
            (region.zero, page),
            (region.doorbell, page),
            (region.call, vcpus * page),
            (region.counters, vcpus * page),
            (region.crash, page),
            (region.public, page),
            (region.shared_info, page),
            (region.tables.start, region.tables.pages * page),
            (region.windows, vcpus * window_pages() * page),
            (region.image, 300_000),
            (region.grants, u64::from(GRANT_FRAMES) * page),
            (region.domain, DOMAIN_SIZE),
            (region.evtchn, u64::from(EVTCHN_PORTS) * EVTCHN_SIZE),
            (region.frame_table, region.ram_end_mfn),
            (region.m2p, region.m2p_size),
        ]
    }

    #[test]
    fn small_domain_has_its_region_at_one_gib() {
        let region = plan(128, 1);
        assert_eq!(region.base, GIB);
        assert!(region.size < 16 << 20, "{:#x}", region.size);
    }

    #[test]
    fn region_is_never_inside_the_hole() {
        for mib in [3 * 1024, 3 * 1024 + 512, 3 * 1024 + 600, 4096, 5000] {
            let region = plan(mib, 2);
            assert!(
                region.end() <= 0xe000_0000 || region.base >= 1 << 32,
                "{mib}"
            );
        }
        assert_eq!(plan(3 * 1024 + 1, 1).base, 4 << 30);
    }

    #[test]
    fn ram_beyond_the_hole_starts_at_four_gib() {
        let pieces = ram_pieces(HOLE_START_PFN + 10);
        assert_eq!(pieces[0].len, 0xe000_0000);
        assert_eq!((pieces[1].gpa, pieces[1].len), (1 << 32, 10 * PAGE_SIZE));
        assert_eq!(ram_pieces(5).len(), 1);
    }

    #[test]
    fn domain_beyond_the_direct_map_is_refused() {
        let needs = Needs {
            max_pages: 1 << 40,
            vcpus: 1,
            image_size: 4096,
            bits32: false,
        };
        assert!(Region::plan(needs).is_err());
    }

    #[test]
    fn region_of_a_32_bit_guest_is_below_four_gib() {
        for mib in [64, 3000, 3 * 1024 + 512, 4096, 15 * 1024 + 512] {
            for vcpus in [1, 32] {
                let region = plan_32(mib, vcpus);
                // KVM's own pages and the local APIC are at 0xfec00000 and up.
                assert!(region.base + region.size <= 0xfec0_0000, "{mib}");
                assert!(region.shared_info < 1 << 32 && region.grants < 1 << 32);
                assert!(region.end() >= region.ram_end_mfn * PAGE_SIZE);
                for piece in ram_pieces(mib << 8) {
                    let apart = region.base + region.size <= piece.gpa
                        || piece.gpa + piece.len <= region.base;
                    assert!(apart, "{mib}: {piece:x?}");
                }
                assert!(
                    region.tables.pages
                        >= paging::pages_needed(region.end(), region.m2p_size, vcpus)
                );
            }
        }
        let needs = Needs {
            max_pages: (15 * 1024 + 513) << 8,
            vcpus: 1,
            image_size: 4096,
            bits32: true,
        };
        assert_eq!(
            Region::plan(needs).unwrap_err().to_string(),
            "memory of 15873 MiB is more than a domain with a 32-bit kernel can have (15872 MiB)"
        );
    }

    proptest! {
        #[test]
        fn parts_are_aligned_inside_and_apart(mib in 1u64..200_000, vcpus in 1u32..=32) {
            let region = plan(mib, vcpus);
            let mut parts = parts(&region, u64::from(vcpus));
            parts.sort_unstable();
            for (start, bytes) in &parts {
                prop_assert_eq!(start % PAGE_SIZE, 0);
                prop_assert!(*start >= region.base && start + bytes <= region.end());
            }
            for pair in parts.windows(2) {
                prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0);
            }
            prop_assert!(region.base >= region.ram_end_mfn * PAGE_SIZE);
            prop_assert_eq!(region.m2p % HUGE, 0);
            prop_assert_eq!(region.size % HUGE, 0);
            prop_assert!(region.tables.pages >= paging::pages_needed(region.end(), region.m2p_size, vcpus));
        }
    }
}
