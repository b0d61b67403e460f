//! Builds the ring-0 image with plain rustc: no target of its own, no nightly feature.
//!
//! ```text
//!   pv-abi, pv-abi/monitor-abi, src/lib.rs --(rlib)--> image/main.rs --(fat LTO, -sse, monitor.ld)--> monitor.elf
//! ```
//! Fat LTO recompiles `core` with the image's target features, so that no SSE instruction is left in it
//! (`tests/image.rs` disassembles the result).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMON: &[&str] = &[
    "--edition=2021",
    "--target=x86_64-unknown-linux-gnu",
    "-Copt-level=2",
    "-Cpanic=abort",
    "-Cno-redzone=yes",
    "-Crelocation-model=pic",
    "-Cembed-bitcode=yes",
    "-Ctarget-feature=-sse",
    "-Cforce-unwind-tables=no",
    "-Coverflow-checks=no",
    "-Cdebug-assertions=no",
    "-Cdebuginfo=0",
    "-Awarnings",
];

fn main() {
    for path in ["src", "image", "build.rs", "../src", "../monitor-abi/src"] {
        println!("cargo:rerun-if-changed={path}");
    }
    if env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let here =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let abi = rlib(&out, "noxen_pv_abi", &here.join("../src/lib.rs"), &[]);
    let shared = rlib(
        &out,
        "noxen_monitor_abi",
        &here.join("../monitor-abi/src/lib.rs"),
        &[],
    );
    let core = rlib(
        &out,
        "noxen_monitor",
        &here.join("src/lib.rs"),
        &[&abi, &shared],
    );
    let script = here.join("image/monitor.ld");
    let elf = out.join("monitor.elf");
    let mut rustc = rustc();
    rustc
        .args([
            "--crate-name",
            "monitor_image",
            "--crate-type",
            "bin",
            "-Clto=fat",
            "-Ccodegen-units=1",
        ])
        .args([
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-static",
            "-Clink-arg=-no-pie",
        ])
        .arg("-Clink-arg=-Wl,--build-id=none,-z,max-page-size=4096,-z,norelro,--gc-sections")
        .arg(format!("-Clink-arg=-Wl,-T,{}", script.display()))
        .arg("-o")
        .arg(&elf);
    for library in [&abi, &shared, &core] {
        rustc.arg("--extern").arg(library);
    }
    rustc.arg("-L").arg(&out).arg(here.join("image/main.rs"));
    run(rustc);
}

fn rustc() -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // Flags meant for the host's programs must not reach ring 0.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(COMMON);
    command
}

/// Compiles one library; answers `name=path` for `--extern`.
fn rlib(out: &Path, name: &str, source: &Path, uses: &[&str]) -> String {
    let path = out.join(format!("lib{name}.rlib"));
    let mut command = rustc();
    command
        .args(["--crate-type", "rlib", "--crate-name", name, "-o"])
        .arg(&path)
        .arg("-L")
        .arg(out);
    for library in uses {
        command.arg("--extern").arg(library);
    }
    command.arg(source);
    run(command);
    format!("{name}={}", path.display())
}

fn run(mut command: Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    if !output.status.success() {
        panic!(
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
