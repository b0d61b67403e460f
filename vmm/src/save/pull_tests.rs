use super::*;
use crate::save::job::Progress;
use crate::save::memory::{Frames, MONITOR};
use crate::save::push::Push;
use crate::vstate::memory::{DomainMemory, Piece};
use noxen_saved_image::state::Clock;
use noxen_saved_image::{Header, Writer};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

const REGION: u64 = 5 << 30;
/// Where the second piece of RAM begins for the guest, and in the memory.
const UPPER: u64 = 4 << 30;
const LOWER_LENGTH: u64 = 4 << 20;
const PAGES: u64 = 6 << 8;

fn memory() -> DomainMemory {
    let piece = |gpa, len| Piece { gpa, len };
    let ram = [piece(0, LOWER_LENGTH), piece(UPPER, 2 << 20)];
    DomainMemory::new(None, &ram, piece(REGION, 2 << 20)).unwrap()
}

fn gpa(page: u64) -> GuestAddress {
    let offset = page * PAGE;
    GuestAddress(match offset < LOWER_LENGTH {
        true => offset,
        false => UPPER + offset - LOWER_LENGTH,
    })
}

fn word(page: u64) -> u64 {
    page ^ 0x5a5a_5a5a_5a5a_5a5a
}

fn log() -> Log {
    Log::new(None, 1, "test")
}

fn link() -> (File, File) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = |end: UnixStream| File::from(OwnedFd::from(end));
    (file(ours), file(theirs))
}

fn missing(pages: impl IntoIterator<Item = u64>) -> Missing {
    let mut missing = Missing::new(PAGES);
    assert!(pages.into_iter().all(|page| missing.add(page)));
    missing
}

/// A target that lacks `missing`, and has stale words there; none where this process may not have userfaultfd.
fn target(to: &DomainMemory, lacks: &Missing, link: File) -> Option<Pull> {
    let other = (REGION, MONITOR);
    let mut pull = Pull::prepare(&to.map, other, link, log()).ok()?;
    let mut bytes = Vec::new();
    let header = Header::of_stream("test", 0, "name");
    let mut writer = Writer::begin(&mut bytes, "", &header).unwrap();
    for page in 0..PAGES {
        let mut old = vec![0; PAGE as usize];
        // Pages that are here, too, but for some that hold nothing.
        let value = if lacks.has(page) { 7 } else { word(page) };
        old[..8].copy_from_slice(&value.to_le_bytes());
        if page % 3 != 1 || lacks.has(page) {
            writer.memory_again(RAM, page * PAGE, &old).unwrap();
        }
    }
    lacks.write(&mut writer).unwrap();
    writer.end().unwrap();
    let sink = Sink::beside(&to.map, other).unwrap();
    let mut reader = Reader::open(&bytes[..]).unwrap();
    while let Some(record) = reader.next().unwrap() {
        if let Some(record) = pull.note(record).unwrap() {
            sink.put(record).unwrap();
        }
    }
    assert_eq!(&pull.missing, lacks);
    Some(pull)
}

fn run(pull: Pull) -> std::thread::JoinHandle<Result<u64, ImageError>> {
    std::thread::spawn(move || pull.run(Some("name".into())))
}

/// Whoever sends pages, by hand.
struct Source {
    link: File,
    writer: Writer<File>,
}

impl Source {
    fn new(link: File) -> Source {
        let header = Header::of_stream("test", 0, "name");
        let writer = Writer::begin(link.try_clone().unwrap(), "", &header).unwrap();
        Source { link, writer }
    }

    fn send(&mut self, page: u64, value: u64) {
        let mut bytes = vec![0; PAGE as usize];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        self.writer.memory_again(RAM, page * PAGE, &bytes).unwrap();
    }

    fn asked(&mut self) -> u64 {
        let mut word = [0; 8];
        self.link.read_exact(&mut word).unwrap();
        u64::from_le_bytes(word)
    }
}

#[test]
fn page_that_is_touched_is_asked_for_once_and_comes_before_the_others() {
    let to = memory();
    let lacks = missing([2, 3, 40, 1100, 1101]);
    let (ours, theirs) = link();
    let Some(pull) = target(&to, &lacks, theirs) else {
        return;
    };
    let running = run(pull);
    let mut source = Source::new(ours);
    let (seen, sees) = channel();
    let map = to.map.clone();
    std::thread::spawn(move || {
        // One that is here, one that holds nothing, two that are missing.
        for page in [0, 4, 1100, 40] {
            let found: u64 = map.read_obj(gpa(page)).unwrap();
            seen.send((page, found)).unwrap();
        }
        map.write_obj(99u64, gpa(1100)).unwrap();
        seen.send((1100, 99)).unwrap();
    });
    let next = || sees.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!([next(), next()], [(0, word(0)), (4, 0)]);
    assert_eq!(source.asked(), 1100 * PAGE);
    assert!(sees.try_recv().is_err(), "it saw a page that is not here");
    source.send(1100, word(1100));
    assert_eq!(next(), (1100, word(1100)));
    assert_eq!(source.asked(), 40 * PAGE);
    // What is empty by now counts, too.
    source.send(40, 0);
    assert_eq!([next(), next()], [(40, 0), (1100, 99)]);
    for page in [2, 3, 1101] {
        source.send(page, word(page));
    }
    // A page that the guest has written since is left alone, and so is one that was never missing.
    source.send(1100, 5);
    source.send(0, 5);
    let Source { mut link, writer } = source;
    writer.end().unwrap();
    assert_eq!(running.join().unwrap().unwrap(), 2);
    let mut last = Vec::new();
    link.read_to_end(&mut last).unwrap();
    assert_eq!(last, ALL.to_le_bytes());
    for (page, value) in [
        (0, word(0)),
        (2, word(2)),
        (3, word(3)),
        (40, 0),
        (1100, 99),
    ] {
        let found: u64 = to.map.read_obj(gpa(page)).unwrap();
        assert_eq!(found, value, "{page}");
    }
}

#[test]
fn pages_that_do_not_come_or_do_not_belong_there_are_an_error() {
    type Act = fn(&mut Source);
    let cases: [(Act, bool, &str); 5] = [
        (|_| {}, true, "1 pages did not"),
        (|_| {}, false, "ends"),
        (
            |source| source.send(PAGES, 1),
            true,
            "where the domain has none",
        ),
        (
            |source| source.writer.memory_again("bios", 0, &[1; 4096]).unwrap(),
            true,
            "where the domain has none",
        ),
        (
            |source| {
                let clock = Clock {
                    tsc: 0,
                    tsc_khz: 0,
                    host_ns: 0,
                };
                source.writer.unit(&clock).unwrap();
            },
            true,
            "where pages should",
        ),
    ];
    for (act, ends, wanted) in cases {
        let to = memory();
        let (ours, theirs) = link();
        let Some(pull) = target(&to, &missing([5]), theirs) else {
            return;
        };
        let running = run(pull);
        let mut source = Source::new(ours);
        act(&mut source);
        match ends {
            // The other side may be gone by then.
            true => drop(source.writer.end()),
            false => drop(source),
        }
        let error = running.join().unwrap().unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn pages_of_another_move_are_not_taken() {
    for token in [None, Some("other".to_owned())] {
        let to = memory();
        let (ours, theirs) = link();
        let Some(pull) = target(&to, &missing([5]), theirs) else {
            return;
        };
        let _source = Source::new(ours);
        let error = pull.run(token).unwrap_err().to_string();
        assert!(error.contains("another move's"), "{error}");
    }
}

/// A source with words in its pages, all of `lacks` to be sent.
fn push(from: &DomainMemory, link: File) -> Push {
    for page in 0..PAGES {
        from.map.write_obj(word(page), gpa(page)).unwrap();
    }
    let wake = EventFd::new(0).unwrap();
    let hub = crate::domain::hub::Hub::new(log(), from.map.clone(), channel().0, wake);
    Push::new(Arc::new(hub), (REGION, MONITOR), link, "name").unwrap()
}

#[test]
fn guest_finds_each_page_right_while_all_are_pushed_to_it() {
    let (from, to) = (memory(), memory());
    let lacks = missing((0..PAGES).filter(|page| page % 5 != 2));
    let (ours, theirs) = link();
    let source = push(&from, ours);
    let Some(pull) = target(&to, &lacks, theirs) else {
        return;
    };
    let running = run(pull);
    let map = to.map.clone();
    let sent = lacks.clone();
    let touches = std::thread::spawn(move || {
        // Backwards, so that it is ahead of what comes by itself.
        for page in (0..PAGES).rev() {
            let found: u64 = map.read_obj(gpa(page)).unwrap();
            let empty = page % 3 == 1 && !sent.has(page);
            assert_eq!(found, if empty { 0 } else { word(page) }, "{page}");
        }
    });
    let pages = source.run(lacks.clone(), &Progress::default()).unwrap();
    assert_eq!(pages.bytes, lacks.left() * PAGE);
    touches.join().unwrap();
    assert_eq!(running.join().unwrap().unwrap(), pages.asked);
}

#[test]
fn source_notices_who_lets_go_and_who_says_nonsense() {
    for (words, wanted) in [
        (&[][..], "let go"),
        (&[8 * PAGE][..], "let go"),
        (&[ALL][..], "that were not sent"),
    ] {
        let from = memory();
        let (ours, mut theirs) = link();
        let source = push(&from, ours);
        for word in words {
            theirs.write_all(&word.to_le_bytes()).unwrap();
        }
        if words == [ALL] {
            // More than a connection holds, so that not all can be sent by then.
            let pushed = std::thread::spawn(move || {
                let all = missing(0..PAGES);
                source.run(all, &Progress::default())
            });
            let error = drained(theirs, pushed);
            assert!(
                error.contains(wanted) || error.contains("failed"),
                "{error}"
            );
            continue;
        }
        drop(theirs);
        let all = missing(0..PAGES);
        let error = source.run(all, &Progress::default()).unwrap_err();
        assert!(
            error.contains(wanted) || error.contains("failed"),
            "{error}"
        );
    }
}

type Pushed = std::thread::JoinHandle<Result<noxen_control::message::Pages, String>>;

fn drained(mut link: File, pushed: Pushed) -> String {
    let mut all = Vec::new();
    link.read_to_end(&mut all).unwrap();
    pushed.join().unwrap().unwrap_err()
}

#[test]
fn frames_of_ram_are_missing_and_others_and_those_that_stay_are_not() {
    let from = memory();
    let frame = |gpa: u64| gpa / PAGE;
    let (mut frames, mut staying) = (Frames::default(), Frames::default());
    frames.add([3, 9, frame(UPPER), frame(REGION) + 1]);
    staying.add([9]);
    let found = frames.take_ram(&from.map, REGION, &staying);
    assert_eq!(found, missing([3, LOWER_LENGTH / PAGE]));
    assert_eq!(frames.bytes(), 2 * PAGE);
}
