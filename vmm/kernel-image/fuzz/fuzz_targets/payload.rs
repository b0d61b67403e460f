//! One unpacker: byte 0 chooses the compression, bytes 1 and 2 the declared size, the rest is the stream after its magic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noxen_kernel_image::{Compression, KernelFile};

fuzz_target!(|input: &[u8]| {
    let [choice, low, high, stream @ ..] = input else { return };
    let compression = Compression::ALL[usize::from(*choice) % Compression::ALL.len()];
    let size = u32::from(u16::from_le_bytes([*low, *high]));
    let payload = [compression.magic(), stream, &size.to_le_bytes()].concat();
    // The smallest bzImage: setup header, two setup sectors, payload.
    let mut file = vec![0; 1024];
    file[0x1f1] = 1;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x208_u16.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    if let Ok(opened) = KernelFile::open(&file) {
        if let Ok(unpacked) = opened.unpack() {
            assert_eq!(unpacked.len() as u64, opened.unpacked_size());
        }
    }
});
