use super::*;
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

const PAGE: GuestAddress = GuestAddress(0x1000);
const LAYOUT: Layout = Layout {
    data: 0,
    size: 64,
    cons: 0xc00,
    prod: 0xc04,
};

fn memory() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x3000)]).unwrap()
}

fn set(memory: &GuestMemoryMmap<()>, offset: u64, value: u32) {
    memory
        .write_obj(value, GuestAddress(PAGE.0 + offset))
        .unwrap();
}

fn get(memory: &GuestMemoryMmap<()>, offset: u64) -> u32 {
    memory.read_obj(GuestAddress(PAGE.0 + offset)).unwrap()
}

#[test]
fn bytes_across_the_end_of_the_ring_stay_in_order() {
    let memory = memory();
    for offset in [LAYOUT.cons, LAYOUT.prod] {
        set(&memory, offset, u32::MAX - 9);
    }
    let mut producer = Producer::new(&memory, PAGE, LAYOUT).unwrap();
    let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
    let text: Vec<u8> = (0..40).collect();
    assert_eq!(producer.put(&memory, &text).unwrap().bytes, 40);
    let mut out = Vec::new();
    let moved = consumer
        .take(&memory, 1000, &mut |bytes| out.extend_from_slice(bytes))
        .unwrap();
    assert_eq!((moved.bytes, out), (40, text));
    assert_eq!(get(&memory, LAYOUT.cons), get(&memory, LAYOUT.prod));
}

#[test]
fn take_of_a_ring_that_was_not_full_notifies_nobody() {
    let memory = memory();
    let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
    set(&memory, LAYOUT.prod, 63);
    let moved = consumer.take(&memory, 1000, &mut |_| {}).unwrap();
    assert_eq!(
        moved,
        Moved {
            bytes: 63,
            notify: false
        }
    );
}

#[test]
fn take_of_a_full_ring_notifies_the_producer() {
    let memory = memory();
    let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
    set(&memory, LAYOUT.prod, 64);
    let moved = consumer.take(&memory, 1000, &mut |_| {}).unwrap();
    assert_eq!(
        moved,
        Moved {
            bytes: 64,
            notify: true
        }
    );
}

#[test]
fn take_respects_its_limit() {
    let memory = memory();
    let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
    set(&memory, LAYOUT.prod, 50);
    assert_eq!(consumer.take(&memory, 7, &mut |_| {}).unwrap().bytes, 7);
    assert_eq!(consumer.waiting(&memory).unwrap(), 43);
}

#[test]
fn own_index_overwritten_by_the_guest_does_not_move_us() {
    let memory = memory();
    let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
    set(&memory, LAYOUT.prod, 10);
    set(&memory, LAYOUT.cons, 0xdead);
    assert_eq!(consumer.take(&memory, 1000, &mut |_| {}).unwrap().bytes, 10);
    assert_eq!(get(&memory, LAYOUT.cons), 10);
}

#[test]
fn page_outside_memory_is_an_error() {
    let memory = memory();
    let page = GuestAddress(0x10_0000);
    assert_eq!(
        Consumer::new(&memory, page, LAYOUT).unwrap_err(),
        RingError::Page(page.0)
    );
}

proptest! {
    #[test]
    fn hostile_producer_index_is_refused_or_bounded(start: u32, prod: u32) {
        let memory = memory();
        set(&memory, LAYOUT.cons, start);
        let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
        set(&memory, LAYOUT.prod, prod);
        let claimed = prod.wrapping_sub(start);
        let mut seen = 0;
        match consumer.take(&memory, usize::MAX, &mut |bytes| seen += bytes.len()) {
            Ok(moved) => {
                prop_assert!(claimed <= LAYOUT.size);
                prop_assert_eq!(moved.bytes, claimed as usize);
                prop_assert_eq!(seen, moved.bytes);
            }
            Err(error) => {
                prop_assert!(claimed > LAYOUT.size);
                let corrupt = matches!(error, RingError::Corrupt { .. });
                prop_assert!(corrupt);
            }
        }
    }

    #[test]
    fn hostile_consumer_index_never_makes_room_that_is_not_there(start: u32, cons: u32, len in 0usize..200) {
        let memory = memory();
        set(&memory, LAYOUT.prod, start);
        let mut producer = Producer::new(&memory, PAGE, LAYOUT).unwrap();
        set(&memory, LAYOUT.cons, cons);
        let used = start.wrapping_sub(cons);
        match producer.put(&memory, &vec![1; len]) {
            Ok(moved) => {
                prop_assert!(used <= LAYOUT.size);
                prop_assert_eq!(moved.bytes, len.min((LAYOUT.size - used) as usize));
            }
            Err(_) => prop_assert!(used > LAYOUT.size),
        }
    }

    #[test]
    fn any_chunking_keeps_the_stream(start: u32, chunks in proptest::collection::vec(1usize..100, 1..40)) {
        let memory = memory();
        set(&memory, LAYOUT.prod, start);
        set(&memory, LAYOUT.cons, start);
        let mut producer = Producer::new(&memory, PAGE, LAYOUT).unwrap();
        let mut consumer = Consumer::new(&memory, PAGE, LAYOUT).unwrap();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for (turn, chunk) in chunks.into_iter().enumerate() {
            let bytes = vec![turn as u8; chunk];
            let moved = producer.put(&memory, &bytes).unwrap();
            sent.extend_from_slice(&bytes[..moved.bytes]);
            consumer.take(&memory, chunk / 2 + 1, &mut |bytes| got.extend_from_slice(bytes)).unwrap();
        }
        consumer.take(&memory, usize::MAX, &mut |bytes| got.extend_from_slice(bytes)).unwrap();
        prop_assert_eq!(sent, got);
    }
}
