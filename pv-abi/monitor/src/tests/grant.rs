use super::error;
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::grant_table::*;
use noxen_pv_abi::Hypercall;

const SELF: u16 = 0x7ff0;

fn op(seat: &mut Seat, cmd: GnttabOp, bytes: &[u8]) -> i64 {
    seat.put(ARGS, bytes);
    seat.hypercall(Hypercall::GRANT_TABLE_OP, &[u64::from(cmd.0), ARGS, 1])
}

fn setup(dom: u16, nr_frames: u32, frame_list: u64) -> [u8; SetupTable64::SIZE] {
    SetupTable64 {
        dom,
        nr_frames,
        status: 77,
        frame_list,
        ..Default::default()
    }
    .to_bytes()
}

fn status_at(seat: &Seat, offset: u64) -> i16 {
    i16::from_le_bytes(seat.get(ARGS + offset, 2).try_into().unwrap())
}

/// As many as noxen-vmm gives (`region::GRANT_FRAMES`).
#[test]
fn setup_table_hands_out_64_frames_and_no_more() {
    let world = World::with(1, |info| {
        info.grant_gpa = info.region_gpa + info.region_size;
        info.nr_grant_frames = 64;
        info.region_size += 64 << 12;
    });
    let mut seat = world.running();
    let list = ARGS + 0x100;
    let ask = |seat: &mut Seat, frames| {
        let answer = op(seat, GnttabOp::SETUP_TABLE, &setup(SELF, frames, list));
        (answer, status_at(seat, 8))
    };
    assert_eq!(ask(&mut seat, 64), (0, 0));
    let first = world.dom.info.grant_gpa >> 12;
    let frames: Vec<u64> = (first..first + 64).collect();
    assert_eq!(seat.words(list, 64), frames);
    let (answer, status) = ask(&mut seat, 65);
    assert!(answer == 0 && status < 0, "{answer} {status}");
}

#[test]
fn setup_table_hands_out_the_frames_and_grows() {
    let world = World::new(1);
    let mut seat = world.running();
    assert_eq!(
        op(
            &mut seat,
            GnttabOp::SETUP_TABLE,
            &setup(SELF, 3, ARGS + 0x100)
        ),
        0
    );
    assert_eq!(status_at(&seat, 8), 0);
    let first = world.dom.info.grant_gpa >> 12;
    assert_eq!(
        seat.words(ARGS + 0x100, 4),
        [first, first + 1, first + 2, 0]
    );
    let asked = QuerySize {
        dom: DOMID,
        ..Default::default()
    };
    assert_eq!(op(&mut seat, GnttabOp::QUERY_SIZE, &asked.to_bytes()), 0);
    assert_eq!(
        (
            seat.get_u32(ARGS + 4),
            seat.get_u32(ARGS + 8),
            status_at(&seat, 12)
        ),
        (3, 4, 0)
    );
}

#[test]
fn setup_table_refuses_too_much_and_other_domains_by_status() {
    let mut seat = World::new(1).running();
    assert_eq!(
        op(
            &mut seat,
            GnttabOp::SETUP_TABLE,
            &setup(SELF, 5, ARGS + 0x100)
        ),
        0
    );
    assert_eq!(status_at(&seat, 8), GrantStatus::GENERAL_ERROR.0);
    assert_eq!(
        op(&mut seat, GnttabOp::SETUP_TABLE, &setup(3, 1, ARGS + 0x100)),
        0
    );
    assert_eq!(status_at(&seat, 8), GrantStatus::PERMISSION_DENIED.0);
    assert_eq!(
        op(
            &mut seat,
            GnttabOp::SETUP_TABLE,
            &setup(SELF, 2, UNMAPPED - 8)
        ),
        0
    );
    assert_eq!(status_at(&seat, 8), GrantStatus::BAD_VIRT_ADDR.0);
}

#[test]
fn single_operations_need_count_one() {
    let mut seat = World::new(1).running();
    for cmd in [2, 3, 6, 8, 9, 10] {
        for count in [0, 2] {
            let answer = seat.hypercall(Hypercall::GRANT_TABLE_OP, &[cmd, ARGS, count]);
            assert_eq!(answer, error(Errno::EINVAL), "{cmd} {count}");
        }
    }
}

#[test]
fn version_stays_one() {
    let mut seat = World::new(1).running();
    assert_eq!(
        op(
            &mut seat,
            GnttabOp::SET_VERSION,
            &SetVersion { version: 1 }.to_bytes()
        ),
        0
    );
    let answer = op(
        &mut seat,
        GnttabOp::SET_VERSION,
        &SetVersion { version: 2 }.to_bytes(),
    );
    assert_eq!(answer, error(Errno::EINVAL));
    assert_eq!(seat.get_u32(ARGS), 1);
    let asked = GetVersion {
        dom: SELF,
        ..Default::default()
    };
    assert_eq!(op(&mut seat, GnttabOp::GET_VERSION, &asked.to_bytes()), 0);
    assert_eq!(seat.get_u32(ARGS + 4), 1);
}

#[test]
fn dump_is_accepted_and_status_frames_are_not() {
    let mut seat = World::new(1).running();
    assert_eq!(
        op(
            &mut seat,
            GnttabOp::DUMP_TABLE,
            &DumpTable {
                dom: SELF,
                status: 5
            }
            .to_bytes()
        ),
        0
    );
    assert_eq!(status_at(&seat, 2), 0);
    let asked = GetStatusFrames64 {
        dom: SELF,
        nr_frames: 1,
        ..Default::default()
    };
    assert_eq!(
        op(&mut seat, GnttabOp::GET_STATUS_FRAMES, &asked.to_bytes()),
        0
    );
    assert_eq!(status_at(&seat, 6), GrantStatus::GENERAL_ERROR.0);
}

#[test]
fn mapping_and_copying_answer_a_status_for_every_element() {
    let world = World::new(1);
    let mut seat = world.running();
    for (cmd, size, at, status) in [
        (
            GnttabOp::MAP_GRANT_REF,
            32u64,
            18u64,
            GrantStatus::BAD_DOMAIN,
        ),
        (GnttabOp::UNMAP_GRANT_REF, 24, 20, GrantStatus::BAD_HANDLE),
        (GnttabOp::UNMAP_AND_REPLACE, 24, 20, GrantStatus::BAD_HANDLE),
        (GnttabOp::TRANSFER, 24, 16, GrantStatus::BAD_DOMAIN),
        (GnttabOp::COPY, 40, 36, GrantStatus::BAD_DOMAIN),
    ] {
        seat.put(ARGS, &[0; 400]);
        assert_eq!(
            seat.hypercall(Hypercall::GRANT_TABLE_OP, &[u64::from(cmd.0), ARGS, 3]),
            0
        );
        let seen: Vec<i16> = (0..4).map(|i| status_at(&seat, i * size + at)).collect();
        assert_eq!(seen, [status.0, status.0, status.0, 0], "{cmd}");
    }
    assert_eq!(
        world.counter(0, noxen_monitor_abi::counters::REFUSED + 20),
        15
    );
}

#[test]
fn long_lists_end_at_the_first_fault() {
    let mut seat = World::new(1).running();
    let answer = seat.hypercall(Hypercall::GRANT_TABLE_OP, &[0, UNMAPPED - 64, 0x7fff_ffff]);
    assert_eq!(answer, error(Errno::EFAULT));
    let answer = seat.hypercall(Hypercall::GRANT_TABLE_OP, &[0, ARGS, 0x8000_0000]);
    assert_eq!(answer, error(Errno::EINVAL));
}

#[test]
fn later_operations_are_not_supported() {
    let mut seat = World::new(1).running();
    for (cmd, errno) in [
        (11, Errno::EOPNOTSUPP),
        (12, Errno::EOPNOTSUPP),
        (13, Errno::ENOSYS),
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::GRANT_TABLE_OP, &[cmd, ARGS, 1]),
            error(errno)
        );
    }
}
