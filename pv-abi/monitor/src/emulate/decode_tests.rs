use super::decode::{decode, Bases, Code, Instruction, Kind, Port};
use crate::regs::Regs;

fn decoded(bytes: &[u8]) -> Option<Instruction> {
    decode(bytes, Code::Bits64, &Regs::default(), Bases::default())
}

/// Kind and length, followed by bytes that do not belong to the instruction.
fn kind(bytes: &[u8]) -> Option<Kind> {
    let padded = [bytes, &[0xcc; 3]].concat();
    let instruction = decoded(&padded)?;
    assert_eq!(usize::from(instruction.length), bytes.len(), "{bytes:x?}");
    Some(instruction.kind)
}

#[test]
fn system_instructions_are_known() {
    for (bytes, expected) in [
        (&[0x0f, 0xa2][..], Kind::Cpuid),
        (&[0x0f, 0x30], Kind::Wrmsr),
        (&[0x0f, 0x32], Kind::Rdmsr),
        (&[0x0f, 0x31], Kind::Rdtsc),
        (&[0x0f, 0x01, 0xf9], Kind::Rdtscp),
        (&[0x0f, 0x01, 0xd1], Kind::Xsetbv),
        (&[0x0f, 0x06], Kind::Clts),
        (&[0x0f, 0x08], Kind::Wbinvd),
        (&[0x0f, 0x09], Kind::Wbinvd),
        (&[0xf3, 0x0f, 0x09], Kind::Wbinvd),
        (&[0xf4], Kind::Hlt),
        (&[0xfa], Kind::CliSti),
        (&[0xfb], Kind::CliSti),
    ] {
        assert_eq!(kind(bytes), Some(expected), "{bytes:x?}");
    }
}

#[test]
fn control_and_debug_moves_name_their_registers() {
    for (bytes, expected) in [
        (&[0x0f, 0x20, 0xc0][..], Kind::ReadCr { cr: 0, gpr: 0 }),
        (&[0x0f, 0x20, 0xda], Kind::ReadCr { cr: 3, gpr: 2 }),
        (&[0x41, 0x0f, 0x22, 0xe7], Kind::WriteCr { cr: 4, gpr: 15 }),
        (&[0x44, 0x0f, 0x20, 0xc1], Kind::ReadCr { cr: 8, gpr: 1 }),
        (&[0x0f, 0x21, 0xf8], Kind::ReadDr { dr: 7, gpr: 0 }),
        (&[0x0f, 0x23, 0xf3], Kind::WriteDr { dr: 6, gpr: 3 }),
    ] {
        assert_eq!(kind(bytes), Some(expected), "{bytes:x?}");
    }
}

#[test]
fn machine_status_word_forms_have_widths() {
    assert_eq!(
        kind(&[0x0f, 0x01, 0xe1]),
        Some(Kind::Smsw { gpr: 1, width: 4 })
    );
    assert_eq!(
        kind(&[0x48, 0x0f, 0x01, 0xe1]),
        Some(Kind::Smsw { gpr: 1, width: 8 })
    );
    assert_eq!(
        kind(&[0x66, 0x0f, 0x01, 0xe1]),
        Some(Kind::Smsw { gpr: 1, width: 2 })
    );
    assert_eq!(
        kind(&[0x41, 0x0f, 0x01, 0xf3]),
        Some(Kind::Lmsw { gpr: 11 })
    );
}

#[test]
fn port_instructions_have_ports_and_widths() {
    let port = Port::Immediate(0x80);
    for (bytes, expected) in [
        (&[0xe4, 0x80][..], Kind::In { port, width: 1 }),
        (&[0xe5, 0x80], Kind::In { port, width: 4 }),
        (&[0xe6, 0x80], Kind::Out { port, width: 1 }),
        (&[0x66, 0xe7, 0x80], Kind::Out { port, width: 2 }),
        (
            &[0xec],
            Kind::In {
                port: Port::Dx,
                width: 1,
            },
        ),
        (
            &[0x66, 0xed],
            Kind::In {
                port: Port::Dx,
                width: 2,
            },
        ),
        (
            &[0xee],
            Kind::Out {
                port: Port::Dx,
                width: 1,
            },
        ),
        (
            &[0x48, 0xef],
            Kind::Out {
                port: Port::Dx,
                width: 4,
            },
        ),
        (
            &[0xf3, 0x6c],
            Kind::Ins {
                width: 1,
                rep: true,
            },
        ),
        (
            &[0xf2, 0x66, 0x6d],
            Kind::Ins {
                width: 2,
                rep: true,
            },
        ),
        (
            &[0x6e],
            Kind::Outs {
                width: 1,
                rep: false,
            },
        ),
        (
            &[0xf3, 0x6f],
            Kind::Outs {
                width: 4,
                rep: true,
            },
        ),
    ] {
        assert_eq!(kind(bytes), Some(expected), "{bytes:x?}");
    }
}

#[test]
fn invlpg_computes_its_address() {
    let regs = Regs {
        rax: 0x1000,
        rbx: 0x20,
        rbp: 0x5000,
        rsp: 0x6000,
        r12: 0x7000,
        r13: 0x8000,
        rip: 0x10_0000,
        ..Regs::default()
    };
    let bases = Bases {
        fs: 0x100_0000,
        gs: 0x200_0000,
    };
    for (bytes, expected) in [
        // [rax], [rax+0x10], [rax-0x8], [rax+disp32]
        (&[0x0f, 0x01, 0x38][..], 0x1000),
        (&[0x0f, 0x01, 0x78, 0x10], 0x1010),
        (&[0x0f, 0x01, 0x78, 0xf8], 0xff8),
        (&[0x0f, 0x01, 0xb8, 0, 0, 1, 0], 0x1_1000),
        // [rsp], [r12], [r13+0], [rbp+4]
        (&[0x0f, 0x01, 0x3c, 0x24], 0x6000),
        (&[0x41, 0x0f, 0x01, 0x3c, 0x24], 0x7000),
        (&[0x41, 0x0f, 0x01, 0x7d, 0], 0x8000),
        (&[0x0f, 0x01, 0x7d, 4], 0x5004),
        // [rax+rbx*8], [rbx*4+disp32], [disp32], [rax+r12*2]
        (&[0x0f, 0x01, 0x3c, 0xd8], 0x1100),
        (&[0x0f, 0x01, 0x3c, 0x9d, 0, 1, 0, 0], 0x180),
        (
            &[0x0f, 0x01, 0x3c, 0x25, 0, 1, 0, 0x80],
            0xffff_ffff_8000_0100,
        ),
        (&[0x42, 0x0f, 0x01, 0x3c, 0x60], 0xf000),
        // [rip+0x10], fs:[rax], gs:[rax], [eax-0x2000] with a 67 prefix
        (&[0x0f, 0x01, 0x3d, 0x10, 0, 0, 0], 0x10_0017),
        (&[0x64, 0x0f, 0x01, 0x38], 0x100_1000),
        (&[0x65, 0x0f, 0x01, 0x38], 0x200_1000),
        (&[0x67, 0x0f, 0x01, 0xb8, 0, 0xe0, 0xff, 0xff], 0xffff_f000),
    ] {
        let instruction =
            decode(bytes, Code::Bits64, &regs, bases).unwrap_or_else(|| panic!("{bytes:x?}"));
        assert_eq!(
            instruction.kind,
            Kind::Invlpg { va: expected },
            "{bytes:x?}"
        );
        assert_eq!(usize::from(instruction.length), bytes.len(), "{bytes:x?}");
    }
}

#[test]
fn rex_before_another_prefix_does_not_count() {
    // REX.R is dead: CR0, not CR8.
    assert_eq!(
        kind(&[0x44, 0x66, 0x0f, 0x20, 0xc0]),
        Some(Kind::ReadCr { cr: 0, gpr: 0 })
    );
    assert_eq!(
        kind(&[0x44, 0x40, 0x0f, 0x20, 0xc0]),
        Some(Kind::ReadCr { cr: 0, gpr: 0 })
    );
}

#[test]
fn thirty_two_bit_code_has_no_rex_and_short_addresses() {
    let decode32 = |bytes: &[u8]| decode(bytes, Code::Bits32, &Regs::default(), Bases::default());
    // 0x40 is INC there.
    assert_eq!(decode32(&[0x40, 0x0f, 0xa2]), None);
    let expected = Instruction {
        kind: Kind::Cpuid,
        length: 2,
        address_mask: 0xffff_ffff,
    };
    assert_eq!(decode32(&[0x0f, 0xa2]), Some(expected));
    let expected = Instruction {
        kind: Kind::Ins {
            width: 1,
            rep: false,
        },
        length: 2,
        address_mask: 0xffff,
    };
    assert_eq!(decode32(&[0x67, 0x6c]), Some(expected));
}

#[test]
fn other_instructions_are_not_guessed() {
    for bytes in [
        &[0x90][..],
        &[0x0f, 0x0b],
        // lgdt [rax], lidt [rax], sgdt, swapgs, stac, vmcall, rdpmc, sysret, invd with lock
        &[0x0f, 0x01, 0x10],
        &[0x0f, 0x01, 0x18],
        &[0x0f, 0x01, 0x00],
        &[0x0f, 0x01, 0xf8],
        &[0x0f, 0x01, 0xcb],
        &[0x0f, 0x01, 0xc1],
        &[0x0f, 0x33],
        &[0x0f, 0x07],
        &[0xf0, 0x0f, 0x08],
    ] {
        assert_eq!(decoded(bytes), None, "{bytes:x?}");
    }
}

#[test]
fn truncated_or_overlong_instructions_are_nothing() {
    for bytes in [
        &[][..],
        &[0x0f],
        &[0x66],
        &[0x0f, 0x20],
        &[0xe4],
        &[0x0f, 0x01, 0x3c],
        &[0x0f, 0x01, 0x3d, 1, 2, 3],
    ] {
        assert_eq!(decoded(bytes), None, "{bytes:x?}");
    }
    let prefixes = [0x66; 14];
    assert_eq!(decoded(&[&prefixes[..], &[0x0f, 0xa2]].concat()), None);
    assert_eq!(
        decoded(&[&prefixes[..13], &[0x0f, 0xa2]].concat()).map(|i| i.length),
        Some(15)
    );
}

#[test]
fn every_two_byte_start_decodes_without_panic() {
    let regs = Regs {
        rsp: !0,
        rbp: 1 << 63,
        rip: !0,
        ..Regs::default()
    };
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            // The third byte matters after the escape byte only.
            let last = if first == 0x0f || second == 0x0f {
                255
            } else {
                0
            };
            for third in 0..=last {
                let bytes = [first, second, third, 0xff, 0xff, 0xff, 0xff, 0xff];
                for code in [Code::Bits64, Code::Bits32] {
                    if let Some(instruction) = decode(&bytes, code, &regs, Bases { fs: !0, gs: 1 })
                    {
                        assert!((1..=8).contains(&instruction.length));
                    }
                }
            }
        }
    }
}
