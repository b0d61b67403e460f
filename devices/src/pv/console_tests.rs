use super::*;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestMemoryMmap};

const PAGE: GuestAddress = GuestAddress(0x1000);

fn memory() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x3000)]).unwrap()
}

fn get(memory: &GuestMemoryMmap<()>, offset: u64) -> u32 {
    memory.read_obj(GuestAddress(PAGE.0 + offset)).unwrap()
}

fn set(memory: &GuestMemoryMmap<()>, offset: u64, value: u32) {
    memory
        .write_obj(value, GuestAddress(PAGE.0 + offset))
        .unwrap();
}

/// A guest's front end: writes `text` to the out ring as far as it fits.
fn guest_prints(memory: &GuestMemoryMmap<()>, text: &[u8]) -> usize {
    let (cons, prod) = (get(memory, OUT.cons), get(memory, OUT.prod));
    let room = OUT.size - prod.wrapping_sub(cons);
    let count = text.len().min(room as usize);
    for (i, byte) in text[..count].iter().enumerate() {
        let at = OUT.data + u64::from(prod.wrapping_add(i as u32) & (OUT.size - 1));
        memory.write_obj(*byte, GuestAddress(PAGE.0 + at)).unwrap();
    }
    set(memory, OUT.prod, prod.wrapping_add(count as u32));
    count
}

#[test]
fn output_without_a_reader_is_kept_up_to_the_limit_newest_last() {
    let memory = memory();
    let mut console = Console::new(&memory, PAGE).unwrap();
    let mut sent = 0u64;
    while sent < (OUTPUT_LIMIT as u64) + 10_000 {
        let line = format!("{sent:015}\n");
        assert_eq!(guest_prints(&memory, line.as_bytes()), 16);
        console.service(&memory, &mut |_| {});
        sent += 16;
    }
    assert_eq!(console.output().len(), OUTPUT_LIMIT);
    assert_eq!(console.dropped(), sent - OUTPUT_LIMIT as u64);
    let last = format!("{:015}\n", sent - 16);
    assert!(console.output().ends_with(last.as_bytes()));
}

#[test]
fn tap_sees_what_the_guest_wrote() {
    let memory = memory();
    let mut console = Console::new(&memory, PAGE).unwrap();
    guest_prints(&memory, b"hello");
    let mut seen = Vec::new();
    let effect = console.service(&memory, &mut |bytes| seen.extend_from_slice(bytes));
    assert_eq!(seen, b"hello");
    assert!(!effect.notify && effect.broken.is_none());
}

#[test]
fn input_beyond_the_ring_waits_and_then_goes_on() {
    let memory = memory();
    let mut console = Console::new(&memory, PAGE).unwrap();
    console.push_input(&[b'a'; 1024]);
    assert!(console.service(&memory, &mut |_| {}).notify);
    console.push_input(b"tail");
    assert!(!console.service(&memory, &mut |_| {}).notify);
    assert!(console.has_input());
    set(&memory, IN.cons, 1000);
    assert!(console.service(&memory, &mut |_| {}).notify);
    assert!(!console.has_input());
    assert_eq!(get(&memory, IN.prod), 1028);
}

#[test]
fn input_room_is_bounded() {
    let memory = memory();
    let mut console = Console::new(&memory, PAGE).unwrap();
    console.push_input(&vec![0; 5000]);
    assert_eq!(console.input_room(), 0);
}

#[test]
fn corrupt_indices_break_the_console_once_and_for_all() {
    let memory = memory();
    let mut console = Console::new(&memory, PAGE).unwrap();
    set(&memory, OUT.prod, 0x8000_0000);
    let first = console.service(&memory, &mut |_| {});
    assert!(matches!(first.broken, Some(RingError::Corrupt { .. })));
    set(&memory, OUT.prod, 0);
    let second = console.service(&memory, &mut |_| panic!("a broken console was read"));
    assert_eq!((second.broken, second.notify), (None, false));
    assert_eq!(console.input_room(), INPUT_LIMIT);
}

proptest! {
    #[test]
    fn any_page_contents_leave_the_console_bounded(indices: [u32; 4], later: [u32; 4]) {
        let memory = memory();
        for (i, value) in indices.iter().enumerate() {
            set(&memory, 0xc00 + 4 * i as u64, *value);
        }
        let mut console = Console::new(&memory, PAGE).unwrap();
        console.push_input(b"abc");
        console.service(&memory, &mut |_| {});
        for (i, value) in later.iter().enumerate() {
            set(&memory, 0xc00 + 4 * i as u64, *value);
        }
        console.service(&memory, &mut |_| {});
        prop_assert!(console.output().len() <= 2 * 4 * OUT.size as usize);
    }
}
