//! The QEMU command line of a lab host.

use super::{RunDir, Spec};
use anyhow::Result;
use noxen_integration_tests::{assets, layout};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::Command;

/// QEMU with one end of the frame connection, `port`, which must be inheritable.
///
/// `setpriv --pdeathsig` has the kernel end QEMU with us, however we end.
pub fn command(
    spec: &Spec,
    run_dir: &RunDir,
    initramfs: &Path,
    port: BorrowedFd<'_>,
) -> Result<Command> {
    let agent = std::env::current_exe()?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
    ]);
    command.args(["-machine", "q35,vmport=off,hpet=off", "-cpu", "max"]);
    if spec.icount {
        command.args(["-accel", "tcg,thread=single", "-icount"]);
        command.arg(format!("shift={}", spec.icount_shift));
    } else {
        command.args(["-accel", "tcg,thread=multi"]);
        let port = format!("unix:{},server=on,wait=off", comma(&run_dir.debugger()));
        command.args(["-gdb", &port]);
    }
    command.args([
        "-smp",
        &spec.vcpus.to_string(),
        "-m",
        &spec.mem_mib.to_string(),
    ]);
    // The ELF image: entering it directly spares the kernel's own unpacking, a second here.
    command
        .arg("-kernel")
        .arg(assets::vmlinux(assets::Flavour::Generic)?);
    command.arg("-initrd").arg(initramfs);
    // The emulated TSCs agree, but on a busy machine the kernel's watchdog of clocks finds otherwise, and KVM then stops
    // a guest's TSC whenever its vCPU does not run: vCPUs' clocks drift apart until a guest waits for ever.
    command.arg("-append").arg(format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off tsc=reliable random.trust_cpu=on \"NOXEN_AGENT={}\"",
        agent.display()
    ));
    command
        .arg("-serial")
        .arg(format!("file:{}", comma(&run_dir.console_log())));
    command.args(["-device", "virtio-serial-pci"]);
    command
        .arg("-chardev")
        .arg(format!("socket,id=lab,fd={}", port.as_raw_fd()));
    command.args([
        "-device",
        &format!("virtserialport,chardev=lab,name={}", super::frames::PORT),
    ]);
    command.args([
        "-fsdev",
        "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device",
        "virtio-9p-pci,fsdev=root,mount_tag=root",
    ]);
    command.arg("-fsdev").arg(format!(
        "local,id=out,path={},security_model=none,multidevs=remap",
        comma(&run_dir.out())
    ));
    command.args(["-device", "virtio-9p-pci,fsdev=out,mount_tag=out"]);
    command.current_dir(layout::repo_root());
    Ok(command)
}

/// A path within a comma-separated option: QEMU wants commas doubled.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
