use super::*;
use noxen_control::DeviceSpec;
use std::path::Path;

fn memfd() -> File {
    File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap())
}

/// A paravirtual domain's image with memory, as an earlier version wrote it.
fn golden() -> File {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("saved-image/tests/golden");
    File::open(images.join("format-1.img")).unwrap()
}

fn state() -> Saved {
    let mut reader = Reader::open(BufReader::new(golden())).unwrap();
    Saved::read(&mut reader).unwrap().0
}

fn keyboard() -> DeviceSpec {
    DeviceSpec::Vkbd {
        devid: 0,
        frontend: "/local/domain/1/device/vkbd/0".into(),
        backend: "/local/domain/0/backend/vkbd/1/0".into(),
        width: 800,
        height: 600,
    }
}

fn goods() -> Goods {
    Goods {
        memory: vec![memfd(), memfd()],
        console: Some(memfd().into()),
        viewers: None,
        devices: vec![(keyboard(), vec![memfd().into()])],
        video: None,
    }
}

#[test]
fn domain_comes_as_it_was_given() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let gives = std::thread::spawn(move || {
        expect(&ours).unwrap();
        give(&ours, &state(), &goods()).unwrap()
    });
    let Handed {
        state: came, goods, ..
    } = receive(&theirs).unwrap();
    assert!(gives.join().unwrap() > 100);
    assert_eq!(came, state());
    assert_eq!(goods.memory.len(), 2);
    assert!(goods.console.is_some() && goods.viewers.is_none());
    assert_eq!(goods.devices[0].0, keyboard());
    assert_eq!(goods.devices[0].1.len(), 1);
}

/// What the receiver says of these parts, each with as many descriptors as it says, of `file`.
fn refused(parts: &[Part], file: &File) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for part in parts {
        let count = match part {
            Part::Memory { fds, .. } | Part::Device { fds, .. } => *fds,
            Part::State { .. } | Part::Console { .. } | Part::Viewers { .. } => 1,
            Part::Waiting { .. } | Part::End { .. } => 0,
        };
        send(&ours, part, &vec![file.as_fd(); count as usize]).unwrap();
    }
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    receive(&theirs).unwrap_err().to_string()
}

#[test]
fn peer_that_hands_over_something_else_is_refused_in_one_line() {
    let memory = |version| Part::Memory { version, fds: 2 };
    let (first, state, console) = (
        memory(VERSION),
        Part::State { fds: 1 },
        Part::Console { fds: 1 },
    );
    let device = Part::Device {
        device: Box::new(keyboard()),
        fds: 0,
    };
    let end = |devices| Part::End { devices };
    let waiting = Part::Waiting { version: VERSION };
    let (nonsense, golden) = (memfd(), golden());
    (&nonsense).write_all(&[7; 5000]).unwrap();
    let huge = memfd();
    huge.set_len(MAX_STATE + 1).unwrap();
    for (parts, file, expected) in [
        (vec![], &golden, "ended before"),
        (
            vec![memory(VERSION + 1)],
            &golden,
            "by rule 2, this one takes them by 1",
        ),
        (vec![state.clone()], &golden, "state comes where it cannot"),
        (
            vec![first.clone(), first.clone()],
            &golden,
            "memory comes where it cannot",
        ),
        (
            vec![first.clone(), waiting],
            &golden,
            "waiting comes where it cannot",
        ),
        (
            vec![first.clone(), console.clone(), console],
            &golden,
            "console comes where it cannot",
        ),
        (
            vec![first.clone(), end(0)],
            &golden,
            "no state was handed over",
        ),
        (
            vec![first.clone(), device, end(2)],
            &golden,
            "2 devices were announced, 1 came",
        ),
        (vec![first.clone(), state.clone()], &golden, "ended before"),
        (
            vec![first.clone(), state.clone(), end(0)],
            &nonsense,
            "not a valid guest state file",
        ),
        (
            vec![first.clone(), state.clone(), end(0)],
            &huge,
            "its state has more than",
        ),
        // Memory is not what the state may have.
        (
            vec![first, state, end(0)],
            &golden,
            "a page of memory comes where it cannot",
        ),
    ] {
        (&*file).rewind().unwrap();
        let line = refused(&parts, file);
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn process_that_never_waits_for_the_domain_is_named() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    send(&theirs, &Part::End { devices: 0 }, &[]).unwrap();
    assert_eq!(
        expect(&ours).unwrap_err(),
        "the new noxen-vmm says end first"
    );
    send(&theirs, &Part::Waiting { version: 9 }, &[]).unwrap();
    assert!(expect(&ours).unwrap_err().contains("by rule 9"));
    drop(theirs);
    assert_eq!(expect(&ours).unwrap_err(), "the new noxen-vmm has ended");
}
