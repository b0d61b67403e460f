//! A core file: the domain's memory and registers for a debugger (`xm dump-core`).
//!
//! ```text
//!   vCPUs stopped --> registers (context.rs) --(live: they run on)--> a thread: head (elf.rs), pages --> answered
//!      --> runs on; one that has shut down stays as it is
//! ```
//! Pages that hold nothing are holes in the file.

mod context;
mod elf;

use crate::domain::crew::Crew;
use crate::domain::machine::Machine;
use crate::domain::pv::XEN_VERSION;
use crate::save::job::Progress;
use crate::save::memory;
use crate::vstate::memory::GuestMemory;
use elf::{Frames, Head, EM_386, EM_X86_64};
use noxen_monitor_abi::layout::{FIRST_SLOT, PAGE_SIZE};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use vm_memory::{Bytes, GuestAddress};

/// Where a 32-bit guest's part of the address space ends.
const VIRT_START_32: u64 = 0xf580_0000;

/// A domain's core, its memory still to be written.
#[derive(Debug)]
pub struct Core {
    head: Head,
    memory: GuestMemory,
    /// Where the memory begins that is no RAM.
    other: u64,
}

impl Core {
    /// That of a PV domain, which stands still.
    pub fn of_pv(machine: &Machine) -> Result<Core, String> {
        let shared = machine.shared();
        let (region, memory) = (&shared.region, &shared.memory);
        let vcpus = machine.snapshots()?;
        let mut shared_info = vec![0; PAGE_SIZE as usize];
        memory
            .read_slice(&mut shared_info, GuestAddress(region.shared_info))
            .map_err(|error| error.to_string())?;
        let frames = memory::ram(memory, region.base).into_iter();
        Ok(Core {
            head: Head {
                machine: if region.bits32 { EM_386 } else { EM_X86_64 },
                hvm: false,
                xen_version: XEN_VERSION,
                virt_start: match region.bits32 {
                    true => VIRT_START_32,
                    false => 0xffff << 48 | (FIRST_SLOT as u64) << 39,
                },
                vcpus: vcpus.len() as u32,
                contexts: context::of_pv(&vcpus, memory, region),
                shared_info,
                frames: frames
                    .map(|(start, gpa, length)| Frames {
                        pfn: start / PAGE_SIZE,
                        gmfn: gpa / PAGE_SIZE,
                        count: length / PAGE_SIZE,
                    })
                    .collect(),
            },
            memory: memory.clone(),
            other: region.base,
        })
    }

    /// That of an HVM domain, which stands still; its firmware begins at `bios`.
    pub fn of_hvm(crew: &Crew, memory: &GuestMemory, bios: u64) -> Result<Core, String> {
        let vcpus = crew.snapshots()?;
        let frames = memory::ram(memory, bios).into_iter();
        Ok(Core {
            head: Head {
                machine: EM_X86_64,
                hvm: true,
                xen_version: XEN_VERSION,
                virt_start: 0xffff << 48 | (FIRST_SLOT as u64) << 39,
                vcpus: vcpus.len() as u32,
                contexts: context::of_hvm(&vcpus),
                // A PC shares no page with a hypervisor.
                shared_info: vec![0; PAGE_SIZE as usize],
                frames: frames
                    .map(|(_, gpa, length)| Frames {
                        pfn: gpa / PAGE_SIZE,
                        gmfn: gpa / PAGE_SIZE,
                        count: length / PAGE_SIZE,
                    })
                    .collect(),
            },
            memory: memory.clone(),
            other: bios,
        })
    }

    /// Writes it; the file is fresh. Returns the bytes of memory that it holds.
    pub fn write(&self, file: &File, progress: &Progress) -> io::Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let (pages, end) = self.head.write(&mut out)?;
        out.flush()?;
        drop(out);
        let mut held = 0;
        memory::each_of_ram(&self.memory, self.other, progress, |at, bytes| {
            held += bytes.len() as u64;
            file.write_all_at(bytes, pages + at)
        })?;
        file.set_len(end)?;
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vstate::memory::{DomainMemory, Piece};

    #[test]
    fn pages_stand_in_the_file_as_in_memory_and_empty_ones_are_holes() {
        let (low, high) = (64 << 20, 0x1_0000_0000);
        let ram = [
            Piece { gpa: 0, len: low },
            Piece {
                gpa: high,
                len: 4 << 20,
            },
        ];
        let other = Piece {
            gpa: 0xfffc_0000,
            len: 0x4_0000,
        };
        let memory = DomainMemory::new(None, &ram, other).unwrap().map;
        for (gpa, byte) in [(0x3000, 3u8), (high + 0x1000, 7), (other.gpa, 9)] {
            memory
                .write_slice(&[byte; 4096], GuestAddress(gpa))
                .unwrap();
        }
        let frames = memory::ram(&memory, other.gpa);
        let core = Core {
            head: Head {
                machine: EM_X86_64,
                hvm: true,
                xen_version: XEN_VERSION,
                virt_start: 0,
                vcpus: 0,
                contexts: Vec::new(),
                shared_info: Vec::new(),
                frames: frames
                    .iter()
                    .map(|(_, gpa, length)| Frames {
                        pfn: gpa >> 12,
                        gmfn: gpa >> 12,
                        count: length >> 12,
                    })
                    .collect(),
            },
            memory,
            other: other.gpa,
        };
        let fd = rustix::fs::memfd_create("core", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        core.write(&file, &Progress::default()).unwrap();
        let (pages, end) = core.head.write(&mut io::sink()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), end);
        assert_eq!(end - pages, low + (4 << 20));
        let byte = |at: u64| {
            let mut byte = [0xff];
            file.read_exact_at(&mut byte, pages + at).unwrap();
            byte[0]
        };
        assert_eq!((byte(0x3000), byte(0x3fff), byte(0x4000)), (3, 3, 0));
        assert_eq!((byte(low + 0xfff), byte(low + 0x1000)), (0, 7));
        use std::os::unix::fs::MetadataExt;
        assert!(file.metadata().unwrap().blocks() * 512 < 16 << 20);
    }
}
