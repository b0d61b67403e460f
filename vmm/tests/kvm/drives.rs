//! An HVM domain's drives, as SeaBIOS and a program of a few instructions use them.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BIOS: &str = "/usr/share/seabios/bios-256k.bin";
const SECTOR: usize = 512;
const BLOCK: usize = 2048;

/// A boot sector for disks and floppies: reads sector 2, writes what it read into sector 3, tells it to COM1, switches off.
fn boot_sector(drive_sectors: bool) -> Vec<u8> {
    // Segments 0, the stack below the program.
    let mut code = vec![
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c,
    ];
    if drive_sectors {
        // mov ax,0x201; mov bx,0x7e00; mov cx,2; mov dh,0; int 0x13; jc fail
        code.extend([
            0xb8, 0x01, 0x02, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, 0x72,
            0x1f,
        ]);
        // mov ax,0x301; mov cx,3; int 0x13; jc fail
        code.extend([0xb8, 0x01, 0x03, 0xb9, 0x03, 0x00, 0xcd, 0x13, 0x72, 0x15]);
    }
    // mov si,0x7e00; tell: lodsb; test al,al; jz off; mov dx,0x3f8; out dx,al; jmp tell
    code.extend([
        0xbe, 0x00, 0x7e, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5,
    ]);
    // off: mov dx,0x604; mov ax,0x2000 (S5 of the PIIX4); out dx,ax
    code.extend([0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]);
    // fail: hlt; jmp fail
    code.extend([0xf4, 0xeb, 0xfd]);
    code.resize(SECTOR - 2, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// A disk of `bytes` whose second sector is `text`.
fn disk(bytes: usize, text: &[u8]) -> Vec<u8> {
    let mut image = boot_sector(true);
    image.extend(text);
    image.resize(bytes, 0);
    image
}

/// A CD that boots without emulation (El Torito 1.0): descriptors from block 16 on, catalog in 19, program in 20.
fn cd(text: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 24 * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(16 * BLOCK, b"\x01CD001\x01");
    put(17 * BLOCK, b"\0CD001\x01EL TORITO SPECIFICATION");
    put(17 * BLOCK + 0x47, &19u32.to_le_bytes());
    put(18 * BLOCK, b"\xffCD001\x01");
    // Validation entry: its words add up to 0.
    put(19 * BLOCK, &[1]);
    put(19 * BLOCK + 28, &[0xaa, 0x55, 0x55, 0xaa]);
    // Bootable, four sectors of 512 bytes at block 20.
    put(19 * BLOCK + 32, &[0x88, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0]);
    put(20 * BLOCK, &boot_sector(false));
    put(20 * BLOCK + SECTOR, text);
    image
}

/// Boots from `image` and gives back what came out of COM1.
fn boot(letter: char, path: &Path, words: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_noxen-vmm"))
        .args(["run", "--bios", BIOS, "--memory", "32", "--boot"])
        .arg(letter.to_string())
        .arg("--disk")
        .arg(format!("{}{words}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    // The program switches the machine off only after it has told all.
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

fn file(name: &str, image: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("noxen-drive-{}-{name}", std::process::id()));
    std::fs::write(&path, image).unwrap();
    path
}

fn sector_three(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    let mut image = std::fs::File::open(path).unwrap();
    image.seek(SeekFrom::Start(2 * SECTOR as u64)).unwrap();
    image.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn bios_boots_from_disk_cd_and_floppy_and_they_are_read_and_written() {
    for (letter, name, size, words) in [
        ('c', "disk", 4 << 20, ""),
        ('a', "floppy", 1440 << 10, ",floppy"),
    ] {
        let text = format!("hello from {name}");
        let path = file(name, &disk(size, text.as_bytes()));
        assert!(boot(letter, &path, words).contains(&text));
        assert_eq!(&sector_three(&path)[..text.len()], text.as_bytes());
        std::fs::remove_file(&path).unwrap();
    }
    let path = file("cd", &cd(b"hello from cd"));
    assert!(boot('d', &path, ",cdrom").contains("hello from cd"));
    std::fs::remove_file(&path).unwrap();
}
