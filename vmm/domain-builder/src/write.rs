//! Putting a planned domain into memory.

use std::io;
use std::ops::Range;

use noxen_kernel_image::{KernelError, KernelImage, Segment, Source};
use noxen_monitor_abi::layout::{mfn_of_pfn, FIRST_SLOT, HOLE_START_PFN, PAGE_SIZE};
use noxen_pv_abi::start_info::{
    StartInfo32, StartInfo64, MAGIC_32P, MAGIC_64, SIF_MOD_START_PFN, SIF_VIRT_P2M_4TOOLS,
};
use noxen_pv_abi::AbiValue;

use crate::abi::Abi;
use crate::error::BuildError;
use crate::hypercall_page::{hypercall_page_32, hypercall_page_64};
use crate::memory::{GuestMemory, OutsideMemory};
use crate::plan::{gpa_of_pfn, PvLayout};
use crate::spec::{DomainSpec, Ramdisk};
use crate::tables::{self, TableSet};
use crate::tune::tune;

const PAGE: usize = PAGE_SIZE as usize;
/// Bytes per read where they have to pass through a buffer; whole pages, and small enough for the cache.
const BOUNCE: usize = 256 << 10;
/// Pages of the p2m list made at a time.
const P2M_CHUNK: usize = 16;

impl PvLayout {
    /// Writes the domain: kernel, ramdisk, p2m list, page tables, start_info, hypercall page. Rings and stack stay zero.
    ///
    /// `elf` is what `image` was parsed from. shared_info and the grant table lie outside the domain's
    /// frames; see [`crate::init_shared_info`] and [`crate::grant_seeds`].
    ///
    /// # Errors
    /// `Kernel` if the ELF cannot be read (any more), `Ramdisk`, `RamdiskChanged` or `Memory`; guest memory is then half written and must be dropped.
    pub fn write(
        &self,
        image: &KernelImage,
        elf: &dyn Source,
        ramdisk: Option<Ramdisk<'_>>,
        spec: &DomainSpec<'_>,
        memory: &mut impl GuestMemory,
    ) -> Result<(), BuildError> {
        for segment in &image.segments {
            write_segment(memory, segment, elf)?;
        }
        // What is known to be worth changing is in 64-bit kernels.
        if spec.tune && !self.abi().is_32() {
            tune(image, elf, spec.max_pages, memory)?;
        }
        let found = ramdisk.as_ref().map_or(0, |r| r.len);
        if found != self.ramdisk_len {
            return Err(BuildError::RamdiskChanged {
                planned: self.ramdisk_len,
                found,
            });
        }
        if let Some(ramdisk) = ramdisk {
            read_ramdisk(memory, self.ramdisk.start * PAGE_SIZE, ramdisk)?;
        }
        self.write_p2m(memory)?;
        self.write_tables(spec, memory)?;
        if let Some(gpa) = self.hypercall_page_gpa {
            let page = if self.abi().is_32() {
                hypercall_page_32()
            } else {
                hypercall_page_64()
            };
            memory.write(gpa, &page)?;
        }
        let mut page = [0; StartInfo64::SIZE];
        let info = self.start_info(spec);
        if self.abi().is_32() {
            narrow(&info).encode(&mut page);
        } else {
            info.encode(&mut page);
        }
        memory.write(gpa_of_pfn(self.start_info_pfn), &page)?;
        Ok(())
    }

    fn abi(&self) -> Abi {
        Abi::of(self.class)
    }

    fn start_info(&self, spec: &DomainSpec<'_>) -> StartInfo64 {
        let va = |pfn: u64| self.virt_base + pfn * PAGE_SIZE;
        let has_ramdisk = self.ramdisk_len > 0;
        let mut flags = spec.flags | SIF_VIRT_P2M_4TOOLS;
        let mut mod_start = 0;
        if has_ramdisk && self.ramdisk_mapped {
            mod_start = va(self.ramdisk.start);
        } else if has_ramdisk {
            mod_start = self.ramdisk.start;
            flags |= SIF_MOD_START_PFN;
        }
        let (first_p2m_pfn, nr_p2m_frames) = match self.p2m_tables.is_empty() {
            true => (0, 0),
            false => (
                self.p2m_list.start,
                self.p2m_tables.end - self.p2m_list.start,
            ),
        };
        let mut info = StartInfo64 {
            nr_pages: self.nr_pages,
            shared_info: spec.shared_info_gpa,
            flags,
            store_mfn: self.store_mfn(),
            store_evtchn: spec.store_port,
            console_mfn: self.console_mfn(),
            console_evtchn: spec.console_port,
            pt_base: va(self.page_tables.start),
            nr_pt_frames: self.page_tables.end - self.page_tables.start,
            mfn_list: self.p2m_va,
            mod_start,
            mod_len: self.ramdisk_len,
            first_p2m_pfn,
            nr_p2m_frames,
            ..StartInfo64::ZERO
        };
        info.magic[..MAGIC_64.len()].copy_from_slice(MAGIC_64);
        // The plan has checked the length; the last byte stays NUL.
        info.cmd_line[..spec.cmdline.len()].copy_from_slice(spec.cmdline);
        info
    }

    fn write_p2m(&self, memory: &mut impl GuestMemory) -> Result<(), OutsideMemory> {
        let word = self.abi().word();
        let mut chunk = [0; P2M_CHUNK * PAGE];
        let mut pfn = 0;
        for run in runs(
            self.p2m_list.start * PAGE_SIZE,
            (self.p2m_list.end - self.p2m_list.start) * PAGE_SIZE,
        ) {
            let mut done = 0;
            while done < run.len {
                let bytes = &mut chunk[..(run.len - done).min((P2M_CHUNK * PAGE) as u64) as usize];
                if word == 4 {
                    put_frames::<4>(bytes, pfn, self.nr_pages);
                } else {
                    put_frames::<8>(bytes, pfn, self.nr_pages);
                }
                pfn += (bytes.len() / word) as u64;
                memory.write(run.gpa + done, bytes)?;
                done += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn write_tables(
        &self,
        spec: &DomainSpec<'_>,
        memory: &mut impl GuestMemory,
    ) -> Result<(), OutsideMemory> {
        let abi = self.abi();
        let upper = |pfn: u64| gpa_of_pfn(pfn) | tables::UPPER;
        let leaf = |pfn: u64| {
            let is_table = self.page_tables.contains(&pfn) || self.p2m_tables.contains(&pfn);
            gpa_of_pfn(pfn)
                | if is_table {
                    abi.leaf() & !tables::bits::WRITE
                } else {
                    abi.leaf()
                }
        };
        let kernel = TableSet::new(self.virt_base, self.mapped_pages * PAGE_SIZE);
        if abi.is_32() {
            return self.write_tables_32(&kernel, leaf, upper, memory);
        }
        let mut l4 = [0; 512];
        let kernel_at = self.page_tables.start + 1;
        let mut put = |set: &TableSet, at: u64, first_pfn: u64| {
            for (slot, pfn) in set.l4_entries(at) {
                l4[slot] = upper(pfn);
            }
            for (pfn, table) in set.build(at, |n| leaf(first_pfn + n), upper) {
                memory.write(gpa_of_pfn(pfn), &tables::bytes(&table))?;
            }
            Ok(())
        };
        put(&kernel, kernel_at, 0)?;
        if !self.p2m_tables.is_empty() {
            let pages: Range<u64> = self.p2m_list.clone();
            let list = TableSet::new(self.p2m_va, (pages.end - pages.start) * PAGE_SIZE);
            put(&list, self.p2m_tables.start, pages.start)?;
        }
        l4[FIRST_SLOT..FIRST_SLOT + spec.monitor_slots.len()].copy_from_slice(&spec.monitor_slots);
        memory.write(self.entry.cr3, &tables::bytes(&l4))
    }

    /// Three levels: the set's L3 is the root, and its last entry always has an L2.
    fn write_tables_32(
        &self,
        kernel: &TableSet,
        leaf: impl Fn(u64) -> u64,
        upper: impl Fn(u64) -> u64,
        memory: &mut impl GuestMemory,
    ) -> Result<(), OutsideMemory> {
        let root = self.page_tables.start;
        let end = self.virt_base + self.mapped_pages * PAGE_SIZE;
        for (pfn, mut table) in kernel.build(root, leaf, &upper) {
            if pfn == root && self.abi().lone_l2(end) {
                // The last of the tables; it is empty, as guest memory is.
                table[3] = upper(self.page_tables.end - 1);
            }
            memory.write(gpa_of_pfn(pfn), &tables::bytes(&table))?;
        }
        Ok(())
    }
}

/// Fills a part of the p2m list that begins at `pfn` with entries of `N` bytes. The list's last page goes on with invalid
/// entries. The compiler knows the width, and makes a short loop of it.
fn put_frames<const N: usize>(list: &mut [u8], pfn: u64, nr_pages: u64) {
    let last = pfn + (list.len() / N) as u64 - 1;
    let first = mfn_of_pfn(pfn);
    if last < nr_pages && mfn_of_pfn(last) - first == last - pfn {
        return count_up::<N>(list, first);
    }
    for (pfn, entry) in (pfn..).zip(list.chunks_exact_mut(N)) {
        let mfn = if pfn < nr_pages {
            mfn_of_pfn(pfn)
        } else {
            u64::MAX
        };
        entry.copy_from_slice(&mfn.to_le_bytes()[..N]);
    }
}

/// Fills a list with entries of `N` bytes, at most 8: `first`, and each one more than the one before. The compiler makes several at a time.
pub fn count_up<const N: usize>(list: &mut [u8], first: u64) {
    for (index, entry) in list.chunks_exact_mut(N).enumerate() {
        entry.copy_from_slice(&(first + index as u64).to_le_bytes()[..N]);
    }
}

/// The 32-bit form: the plan has checked that addresses and frames fit.
fn narrow(info: &StartInfo64) -> StartInfo32 {
    let mut narrow = StartInfo32 {
        nr_pages: info.nr_pages as u32,
        shared_info: info.shared_info as u32,
        flags: info.flags,
        store_mfn: info.store_mfn as u32,
        store_evtchn: info.store_evtchn,
        console_mfn: info.console_mfn as u32,
        console_evtchn: info.console_evtchn,
        pt_base: info.pt_base as u32,
        nr_pt_frames: info.nr_pt_frames as u32,
        mfn_list: info.mfn_list as u32,
        mod_start: info.mod_start as u32,
        mod_len: info.mod_len as u32,
        cmd_line: info.cmd_line,
        first_p2m_pfn: info.first_p2m_pfn as u32,
        nr_p2m_frames: info.nr_p2m_frames as u32,
        ..StartInfo32::ZERO
    };
    narrow.magic[..MAGIC_32P.len()].copy_from_slice(MAGIC_32P);
    narrow
}

/// A piece of pseudo-physical memory that is one piece of guest-physical memory too.
struct Run {
    gpa: u64,
    len: u64,
}

/// Splits pseudo-physical bytes at the hole below 4 GiB.
fn runs(start: u64, len: u64) -> impl Iterator<Item = Run> {
    const HOLE: u64 = HOLE_START_PFN * PAGE_SIZE;
    let end = start + len;
    let run = |start: u64, end: u64| Run {
        gpa: gpa_of_pfn(start / PAGE_SIZE) + start % PAGE_SIZE,
        len: end.saturating_sub(start),
    };
    [
        run(start, end.min(HOLE).max(start)),
        run(start.max(HOLE).min(end.max(HOLE)), end),
    ]
    .into_iter()
    .filter(|r| r.len > 0)
}

/// Copies a segment's bytes from the ELF, wherever that is.
fn write_segment(
    memory: &mut impl GuestMemory,
    segment: &Segment,
    elf: &dyn Source,
) -> Result<(), BuildError> {
    let start = segment.file.start as u64;
    if let Some(bytes) = elf.slice(start, segment.file.len()) {
        return Ok(write_sparse(memory, segment.offset, bytes)?);
    }
    let mut buffer = vec![0; BOUNCE.min(segment.file.len())];
    let mut done = 0;
    while done < segment.file.len() {
        // The first piece ends at a page boundary of the target, so that no page of zeros is cut in two.
        let to_boundary = BOUNCE - segment.offset as usize % PAGE;
        let len = (segment.file.len() - done).min(if done == 0 { to_boundary } else { BOUNCE });
        let part = &mut buffer[..len];
        elf.read_at(start + done as u64, part)
            .map_err(|source| BuildError::Kernel(KernelError::Read(source.to_string())))?;
        write_sparse(memory, segment.offset + done as u64, part)?;
        done += len;
    }
    Ok(())
}

/// Writes bytes to pseudo-physical memory, but no page of zeros: memory is zero already, and a page that nobody touches
/// costs the host nothing. Half of a Linux image is such pages.
fn write_sparse(
    memory: &mut impl GuestMemory,
    start: u64,
    bytes: &[u8],
) -> Result<(), OutsideMemory> {
    let mut rest = bytes;
    for run in runs(start, bytes.len() as u64) {
        let (mut piece, after) = rest.split_at(run.len as usize);
        rest = after;
        let mut gpa = run.gpa;
        while !piece.is_empty() {
            let zeros = whole_pages(piece, gpa, is_zero);
            (piece, gpa) = (&piece[zeros..], gpa + zeros as u64);
            let data = whole_pages(piece, gpa, |page| !is_zero(page));
            memory.write(gpa, &piece[..data])?;
            (piece, gpa) = (&piece[data..], gpa + data as u64);
        }
    }
    Ok(())
}

/// Length of the leading pages (by guest-physical alignment) that `wanted` holds for.
fn whole_pages(bytes: &[u8], gpa: u64, wanted: impl Fn(&[u8]) -> bool) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let to_boundary = PAGE - (gpa as usize + done) % PAGE;
        let page = &bytes[done..bytes.len().min(done + to_boundary)];
        if !wanted(page) {
            break;
        }
        done += page.len();
    }
    done
}

fn is_zero(page: &[u8]) -> bool {
    // In blocks, so that the compiler can make wide comparisons of it and a page of data is left at its first block.
    page.chunks(128)
        .all(|block| block.iter().fold(0, |seen, b| seen | b) == 0)
}

fn read_ramdisk(
    memory: &mut impl GuestMemory,
    start: u64,
    ramdisk: Ramdisk<'_>,
) -> Result<(), BuildError> {
    let len = ramdisk.len;
    let failed = |source: io::Error| BuildError::Ramdisk { len, source };
    for run in runs(start, len) {
        let mut done = 0;
        while done < run.len {
            let bytes = ramdisk.reader.fill_buf().map_err(failed)?;
            let part = bytes
                .len()
                .min(usize::try_from(run.len - done).unwrap_or(usize::MAX));
            if part == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            memory.write(run.gpa + done, &bytes[..part])?;
            ramdisk.reader.consume(part);
            done += part as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_split_at_the_hole_only() {
        let all = |start, len| runs(start, len).map(|r| (r.gpa, r.len)).collect::<Vec<_>>();
        assert_eq!(all(0x1000, 0x10), [(0x1000, 0x10)]);
        assert_eq!(
            all(0xdfff_f000, 0x3000),
            [(0xdfff_f000, 0x1000), (0x1_0000_0000, 0x2000)]
        );
        assert_eq!(all(0xe000_0000, 0x1000), [(0x1_0000_0000, 0x1000)]);
        assert_eq!(all(0xe000_0800, 0), []);
        assert_eq!(all(0xdfff_f000, 0x1000), [(0xdfff_f000, 0x1000)]);
    }

    #[test]
    fn write_sparse_skips_pages_of_zeros_and_nothing_else() {
        struct Log(Vec<(u64, usize)>);
        impl GuestMemory for Log {
            fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
                if !bytes.is_empty() {
                    self.0.push((gpa, bytes.len()));
                }
                Ok(())
            }
        }
        let mut bytes = vec![0; 0x5000];
        bytes[0x10] = 1;
        bytes[0x3fff] = 1;
        let mut log = Log(vec![]);
        write_sparse(&mut log, 0x10_0800, &bytes).expect("log");
        assert_eq!(log.0, [(0x10_0800, 0x800), (0x10_4000, 0x1000)]);
    }
}
