//! Whole files: container, payload, ELF and notes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    match noxen_kernel_image::load(file) {
        Ok(kernel) => assert!(!kernel.image.segments.is_empty()),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
