//! First contents of the two kinds of page that hypervisor and guest share: shared_info and the grant table.

use core::mem::{offset_of, size_of};
use std::time::Duration;

use noxen_kernel_image::Class;
use noxen_pv_abi::grant_table::{
    GrantEntryV1, GrantType, GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE,
};
use noxen_pv_abi::shared_info::{
    ArchSharedInfo32, SharedInfo32, SharedInfo64, VcpuInfo64, LEGACY_MAX_VCPUS,
};
use noxen_pv_abi::AbiValue;

use crate::memory::{GuestMemory, OutsideMemory};

/// Bytes of the seeded entries.
pub const GRANT_SEEDS_SIZE: usize = 2 * size_of::<GrantEntryV1>();

/// Fills the shared_info page of a domain: events masked on every vCPU (a kernel unmasks when it is ready for
/// them), and the wall clock at system time 0 as time since 1970. All else is zero.
///
/// # Errors
/// [`OutsideMemory`] if there is no memory at `gpa`.
pub fn init_shared_info(
    memory: &mut impl GuestMemory,
    gpa: u64,
    class: Class,
    boot_time: Duration,
) -> Result<(), OutsideMemory> {
    let mut page = [0; 4096];
    // vcpu_info has its size and its mask in common for both widths.
    for vcpu in 0..LEGACY_MAX_VCPUS {
        page[vcpu * size_of::<VcpuInfo64>() + offset_of!(VcpuInfo64, evtchn_upcall_mask)] = 1;
    }
    let seconds = boot_time.as_secs();
    let [version, sec, sec_hi, nsec] = match class {
        Class::Elf64 => [
            offset_of!(SharedInfo64, wc_version),
            offset_of!(SharedInfo64, wc_sec),
            offset_of!(SharedInfo64, wc_sec_hi),
            offset_of!(SharedInfo64, wc_nsec),
        ],
        Class::Elf32 => [
            offset_of!(SharedInfo32, wc_version),
            offset_of!(SharedInfo32, wc_sec),
            offset_of!(SharedInfo32, arch) + offset_of!(ArchSharedInfo32, wc_sec_hi),
            offset_of!(SharedInfo32, wc_nsec),
        ],
    };
    let fields = [
        // An even version that is not 0: complete, and set at least once.
        (version, 2),
        (sec, seconds as u32),
        (sec_hi, (seconds >> 32) as u32),
        (nsec, boot_time.subsec_nanos()),
    ];
    for (at, value) in fields {
        page[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    memory.write(gpa, &page)
}

/// The first two entries of a v1 grant table: console and xenstore ring, granted to the backends' domain.
///
/// Machine frames of a PV domain's rings are below 2^32, as the v1 format needs.
pub fn grant_seeds(console_mfn: u64, store_mfn: u64, backend: u16) -> [u8; GRANT_SEEDS_SIZE] {
    let mut seeds = [0; GRANT_SEEDS_SIZE];
    for (reference, mfn) in [
        (GNTTAB_RESERVED_CONSOLE, console_mfn),
        (GNTTAB_RESERVED_XENSTORE, store_mfn),
    ] {
        let at = reference as usize * size_of::<GrantEntryV1>();
        let entry = GrantEntryV1 {
            flags: GrantType::PERMIT_ACCESS.0,
            domid: backend,
            frame: mfn as u32,
        };
        entry.encode(&mut seeds[at..]);
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_info_masks_events_of_all_vcpus_and_tells_the_time() {
        let mut memory = vec![0; 0x3000];
        init_shared_info(
            &mut memory,
            0x1000,
            Class::Elf64,
            Duration::new(0x1_2345_6789, 5),
        )
        .expect("inside");
        let info = SharedInfo64::read_from(&memory, 0x1000).expect("whole");
        assert!(info
            .vcpu_info
            .iter()
            .all(|v| v.evtchn_upcall_mask == 1 && v.evtchn_upcall_pending == 0));
        assert_eq!(
            (info.wc_sec, info.wc_sec_hi, info.wc_nsec),
            (0x2345_6789, 1, 5)
        );
        assert_eq!(info.wc_version % 2, 0);
        assert_eq!(info.evtchn_mask, [0; 64]);
        assert!(memory[..0x1000]
            .iter()
            .chain(&memory[0x2000..])
            .all(|b| *b == 0));
    }

    #[test]
    fn shared_info_of_32_bits_tells_the_time_at_its_own_places() {
        let mut memory = vec![0; 0x1000];
        let time = Duration::new(0x1_2345_6789, 5);
        init_shared_info(&mut memory, 0, Class::Elf32, time).expect("inside");
        let info = SharedInfo32::read_from(&memory, 0).expect("whole");
        assert!(info.vcpu_info.iter().all(|v| v.evtchn_upcall_mask == 1));
        assert_eq!(
            (info.wc_sec, info.arch.wc_sec_hi, info.wc_nsec),
            (0x2345_6789, 1, 5)
        );
        assert_eq!((info.wc_version, info.evtchn_mask), (2, [0; 32]));
    }

    #[test]
    fn shared_info_outside_memory_is_an_error() {
        let mut memory = vec![0; 0x1000];
        let error = init_shared_info(&mut memory, 0x1000, Class::Elf64, Duration::ZERO)
            .expect_err("outside");
        assert_eq!(
            error.to_string(),
            "guest memory has no bytes 0x1000..0x2000"
        );
    }

    #[test]
    fn grant_seeds_permit_the_backend_both_rings() {
        let seeds = grant_seeds(0x4a01, 0x4a00, 7);
        assert_eq!(
            seeds,
            [1, 0, 7, 0, 0x01, 0x4a, 0, 0, 1, 0, 7, 0, 0x00, 0x4a, 0, 0]
        );
    }
}
