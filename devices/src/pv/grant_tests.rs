use super::*;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestMemoryMmap};

const TABLE: u64 = 0x10_000;
const RAM_END: u64 = 0x10;

/// 16 pages of RAM, then the table of one page.
fn memory() -> (GuestMemoryMmap, GrantTable) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x11_000)]).unwrap();
    let table = GrantTable::new(GuestAddress(TABLE), 1, RAM_END);
    (memory, table)
}

fn set(memory: &GuestMemoryMmap, gref: u32, flags: u16, domid: u16, frame: u32) {
    let at = TABLE + u64::from(gref) * 8;
    let word = u32::from(flags) | u32::from(domid) << 16;
    memory.write_obj(word, GuestAddress(at)).unwrap();
    memory.write_obj(frame, GuestAddress(at + 4)).unwrap();
}

fn flags(memory: &GuestMemoryMmap, gref: u32) -> u16 {
    memory
        .read_obj(GuestAddress(TABLE + u64::from(gref) * 8))
        .unwrap()
}

#[test]
fn grant_is_marked_while_in_use() {
    let (memory, table) = memory();
    set(&memory, 9, 1, 0, 3);
    let grant = table.map(&memory, 9, Access::Write).unwrap();
    assert_eq!(grant.page(), GuestAddress(0x3000));
    assert_eq!(flags(&memory, 9), 1 | GTF_READING | GTF_WRITING);
    table.unmap(&memory, grant);
    assert_eq!(flags(&memory, 9), 1);
}

#[test]
fn read_only_grant_is_read_but_not_written() {
    let (memory, table) = memory();
    set(&memory, 9, 1 | GTF_READONLY, 0, 3);
    let refused = table.map(&memory, 9, Access::Write);
    assert_eq!(refused, Err(GrantError::ReadOnly(9)));
    let grant = table.map(&memory, 9, Access::Read).unwrap();
    assert_eq!(flags(&memory, 9), 1 | GTF_READONLY | GTF_READING);
    table.unmap(&memory, grant);
}

#[test]
fn grant_to_another_domain_or_of_another_kind_is_refused() {
    let (memory, table) = memory();
    for (kind, domid) in [(1, 7), (0, 0), (2, 0), (3, 0), (1 | GTF_SUB_PAGE, 0)] {
        set(&memory, 9, kind, domid, 3);
        let refused = table.map(&memory, 9, Access::Read);
        assert!(matches!(refused, Err(GrantError::NotGranted(9, _))));
        assert_eq!(flags(&memory, 9), kind);
    }
}

#[test]
fn frame_outside_ram_is_refused_and_not_marked() {
    let (memory, table) = memory();
    for frame in [RAM_END as u32, RAM_END as u32 + 1, u32::MAX] {
        set(&memory, 9, 1, 0, frame);
        let refused = table.map(&memory, 9, Access::Write);
        assert_eq!(refused, Err(GrantError::Frame(9, frame)));
        assert_eq!(flags(&memory, 9), 1);
    }
}

#[test]
fn what_lies_in_the_hole_of_ram_is_not_the_guests() {
    let (memory, table) = memory();
    let table = table.without(4..6);
    for (frame, is_ram) in [(3, true), (4, false), (5, false), (6, true)] {
        set(&memory, 9, 1, 0, frame);
        let mapped = table.map(&memory, 9, Access::Write);
        assert_eq!(mapped.is_ok(), is_ram, "{frame}: {mapped:?}");
        if let Ok(grant) = mapped {
            table.unmap(&memory, grant);
        }
        assert_eq!(flags(&memory, 9), 1);
    }
}

proptest! {
    /// Whatever is in the table: what is mapped was granted, lies in RAM, and marks only its own entry.
    #[test]
    fn wild_table_gives_no_page_beyond_ram(
        words in proptest::collection::vec(any::<u32>(), 1024),
        grefs in proptest::collection::vec(prop_oneof![0u32..520, any::<u32>()], 1..40),
        write in any::<bool>(),
    ) {
        let (memory, table) = memory();
        for (index, word) in words.iter().enumerate() {
            // Half of the entries are plausible, so that some are mapped.
            let word = match index % 4 {
                2 => 1 | word & u32::from(GTF_READONLY),
                3 => word % 20,
                _ => *word,
            };
            memory.write_obj(word, GuestAddress(TABLE + index as u64 * 4)).unwrap();
        }
        let access = if write { Access::Write } else { Access::Read };
        for gref in grefs {
            let mut before = vec![0u8; 4096];
            memory.read_slice(&mut before, GuestAddress(TABLE)).unwrap();
            if let Ok(grant) = table.map(&memory, gref, access) {
                prop_assert!(grant.page().0 < RAM_END * PAGE_SIZE);
                let entry = &before[gref as usize * 8..][..8];
                prop_assert_eq!(entry[0] & 3, 1);
                prop_assert_eq!(&entry[2..4], &[0, 0]);
                prop_assert!(!write || u16::from(entry[0]) & GTF_READONLY == 0);
                table.unmap(&memory, grant);
                before[gref as usize * 8] &= !(marks(access) as u8);
            }
            let mut after = vec![0u8; 4096];
            memory.read_slice(&mut after, GuestAddress(TABLE)).unwrap();
            prop_assert_eq!(before, after);
        }
    }
}
