//! Image formats: what a guest writes is what the programs that the formats come from read.
//!
//! ```text
//!   xvda tap:qcow2   xvdb tap:vhd   xvdc nbd:   xvdd tap:aio   xvde tap:vhdx   xvdf tap:vmdk   xvdg tap:vmdk of two files
//!   guest writes random data into each, another part reads it back ── host: qemu-img convert, qemu-img check
//! ```

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SIZE: u64 = 16 << 20;
/// Where in each disk the guest writes, and how much: over the borders of clusters and blocks of every format.
const AT: usize = 2 * 1024 * 1024 - 64 * 1024;
const LENGTH: usize = 512 * 1024;

fn qemu_img(args: &[&str]) {
    let out = Command::new("qemu-img").args(args).output().unwrap();
    assert!(out.status.success(), "qemu-img {args:?}: {out:?}");
}

/// Debian's nbd-server with one export, as a daemon; ended with this value.
struct Server {
    /// Where it says which process it is.
    pid: PathBuf,
}

impl Server {
    fn new(image: &Path, socket: &Path) -> Server {
        let config = image.with_extension("conf");
        let pid = image.with_extension("pid");
        let text = format!(
            "[generic]\nunixsock = {}\n[disk]\nexportname = {}\nflush = true\n",
            socket.display(),
            image.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("nbd-server");
        command.arg("-C").arg(&config).arg("-p").arg(&pid);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success());
        let server = Server { pid };
        // It listens, then searches for the primes of a Diffie-Hellman group, which takes it 0.1 to 30 s here, and only then serves.
        let mut stream = wait::until("nbd-server", LIMIT, || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.pid) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

/// The sum that the guest printed for a disk.
fn sum_of_guest(said: &str, disk: char) -> &str {
    let (_, rest) = said.split_once(&format!("sum-{disk} ")).unwrap();
    &rest[..32]
}

fn md5(path: &Path) -> String {
    let out = Command::new("md5sum").arg(path).output().unwrap();
    String::from_utf8(out.stdout).unwrap()[..32].to_owned()
}

#[test]
fn disks_of_every_format_hold_what_the_guest_wrote() {
    in_lab();
    let node = Node::new().unwrap();
    let path = |name: &str| node.root().join(name);
    let text = |path: &Path| path.display().to_string();
    let names = [
        "a.qcow2", "b.vhd", "c.nbd", "d.raw", "e.vhdx", "f.vmdk", "g.vmdk",
    ];
    let [qcow2, vhd, nbd, raw, vhdx, vmdk, flat] = names.map(path);
    let size = SIZE.to_string();
    qemu_img(&["create", "-q", "-f", "qcow2", &text(&qcow2), &size]);
    qemu_img(&["create", "-q", "-f", "vmdk", &text(&vmdk), &size]);
    let two_files = "subformat=monolithicFlat";
    let words = ["create", "-q", "-f", "vmdk", "-o", two_files];
    qemu_img(&[&words[..], &[&text(&flat), &size]].concat());
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "vpc",
        "-o",
        "force_size",
        &text(&vhd),
        &size,
    ]);
    // The smallest blocks there are, so that what is written lies in two.
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "vhdx",
        "-o",
        "block_size=1M",
        &text(&vhdx),
        &size,
    ]);
    for image in [&nbd, &raw] {
        std::fs::File::create(image).unwrap().set_len(SIZE).unwrap();
    }
    let socket = path("nbd.sock");
    let _server = Server::new(&nbd, &socket);
    let disks = [
        format!("'tap:qcow2:{},xvda,w'", text(&qcow2)),
        format!("'tap:vhd:{},xvdb,w'", text(&vhd)),
        format!("'nbd:{} disk,xvdc,w'", text(&socket)),
        format!("'tap:aio:{},xvdd,w'", text(&raw)),
        format!("'tap:vhdx:{},xvde,w'", text(&vhdx)),
        format!("'tap:vmdk:{},xvdf,w'", text(&vmdk)),
        format!("'tap:vmdk:{},xvdg,w'", text(&flat)),
    ];
    // Flushed, then read past the guest's cache: the blocks come from the image. A kernel takes 32 words for its init.
    let (seek, count) = (AT / 4096, LENGTH / 4096);
    let domain = Domain::debian("formats", Flavour::Cloud)
        .unwrap()
        .line(&format!("disk = [{}]", disks.join(", ")))
        .running(&format!(
            "for d in /dev/xvd?; do dd if=/dev/urandom of=/tmp/x bs=4k count={count} 2>/dev/null; \
             dd if=/tmp/x of=$d bs=4k seek={seek} conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches; \
             dd if=$d of=/tmp/y bs=4k skip={seek} count={count} 2>/dev/null; cmp /tmp/x /tmp/y || echo differs; \
             echo sum-${{d#/dev/xvd}} $(md5sum < /tmp/x) $(cat /sys/block/${{d#/dev/}}/size); done"
        ));
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-CMD begin", LIMIT).unwrap();
    let said = console.expect("NOXEN-CMD end", LIMIT).unwrap();
    node.wait_gone("formats", LIMIT);
    assert!(!said.contains("differs"), "{said}");
    for image in [&qcow2, &vhdx, &vmdk] {
        qemu_img(&["check", "-q", &text(image)]);
    }
    for (disk, format, image) in [
        ('a', "qcow2", &qcow2),
        ('b', "vpc", &vhd),
        ('c', "raw", &nbd),
        ('d', "raw", &raw),
        ('e', "vhdx", &vhdx),
        ('f', "vmdk", &vmdk),
        ('g', "vmdk", &flat),
    ] {
        let plain: PathBuf = image.with_extension("plain");
        qemu_img(&[
            "convert",
            "-f",
            format,
            "-O",
            "raw",
            &text(image),
            &text(&plain),
        ]);
        let content = std::fs::read(&plain).unwrap();
        assert_eq!(content.len() as u64, SIZE, "{format}");
        let rest = [&content[..AT], &content[AT + LENGTH..]];
        assert!(
            rest.iter().all(|part| part.iter().all(|byte| *byte == 0)),
            "{format}"
        );
        std::fs::write(&plain, &content[AT..AT + LENGTH]).unwrap();
        assert_eq!(md5(&plain), sum_of_guest(&said, disk), "{format}");
    }
}
