use super::*;
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

const PAGES: u64 = 64;
const HEADER: u64 = 0x1000;
const LIST: u64 = 0x2000;
/// First frame of the picture; the frames follow one another backwards.
const LAST: u64 = 40;

/// A guest whose screen is 64 x 48 pixels of 32 bits: three pages.
fn guest(width: Width) -> GuestMemoryMmap {
    let memory =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), (PAGES * PAGE) as usize)]).unwrap();
    for (at, value) in [(16u64, 64u32), (20, 48), (24, 256), (28, 48 * 256)] {
        memory.write_obj(value, GuestAddress(HEADER + at)).unwrap();
    }
    memory.write_obj(32u8, GuestAddress(HEADER + 32)).unwrap();
    let (size, start) = width.directory();
    let put = |at: u64, frame: u64| {
        memory
            .write_slice(&frame.to_le_bytes()[..size as usize], GuestAddress(at))
            .unwrap();
    };
    put(HEADER + start, LIST / PAGE);
    for page in 0..3 {
        put(LIST + page * size, LAST - page);
    }
    memory
}

fn screen(memory: &GuestMemoryMmap, width: Width) -> Result<Screen, FbError> {
    Screen::new(memory, GuestAddress(HEADER), width, PAGES, 1 << 20)
}

/// Puts an event on the guest's ring.
fn say(memory: &GuestMemoryMmap, index: u32, words: &[i32]) {
    for (i, word) in words.iter().enumerate() {
        let at = HEADER + 2048 + u64::from(index % 51) * 40 + 4 * i as u64;
        memory.write_obj(*word, GuestAddress(at)).unwrap();
    }
    memory
        .write_obj(index + 1, GuestAddress(HEADER + 12))
        .unwrap();
}

#[test]
fn lines_are_read_through_the_guests_lists_of_frames() {
    for width in [Width::Bits64, Width::Bits32] {
        let memory = guest(width);
        let screen = screen(&memory, width).unwrap();
        // Line 20 is in the second page, which is frame LAST - 1.
        let at = (LAST - 1) * PAGE + (20 * 256) % PAGE;
        memory.write_slice(&[7; 256], GuestAddress(at)).unwrap();
        let mut line = [0; 256];
        screen.read_line(&memory, 20, &mut line).unwrap();
        assert_eq!(line, [7; 256]);
        screen.read_line(&memory, 21, &mut line).unwrap();
        assert_eq!(line, [0; 256]);
    }
}

#[test]
fn updates_are_clipped_and_resizes_checked() {
    let memory = guest(Width::Bits64);
    let mut screen = screen(&memory, Width::Bits64).unwrap();
    say(&memory, 0, &[2, -5, 40, 20, 100]);
    say(&memory, 1, &[2, 64, 0, 1, 1]);
    say(&memory, 2, &[2, i32::MAX, i32::MAX, i32::MAX, i32::MIN]);
    say(&memory, 3, &[99]);
    say(&memory, 4, &[3, 32, 24, 128, 32, 256]);
    let geometry = Geometry {
        width: 32,
        height: 24,
        depth: 32,
        stride: 128,
        offset: 256,
    };
    let first = Rectangle {
        x: 0,
        y: 40,
        width: 15,
        height: 8,
    };
    assert_eq!(
        screen.changes(&memory).unwrap(),
        [Change::Update(first), Change::Resize(geometry)]
    );
    assert!(screen.set_period(&memory, Some(40)).unwrap());
    let event: [u32; 2] =
        [0, 4].map(|at| memory.read_obj(GuestAddress(HEADER + 1024 + at)).unwrap());
    assert_eq!(event, [1, 40]);
    // One line more than there is memory for.
    say(&memory, 5, &[3, 64, 49, 256, 32, 0]);
    assert!(matches!(
        screen.changes(&memory),
        Err(FbError::Geometry { .. })
    ));
}

#[test]
fn screen_that_cannot_be_is_refused_with_the_reason() {
    let with = |at: u64, value: u32| {
        let memory = guest(Width::Bits64);
        memory.write_obj(value, GuestAddress(HEADER + at)).unwrap();
        screen(&memory, Width::Bits64)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(with(16, 0).contains("0x48"));
    assert!(with(20, u32::MAX).contains("64x-1"));
    assert!(with(24, 255).contains("255 bytes a line"));
    assert!(with(32, 15).contains("15 bits"));
    assert!(with(28, 2 << 20).contains("at most 1048576"));
    assert!(with(40, PAGES as u32).contains("frame 0x40"));
    assert!(with(4, 99).contains("corrupt"));
    let memory = guest(Width::Bits64);
    memory.write_obj(u64::MAX, GuestAddress(LIST + 8)).unwrap();
    assert!(screen(&memory, Width::Bits64).is_err());
}

proptest! {
    #[test]
    fn any_page_is_refused_or_shows_only_the_guests_memory(
        words in prop::collection::vec((0u64..64, any::<u32>()), 0..8),
        events in prop::collection::vec(any::<[i32; 6]>(), 0..8),
        y: u32,
    ) {
        let memory = guest(Width::Bits64);
        for (word, value) in words {
            memory.write_obj(value, GuestAddress(HEADER + word * 4)).unwrap();
        }
        if let Ok(mut screen) = screen(&memory, Width::Bits64) {
            for (index, event) in events.iter().enumerate() {
                say(&memory, index as u32, event);
            }
            let _ = screen.changes(&memory);
            let mut line = vec![0; MAX_SIDE as usize * 4];
            screen.read_line(&memory, y, &mut line).unwrap();
        }
    }
}
