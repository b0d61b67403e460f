//! The noxen-vmm program: arguments, then one domain.

use std::process::ExitCode;

const HELP: &str = "\
noxen-vmm: runs one domain on KVM

  noxen-vmm --spec-fd N     as xend starts it: the domain's description is read from descriptor N
  noxen-vmm run OPTIONS     one domain from the command line, without xend and xenstored
  noxen-vmm --version

Options of run:
  --kernel FILE     kernel image                  --ramdisk FILE    ramdisk
  --bios FILE       BIOS image of an HVM domain   --boot LETTERS    its boot order, of acdn [cd]
  --vga-bios FILE   a display with that BIOS      --vnc ADDR:PORT   show it there by VNC
  --pvh             the kernel is entered by its PVH entry: a domain without a PC
  --xen             an HVM guest finds Xen, and with it paravirtual drivers
  --cirrus          the display is a Cirrus CL-GD5446, not the standard one
  --memory MIB      memory [256]                  --vcpus N         virtual CPUs [1]
  --cmdline TEXT    kernel command line           --domid N         domain id [1]
  --monitor FILE    another monitor image         --control PATH    make a control socket there
  --disk FILE[,WORD...]  disk xvda, then xvdb, ... (HVM: hda, hdb, ...); words: ro qcow2 vmdk vhd vhdx direct threads
                    io-uring persistent, of an HVM domain also cdrom floppy
  --tap NAME        network interface eth0, then eth1, ..., on that tap of the host, which is made if need be
                    (HVM: NAME[,CARD[,ROM]]; cards: rtl8139 e1000 ne2k_pci pcnet; ROM: a file to boot from the network by)
  --no-tune         leave the kernel's copy in memory as it is in its file
  --counters        print exit and hypercall counters at the end
  The console is standard input and output; status 0: powered off, 1: crashed, 3: wants a reboot.
";

fn main() -> ExitCode {
    limit_arenas();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        ["--version" | "-V"] => {
            println!("noxen-vmm {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        ["--spec-fd", number] => match number.parse() {
            Ok(fd) => noxen_vmm::spec::serve(fd).map(|()| ExitCode::SUCCESS),
            Err(_) => Err(anyhow::anyhow!("--spec-fd {number}: not a descriptor")),
        },
        ["run", ..] => {
            noxen_vmm::run::parse(&arguments[1..]).and_then(|options| noxen_vmm::run::run(&options))
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("noxen-vmm: {}", noxen_vmm::one_line(&error));
        ExitCode::FAILURE
    })
}

/// One malloc arena for all threads: each further one costs private memory, and nothing here allocates
/// often enough to contend.
#[allow(unsafe_code)]
fn limit_arenas() {
    // SAFETY: sets two tunables of malloc before any thread exists; there is no safe wrapper.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
