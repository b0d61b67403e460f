use super::*;
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap()
}

fn write(memory: &GuestMemoryMmap, at: u64, value: u32) {
    memory.write_obj(value, GuestAddress(at)).unwrap();
}

fn read(memory: &GuestMemoryMmap, at: u64) -> u32 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn request_spanning_two_pages_is_read_whole() {
    let memory = memory();
    // The second page of the ring lies before the first one.
    let pages = vec![GuestAddress(0x3000), GuestAddress(0x1000)];
    let mut ring = BackRing::new(&memory, pages, 112).unwrap();
    assert_eq!(ring.entries(), 64);
    let request: Vec<u8> = (0..112).collect();
    write(&memory, 0x3000, 37);
    let mut got = [0u8; 112];
    for _ in 0..36 {
        assert!(ring.next_request(&memory, &mut got).unwrap());
    }
    // Entry 36 starts at 64 + 36 * 112 = 4096.
    assert_eq!(ring.runs(35, 112).count(), 1);
    memory.write_slice(&request, GuestAddress(0x1000)).unwrap();
    assert!(ring.next_request(&memory, &mut got).unwrap());
    assert_eq!(&got[..], &request[..]);
    assert!(!ring.next_request(&memory, &mut got).unwrap());
    // An entry size that does not divide the page: 64 + 37 * 108 = 4060.
    let pages = vec![GuestAddress(0x5000), GuestAddress(0x4000)];
    let mut ring = BackRing::new(&memory, pages, 108).unwrap();
    write(&memory, 0x5000, 38);
    memory
        .write_slice(&request[..36], GuestAddress(0x5000 + 4060))
        .unwrap();
    memory
        .write_slice(&request[36..108], GuestAddress(0x4000))
        .unwrap();
    for _ in 0..38 {
        assert!(ring.next_request(&memory, &mut got).unwrap());
    }
    assert_eq!(&got[..108], &request[..108]);
}

#[test]
fn response_is_seen_and_notified_as_asked() {
    let memory = memory();
    let mut ring = BackRing::new(&memory, vec![GuestAddress(0)], 16).unwrap();
    write(&memory, 0, 2);
    write(&memory, RSP_EVENT, 2);
    let mut got = [0u8; 16];
    assert!(ring.next_request(&memory, &mut got).unwrap());
    ring.push_response(&memory, &[7; 16]).unwrap();
    assert_eq!(read(&memory, RSP_PROD), 0);
    assert!(!ring.publish(&memory).unwrap());
    assert_eq!(read(&memory, RSP_PROD), 1);
    assert!(ring.next_request(&memory, &mut got).unwrap());
    ring.push_response(&memory, &[8; 16]).unwrap();
    assert!(ring.publish(&memory).unwrap());
    assert_eq!(
        ring.push_response(&memory, &[9; 16]),
        Err(SringError::Unasked)
    );
}

#[test]
fn ask_for_more_finds_a_request_that_came_meanwhile() {
    let memory = memory();
    let ring = BackRing::new(&memory, vec![GuestAddress(0)], 16).unwrap();
    assert!(!ring.ask_for_more(&memory).unwrap());
    assert_eq!(read(&memory, REQ_EVENT), 1);
    write(&memory, REQ_PROD, 1);
    assert!(ring.ask_for_more(&memory).unwrap());
}

#[test]
fn ring_goes_on_after_its_last_response() {
    let memory = memory();
    write(&memory, RSP_PROD, u32::MAX);
    write(&memory, REQ_PROD, 1);
    let mut ring = BackRing::new(&memory, vec![GuestAddress(0)], 16).unwrap();
    let mut got = [0u8; 16];
    assert!(ring.next_request(&memory, &mut got).unwrap());
    assert!(ring.next_request(&memory, &mut got).unwrap());
    assert!(!ring.next_request(&memory, &mut got).unwrap());
}

#[test]
fn ring_of_odd_size_or_outside_memory_is_refused() {
    let memory = memory();
    for count in [0, 3, 32] {
        let pages = vec![GuestAddress(0); count];
        let refused = BackRing::new(&memory, pages, 112).unwrap_err();
        assert_eq!(refused, SringError::Pages(count));
    }
    let refused = BackRing::new(&memory, vec![GuestAddress(0x10_0000)], 112);
    assert_eq!(refused.unwrap_err(), SringError::Memory);
}

proptest! {
    /// Whatever the front end writes into the header: never more requests taken than the ring has
    /// entries without a response in between, and never a panic.
    #[test]
    fn wild_indices_are_refused_or_bounded(
        steps in proptest::collection::vec((any::<u8>(), prop_oneof![0u32..70, any::<u32>()]), 1..200),
        start in prop_oneof![Just(0u32), any::<u32>()],
    ) {
        let memory = memory();
        write(&memory, RSP_PROD, start);
        write(&memory, REQ_PROD, start);
        let mut ring = BackRing::new(&memory, vec![GuestAddress(0), GuestAddress(0x1000)], 112).unwrap();
        let mut outstanding = 0u32;
        let mut entry = [0u8; 112];
        for (kind, value) in steps {
            match kind % 5 {
                0 => write(&memory, REQ_PROD, start.wrapping_add(value)),
                1 => write(&memory, RSP_PROD, value),
                2 => {
                    if matches!(ring.next_request(&memory, &mut entry), Ok(true)) {
                        outstanding += 1;
                    }
                }
                3 => match ring.push_response(&memory, &entry[..16]) {
                    Ok(()) => outstanding -= 1,
                    Err(error) => {
                        prop_assert_eq!(error, SringError::Unasked);
                        prop_assert_eq!(outstanding, 0);
                    }
                },
                _ => {
                    let _ = ring.ask_for_more(&memory);
                    let _ = ring.publish(&memory);
                }
            }
            prop_assert!(outstanding <= ring.entries());
        }
    }
}
