//! A decoder for the few instructions that a deprivileged kernel traps on (SDM volume 2, 2.1).
//!
//! ```text
//!   [legacy prefixes] [REX] opcode [0f opcode] [ModRM [SIB] [disp]] [imm8]  -->  Instruction + length
//! ```
//!
//! It knows 64-bit code and flat 32-bit code. Everything it does not know is `None`, never a guess.

use crate::regs::Regs;

/// Longest instruction, bytes.
pub const MAX_LENGTH: usize = 15;

/// Width of the code segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 64-bit.
    Bits64,
    /// 32-bit, flat.
    Bits32,
}

/// Port of an I/O instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// In the instruction.
    Immediate(u8),
    /// In DX.
    Dx,
}

/// What the instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CPUID.
    Cpuid,
    /// RDMSR.
    Rdmsr,
    /// WRMSR.
    Wrmsr,
    /// RDTSC.
    Rdtsc,
    /// RDTSCP.
    Rdtscp,
    /// MOV register, CRn.
    ReadCr { cr: u8, gpr: u8 },
    /// MOV CRn, register.
    WriteCr { cr: u8, gpr: u8 },
    /// MOV register, DRn.
    ReadDr { dr: u8, gpr: u8 },
    /// MOV DRn, register.
    WriteDr { dr: u8, gpr: u8 },
    /// CLTS.
    Clts,
    /// SMSW register; width in bytes.
    Smsw { gpr: u8, width: u8 },
    /// LMSW register.
    Lmsw { gpr: u8 },
    /// XSETBV.
    Xsetbv,
    /// INVLPG of this address.
    Invlpg { va: u64 },
    /// WBINVD, INVD, WBNOINVD.
    Wbinvd,
    /// HLT.
    Hlt,
    /// CLI or STI.
    CliSti,
    /// IN, `width` bytes.
    In { port: Port, width: u8 },
    /// OUT, `width` bytes.
    Out { port: Port, width: u8 },
    /// INS, `width` bytes.
    Ins { width: u8, rep: bool },
    /// OUTS, `width` bytes.
    Outs { width: u8, rep: bool },
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub kind: Kind,
    /// Bytes.
    pub length: u8,
    /// Addresses and counts are truncated to this mask (67 prefix, 32-bit code).
    pub address_mask: u64,
}

/// Segment bases that an override prefix can add.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bases {
    /// FS.
    pub fs: u64,
    /// GS.
    pub gs: u64,
}

/// Bytes still to be looked at.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn i8(&mut self) -> Option<u64> {
        Some(self.next()? as i8 as u64)
    }

    fn i32(&mut self) -> Option<u64> {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = self.next()?;
        }
        Some(i32::from_le_bytes(bytes) as u64)
    }
}

#[derive(Clone, Copy, Default)]
struct Prefixes {
    operand16: bool,
    address: bool,
    rep: bool,
    repne: bool,
    lock: bool,
    segment: u64,
    rex: u8,
}

/// Decodes what stands at the start of `bytes` (at most [`MAX_LENGTH`] count).
pub fn decode(bytes: &[u8], code: Code, regs: &Regs, bases: Bases) -> Option<Instruction> {
    let mut cursor = Cursor {
        bytes: bytes.get(..bytes.len().min(MAX_LENGTH))?,
        at: 0,
    };
    let (prefixes, opcode) = prefixes(&mut cursor, code, bases)?;
    if prefixes.lock {
        return None;
    }
    // 32-bit code can use 16-bit addresses, of which nothing here makes use.
    let address_mask = match (code, prefixes.address) {
        (Code::Bits64, false) => !0,
        (Code::Bits64, true) | (Code::Bits32, false) => 0xffff_ffff,
        (Code::Bits32, true) => 0xffff,
    };
    let wide = if prefixes.operand16 { 2 } else { 4 };
    let rep = prefixes.rep || prefixes.repne;
    let kind = match opcode {
        0x0f => {
            let second = cursor.next()?;
            two_byte(&mut cursor, second, code, &prefixes, address_mask, regs)?
        }
        0xe4 => Kind::In {
            port: Port::Immediate(cursor.next()?),
            width: 1,
        },
        0xe5 => Kind::In {
            port: Port::Immediate(cursor.next()?),
            width: wide,
        },
        0xe6 => Kind::Out {
            port: Port::Immediate(cursor.next()?),
            width: 1,
        },
        0xe7 => Kind::Out {
            port: Port::Immediate(cursor.next()?),
            width: wide,
        },
        0xec => Kind::In {
            port: Port::Dx,
            width: 1,
        },
        0xed => Kind::In {
            port: Port::Dx,
            width: wide,
        },
        0xee => Kind::Out {
            port: Port::Dx,
            width: 1,
        },
        0xef => Kind::Out {
            port: Port::Dx,
            width: wide,
        },
        0x6c => Kind::Ins { width: 1, rep },
        0x6d => Kind::Ins { width: wide, rep },
        0x6e => Kind::Outs { width: 1, rep },
        0x6f => Kind::Outs { width: wide, rep },
        0xf4 => Kind::Hlt,
        0xfa | 0xfb => Kind::CliSti,
        _ => return None,
    };
    Some(Instruction {
        kind,
        length: cursor.at as u8,
        address_mask,
    })
}

/// Reads prefixes up to and including the first opcode byte.
fn prefixes(cursor: &mut Cursor<'_>, code: Code, bases: Bases) -> Option<(Prefixes, u8)> {
    let mut found = Prefixes::default();
    loop {
        let byte = cursor.next()?;
        match byte {
            0x66 => found.operand16 = true,
            0x67 => found.address = true,
            0xf0 => found.lock = true,
            0xf2 => found.repne = true,
            0xf3 => found.rep = true,
            0x26 | 0x2e | 0x36 | 0x3e => found.segment = 0,
            0x64 => found.segment = bases.fs,
            0x65 => found.segment = bases.gs,
            0x40..=0x4f if code == Code::Bits64 => {
                // Only the REX right before the opcode counts.
                let next = cursor.next()?;
                if matches!(next, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
                {
                    cursor.at -= 1;
                    continue;
                }
                found.rex = byte;
                return Some((found, next));
            }
            opcode => return Some((found, opcode)),
        }
    }
}

fn two_byte(
    cursor: &mut Cursor<'_>,
    opcode: u8,
    code: Code,
    prefixes: &Prefixes,
    address_mask: u64,
    regs: &Regs,
) -> Option<Kind> {
    let (r, b) = ((prefixes.rex & 4) << 1, (prefixes.rex & 1) << 3);
    Some(match opcode {
        0x06 => Kind::Clts,
        0x08 | 0x09 => Kind::Wbinvd,
        0x30 => Kind::Wrmsr,
        0x31 => Kind::Rdtsc,
        0x32 => Kind::Rdmsr,
        0xa2 => Kind::Cpuid,
        0x20..=0x23 => {
            // The mod field is ignored: these name registers always.
            let modrm = cursor.next()?;
            let (special, gpr) = (modrm >> 3 & 7 | r, modrm & 7 | b);
            match opcode {
                0x20 => Kind::ReadCr { cr: special, gpr },
                0x21 => Kind::ReadDr { dr: special, gpr },
                0x22 => Kind::WriteCr { cr: special, gpr },
                _ => Kind::WriteDr { dr: special, gpr },
            }
        }
        0x01 => {
            let modrm = cursor.next()?;
            match (modrm >> 6, modrm >> 3 & 7, modrm & 7) {
                (3, 2, 1) => Kind::Xsetbv,
                (3, 7, 1) => Kind::Rdtscp,
                (3, 4, rm) => {
                    let width = match (prefixes.rex & 8 != 0, prefixes.operand16) {
                        (true, _) => 8,
                        (false, true) => 2,
                        (false, false) => 4,
                    };
                    Kind::Smsw { gpr: rm | b, width }
                }
                (3, 6, rm) => Kind::Lmsw { gpr: rm | b },
                (mode @ 0..=2, 7, rm) => {
                    let offset = memory(cursor, mode, rm, code, prefixes.rex, regs)?;
                    let va = (offset & address_mask).wrapping_add(prefixes.segment);
                    Kind::Invlpg {
                        va: if code == Code::Bits32 {
                            va & 0xffff_ffff
                        } else {
                            va
                        },
                    }
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// Offset of a memory operand (SDM volume 2, tables 2-2 and 2-3).
fn memory(
    cursor: &mut Cursor<'_>,
    mode: u8,
    rm: u8,
    code: Code,
    rex: u8,
    regs: &Regs,
) -> Option<u64> {
    let b = (rex & 1) << 3;
    let mut base = 0u64;
    let mut relative = false;
    let mut displaced = mode == 2;
    if rm == 4 {
        let sib = cursor.next()?;
        let index = sib >> 3 & 7 | (rex & 2) << 2;
        if index != 4 {
            base = regs.gpr(index) << (sib >> 6);
        }
        if sib & 7 == 5 && mode == 0 {
            displaced = true;
        } else {
            base = base.wrapping_add(regs.gpr(sib & 7 | b));
        }
    } else if rm == 5 && mode == 0 {
        displaced = true;
        relative = code == Code::Bits64;
    } else {
        base = regs.gpr(rm | b);
    }
    if mode == 1 {
        base = base.wrapping_add(cursor.i8()?);
    } else if displaced {
        base = base.wrapping_add(cursor.i32()?);
    }
    // Relative to the next instruction, which nothing but this operand delays.
    Some(if relative {
        base.wrapping_add(regs.rip).wrapping_add(cursor.at as u64)
    } else {
        base
    })
}
