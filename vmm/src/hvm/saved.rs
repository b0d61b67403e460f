//! An HVM domain into a file, and out of one (docs/save-restore.md).
//!
//! ```text
//!   stand still, devices frozen --gather--> state --> a thread: write(): state, RAM, BIOS, video memory
//!   another host: pc, memory in rounds, then the rest of the state (save/send.rs)
//!   file or stream --Arriving::read--> fill(): memory, to the end --> chips, vCPUs --> devices are made as for a new domain
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
use crate::log::Log;
use crate::save::job::{self, Progress, BUFFER};
use crate::save::lazy;
use crate::save::mark::Answers;
use crate::save::memory::{self, BIOS, VIDEO};
use crate::save::pull::Pull;
use crate::save::restore::{passed, Origin, RestoreError};
use crate::save::send::Ledger;
use crate::vstate::chips;
use crate::vstate::features;
use crate::vstate::memory::{GuestMemory, Piece};
use crate::vstate::vm::Vm;
use noxen_hvmloader::bios;
use noxen_monitor_abi::CpuidEntry;
use noxen_pc::backing::Backing;
use noxen_saved_image::hvm::{self, HvmState, Saved};
use noxen_saved_image::state::{read_announced, Announced, Bytes, Clock, Console, Feature};
use noxen_saved_image::{ImageError, Place, Reader, Record, Writer, CHUNK, PAGE};
use std::fs::File;
use std::io::{self, BufReader, Read};
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
    /// The guest has Microsoft's hypervisor interfaces, whose state is not saved yet.
    pub viridian: bool,
    /// What it takes over once it starts.
    pub arrived: Option<HvmState>,
}

/// Time of the host since the epoch.
pub fn host_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

impl Carried {
    /// What the machine is.
    pub fn pc(&self, domid: u32, vcpus: u32, memory: &GuestMemory, drives: &Drives) -> hvm::Pc {
        let ram = memory::ram(memory, self.bios.gpa);
        hvm::Pc {
            domid,
            pages: ram.iter().map(|(_, _, length)| length / PAGE).sum(),
            vcpus,
            bios: self.bios.len,
            video: self.video.as_ref().map_or(0, |video| video.length()),
            features: self.features.clone(),
            disks: drives.discs(),
        }
    }

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
            pc: self.pc(crew.domid(), vcpus.len() as u32, &pc.hub().memory, drives),
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

/// Writes a domain into `file`, its memory compressed or not.
#[allow(clippy::too_many_arguments)] // Each is one thing that a machine has or a save wants.
pub fn write(
    hub: &Hub,
    bios: u64,
    video: Option<&Video>,
    config: &str,
    state: &HvmState,
    compress: bool,
    file: File,
    progress: &Progress,
) -> io::Result<Ledger> {
    let seconds = state.clock.host_ns / 1_000_000_000;
    job::write_file(&hub.log, config, seconds, compress, file, |writer| {
        writer.hvm_state(state)?;
        memory::write_beside(writer, &hub.memory, (bios, BIOS), progress)?;
        match video {
            Some(video) => write_video(writer, video),
            None => Ok(()),
        }
    })
}

/// Writes the memory of a display.
pub fn write_video<W: io::Write>(writer: &mut Writer<W>, video: &Video) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for at in (0..video.length()).step_by(CHUNK) {
        let length = (video.length() - at).min(CHUNK as u64) as usize;
        let part = &mut buffer[..length];
        video.read(at, part);
        writer.memory(VIDEO, at, part)?;
    }
    Ok(())
}

/// An image of which was read what the machine is, and of a file all its state.
pub struct Arriving {
    came: Came,
}

enum Came {
    /// In a file: the state, the first memory record, and where the others are.
    File {
        state: Box<HvmState>,
        first: Option<Record>,
        places: Vec<Place>,
        image: File,
        lazy: Option<Log>,
    },
    /// From another host: its state is behind its memory.
    Stream {
        pc: Box<hvm::Pc>,
        reader: Reader<Box<dyn Read>>,
        answers: Answers,
        pages: Option<(File, Log)>,
    },
}

impl Arriving {
    /// Reads what an image begins with, which must fit `config` and a display of `video` bytes.
    pub fn read(origin: Origin, config: &Config, video: u64) -> Result<Arriving, RestoreError> {
        const OTHER: RestoreError =
            RestoreError::Nonsense("its configuration is an HVM domain's, its state is not");
        let Origin {
            image,
            stream,
            pages,
            lazy,
        } = origin;
        let came = match stream {
            None => {
                let file = image.try_clone().map_err(ImageError::Io)?;
                let mut reader = Reader::open(BufReader::new(file))?;
                let (saved, first) = Saved::read(&mut reader)?;
                let Saved::Hvm(state) = saved else {
                    return Err(OTHER);
                };
                Came::File {
                    state,
                    first,
                    places: reader.places()?,
                    image,
                    lazy,
                }
            }
            Some(stream) => {
                let answers = Answers::on(&stream).map_err(ImageError::Io)?;
                let rest = BufReader::with_capacity(BUFFER, stream);
                let whole: Box<dyn Read> = Box::new(image.chain(rest));
                let mut reader = Reader::open(whole)?;
                let (Announced::Hvm(pc), _) = read_announced(&mut reader)? else {
                    return Err(OTHER);
                };
                Came::Stream {
                    pc,
                    reader,
                    answers,
                    pages,
                }
            }
        };
        let arriving = Arriving { came };
        let pc = arriving.pc();
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
        Ok(arriving)
    }

    fn pc(&self) -> &hvm::Pc {
        match &self.came {
            Came::File { state, .. } => &state.pc,
            Came::Stream { pc, .. } => pc,
        }
    }

    /// Where its firmware is: up to 4 GiB.
    pub fn bios(&self) -> Piece {
        let length = self.pc().bios;
        Piece {
            gpa: (1 << 32) - length,
            len: length,
        }
    }

    /// Is everything here that the guest may have found of the CPU?
    pub fn check_cpu(&self, table: &[CpuidEntry]) -> Result<(), RestoreError> {
        Ok(features::check(&self.pc().features, table)?)
    }

    /// Fills fresh memory, to the image's end; RAM of a file perhaps as it is touched.
    pub fn fill(
        self,
        memory: &GuestMemory,
        video: Option<&Video>,
    ) -> Result<HvmState, RestoreError> {
        let other = (self.bios().gpa, BIOS);
        let sink = memory::Sink::beside(memory, other)?;
        let take = |record: Record| match video {
            Some(video) => put(&sink, video, record),
            None => sink.put(record),
        };
        match self.came {
            Came::File {
                state,
                first,
                places,
                image,
                lazy,
            } => {
                first.map(take).transpose()?;
                lazy::fill(memory, image, places, other, lazy, take)?;
                Ok(*state)
            }
            Came::Stream {
                pc,
                mut reader,
                mut answers,
                pages,
            } => {
                let pages = pages.map(|(link, log)| Pull::prepare(memory, other, link, log));
                let mut pull = pages.transpose()?;
                let state = HvmState::read_stream(&mut reader, *pc, |record| {
                    let record = match (answers.take(record)?, &mut pull) {
                        (Some(record), Some(pull)) => pull.note(record)?,
                        (record, _) => record,
                    };
                    record.map_or(Ok(()), take)
                })?;
                if let Some(pull) = pull {
                    pull.begin(reader.header().moving.clone())?;
                }
                Ok(state)
            }
        }
    }
}

/// Puts a record where it belongs: into the display's memory, or the guest's.
fn put(sink: &memory::Sink<'_>, video: &Video, record: Record) -> Result<(), ImageError> {
    let within = |offset: u64, length: u64| match offset.checked_add(length) {
        Some(end) if end <= video.length() => Ok(()),
        _ => {
            let text = format!("it has memory of the display at {offset:#x}, where there is none");
            Err(ImageError::Structure(text))
        }
    };
    match record {
        Record::Memory {
            space,
            offset,
            bytes,
        } if space == VIDEO => {
            within(offset, bytes.len() as u64)?;
            video.write(offset, &bytes);
            Ok(())
        }
        Record::Zeros {
            space,
            offset,
            length,
        } if space == VIDEO => {
            within(offset, length)?;
            let zeros = [0; PAGE as usize];
            for at in (offset..offset + length).step_by(zeros.len()) {
                video.write(at, &zeros);
            }
            Ok(())
        }
        record => sink.put(record),
    }
}
