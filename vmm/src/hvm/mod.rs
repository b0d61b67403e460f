//! An HVM domain: a whole PC.
//!
//! ```text
//!   spec --> build.rs: memory, firmware (noxen-hvmloader) --> raise.rs: VM, vCPUs    registry.rs: its devices (noxen-pc) on one bus
//!                                   |
//!   vCPU threads --exit--> pc.rs: Io ------> bus --effects--> lines.rs --> KVM's interrupt controllers
//!                          exits.rs: what follows                    \--> reset, power off --> Report::Over
//!   alarm thread --tick--> pc.rs                 clock.rs: the guest's time
//!   viewers (VNC): screen.rs <--- display, its memory: video.rs; keys, pointer ---> pc.rs
//!   main loop: service.rs <--- wire.rs ---> serial port       machine.rs: what the control socket asks for
//!   saved.rs: a domain into a file, and out of one
//!   linux.rs: a kernel without a boot loader        pvh.rs: a kernel without a PC
//! ```
//! drives.rs puts the domain's disks into the machine and changes media; cards.rs its network interfaces, on taps (cable.rs).
//! xen/ has what a guest with drivers for Xen asks of it.
//! Local APICs, I/O APIC, 8259s and 8254 are KVM's.

pub mod build;
pub mod cable;
pub mod cards;
pub mod clock;
pub mod drives;
pub mod exits;
pub mod lines;
pub mod linux;
pub mod machine;
pub mod pc;
pub mod pvh;
pub mod raise;
pub mod registry;
pub mod saved;
pub mod screen;
pub mod service;
pub mod speaker;
pub mod terminal;
pub mod usb_disks;
pub mod video;
pub mod wire;
pub mod xen;
