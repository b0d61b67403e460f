//! Every device of the PC, one line each.

#[cfg(test)]
use super::suite;

/// `name => expression that makes a subject` for each device: its tests, and its place in [`FUZZ`].
macro_rules! conformance {
    ($($name:ident => $subject:expr,)*) => {
        /// Each device's name and what runs a fuzzer's bytes on it.
        pub const FUZZ: &[(&str, fn(&[u8]))] = &[
            $((stringify!($name), |bytes| super::fuzz(&$subject, bytes)),)*
        ];
        $(
            #[cfg(test)]
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                #[test]
                fn restored_goes_on_as_the_straight_run() {
                    suite::restored_goes_on_as_the_straight_run(|| $subject);
                }
                #[test]
                fn every_register_takes_every_width() {
                    suite::every_register_takes_every_width(|| $subject);
                }
                #[test]
                fn tampered_state_does_no_harm() {
                    suite::tampered_state_does_no_harm(|| $subject);
                }
                #[test]
                fn reset_is_survived_and_repeats() {
                    suite::reset_is_survived_and_repeats(|| $subject);
                }
            }
        )*
    };
}

conformance! {
    debug => || crate::debug::Debug::new(),
    e1000 => crate::net::e1000::subject::Plugged::default(),
    floppy => crate::floppy::subject::Disks::new(),
    es1370 => crate::sound::subject::Card,
    fw_cfg => || crate::fw_cfg::FwCfg::new(2, vec![("etc/a".into(), vec![1; 300])]),
    hpet => || crate::hpet::Hpet::new(),
    host_bridge => || crate::chipset::HostBridge::new(),
    isa_bridge => || crate::chipset::IsaBridge::new(),
    isa_dma => || crate::isa_dma::IsaDma::new(),
    power => || crate::chipset::Power::new(0b111),
    serial => || crate::serial::Serial::new(0, Box::new(crate::serial::Unplugged)),
    sb16 => crate::sound::sb16::subject::Card::default(),
    sleep => || crate::sleep::Sleep,
    summa => crate::summa::subject::Somebody,
    i8042 => crate::i8042::subject::Somebody,
    ide => crate::ide::subject::Shelves::new(),
    ne2k => crate::net::ne2k::subject::Plugged::default(),
    pcnet => crate::net::pcnet::subject::Plugged::default(),
    rtl8139 => crate::net::lan::Lan::default(),
    cirrus => crate::vga::cirrus::subject::Display::new(),
    vga => crate::vga::subject::Display::new(),
    uhci => crate::usb::subject::Somebody,
    usb_hub => crate::usb::subject::Plugger,
    usb_disk => crate::usb::subject::WithDisk::new(),
    xen_platform => || crate::xen_platform::Platform::new(),
    rtc => || crate::rtc::Rtc::new(crate::rtc::Settings::default()),
}
