use super::*;
use crate::domain::region::{ram_pieces, Needs, Region};
use crate::log::Log;
use crate::vstate::memory::DomainMemory;
use std::sync::mpsc::channel;
use vmm_sys_util::eventfd::EventFd;

/// 64 MiB at most, of which the first 32 were there at boot.
const MAX: u64 = 16384;
const BOOT: u64 = 8192;

fn shared() -> Shared {
    let region = Region::plan(Needs {
        max_pages: MAX,
        vcpus: 1,
        image_size: 4096,
        bits32: false,
    })
    .unwrap();
    let memory = DomainMemory::new(None, &ram_pieces(MAX), region.piece()).unwrap();
    Shared::new(
        Log::new(None, 1, "test"),
        memory.map,
        memory.ram_file,
        region,
        MAX,
        None,
        channel().0,
        EventFd::new(0).unwrap(),
    )
}

fn set_pages(shared: &Shared, pages: u64) {
    with_public(shared, offset_of!(DomainPublic, pages), |word| {
        word.store(pages, Ordering::Relaxed);
    })
    .unwrap();
}

fn fill(shared: &Shared, pfns: Range<u64>) {
    for pfn in pfns {
        let at = GuestAddress(pfn * PAGE_SIZE);
        shared.memory.write_obj(1u8, at).unwrap();
    }
}

fn byte(shared: &Shared, pfn: u64) -> u8 {
    shared
        .memory
        .read_obj(GuestAddress(pfn * PAGE_SIZE))
        .unwrap()
}

fn list(mfns: &[u64]) -> Vec<u8> {
    mfns.iter().flat_map(|mfn| mfn.to_le_bytes()).collect()
}

#[test]
fn pages_are_believed_only_within_the_domains_bounds() {
    let shared = shared();
    assert_eq!(pages(&shared), None, "the monitor has not started");
    set_pages(&shared, BOOT);
    assert_eq!(pages(&shared), Some(BOOT));
    set_pages(&shared, MAX + 1);
    assert_eq!(pages(&shared), None);
}

#[test]
fn ceiling_beyond_what_the_domain_was_built_for_is_refused() {
    let shared = shared();
    set_ceiling(&shared, 48 << 10).unwrap();
    let said = with_public(&shared, offset_of!(DomainPublic, ceiling), |word| {
        word.load(Ordering::Relaxed)
    });
    assert_eq!(said, Some(48 << 8));
    let error = set_ceiling(&shared, 65 << 10).unwrap_err();
    assert!(error.starts_with("a limit of 65 MiB: this domain was built to have 1 to 64 MiB"));
    assert!(set_ceiling(&shared, 0).is_err());
}

#[test]
fn release_frees_exactly_the_frames_named_in_any_order() {
    let shared = shared();
    fill(&shared, 0..64);
    let before = backed(&shared.ram_file);
    assert!(release(&shared.ram_file, MAX, &list(&[12, 10, 11, 30, 10])));
    assert_eq!(before - backed(&shared.ram_file), 4 * PAGE_SIZE);
    for pfn in 0..64 {
        let gone = [10, 11, 12, 30].contains(&pfn);
        assert_eq!(byte(&shared, pfn) == 0, gone, "{pfn}");
    }
    assert!(!release(&shared.ram_file, MAX, &list(&[13, MAX])));
    assert_eq!(
        byte(&shared, 13),
        0,
        "the good one is released all the same"
    );
}

#[test]
fn memory_touched_outside_the_reservation_is_found_and_taken_back() {
    let shared = shared();
    fill(&shared, 0..BOOT);
    set_pages(&shared, BOOT);
    assert!(!overrun(&shared, 0));
    // Frames 100..200 were ballooned out, 9000..9100 in; the guest uses far more than that.
    let flag = |pfn: u64| {
        let at = GuestAddress(shared.region.frame_table + pfn);
        shared.memory.write_obj(FRAME_BALLOONED, at).unwrap();
    };
    (100..200).for_each(flag);
    (9000..9100).for_each(flag);
    fill(&shared, BOOT..MAX);
    assert!(overrun(&shared, 0));
    assert!(!overrun(&shared, MAX * PAGE_SIZE), "known to stay");
    let (freed, kept) = reclaim(&shared, BOOT);
    // Frames 100..200 had data, 9000..9100 keep it.
    assert_eq!(freed, (MAX - BOOT) * PAGE_SIZE);
    assert_eq!(kept, 0);
    assert!(!overrun(&shared, kept));
    assert_eq!(
        [99, 100, 199, 200, BOOT, 9000, 9099, 9100].map(|pfn| byte(&shared, pfn)),
        [1, 0, 0, 1, 0, 1, 1, 0]
    );
}
