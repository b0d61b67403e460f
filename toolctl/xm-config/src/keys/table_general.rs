//! Variables of every domain: name, memory, kernel, life cycle, CPU placement.

use super::Guests::{All, Hvm, Pv};
use super::Kind::{Bool, Hex, Int, Str, StrOrList};
use super::Status::{Ignored, Later, NotOnKvm, Used};
use super::{key, KeyDef};

#[rustfmt::skip]
pub(super) const GENERAL: &[KeyDef] = &[
    key("name", Str, "NAME", "the config file's base name", All, Used, "Domain's name; letters, digits and _ - . : / +. Must be unique on the host."),
    key("uuid", Str, "UUID", "random", All, Used, "Domain's UUID as 8-4-4-4-12 hexadecimal digits."),
    key("description", Str, "TEXT", "", All, Later, "Free text about the domain."),
    key("builder", Str, "linux|hvm|pvh", "linux", All, Used, "Kind of domain: linux is paravirtual, hvm a whole PC, pvh a kernel with a PVH entry on a machine without one."),
    key("memory", Int, "MIB", "128", All, Used, "Memory in MiB."),
    key("maxmem", Int, "MIB", "memory", All, Used, "Most memory that the domain may grow to, MiB."),
    key("shadow_memory", Int, "MIB", "0", Hvm, NotOnKvm("there are no shadow page tables"), "Memory set aside for shadow page tables, MiB."),
    key("memory_sharing", Bool, "no|yes", "no", Hvm, Later, "Share equal pages with other domains."),
    key("superpages", Int, "0|1", "0", Pv, Later, "Back the domain with large pages only."),
    key("vcpus", Int, "N", "1", All, Used, "Number of virtual CPUs."),
    key("vcpu_avail", Hex, "MASK", "all", All, Used, "Bit mask of the virtual CPUs that are online at boot."),
    key("features", Str, "LIST", "", Pv, Later, "Features that the kernel must support, NAME or !NAME joined by |."),
    key("target", Int, "DOMID", "0", All, Later, "Domain that this stub domain serves."),
];

#[rustfmt::skip]
pub(super) const BOOT: &[KeyDef] = &[
    key("kernel", Str, "FILE", "", All, Used, "Kernel image: ELF or bzImage, compressed or not; of a fully virtualised domain its firmware: hvmloader (the built-in one then serves) or a BIOS image."),
    key("ramdisk", Str, "FILE", "", Pv, Used, "Initial ramdisk."),
    key("root", Str, "DEVICE", "", Pv, Used, "Adds root=DEVICE to the kernel's command line."),
    key("extra", Str, "ARGS", "", Pv, Used, "Further arguments on the kernel's command line."),
    key("bootloader", Str, "FILE", "", Pv, Used, "Program that picks kernel and ramdisk out of the domain's disk."),
    key("bootargs", Str, "ARGS", "-q", Pv, Used, "Arguments of the boot loader."),
    key("bootentry", Str, "ENTRY", "", Pv, Ignored("deprecated since bootloader exists"), "Deprecated."),
    key("kernel_tuning", Bool, "yes|no", "yes", Pv, Used, "Not xm's: shorten the start of Linux kernels that are known, in the domain's own copy of the kernel; no starts each kernel as its file has it."),
    key("loader", Str, "FILE", "", Hvm, Used, "Firmware; then kernel is booted directly."),
];

#[rustfmt::skip]
pub(super) const LIFE_CYCLE: &[KeyDef] = &[
    key("on_poweroff", Str, "ACTION", "destroy", All, Used, "When the guest powers off: destroy, restart, preserve, rename-restart."),
    key("on_reboot", Str, "ACTION", "restart", All, Used, "When the guest reboots: destroy, restart, preserve, rename-restart."),
    key("on_crash", Str, "ACTION", "restart", All, Used, "When the guest crashes: the same, or coredump-destroy, coredump-restart."),
    key("restart", Str, "onreboot|always|never", "", All, Used, "Deprecated: sets the three above at once."),
    key("on_xend_start", Str, "ignore|start", "ignore", All, Used, "Whether a managed domain starts with xend."),
    key("on_xend_stop", Str, "ignore|shutdown|suspend", "ignore", All, Used, "What happens to a managed domain when xend stops."),
    key("s3_integrity", Int, "0|1", "1", All, Ignored("there is no measured suspend"), "Verify memory after suspend to RAM."),
];

#[rustfmt::skip]
pub(super) const CPU: &[KeyDef] = &[
    key("cpu", Int, "CPU", "", All, Used, "Host CPU of virtual CPU 0."),
    key("cpus", StrOrList, "LIST", "any", All, Used, "Host CPUs that may be used, such as 0-3,5,^1; a list gives one set for each virtual CPU."),
    key("cpu_weight", Int, "N", "256", All, Used, "Share of CPU time against other domains, 1 to 65535."),
    key("cpu_cap", Int, "PERCENT", "0", All, Used, "Most CPU time in per cent of one CPU; 0 is no limit."),
    key("pool", Str, "NAME", "", All, Later, "CPU pool."),
    key("tsc_mode", Int, "0..3", "0", All, Later, "How the time stamp counter is virtualised."),
    key("nomigrate", Int, "0|1", "0", All, Later, "The domain may not migrate."),
];
