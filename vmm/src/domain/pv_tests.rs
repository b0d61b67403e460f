use super::*;

#[test]
fn vcpus_out_of_range_are_refused_with_the_range() {
    for vcpus in [0, 33, 33_000] {
        let error = assemble::check(vcpus, 64).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("vcpus = {vcpus}: a domain has 1 to 32")
        );
    }
}

#[test]
fn memory_beyond_the_host_is_refused() {
    let error = assemble::check(1, 1 << 40).unwrap_err();
    assert!(matches!(error, PvError::HostMemory { .. }));
}

#[test]
fn ramdisk_must_be_a_regular_file() {
    let mut null = File::open("/dev/zero").unwrap();
    assert!(ramdisk_len(&mut null).is_err());
    let mut directory = File::open("/").unwrap();
    assert!(ramdisk_len(&mut directory).is_err());
}
