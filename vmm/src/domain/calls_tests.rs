use super::*;
use crate::domain::region::{ram_pieces, Needs};
use crate::vstate::memory::DomainMemory;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{channel, Receiver};

fn shared() -> (Shared, Receiver<Report>) {
    let region = Region::plan(Needs {
        max_pages: 1024,
        vcpus: 2,
        image_size: 4096,
        bits32: false,
    })
    .unwrap();
    let memory = DomainMemory::new(None, &ram_pieces(1024), region.piece()).unwrap();
    let (sender, receiver) = channel();
    let shared = Shared::new(
        Log::new(None, 1, "test"),
        memory.map,
        memory.ram_file,
        region,
        1024,
        None,
        sender,
        EventFd::new(0).unwrap(),
    );
    (shared, receiver)
}

fn call(shared: &Shared, vcpu: u32, nr: u32, args: [u64; 2], data: &[u8]) -> (Served, i64) {
    let gpa = shared.region.call + u64::from(vcpu) * PAGE_SIZE;
    let at = |offset: usize| GuestAddress(gpa + offset as u64);
    shared.memory.write_obj(u64::from(nr), at(0)).unwrap();
    shared
        .memory
        .write_obj(args, at(offset_of!(Call, args)))
        .unwrap();
    shared
        .memory
        .write_slice(data, at(offset_of!(Call, data)))
        .unwrap();
    let served = serve(shared, vcpu);
    let result = shared
        .memory
        .read_obj(at(offset_of!(Call, result)))
        .unwrap();
    (served, result)
}

#[test]
fn console_io_text_is_kept() {
    let (shared, _reports) = shared();
    let (served, result) = call(&shared, 1, call::CONSOLE_IO, [5, 0], b"hello world");
    assert_eq!((served, result), (Served::Resume, 0));
    assert_eq!(lock(&shared.messages).text(), "hello");
}

#[test]
fn length_beyond_the_page_is_cut() {
    let (shared, _reports) = shared();
    call(&shared, 0, call::CONSOLE_IO, [u64::MAX, 0], b"x");
    assert_eq!(lock(&shared.messages).text().len(), CALL_DATA);
}

#[test]
fn poweroff_stops_without_a_record() {
    let (shared, _reports) = shared();
    let (served, _) = call(&shared, 0, call::SHUTDOWN, [0, 0], b"");
    assert_eq!(
        served,
        Served::Stop {
            reason: ShutdownReason::Poweroff,
            detail: None,
            record: String::new()
        }
    );
}

#[test]
fn panic_of_the_monitor_is_a_crash_that_says_so() {
    let (shared, _reports) = shared();
    let (served, _) = call(&shared, 0, call::PANIC, [4, 0], b"oops");
    let Served::Stop { reason, detail, .. } = served else {
        panic!("{served:?}");
    };
    assert_eq!(reason, ShutdownReason::Crash);
    assert_eq!(detail.unwrap(), "the monitor is broken: oops");
}

#[test]
fn vcpu_online_is_reported() {
    let (shared, reports) = shared();
    call(&shared, 0, call::VCPU_ONLINE, [1, 1], b"");
    let expected = Report::Online {
        vcpu: 1,
        online: true,
    };
    assert_eq!(reports.try_recv(), Ok(expected));
    assert_eq!(shared.wake.read().unwrap(), 1);
}

#[test]
fn ticks_are_reported_whatever_they_say() {
    let (shared, reports) = shared();
    for (due, period) in [(77, 4_000_000), (u64::MAX, 0)] {
        let (served, result) = call(&shared, 1, call::TICKS, [due, period], b"");
        assert_eq!((served, result), (Served::Resume, 0));
        assert_eq!(reports.try_recv(), Ok(Report::Ticks(Ticks { due, period })));
    }
}

#[test]
fn released_frame_reads_as_zero_and_a_foreign_one_is_refused() {
    let (shared, _reports) = shared();
    for pfn in [6u64, 7] {
        shared.ram_file.write_all_at(b"data", pfn << 12).unwrap();
    }
    let mut list = Vec::new();
    list.extend(6u64.to_le_bytes());
    let (_, result) = call(&shared, 0, call::RELEASE_FRAMES, [1, 0], &list);
    assert_eq!(result, 0);
    let content = |pfn: u64| {
        let mut bytes = [0u8; 4];
        shared
            .ram_file
            .read_exact_at(&mut bytes, pfn << 12)
            .unwrap();
        bytes
    };
    assert_eq!((content(6), &content(7)), ([0; 4], b"data"));
    for mfn in [1024u64, 0xe_0000, u64::MAX] {
        let (_, result) = call(&shared, 0, call::RELEASE_FRAMES, [1, 0], &mfn.to_le_bytes());
        assert_eq!(result, EINVAL, "{mfn:#x}");
    }
}

#[test]
fn unknown_call_is_answered_enosys() {
    let (shared, _reports) = shared();
    let (served, result) = call(&shared, 0, 999, [0, 0], b"");
    assert_eq!((served, result), (Served::Resume, ENOSYS));
}

#[test]
fn suspend_holds_its_vcpu_and_answers_that_the_guest_runs_on_unless_told_otherwise() {
    let (shared, reports) = shared();
    let (served, result) = call(&shared, 1, call::SUSPEND, [0, 0], b"");
    assert_eq!((served, result), (Served::Hold, RUNS_ON));
    assert_eq!(reports.try_recv(), Ok(Report::Suspended { vcpu: 1 }));
    answer(&shared, 1, 0);
    let at = shared.region.call + PAGE_SIZE + offset_of!(Call, result) as u64;
    let result: i64 = shared.memory.read_obj(GuestAddress(at)).unwrap();
    assert_eq!(result, 0);
}
