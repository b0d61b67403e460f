//! ELF headers and Xen notes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noxen_kernel_image::KernelImage;

fuzz_target!(|elf: &[u8]| {
    if let Ok(image) = KernelImage::parse(elf) {
        assert!(image.segments.iter().all(|s| s.file.end <= elf.len()));
        assert!(!image.to_string().is_empty());
    }
});
