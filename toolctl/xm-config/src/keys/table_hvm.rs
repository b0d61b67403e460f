//! Variables of fully virtualised domains.

use super::Guests::{All, Hvm};
use super::Kind::{Bool, Int, List, Str, StrOrList};
use super::Status::{Ignored, Later, NotOnKvm, Refused, Used};
use super::{key, KeyDef};

#[rustfmt::skip]
pub(super) const MACHINE: &[KeyDef] = &[
    key("device_model", Str, "FILE", "", Hvm, Ignored("the devices are built in"), "Device model program; a name is accepted, the devices are built in."),
    key("boot", Str, "acdn", "c", Hvm, Used, "Boot order: a floppy, c disk, d CD-ROM, n network."),
    key("fda", Str, "FILE", "", Hvm, Used, "Image in floppy drive A."),
    key("fdb", Str, "FILE", "", Hvm, Used, "Image in floppy drive B."),
    key("serial", Str, "DEVICE", "", Hvm, Used, "Where the serial port goes: pty, or none; file:, tcp: and the like are refused as yet."),
    key("parallel", Str, "DEVICE", "", Hvm, Refused, "Where the parallel port goes."),
    key("monitor", Bool, "no|yes", "no", Hvm, Used, "Viewers of the screen have the monitor window (Ctrl-Alt-2), which can have the host's files read and end the domain."),
    key("monitor_path", Str, "PATH", "", Hvm, Refused, "Where that monitor goes."),
    key("localtime", Bool, "no|yes", "no", All, Used, "The guest's clock shows local time."),
    key("rtc_timeoffset", Int, "SECONDS", "0", All, Used, "Added to the guest's clock."),
    key("usb", Bool, "no|yes", "no", Hvm, Used, "USB controller (UHCI, two ports)."),
    key("usbdevice", StrOrList, "DEVICE", "", Hvm, Used, "USB devices, 23 at most, eight of them disks: tablet, mouse, keyboard, disk:FILE; host:... and the like are refused as yet."),
    key("isa", Bool, "no|yes", "no", Hvm, Refused, "Machine with an ISA bus only."),
    key("soundhw", Str, "CARDS", "", Hvm, Used, "Sound cards: es1370, sb16, both with a comma between them, or all; what they play is in NAME.wav of the directory that NOXEN_SOUND names to xend. ac97 is refused as yet."),
    key("acpi", Int, "0|1", "1", Hvm, Used, "ACPI tables."),
    key("apic", Int, "0|1", "1", Hvm, Used, "I/O APIC."),
    key("pae", Int, "0|1", "1", Hvm, Used, "Physical address extension."),
    key("hap", Int, "0|1", "1", Hvm, NotOnKvm("the host's kvm module decides: second-level paging wherever the processor has it"), "Second-level paging."),
    key("hpet", Int, "0|1", "0", Hvm, Used, "High precision event timer."),
    key("viridian", Int, "0|1", "0", Hvm, Used, "Interfaces that Windows expects of its own hypervisor, as far as KVM has them."),
    key("timer_mode", Int, "0..3", "1", Hvm, Used, "Ticks of the timer (8254) that the guest missed: 1 delivers each later, 2 and 3 one for all; 0 KVM cannot."),
    key("vpt_align", Int, "0|1", "1", Hvm, NotOnKvm("the host's kernel decides when its timers fire, and puts near ones together itself"), "Align periodic timers with each other."),
    key("oos", Int, "0|1", "1", Hvm, NotOnKvm("there are no shadow page tables"), "Out-of-sync shadow page tables."),
    key("xen_platform_pci", Int, "0|1", "0", Hvm, Used, "Xen, and its PCI device by which guests find paravirtual drivers (xm: 1; not tried out enough)."),
    key("guest_os_type", Str, "NAME", "default", Hvm, Ignored("for ia64 only"), "Kind of guest system."),
    key("vhpt", Int, "N", "0", Hvm, Ignored("for ia64 only"), "Log of the page table's size."),
    key("cpuid", StrOrList, "['LEAF:REG=BITS']", "[]", Hvm, Used, "CPUID bits that the guest sees; BITS are 32 of 1, 0, x (as without), k and s (as the host), or 0xHEX; xl's 'host,NAME=0' as well."),
    key("cpuid_check", List, "['LEAF:REG=BITS']", "[]", Hvm, Used, "CPUID bits that the host must have (1) or lack (0), or the domain is not started."),
];

#[rustfmt::skip]
pub(super) const DISPLAY: &[KeyDef] = &[
    key("vnc", Str, "0|1", "", Hvm, Used, "Show the screen by VNC."),
    key("vncdisplay", Str, "N", "0", Hvm, Used, "VNC display number."),
    key("vnclisten", Str, "ADDRESS", "", Hvm, Used, "Address that VNC listens on."),
    key("vncpasswd", Str, "PASSWORD", "", Hvm, Used, "Password of VNC; empty for none."),
    key("vncunused", Bool, "no|yes", "yes", Hvm, Used, "Take the first free display from vncdisplay on."),
    key("vncconsole", Bool, "no|yes", "no", Hvm, Used, "Start a viewer after create."),
    key("vncviewer", Bool, "no|yes", "no", Hvm, Ignored("deprecated; use --vncviewer"), "Deprecated."),
    key("sdl", Str, "0|1", "", Hvm, Refused, "Show the screen in a window."),
    key("opengl", Str, "0|1", "1", Hvm, Later, "Draw that window with OpenGL."),
    key("display", Str, "DISPLAY", "the environment's", Hvm, Later, "X display of that window."),
    key("xauthority", Str, "FILE", "the environment's", Hvm, Later, "X authority file of that window."),
    key("stdvga", Bool, "no|yes", "no", Hvm, Used, "Standard VGA card with VBE in place of the Cirrus one."),
    key("videoram", Int, "MIB", "4; 16 with stdvga", Hvm, Used, "Memory of the graphics card, MiB: 4 of the Cirrus one, a power of two from 1 to 256 with stdvga."),
    key("keymap", Str, "NAME", "", Hvm, Used, "Keyboard layout."),
    key("nographic", Bool, "no|yes", "no", Hvm, Used, "No graphics card."),
    key("full-screen", Bool, "0|1", "", Hvm, Ignored("xm never read it"), "Named in old examples; no release of xm read it."),
];
