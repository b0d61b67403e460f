use super::*;
use crate::devices::vbd::engine;
use noxen_control::device::Engine as Wish;
use noxen_devices::pv::block::Piece;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{memfd_create, MemfdFlags};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

const SIZE: u64 = 1 << 20;

fn memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap()
}

fn disk() -> DiskImage {
    DiskImage {
        path: "test".into(),
        format: ImageFormat::Raw,
        direct: false,
        engine: Wish::Auto,
        export: String::new(),
    }
}

fn wanted(image: &DiskImage) -> Wanted<'_> {
    Wanted {
        image,
        readonly: false,
        sector_size: None,
        physical_sector_size: None,
    }
}

fn file() -> File {
    let file = File::from(memfd_create("image", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(SIZE).unwrap();
    file
}

/// Every other page of a range, last page first, so that no two pieces join.
fn pieces(count: u64) -> Vec<Piece> {
    let pages = (0..count).rev().map(|index| Piece {
        at: GuestAddress(0x10_0000 + index * 0x2000 + 512),
        len: 3584,
    });
    pages.collect()
}

fn run(wish: Wish, place: impl FnOnce(&File) -> Place) {
    let memory = memory();
    let content: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let file = file();
    file.write_all_at(&content, 0).unwrap();
    let copy = file.try_clone().unwrap();
    let opened = open(&wanted(&disk()), file.into()).unwrap();
    assert_eq!(opened.sectors, SIZE / 512);
    // Where the file really is does not matter to an engine that is told otherwise.
    let Image::Raw(raw, _) = opened.image else {
        panic!("not raw");
    };
    let place = place(&raw);
    let image = Arc::new(Image::Raw(raw, place));
    let mut engine = engine::make(wish, &image, &memory, 32).unwrap();
    let mut jobs: Vec<Job> = (0..64)
        .map(|token| Job {
            token,
            op: JobOp::Read,
            offset: u64::from(token) * 512,
            pieces: vec![Piece {
                at: GuestAddress(u64::from(token) * 4096),
                len: 512,
            }],
        })
        .collect();
    jobs.push(Job {
        token: 64,
        op: JobOp::Read,
        offset: 0x8000,
        pieces: pieces(20),
    });
    let mut ended = Vec::new();
    engine.begin(&mut jobs, &mut ended);
    finish(&mut *engine, ended, 65);
    for token in 0..64usize {
        let mut got = [0; 512];
        memory
            .read_slice(&mut got, GuestAddress(token as u64 * 4096))
            .unwrap();
        assert_eq!(got[..], content[token * 512..][..512], "{token}");
    }
    for (index, piece) in pieces(20).iter().enumerate() {
        let mut got = [0; 3584];
        memory.read_slice(&mut got, piece.at).unwrap();
        assert_eq!(got[..], content[0x8000 + index * 3584..][..3584]);
    }
    let later = |token, op, pieces| Job {
        token,
        op,
        offset: 0x4000,
        pieces,
    };
    jobs.push(later(0, JobOp::Write, pieces(20)));
    let mut ended = Vec::new();
    engine.begin(&mut jobs, &mut ended);
    finish(&mut *engine, ended, 1);
    let mut got = vec![0; 20 * 3584];
    copy.read_exact_at(&mut got, 0x4000).unwrap();
    assert_eq!(got[..], content[0x8000..][..20 * 3584]);
    jobs.push(later(3, JobOp::Flush, Vec::new()));
    jobs.push(later(9, JobOp::Discard(0x2000), Vec::new()));
    let mut ended = Vec::new();
    engine.begin(&mut jobs, &mut ended);
    finish(&mut *engine, ended, 2);
    copy.read_exact_at(&mut got[..0x2000], 0x4000).unwrap();
    assert!(got[..0x2000].iter().all(|byte| *byte == 0));
}

fn read_of_a_page(image: &Image, memory: &GuestMemory, offset: u64) -> Outcome {
    let piece = Piece {
        at: GuestAddress(0),
        len: 4096,
    };
    let job = Job {
        token: 0,
        op: JobOp::Read,
        offset,
        pieces: vec![piece],
    };
    image.perform(memory, &job, 0)
}

#[test]
fn mapped_image_that_is_cut_short_fails_and_goes_on_failing() {
    let (memory, file) = (memory(), file());
    file.write_all_at(&[9; SIZE as usize], 0).unwrap();
    let other = file.try_clone().unwrap();
    let image = open(&wanted(&disk()), file.into()).unwrap().image;
    assert!(matches!(image, Image::Raw(_, Place::Memory(Some(_)))));
    assert_eq!(read_of_a_page(&image, &memory, 0x8000), Outcome::Done);
    other.set_len(0x4000).unwrap();
    assert_eq!(read_of_a_page(&image, &memory, 0x8000), Outcome::Failed);
    other.set_len(SIZE).unwrap();
    assert_eq!(read_of_a_page(&image, &memory, 0x8000), Outcome::Failed);
}

#[test]
fn image_with_holes_is_not_mapped_and_reading_fills_none() {
    let (memory, file) = (memory(), file());
    let about = file.try_clone().unwrap();
    let image = open(&wanted(&disk()), file.into()).unwrap().image;
    assert!(matches!(image, Image::Raw(_, Place::Memory(None))));
    about.write_all_at(&[9; SIZE as usize], 0).unwrap();
    let copy = about.try_clone().unwrap();
    let image = open(&wanted(&disk()), copy.into()).unwrap().image;
    let discard = Job {
        token: 0,
        op: JobOp::Discard(SIZE),
        offset: 0,
        pieces: Vec::new(),
    };
    assert_eq!(image.perform(&memory, &discard, 0), Outcome::Done);
    assert_eq!(read_of_a_page(&image, &memory, 0x8000), Outcome::Done);
    assert_eq!(about.metadata().unwrap().blocks(), 0);
}

fn finish(engine: &mut dyn engine::Engine, mut ended: Vec<(u32, Outcome)>, count: usize) {
    while ended.len() < count {
        let mut fds = [PollFd::from_borrowed_fd(engine.fd(), PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "{ended:?}");
        engine.finished(&mut ended);
    }
    assert!(ended.iter().all(|(_, outcome)| *outcome == Outcome::Done));
}

#[test]
fn threads_move_data_between_image_and_memory() {
    run(Wish::Threads, |_| Place::Device);
}

#[test]
fn io_uring_or_what_stands_in_for_it_moves_data() {
    run(Wish::Auto, |_| Place::Device);
    run(Wish::Auto, |_| Place::Memory(None));
    run(Wish::Auto, |file| {
        let mapped = Mapped::new(file, SIZE, false);
        assert!(mapped.is_some());
        Place::Memory(mapped)
    });
}

#[test]
fn write_beyond_the_image_or_memory_fails() {
    let memory = memory();
    let image = open(&wanted(&disk()), file().into()).unwrap().image;
    let mut job = Job {
        token: 0,
        op: JobOp::Read,
        offset: SIZE,
        pieces: pieces(1),
    };
    assert_eq!(image.perform(&memory, &job, 0), Outcome::Failed);
    job.offset = 0;
    job.pieces[0].at = GuestAddress(4 << 20);
    assert_eq!(image.perform(&memory, &job, 0), Outcome::Failed);
}

#[test]
fn image_that_cannot_be_the_disk_is_refused_with_a_line() {
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let mut readonly = wanted(&disk()).image.clone();
    readonly.direct = true;
    let line = open(&wanted(&readonly), file().into()).unwrap_err();
    assert!(line.contains("O_DIRECT"), "{line}");
    let image = disk();
    let want = Wanted {
        readonly: true,
        ..wanted(&image)
    };
    let line = open(&want, null).unwrap_err();
    assert!(line.contains("block device"), "{line}");
    let want = Wanted {
        sector_size: Some(1000),
        ..wanted(&image)
    };
    assert!(open(&want, file().into()).unwrap_err().contains("1000"));
    let read_only: OwnedFd = File::open("/proc/self/exe").unwrap().into();
    assert!(open(&wanted(&image), read_only)
        .unwrap_err()
        .contains("descriptor"));
}

/// An empty qcow2 image of [`SIZE`] bytes in a file of its own.
fn qcow2() -> File {
    use imago::file::File as ImageFile;
    use imago::qcow2::Qcow2;
    use imago::FormatCreateBuilder;
    let file = File::from(memfd_create("qcow2", MemfdFlags::CLOEXEC).unwrap());
    let storage = ImageFile::try_from(file.try_clone().unwrap()).unwrap();
    Qcow2::<ImageFile>::create_builder(storage)
        .size(SIZE)
        .create()
        .unwrap();
    file
}

fn job(op: JobOp, pieces: Vec<Piece>) -> Job {
    Job {
        token: 0,
        op,
        offset: 0x4000,
        pieces,
    }
}

#[test]
fn flushed_data_of_a_qcow2_image_is_there_when_it_is_opened_anew() {
    let memory = memory();
    let image = DiskImage {
        format: ImageFormat::Qcow2,
        ..disk()
    };
    let file = qcow2();
    let fd = || file.try_clone().unwrap().into();
    let opened = open(&wanted(&image), fd()).unwrap();
    assert_eq!(opened.sectors, SIZE / 512);
    memory
        .write_slice(&[0x5a; 8192], GuestAddress(0x20_0000))
        .unwrap();
    let from = vec![Piece {
        at: GuestAddress(0x20_0000),
        len: 8192,
    }];
    let written = opened.image.perform(&memory, &job(JobOp::Write, from), 0);
    assert_eq!(written, Outcome::Done);
    let flushed = opened
        .image
        .perform(&memory, &job(JobOp::Flush, Vec::new()), 0);
    assert_eq!(flushed, Outcome::Done);
    // As after a kill: nothing of the first one's memory is written back.
    std::mem::forget(opened);
    let again = open(&wanted(&image), fd()).unwrap();
    let to = vec![Piece {
        at: GuestAddress(0x30_0000),
        len: 8192,
    }];
    let read = again.image.perform(&memory, &job(JobOp::Read, to), 0);
    assert_eq!(read, Outcome::Done);
    let mut got = [0u8; 8192];
    memory
        .read_slice(&mut got, GuestAddress(0x30_0000))
        .unwrap();
    assert!(got.iter().all(|byte| *byte == 0x5a));
}

#[test]
fn format_that_is_not_there_or_cannot_be_written_is_refused_with_a_line() {
    for (format, word) in [
        (ImageFormat::Qcow2, "qcow2"),
        (ImageFormat::Vmdk, "as vmdk"),
        (ImageFormat::Vhd, "footer"),
        (ImageFormat::Vhdx, "vhdx file"),
        (ImageFormat::Nbd, "ocket"),
    ] {
        let image = DiskImage { format, ..disk() };
        let line = open(&wanted(&image), file().into()).unwrap_err();
        assert!(line.contains(word), "{line}");
    }
}

/// A directory with `base.raw` (sevens), and what is made of qcow2 images in it.
struct Chain(std::path::PathBuf);

impl Chain {
    fn new(name: &str) -> Chain {
        let dir = std::env::temp_dir().join(format!("noxen-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("base.raw"), vec![7; SIZE as usize]).unwrap();
        Chain(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// An image over `backing`, whose format it tells.
    fn over(&self, name: &str, backing: &str, format: &str) {
        let name = self.path(name);
        blocks::qemu_img(&[
            "create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", backing, &name, "1M",
        ]);
    }

    fn open(&self, name: &str) -> Result<Opened, String> {
        let image = DiskImage {
            path: self.path(name),
            format: ImageFormat::Qcow2,
            ..disk()
        };
        let file = File::options().read(true).write(true).open(&image.path);
        open(&wanted(&image), file.unwrap().into())
    }

    /// Changes bytes of an image's file.
    fn patch(&self, name: &str, from: &[u8], to: &[u8]) {
        let path = self.path(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|part| part == from);
        bytes[at.unwrap()..][..to.len()].copy_from_slice(to);
        std::fs::write(&path, bytes).unwrap();
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn backing_files_of_a_told_format_are_read_and_never_written() {
    let chain = Chain::new("backing");
    chain.over("middle.qcow2", "base.raw", "raw");
    // One by its whole path, one by its name alone.
    chain.over("top.qcow2", &chain.path("middle.qcow2"), "qcow2");
    let before = std::fs::read(chain.path("middle.qcow2")).unwrap();
    let memory = memory();
    let opened = chain.open("top.qcow2").unwrap();
    memory.write_slice(&[9; 512], GuestAddress(0)).unwrap();
    let piece = |at| {
        vec![Piece {
            at: GuestAddress(at),
            len: 512,
        }]
    };
    let job = |op, offset, pieces| Job {
        token: 0,
        op,
        offset,
        pieces,
    };
    for (op, offset, at) in [
        (JobOp::Write, 512, 0),
        (JobOp::Read, 512, 0x1000),
        (JobOp::Read, 0, 0x2000),
    ] {
        let done = opened
            .image
            .perform(&memory, &job(op, offset, piece(at)), 0);
        assert_eq!(done, Outcome::Done);
    }
    for (at, value) in [(0x1000, 9), (0x2000, 7)] {
        let mut got = [0; 512];
        memory.read_slice(&mut got, GuestAddress(at)).unwrap();
        assert_eq!(got, [value; 512]);
    }
    drop(opened);
    assert_eq!(std::fs::read(chain.path("middle.qcow2")).unwrap(), before);
    let base = std::fs::read(chain.path("base.raw")).unwrap();
    assert!(base.iter().all(|byte| *byte == 7));
}

#[test]
fn what_is_behind_an_image_is_never_guessed_and_chains_end() {
    let chain = Chain::new("guess");
    let refused = |name: &str, word: &str| {
        let line = chain.open(name).unwrap_err();
        assert!(
            line.contains(word) && line.starts_with("cannot be opened as qcow2"),
            "{word}: {line}"
        );
    };
    // A guest has written an image over its raw disk that names what it wants to read; then its disk became a backing file.
    std::fs::write(chain.path("secret"), vec![1; SIZE as usize]).unwrap();
    chain.over("top.qcow2", "base.raw", "raw");
    chain.over("written.qcow2", "secret", "raw");
    std::fs::rename(chain.path("written.qcow2"), chain.path("base.raw")).unwrap();
    let opened = chain.open("top.qcow2").unwrap();
    let memory = memory();
    let first = vec![Piece {
        at: GuestAddress(0),
        len: 512,
    }];
    let job = Job {
        token: 0,
        op: JobOp::Read,
        offset: 0,
        pieces: first,
    };
    assert_eq!(opened.image.perform(&memory, &job, 0), Outcome::Done);
    let mut got = [0; 4];
    memory.read_slice(&mut got, GuestAddress(0)).unwrap();
    assert_eq!(&got, b"QFI\xfb");
    drop(opened);
    // Where the format is not told, it is not looked for.
    chain.patch("top.qcow2", &0xe279_2acau32.to_be_bytes(), &[0x12; 4]);
    refused("top.qcow2", "does not say its format");

    chain.over("odd.qcow2", "base.raw", "raw");
    chain.patch("odd.qcow2", b"\x00\x00\x00\x03raw", b"\x00\x00\x00\x03vpc");
    refused("odd.qcow2", "neither qcow2 nor raw");
    chain.over("gone.qcow2", "base.raw", "raw");
    std::fs::remove_file(chain.path("base.raw")).unwrap();
    refused("gone.qcow2", "base.raw: ");
    chain.over("loop.qcow2", "secret", "qcow2");
    std::fs::remove_file(chain.path("secret")).unwrap();
    std::fs::hard_link(chain.path("loop.qcow2"), chain.path("secret")).unwrap();
    refused("loop.qcow2", "more than 32 behind one another");
    std::fs::remove_file(chain.path("secret")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(chain.path("secret")).unwrap();
    refused("loop.qcow2", "neither a regular file");
    drop(socket);

    // One whose data is in a file that it would have written to.
    let data = format!("data_file={}", chain.path("victim"));
    let external = chain.path("external.qcow2");
    blocks::qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, &external, "1M"]);
    refused("external.qcow2", "data are in another file");
}
