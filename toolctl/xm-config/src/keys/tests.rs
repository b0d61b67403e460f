use super::*;
use crate::settings::Setting;
use std::collections::BTreeSet;

#[test]
fn every_key_is_defined_once_and_explained() {
    let mut seen = BTreeSet::new();
    for key in all() {
        assert!(seen.insert(key.name), "{} is defined twice", key.name);
        assert!(key.help.ends_with('.'), "{}: {}", key.name, key.help);
        assert!(
            !key.arg.is_empty(),
            "{} has no name for its value",
            key.name
        );
    }
}

#[test]
fn every_variable_of_the_manual_is_known() {
    for name in "name uuid kernel ramdisk loader features builder memory maxmem shadow_memory memory_sharing vcpus \
        vcpu_avail cpu cpus cpu_weight cpu_cap pool bootloader bootargs bootentry restart on_poweroff on_reboot on_crash \
        on_xend_start on_xend_stop target blkif netif tpmif disk vif nics vtpm pci vscsi vusb vif2 ioports irq vfb \
        access_control root extra ip netmask gateway hostname interface dhcp nfs_server nfs_root device_model fda fdb serial \
        parallel monitor monitor_path localtime rtc_timeoffset keymap usb usbdevice stdvga videoram isa boot nographic soundhw \
        vnc vncdisplay vnclisten vncpasswd vncunused vncviewer vncconsole sdl opengl display xauthority acpi apic pae hap hpet \
        viridian timer_mode vpt_align xen_platform_pci guest_os_type vhpt cpuid cpuid_check s3_integrity machine_address_size \
        suppress_spurious_page_faults pci_msitranslate pci_power_mgmt tsc_mode nomigrate oos superpages gfx_passthru description \
        cdrom ne2000 lapic ssidref ipaddr usbport full-screen snapshot console vncserver".split_whitespace()
    {
        assert!(find(name).is_some(), "{name}");
    }
}

#[test]
fn command_line_text_is_converted_by_kind() {
    let of = |name: &str, text: &str| convert::convert(find(name).unwrap(), text);
    assert_eq!(of("memory", "256"), Ok(Setting::Int(256)));
    assert_eq!(of("memory", " 12 "), Ok(Setting::Int(12)));
    assert_eq!(of("memory", "-1"), Ok(Setting::Int(-1)));
    assert_eq!(of("vcpu_avail", "0x3"), Ok(Setting::Int(3)));
    assert_eq!(of("usb", "yes"), Ok(Setting::Int(1)));
    assert_eq!(of("usb", "n"), Ok(Setting::Int(0)));
    assert_eq!(
        of("disk", "phy:a,b,w"),
        Ok(Setting::List(vec!["phy:a,b,w".into()]))
    );
    assert_eq!(of("cpus", "0-3"), Ok(Setting::Text("0-3".into())));
    assert_eq!(
        of("cpus", "['0', \"1,2\", 3]"),
        Ok(Setting::List(vec!["0".into(), "1,2".into(), "3".into()]))
    );
    let message = |name, text| of(name, text).unwrap_err().to_string();
    assert_eq!(message("memory", "0x10"), "Invalid value: 0x10");
    assert_eq!(message("memory", "lots"), "Invalid value: lots");
    assert_eq!(
        message("memory", "99999999999999999999"),
        "Invalid value: 99999999999999999999"
    );
    assert_eq!(message("usb", "1"), "Invalid value:1");
    assert_eq!(message("cpus", "['0"), "Invalid value: ['0");
}
