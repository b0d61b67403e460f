//! What the bench `costs` adds to our guest's initramfs: its program, a small tree of C files, make and tcc.
//!
//! ```text
//!   guest-generic.cpio ++ costs.cpio = the guest's initramfs (the kernel unpacks archives one after another)
//!                            ├── bin/costs             benches/guest/costs.c, static
//!                            ├── build/                a tree laid out like a kernel's, generated, always the same
//!                            └── usr/bin/{make,tcc}    Debian's, with libc6's libraries and loader
//! ```
//! tcc, not gcc: a compiler that spends little time computing shows what fork, exec and page faults cost.

use super::apt;
use crate::cpio;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = include_str!("../../../../benches/guest/costs.c");
/// What the benches' programs share.
pub const HEADER_OF_PROGRAMS: &str = include_str!("../../../../benches/guest/workload.h");
/// Directories of the tree, each with [`FILES`] files of [`FUNCTIONS`] functions.
const DIRS: [&str; 5] = ["init", "kernel", "mm", "fs", "lib"];
const FILES: usize = 3;
const FUNCTIONS: usize = 30;

const HEADER: &str = "\
#ifndef LIST_H
#define LIST_H
struct list { struct list *next, *prev; };
static inline void list_add(struct list *entry, struct list *head)
{ entry->next = head->next; entry->prev = head; head->next->prev = entry; head->next = entry; }
static inline int list_empty(const struct list *head) { return head->next == head; }
#endif
";

/// Each file is compiled, each directory linked into one object, these into the image.
const MAKEFILE: &str = "\
SOURCES := $(wildcard $(DIRS:%=%/*.c))
OBJECTS := $(SOURCES:.c=.o)
PARTS := $(DIRS:%=%/built-in.o)
all: image
image: $(PARTS)
\ttcc -r -o $@ $^
$(PARTS): %/built-in.o: $(OBJECTS)
\ttcc -r -o $@ $(filter $*/%,$^)
%.o: %.c
\ttcc -nostdinc -Iinclude -c -o $@ $<
clean:
\trm -f $(OBJECTS) $(PARTS) image
.PHONY: all clean
";

/// One source file: lists, hashes, switches, as kernels have them.
fn source(dir: &str, file: usize) -> String {
    let mut text = String::from("#include \"list.h\"\n");
    for i in 0..FUNCTIONS {
        let _ = write!(
            text,
            "
struct {dir}{file}_object{i} {{ struct list link; unsigned long key, flags; char name[{}]; }};
int {dir}{file}_op{i}(struct {dir}{file}_object{i} *object, unsigned long key)
{{
    unsigned long hash = key * {}ul;
    for (unsigned bit = 0; bit < 64; bit += {})
        hash ^= hash >> bit ^ object->key << ({i} + bit) % 64;
    if (list_empty(&object->link) || hash % {} == object->flags)
        return -{};
    object->name[hash % sizeof object->name] = (char)hash;
    switch (hash & 7) {{
    case 0: return {i};
    case 1: object->flags |= {}u; break;
    default: object->key++;
    }}
    return (int)(hash % 1000);
}}
",
            16 + i,
            2 * i + 1,
            i % 7 + 1,
            i + 3,
            i + 1,
            1u64 << (i % 31),
        );
    }
    text
}

/// Compiles a static program of `benches/guest/`.
pub fn compile(scratch: &Path, name: &str, text: &str, to: &Path) -> Result<()> {
    fs::write(scratch.join("workload.h"), HEADER_OF_PROGRAMS)?;
    fs::write(scratch.join(name), text)?;
    apt::run(
        Command::new("gcc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
            .arg(to)
            .arg(scratch.join(name)),
    )
}

/// Writes the archive.
pub fn write(scratch: &Path, to: &Path) -> Result<()> {
    let program = scratch.join("costs");
    compile(scratch, "costs.c", PROGRAM, &program)?;
    let mut archive = cpio::Writer::new(Vec::new());
    // bin, lib and usr/bin are in the guest's own archive.
    archive.file("bin/costs", 0o755, &fs::read(&program)?)?;
    archive.directory("build", 0o755)?;
    let makefile = format!("DIRS := {}\n{MAKEFILE}", DIRS.join(" "));
    archive.file("build/Makefile", 0o644, makefile.as_bytes())?;
    archive.directory("build/include", 0o755)?;
    archive.file("build/include/list.h", 0o644, HEADER.as_bytes())?;
    for dir in DIRS {
        archive.directory(&format!("build/{dir}"), 0o755)?;
        for file in 0..FILES {
            let name = format!("build/{dir}/{dir}{file}.c");
            archive.file(&name, 0o644, source(dir, file).as_bytes())?;
        }
    }
    for tool in ["make", "tcc"] {
        let path = apt::fetch(tool, scratch)?.join("usr/bin").join(tool);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        archive.file(&format!("usr/bin/{tool}"), 0o755, &bytes)?;
    }
    libc(&mut archive, scratch)?;
    fs::write(to, archive.finish()?)?;
    Ok(())
}

/// The loader and the libraries of libc6, at Debian's paths. `lib` must be in the archive, or an earlier one.
pub fn libc(archive: &mut cpio::Writer<Vec<u8>>, scratch: &Path) -> Result<()> {
    let tree = apt::fetch("libc6", scratch)?;
    archive.directory("lib64", 0o755)?;
    archive.directory("lib/x86_64-linux-gnu", 0o755)?;
    let dir = "lib/x86_64-linux-gnu";
    for (from, to) in [
        ("ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        ("libc.so.6", "lib/x86_64-linux-gnu/libc.so.6"),
        ("libm.so.6", "lib/x86_64-linux-gnu/libm.so.6"),
        ("libpthread.so.0", "lib/x86_64-linux-gnu/libpthread.so.0"),
        ("libdl.so.2", "lib/x86_64-linux-gnu/libdl.so.2"),
    ] {
        let path = tree.join(dir).join(from);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        archive.file(to, 0o755, &bytes)?;
    }
    Ok(())
}

/// A number that changes when anything that goes into the archive changes.
pub fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (
        PROGRAM,
        HEADER_OF_PROGRAMS,
        HEADER,
        MAKEFILE,
        include_str!("costs.rs"),
    )
        .hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_is_c_that_a_compiler_takes() {
        let dir = std::env::temp_dir().join(format!("noxen-costs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("list.h"), HEADER).unwrap();
        fs::write(dir.join("a.c"), source("mm", 2)).unwrap();
        let compiled = apt::run(
            Command::new("gcc")
                .args(["-Wall", "-Werror", "-c", "-o"])
                .arg(dir.join("a.o"))
                .arg(dir.join("a.c")),
        );
        fs::remove_dir_all(&dir).unwrap();
        compiled.unwrap();
    }
}
