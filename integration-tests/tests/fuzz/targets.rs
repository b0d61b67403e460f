//! What is fuzzed: functions that take bytes of a stranger and must return, whatever these are.
//!
//! ```text
//!   cargo test --test fuzz     a bounded run: mutations of good inputs (stable toolchain)
//!   fuzz/ (cargo-fuzz)         the same functions under libFuzzer, for long runs
//! ```

#[path = "disks.rs"]
pub mod disks;
#[path = "images.rs"]
pub mod images;
#[path = "pc.rs"]
pub mod pc;
#[path = "rings.rs"]
pub mod rings;
#[path = "viewers.rs"]
pub mod viewers;

use noxen_kernel_image::{KernelFile, KernelImage};
use noxen_xenstore::{path, perms, wire};

/// A name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
#[allow(dead_code)] // libFuzzer's programs use one each.
pub const TARGETS: [Target; 11] = [
    ("kernel_file", kernel_file),
    ("kernel_elf", kernel_elf),
    ("xenstore_wire", xenstore_wire),
    ("xm_config", xm_config),
    ("sxp", sxp),
    ("saved_image", images::saved),
    ("disk_ring", disks::ring),
    ("netif_rings", rings::netif),
    ("event_rings", rings::events),
    ("pc_devices", pc::devices),
    ("vnc_viewer", viewers::vnc),
];

/// Largest unpacked image that a fuzz run really unpacks; the declared size itself is checked by `open`.
const UNPACK_LIMIT: u64 = 1 << 20;

/// bzImage and gzip wrapping, then what is inside.
pub fn kernel_file(data: &[u8]) {
    let Ok(file) = KernelFile::open(data) else {
        return;
    };
    if file.unpacked_size() <= UNPACK_LIMIT {
        if let Ok(elf) = file.unpack() {
            kernel_elf(&elf);
        }
    }
}

/// ELF headers and Xen notes.
pub fn kernel_elf(data: &[u8]) {
    if let Ok(image) = KernelImage::parse(data) {
        // What was accepted must hold together: a builder relies on it.
        assert!(image.start_offset() <= image.end_offset());
        let _ = image.require_pv();
    }
}

/// xenstore messages, their strings, paths and permissions.
pub fn xenstore_wire(data: &[u8]) {
    let mut decoder = wire::Decoder::new();
    for piece in data.chunks(7) {
        decoder.feed(piece);
        while let Ok(Some((_, payload))) = decoder.next_message() {
            let mut scratch = String::new();
            for text in wire::strings(payload).into_iter().flatten() {
                let _ = path::resolve(text, 3, &mut scratch);
            }
            if let Some(texts) = wire::strings(payload) {
                let _ = perms::Perms::parse(texts);
            }
        }
    }
}

/// An xm config file.
pub fn xm_config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let options = noxen_xm_config::Options::default();
        let _ = noxen_xm_config::load_source(text, "fuzz.cfg", &[], &options);
    }
}

/// An S-expression; what was read must print as something that reads again (save a lone word: an empty one prints as nothing, as xm's did).
pub fn sxp(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let limits = noxen_xm_config::Limits::default();
        if let Ok(node) = noxen_xm_config::sxp::parse(text, &limits) {
            let again = noxen_xm_config::sxp::parse(&node.to_string(), &limits);
            assert!(
                node.text().is_some() || again.is_ok(),
                "{node} does not read again"
            );
        }
    }
}
