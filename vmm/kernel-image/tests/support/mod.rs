//! What the tests share: small ELF kernels made to order, bzImages around them, the packers that the kernel's build
//! calls, and Debian's real images.
#![allow(dead_code)] // each test binary uses its own part

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use noxen_kernel_image::{Compression, Kernel, Source};

/// Numbers of the Xen notes used here.
pub mod note {
    pub const ENTRY: u32 = 1;
    pub const HYPERCALL_PAGE: u32 = 2;
    pub const VIRT_BASE: u32 = 3;
    pub const PADDR_OFFSET: u32 = 4;
    pub const XEN_VERSION: u32 = 5;
    pub const GUEST_OS: u32 = 6;
    pub const LOADER: u32 = 8;
    pub const PAE_MODE: u32 = 9;
    pub const FEATURES: u32 = 10;
    pub const INIT_P2M: u32 = 15;
    pub const PHYS32_ENTRY: u32 = 18;
}

pub const BASE: u64 = 0xffff_ffff_8000_0000;

/// One PT_LOAD.
#[derive(Clone)]
pub struct Load {
    pub paddr: u64,
    pub data: Vec<u8>,
    pub memsz: u64,
}

/// A 64-bit ELF kernel to order; the default is a good PV kernel.
#[derive(Clone)]
pub struct TestKernel {
    pub class: u8,
    pub machine: u16,
    pub entry: u64,
    pub loads: Vec<Load>,
    pub owner: &'static [u8],
    pub notes: Vec<(u32, Vec<u8>)>,
    pub legacy: Option<String>,
}

impl Default for TestKernel {
    fn default() -> Self {
        Self {
            class: 2,
            machine: 62,
            entry: BASE + 0x10_0000,
            loads: vec![
                Load {
                    paddr: 0x10_0000,
                    data: code(0x6000),
                    memsz: 0x6000,
                },
                Load {
                    paddr: 0x10_7000,
                    data: code(0x1234),
                    memsz: 0x5000,
                },
            ],
            owner: b"Xen\0",
            notes: vec![
                (note::GUEST_OS, b"test\0".to_vec()),
                (note::XEN_VERSION, b"xen-3.0\0".to_vec()),
                (note::LOADER, b"generic\0".to_vec()),
                (note::VIRT_BASE, BASE.to_le_bytes().to_vec()),
                (note::ENTRY, (BASE + 0x10_0040).to_le_bytes().to_vec()),
                (
                    note::HYPERCALL_PAGE,
                    (BASE + 0x10_1000).to_le_bytes().to_vec(),
                ),
            ],
            legacy: None,
        }
    }
}

impl TestKernel {
    /// Replaces or adds a note.
    pub fn with(mut self, kind: u32, text: &[u8]) -> Self {
        self.notes.retain(|(k, _)| *k != kind);
        self.notes.push((kind, text.to_vec()));
        self
    }

    pub fn with_number(self, kind: u32, value: u64) -> Self {
        self.with(kind, &value.to_le_bytes())
    }

    pub fn without(mut self, kind: u32) -> Self {
        self.notes.retain(|(k, _)| *k != kind);
        self
    }

    /// Lays the file out: header, program headers, contents, notes, legacy section, section headers.
    pub fn build(&self) -> Vec<u8> {
        let mut notes = Vec::new();
        for (kind, text) in &self.notes {
            for word in [self.owner.len() as u32, text.len() as u32, *kind] {
                notes.extend(word.to_le_bytes());
            }
            for part in [self.owner, text] {
                notes.extend(part);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
        }
        let count = self.loads.len() + usize::from(!notes.is_empty());
        let mut contents_at = 64 + 56 * count;
        let mut headers = Vec::new();
        let mut contents = Vec::new();
        let mut program = |kind: u32, paddr: u64, data: &[u8], memsz: u64| {
            headers.extend(kind.to_le_bytes());
            headers.extend(7_u32.to_le_bytes());
            // p_vaddr is a lie on purpose: nobody may use it.
            for field in [
                contents_at as u64,
                0xdead_0000,
                paddr,
                data.len() as u64,
                memsz,
                0x1000,
            ] {
                headers.extend(field.to_le_bytes());
            }
            contents.extend(data);
            contents_at += data.len();
        };
        for load in &self.loads {
            program(1, load.paddr, &load.data, load.memsz);
        }
        if !notes.is_empty() {
            program(4, 0, &notes, 0);
        }
        let (mut sections, mut sections_at) = (Vec::new(), 0);
        if let Some(legacy) = &self.legacy {
            let names = b"\0__xen_guest\0.shstrtab\0";
            let (legacy_at, names_at) = (contents_at, contents_at + legacy.len() + 1);
            contents.extend(legacy.as_bytes());
            contents.push(0);
            contents.extend(names);
            sections_at = names_at + names.len();
            for (name, kind, at, size) in [
                (0, 0_u32, 0, 0),
                (1, 1, legacy_at, legacy.len() + 1),
                (13, 3, names_at, names.len()),
            ] {
                sections.extend((name as u32).to_le_bytes());
                sections.extend(kind.to_le_bytes());
                for field in [0_u64, 0, at as u64, size as u64, 0, 1, 0] {
                    sections.extend(field.to_le_bytes());
                }
                // sh_link and sh_info are one 8-byte field above.
            }
        }
        let mut file = vec![
            0x7f, b'E', b'L', b'F', self.class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        file.extend(2_u16.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for field in [self.entry, 64, sections_at as u64] {
            file.extend(field.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        let section_count: u16 = if sections.is_empty() { 0 } else { 3 };
        for field in [
            64_u16,
            56,
            count as u16,
            64,
            section_count,
            section_count.saturating_sub(1),
        ] {
            file.extend(field.to_le_bytes());
        }
        file.extend(headers);
        file.extend(contents);
        file.extend(sections);
        file
    }
}

/// Something like machine code: repeating words, calls with near targets, runs of zeros, and noise.
pub fn code(size: usize) -> Vec<u8> {
    let mut state = Random(size as u64 + 1);
    let mut out = Vec::with_capacity(size + 64);
    while out.len() < size {
        match state.below(8) {
            0 => out.extend(std::iter::repeat_n(0, state.below(200))),
            1 | 2 => {
                out.push(0xe8);
                out.extend((state.below(0x4000) as i32 - 0x2000).to_le_bytes());
            }
            3 => out.extend((0..state.below(24)).map(|i| (i * 37) as u8)),
            4 => out.extend(b"\x48\x89\xe5\x41\x57\x41\x56\x53\x48\x83\xec\x18"),
            _ => out.push(state.next() as u8),
        }
    }
    out.truncate(size);
    out
}

/// A bzImage (boot protocol 2.08) around a packed payload.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    const SETUP_SECTORS: usize = 2;
    const PAYLOAD_OFFSET: usize = 0x40;
    let start = (SETUP_SECTORS + 1) * 512 + PAYLOAD_OFFSET;
    let mut file = vec![0; start];
    file[0x1f1] = SETUP_SECTORS as u8;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x208_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&(PAYLOAD_OFFSET as u32).to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file.extend([0xcc; 100]);
    file
}

/// Packs as the kernel's build does, size suffix included.
pub fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let command: &[&str] = match compression {
        Compression::Gzip => &["gzip", "-n", "-9"],
        Compression::Bzip2 => &["bzip2", "-9"],
        Compression::Xz => &["xz", "--check=crc32", "--x86", "--lzma2=dict=1MiB"],
        Compression::Lzma => &["lzma", "-9"],
        Compression::Lzo => &["lzop", "-9"],
        Compression::Lz4 => &["lz4", "-l", "-9", "-c"],
        Compression::Zstd => &["zstd", "-19", "-q"],
    };
    let mut packed = run(command, bytes);
    if compression != Compression::Gzip {
        packed.extend((bytes.len() as u32).to_le_bytes());
    }
    packed
}

/// Feeds `input` to a command and returns what it prints.
pub fn run(command: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!(
                "cannot run {}: {e}; `cargo xtask test` installs it",
                command[0]
            )
        });
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("the packer reads its input"));
        child.wait_with_output().expect("the packer ends")
    });
    assert!(output.status.success(), "{command:?} failed");
    output.stdout
}

/// Where a file among the fetched Debian images is.
pub fn asset_path(name: &str) -> PathBuf {
    let root = std::env::var_os("NOXEN_ASSETS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"),
        PathBuf::from,
    );
    root.join(name)
}

/// A file among the fetched Debian images.
pub fn asset(name: &str) -> Vec<u8> {
    let path = asset_path(name);
    std::fs::read(&path).unwrap_or_else(|e| {
        panic!(
            "test image {} is missing ({e}); run `cargo xtask assets`",
            path.display()
        )
    })
}

/// The ELF of a kernel that was loaded from memory.
pub fn elf_bytes<'a>(kernel: &'a Kernel<'_>) -> &'a [u8] {
    kernel
        .elf
        .slice(0, kernel.elf.size() as usize)
        .expect("it is in memory")
}

/// splitmix64: small, seeded, good enough to choose mutations.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, 0 if the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
