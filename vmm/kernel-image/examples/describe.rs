//! Prints what a kernel file is: `cargo run --release -p noxen-kernel-image --example describe -- FILE...`

use std::process::ExitCode;
use std::time::Instant;

use noxen_kernel_image::Source;

fn main() -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        let started = Instant::now();
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                eprintln!("{path}: {error}");
                status = ExitCode::FAILURE;
                continue;
            }
        };
        match noxen_kernel_image::load_file(&file) {
            Ok(kernel) => {
                println!(
                    "{path}: {}, {} bytes of ELF, in {:?}",
                    kernel.container,
                    kernel.elf.size(),
                    started.elapsed()
                );
                println!("{}", kernel.image);
            }
            Err(error) => {
                eprintln!("{path}: {error}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}
