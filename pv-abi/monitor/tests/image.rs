//! The built image: what must not be in it, and where it must lie.
#![cfg(feature = "image")]

use noxen_monitor_abi::layout::{IMAGE_MAX, IMAGE_VA};
use std::process::Command;

/// Disassembly of the image by binutils' objdump.
fn disassembly() -> String {
    let path = std::env::temp_dir().join(format!("noxen-monitor-{}.elf", std::process::id()));
    std::fs::write(&path, noxen_monitor::IMAGE).expect("write the image");
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(&path)
        .output()
        .expect("run objdump (apt-get install binutils)");
    std::fs::remove_file(&path).expect("remove the image");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("objdump prints text")
}

/// True for a line whose operands name an FPU or vector register.
fn uses_vector_state(line: &str) -> bool {
    ["%xmm", "%ymm", "%zmm", "%mm", "%st", "%k1"]
        .iter()
        .any(|register| line.contains(register))
        || ["fxsave", "fxrstor", "xsave", "emms", "ldmxcsr"]
            .iter()
            .any(|name| line.contains(name))
}

#[test]
fn image_uses_no_vector_or_fpu_register() {
    let text = disassembly();
    assert!(
        text.lines().count() > 5_000,
        "objdump found too little to be the image"
    );
    let bad: Vec<&str> = text
        .lines()
        .filter(|line| uses_vector_state(line))
        .collect();
    assert!(
        bad.is_empty(),
        "guest FPU state would be lost:\n{}",
        bad[..bad.len().min(10)].join("\n")
    );
}

#[test]
fn vector_check_sees_vector_instructions() {
    assert!(uses_vector_state("  10: movaps %xmm0,0xf0(%rsp)"));
    assert!(uses_vector_state("  10: fld %st(1)"));
    assert!(!uses_vector_state("  10: mov %rax,(%rsp)"));
}

#[test]
fn image_is_linked_at_its_address_and_fits() {
    let image = noxen_monitor::IMAGE;
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(&image[..4], b"\x7fELF");
    assert_eq!(word(24), IMAGE_VA, "entry point");
    let headers = word(32) as usize;
    let count = usize::from(u16::from_le_bytes([image[56], image[57]]));
    let mut loads = 0;
    for header in (0..count).map(|n| headers + n * 56) {
        if image[header] != 1 {
            continue;
        }
        loads += 1;
        let (va, size) = (word(header + 16), word(header + 40));
        assert!(
            va >= IMAGE_VA && va + size <= IMAGE_VA + IMAGE_MAX,
            "segment {va:#x}+{size:#x}"
        );
        let flags = image[header + 4];
        assert!(
            flags & 3 != 3,
            "segment at {va:#x} is writable and executable"
        );
    }
    assert_eq!(loads, 3);
}
