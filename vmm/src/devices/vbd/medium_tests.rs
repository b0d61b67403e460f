use super::*;
use noxen_control::device::{DeviceClass, DeviceId, DiskImage, Engine, ImageFormat};
use rustix::fs::{memfd_create, MemfdFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{channel, Receiver};

const SIZE: usize = 256 << 10;

fn config(readonly: bool) -> Config {
    Config {
        id: DeviceId {
            class: DeviceClass::Vbd,
            devid: 768,
        },
        image: DiskImage {
            path: "test".into(),
            format: ImageFormat::Raw,
            direct: false,
            engine: Engine::Auto,
            export: String::new(),
        },
        readonly,
        cdrom: false,
        sector_size: None,
        physical_sector_size: None,
        persistent: false,
    }
}

fn file(byte: u8) -> File {
    let file = File::from(memfd_create("medium", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(&vec![byte; SIZE], 0).unwrap();
    file
}

fn loaded(file: &File, readonly: bool) -> Loaded {
    let fd = file.try_clone().unwrap().into();
    Loaded::open(&config(readonly), vec![fd]).unwrap()
}

struct Rig {
    tray: Tray,
    head: Box<dyn Medium>,
    notified: Receiver<()>,
    logged: Receiver<String>,
}

fn rig(inside: Option<Loaded>) -> Rig {
    let (tell, notified) = channel();
    let (line, logged) = channel();
    let tray = Tray::new(
        "drive",
        inside,
        move || {
            let _ = tell.send(());
        },
        move |text| {
            let _ = line.send(text);
        },
    )
    .unwrap();
    Rig {
        head: tray.medium(),
        tray,
        notified,
        logged,
    }
}

impl Rig {
    fn ask(&mut self, what: What) -> Result<Vec<u8>, Failed> {
        self.head.begin(Request { token: 7, what });
        self.notified.recv().unwrap();
        let answer = self.head.finished().unwrap();
        assert_eq!(answer.token, 7);
        answer.result
    }
}

fn read(offset: u64, length: usize) -> What {
    What::Read { offset, length }
}

#[test]
fn what_is_written_is_read_and_is_in_the_image() {
    let file = file(3);
    let mut rig = rig(Some(loaded(&file, false)));
    assert_eq!(rig.head.disc().bytes, Some(SIZE as u64));
    let data: Vec<u8> = (0..BUFFER * 2).map(|at| (at / 7) as u8).collect();
    let write = What::Write {
        offset: 512,
        data: data.clone(),
    };
    assert_eq!(rig.ask(write), Ok(vec![]));
    assert_eq!(rig.ask(What::Flush), Ok(vec![]));
    assert_eq!(rig.ask(read(512, data.len())), Ok(data.clone()));
    let mut kept = vec![0; data.len()];
    file.read_exact_at(&mut kept, 512).unwrap();
    assert_eq!(kept, data);
}

#[test]
fn requests_beyond_the_end_and_writes_to_a_read_only_medium_fail_with_a_line() {
    let mut rig = rig(Some(loaded(&file(1), true)));
    assert!(!rig.head.disc().writable);
    assert_eq!(rig.ask(read(SIZE as u64 - 512, 1024)), Err(Failed));
    assert!(rig.logged.recv().unwrap().contains("1024 bytes"));
    assert_eq!(rig.ask(read(u64::MAX, 512)), Err(Failed));
    let write = What::Write {
        offset: 0,
        data: vec![0; 512],
    };
    assert_eq!(rig.ask(write), Err(Failed));
    assert_eq!(rig.ask(read(0, 4)), Ok(vec![1; 4]));
}

#[test]
fn medium_is_changed_and_taken_out_by_either_side() {
    let mut rig = rig(None);
    assert_eq!(rig.head.disc(), Disc::default());
    assert_eq!(rig.ask(read(0, 4)), Err(Failed));
    rig.tray.insert(Some(loaded(&file(8), true)));
    rig.notified.recv().unwrap();
    assert_eq!(rig.head.disc().changes, 1);
    assert_eq!(rig.ask(read(0, 4)), Ok(vec![8; 4]));
    rig.head.tray(true);
    assert!(!rig.tray.is_loaded());
    assert_eq!(rig.head.disc().changes, 2);
}

#[test]
fn image_with_larger_sectors_is_refused() {
    let mut config = config(true);
    config.sector_size = Some(4096);
    let line = Loaded::open(&config, vec![file(0).into()]).unwrap_err();
    assert!(line.contains("4096"), "{line}");
    let line = Loaded::open(&config, vec![]).unwrap_err();
    assert!(line.contains("one descriptor"), "{line}");
}

#[test]
fn tray_that_is_let_go_of_has_done_what_was_begun_and_closed_its_image() {
    let file = file(2);
    let mut rig = rig(Some(loaded(&file, false)));
    let image = Arc::downgrade(lock(&rig.tray.shared.state).inside.as_ref().unwrap());
    rig.head.begin(Request {
        token: 1,
        what: What::Write {
            offset: 0,
            data: vec![9; 512],
        },
    });
    drop(rig.tray);
    assert!(image.upgrade().is_none());
    assert_eq!(rig.head.disc().bytes, None);
    let mut kept = [0; 512];
    file.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(kept, [9; 512]);
}

#[test]
fn medium_that_is_taken_out_is_let_go_of_before_the_call_comes_back() {
    let mut rig = rig(Some(loaded(&file(5), false)));
    let image = Arc::downgrade(lock(&rig.tray.shared.state).inside.as_ref().unwrap());
    for token in 0..20 {
        // More than the thread has done by then.
        let what = read(0, SIZE);
        rig.head.begin(Request { token, what });
    }
    rig.tray.take_out();
    assert!(image.upgrade().is_none());
    assert_eq!(rig.head.disc().bytes, None);
    // What waited is answered, and what comes now fails.
    let what = read(0, 4);
    rig.head.begin(Request { token: 99, what });
    let answer = loop {
        rig.notified.recv().unwrap();
        let mut answers = std::iter::from_fn(|| rig.head.finished());
        if let Some(answer) = answers.find(|answer| answer.token == 99) {
            break answer;
        }
    };
    assert_eq!(answer.result, Err(Failed));
}
