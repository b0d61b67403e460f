//! `image FILE`: what a file of a saved domain holds, all of it read and checked. Not a command of xm's.

use crate::cli::command::{Arity, Command, Group, JSON};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use noxen_saved_image::{ImageError, Reader, Record, Saved};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

/// The definition.
pub const COMMAND: Command = Command {
    name: "image",
    args: "<CheckpointFile>",
    summary: "Show what a file written by save holds.",
    details: "The file is read to its end and every checksum in it is checked; a file that is damaged, cut short, or not one of \
        a saved domain is an error.",
    arity: Arity::Exact(1),
    options: &[JSON],
    group: Group::Hidden,
    run: Some(run),
    ..Command::DEFAULT
};

/// Bytes kept of one memory, and where they end.
#[derive(Default)]
struct Space {
    bytes: u64,
    end: u64,
}

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let name = parsed.words.concat();
    let file = File::open(&name).map_err(|e| {
        Failure::message(format!(
            "xm image: Unable to read file {name}: {}",
            reason(&e)
        ))
    })?;
    let failed = |e: ImageError| Failure::message(format!("{name}: {e}"));
    let mut reader = Reader::open(BufReader::new(file)).map_err(failed)?;
    let (state, mut record) = Saved::read(&mut reader).map_err(failed)?;
    let mut spaces: BTreeMap<String, Space> = BTreeMap::new();
    while let Some(now) = record {
        match now {
            Record::Memory {
                space,
                offset,
                bytes,
            } => {
                let space = spaces.entry(space).or_default();
                space.bytes += bytes.len() as u64;
                space.end = offset + bytes.len() as u64;
            }
            Record::Zeros { .. } => {
                let text = "it was written for another host, not as a file".to_owned();
                return Err(failed(ImageError::Structure(text)));
            }
            Record::Unit { name, .. } => {
                let text = format!("part {name:?} comes after the memory");
                return Err(failed(ImageError::Structure(text)));
            }
        }
        record = reader.next().map_err(failed)?;
    }
    if parsed.has("json") {
        return json(context, &name, &reader, &state, &spaces);
    }
    let header = reader.header();
    let (kind, maxmem, watches) = match &state {
        Saved::Pv(state) => {
            let watches = state.store.as_ref().map_or(0, |s| s.watches.len());
            ("PV", state.domain.max_pages >> 8, watches)
        }
        Saved::Hvm(_) => ("HVM", state.memory_mib(), 0),
    };
    let lines = [
        ("file", name.clone()),
        ("written by", header.writer.clone()),
        ("format", header.format.to_string()),
        ("created (s)", header.created.to_string()),
        ("kind", kind.to_owned()),
        ("domain id", state.domid().to_string()),
        ("vcpus", state.vcpus().len().to_string()),
        ("memory (MiB)", state.memory_mib().to_string()),
        ("maxmem (MiB)", maxmem.to_string()),
        ("tsc (kHz)", state.clock().tsc_khz.to_string()),
        ("watches", watches.to_string()),
        ("configuration", reader.config().trim().to_owned()),
    ];
    for (label, text) in lines {
        context.line(format!("{label:23}: {text}"))?;
    }
    if header.is_compressed() {
        let label = "zstd, together (KiB)";
        context.line(format!("{label:23}: {}", reader.totals().packed >> 10))?;
    }
    for (space, kept) in spaces {
        let label = format!("{space} kept (KiB)");
        context.line(format!("{label:23}: {}", kept.bytes >> 10))?;
    }
    Ok(0)
}

fn json(
    context: &mut Context,
    name: &str,
    reader: &Reader<BufReader<File>>,
    state: &Saved,
    spaces: &BTreeMap<String, Space>,
) -> Result<i32, Failure> {
    let spaces: serde_json::Map<_, _> = spaces
        .iter()
        .map(|(name, kept)| {
            let value = serde_json::json!({ "kept_bytes": kept.bytes, "end": kept.end });
            (name.clone(), value)
        })
        .collect();
    let mut told = serde_json::json!({
        "file": name,
        "header": reader.header(),
        "config": reader.config(),
        "clock": state.clock(),
        "console": state.console(),
        "vcpus": state.vcpus(),
        "memory": spaces,
    });
    if reader.header().is_compressed() {
        told["packed_bytes"] = reader.totals().packed.into();
    }
    match state {
        Saved::Pv(state) => {
            told["domain"] = serde_json::json!(state.domain);
            told["store"] = serde_json::json!(state.store);
        }
        Saved::Hvm(state) => {
            told["pc"] = serde_json::json!(state.pc);
            told["chips"] = serde_json::json!(state.chips);
            told["board"] = serde_json::json!(state.board);
            told["devices"] = serde_json::json!(state.devices);
        }
    }
    context.json(&told)?;
    Ok(0)
}
