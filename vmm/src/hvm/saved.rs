//! An HVM domain into a file, and out of one (docs/save-restore.md).
//!
//! ```text
//!   stand still, devices frozen --gather--> state --> a thread: write(): state, RAM, BIOS, video memory
//!   file --Arriving::read--> fill(): memory, to the file's end --> chips, vCPUs --> devices are made as for a new domain
//!      --> first start: Pc::take_up: each device takes over its state, lines as they were, time moved on
//! ```
//! A request that a drive has not seen answered is in the drive's state: it asks its medium once more.

use crate::domain::crew::Crew;
use crate::domain::hub::Hub;
use crate::hvm::build::Config;
use crate::hvm::drives::Drives;
use crate::hvm::pc::Pc;
use crate::hvm::video::Video;
use crate::hvm::wire::Line;
use crate::save::job::{self, Progress, BUFFER};
use crate::save::memory::{self, VIDEO};
use crate::save::restore::{passed, RestoreError};
use crate::save::send::Ledger;
use crate::vstate::chips;
use crate::vstate::cpuid::HostCpuid;
use crate::vstate::features;
use crate::vstate::memory::{GuestMemory, Piece};
use crate::vstate::vm::Vm;
use noxen_hvmloader::bios;
use noxen_pc::backing::Backing;
use noxen_saved_image::hvm::{self, HvmState, Saved};
use noxen_saved_image::state::{Bytes, Clock, Console, Feature};
use noxen_saved_image::{ImageError, Reader, Record, CHUNK, PAGE};
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a save needs of the machine that nothing else keeps.
#[derive(Debug)]
pub struct Carried {
    /// The VM.
    pub vm: Arc<Vm>,
    /// MSRs of each vCPU that are saved.
    pub msrs: Arc<[u32]>,
    /// Rate of the vCPUs' TSC.
    pub tsc_khz: u32,
    /// CPU features that the guest may have found.
    pub features: Vec<Feature>,
    /// Its firmware.
    pub bios: Piece,
    /// Memory of its display.
    pub video: Option<Arc<Video>>,
    /// Its first serial port.
    pub serial: Option<Arc<Line>>,
    /// What it takes over once it starts.
    pub arrived: Option<HvmState>,
}

/// Time of the host since the epoch.
pub fn host_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

impl Carried {
    /// All but the memory of a domain that stands still, frozen; `unwritten` is output of COM1 that is on its way.
    pub fn gather(
        &self,
        crew: &Crew,
        pc: &Pc,
        drives: &Drives,
        unwritten: &[u8],
    ) -> Result<HvmState, String> {
        let host_ns = u64::try_from(host_now().as_nanos()).unwrap_or(u64::MAX);
        let (tsc, vcpus) = crew.saved(&self.msrs)?;
        let (board, devices) = pc.saved();
        let (output, input) = self
            .serial
            .as_ref()
            .map(|line| line.saved())
            .unwrap_or_default();
        Ok(HvmState {
            pc: hvm::Pc {
                domid: crew.domid(),
                pages: memory::ram(&pc.hub().memory, self.bios.gpa)
                    .iter()
                    .map(|(_, _, length)| length / PAGE)
                    .sum(),
                vcpus: vcpus.len() as u32,
                bios: self.bios.len,
                video: self.video.as_ref().map_or(0, |video| video.length()),
                features: self.features.clone(),
                disks: drives.discs(),
            },
            clock: Clock {
                tsc,
                tsc_khz: self.tsc_khz,
                host_ns,
            },
            vcpus,
            console: Console {
                output: Bytes([unwritten, &output].concat()),
                input: Bytes(input),
            },
            chips: chips::capture(&self.vm).map_err(|error| error.to_string())?,
            board,
            devices,
        })
    }

    /// Lets the machine, whose devices are all there, take over what it arrived with.
    pub fn take_up(&mut self, pc: &Pc, drives: &Drives) -> Result<(), String> {
        let Some(state) = &self.arrived else {
            return Ok(());
        };
        let here = drives.discs();
        for disk in &state.pc.disks {
            match here.iter().find(|other| other.devid == disk.devid) {
                Some(other) if other.bytes == disk.bytes => {}
                Some(other) => {
                    return Err(format!(
                        "disk {} has {} bytes, and had {} when the domain was saved; restore it with the disks that it had",
                        disk.devid, other.bytes, disk.bytes
                    ))
                }
                None => {
                    return Err(format!(
                        "disk {} is missing; restore the domain with the disks that it had",
                        disk.devid
                    ))
                }
            }
        }
        pc.take_up(
            &state.board,
            &state.devices,
            passed(&state.clock, host_now()),
        )?;
        self.arrived = None;
        Ok(())
    }
}

/// Writes a domain into `file`.
pub fn write(
    hub: &Hub,
    bios: u64,
    video: Option<&Video>,
    config: &str,
    state: &HvmState,
    file: File,
    progress: &Progress,
) -> io::Result<Ledger> {
    let seconds = state.clock.host_ns / 1_000_000_000;
    job::write_file(&hub.log, config, seconds, file, |writer| {
        writer.hvm_state(state)?;
        memory::write_pc(writer, &hub.memory, bios, progress)?;
        let Some(video) = video else { return Ok(()) };
        let mut buffer = vec![0; CHUNK];
        for at in (0..video.length()).step_by(CHUNK) {
            let length = (video.length() - at).min(CHUNK as u64) as usize;
            let part = &mut buffer[..length];
            video.read(at, part);
            writer.memory(VIDEO, at, part)?;
        }
        Ok(())
    })
}

/// An image whose state was read, and whose memory was not.
pub struct Arriving {
    reader: Reader<BufReader<File>>,
    first: Option<Record>,
    state: HvmState,
}

impl Arriving {
    /// Reads the state in `image`, which must fit `config` and a display of `video` bytes.
    pub fn read(image: File, config: &Config, video: u64) -> Result<Arriving, RestoreError> {
        let mut reader = Reader::open(BufReader::with_capacity(BUFFER, image))?;
        let (saved, first) = Saved::read(&mut reader)?;
        let Saved::Hvm(state) = saved else {
            return Err(RestoreError::Nonsense(
                "its configuration is an HVM domain's, its state is not",
            ));
        };
        let pc = &state.pc;
        for (fits, what) in [
            (
                pc.pages == config.memory_mib << 8,
                "its memory has another size",
            ),
            (pc.vcpus == config.vcpus, "it has another number of vCPUs"),
            (pc.video == video, "its display has another memory"),
            (
                pc.bios.is_multiple_of(PAGE) && bios::SIZES.contains(&(pc.bios as usize)),
                "its firmware has a size that none has",
            ),
        ] {
            if !fits {
                return Err(RestoreError::Nonsense(what));
            }
        }
        Ok(Arriving {
            reader,
            first,
            state: *state,
        })
    }

    /// Where its firmware is: up to 4 GiB.
    pub fn bios(&self) -> Piece {
        Piece {
            gpa: (1 << 32) - self.state.pc.bios,
            len: self.state.pc.bios,
        }
    }

    /// Is everything here that the guest may have found of the CPU?
    pub fn check_cpu(&self, host: &HostCpuid, config: &Config) -> Result<(), RestoreError> {
        let table = host.hvm_table(config.hvm.pae, config.hvm.apic);
        Ok(features::check(
            &self.state.pc.features,
            &table.unwrap_or_default(),
        )?)
    }

    /// Fills fresh memory, to the image's end.
    pub fn fill(
        mut self,
        memory: &GuestMemory,
        video: Option<&Video>,
    ) -> Result<HvmState, RestoreError> {
        let sink = memory::Sink::of_pc(memory, self.bios().gpa)?;
        let mut record = self.first.take();
        while let Some(now) = record {
            match (now, video) {
                (
                    Record::Memory {
                        space,
                        offset,
                        bytes,
                    },
                    Some(video),
                ) if space == VIDEO => {
                    let end = offset.checked_add(bytes.len() as u64);
                    if end.is_none_or(|end| end > video.length()) {
                        let text = format!(
                            "it has memory of the display at {offset:#x}, where there is none"
                        );
                        return Err(ImageError::Structure(text).into());
                    }
                    video.write(offset, &bytes);
                }
                (now, _) => sink.put(now)?,
            }
            record = self.reader.next()?;
        }
        Ok(self.state)
    }
}
