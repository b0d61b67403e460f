//! `cargo xtask`: the commands that people and CI run.
//!
//! ```text
//!   xtask ─┬─ assets    apt packages installed, Debian's kernels and images unpacked into target/assets
//!          ├─ lab       CMD on a Debian host with real kvm (this one, or QEMU TCG)
//!          ├─ test      every test: on the host, then those that need the lab
//!          ├─ demo      a stock Debian PV guest, with its console
//!          ├─ bench     side by side with peers
//!          └─ install   binaries, configs, scripts under a prefix
//! ```

mod assets;
mod bench;
mod choice;
mod costs;
mod cpio;
mod demo;
mod install;
mod lab;
mod options;
mod suite;
mod xen;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  lab [--vcpus N] [--mem MiB] [--hosts N] [--timeout S] [--icount [--icount-shift N]] [--verbose] -- CMD...
               run CMD on a Debian host with real kvm; exit status, stdin, stdout, stderr pass through
  test [FILTER]    run every test (lab tests inside the lab); FILTER limits the lab tests
  demo [--check]   boot a stock Debian PV guest and attach its console; --check: unattended
  bench [NAME]     run benches side by side with their peers; writes target/bench/NAME.json
  bench costs [--guests noxen-1,hvm-2,xen-1,...] [--rows pipe,build,...]   the cost table in pieces
  bench boot [--guests noxen,noxen-vmm,qemu-q35-pvh,qemu-microvm]          boot in pieces
  bench block [--guests noxen-vmm,qemu-virtio-blk] [--rows read-1m-qd1,...] disks in pieces
  bench migrate [--guests noxen,noxen-hvm,qemu-q35] [--rows idle,dirty-50,saved,...]   moves in pieces
  bench migrate --soak [COUNT] [--guests noxen-hvm]                        to and fro, 1,000 times unless said
  bench net [--guests noxen-vmm,...] [--rows tcp-out,pair-tcp-out,...]      interfaces in pieces
  install --prefix DIR
  assets [--force] install missing packages, fetch and unpack Debian's kernels and images
";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        eprint!("{HELP}");
        return ExitCode::from(2);
    }
    let command = args.remove(0);
    let outcome = match command.as_str() {
        "lab" => lab::run_command(&args),
        "lab-agent" => lab::agent_main(),
        "assets" => assets::command(&args),
        "test" => suite::command(&args),
        "demo" => demo::command(&args),
        "demo-inside" => demo::inside(&args),
        "bench" => bench::command(&args),
        "install" => install::command(&args),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(0)
        }
        other => {
            eprintln!("xtask: no command '{other}'\n{HELP}");
            Ok(2)
        }
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::from(1)
        }
    }
}
