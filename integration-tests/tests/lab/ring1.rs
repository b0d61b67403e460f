//! A 32-bit kernel made for the purpose (`guests/ring1.S`): what grub and GNU Mach never do, above all ring 3.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::layout;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The kernel, assembled into `directory`.
fn kernel(directory: &Path) -> PathBuf {
    let guests = layout::repo_root().join("integration-tests/guests");
    let (object, elf) = (directory.join("ring1.o"), directory.join("ring1"));
    let made = |command: &mut Command| {
        let out = command.output().expect("binutils is installed");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    made(
        Command::new("as")
            .args(["--32", "-o"])
            .args([&object, &guests.join("ring1.S")]),
    );
    made(
        Command::new("ld")
            .args([
                "-m",
                "elf_i386",
                "-z",
                "noexecstack",
                "--no-warn-rwx-segments",
                "-T",
            ])
            .arg(guests.join("ring1.ld"))
            .arg("-o")
            .args([&elf, &object]),
    );
    elf
}

/// Runs it to its end; the first letter of `letter` says how that shall come.
fn run(letter: &str) -> Output {
    let node = Node::new().unwrap();
    let mut child = Command::new(layout::bin_dir().join("noxen-vmm"))
        .arg("run")
        .args(["--memory", "32", "--cmdline", letter, "--kernel"])
        .arg(kernel(node.root()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("the guest's end", LIMIT, || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

#[test]
fn rings_of_a_32_bit_kernel_reach_each_other_in_every_way() {
    in_lab();
    let out = run("-");
    let said = String::from_utf8_lossy(&out.stdout);
    let mut rest = &*said;
    for line in [
        "ring 1 came back from its trap\n",
        "an event came and went\n",
        "ring 3 made a system call\n",
        "ring 3 made a fast system call\n",
        "ring 3 may not disable interrupts\n",
        "ring 3 may not read the kernel\n",
        "a return that cannot be was told of\n",
    ] {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("no {line:?} in {out:?}"));
        rest = &rest[at + line.len()..];
    }
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(log.contains("shut down: Poweroff"), "{log}");
}

#[test]
fn stacks_frames_and_callbacks_that_cannot_be_end_a_32_bit_domain_with_the_reason() {
    in_lab();
    for (letter, reason) in [
        ("S", "its kernel stack cannot take a trap frame"),
        ("I", "its iret frame cannot be read"),
        ("F", "it has no usable failsafe callback"),
    ] {
        let out = run(letter);
        let log = String::from_utf8_lossy(&out.stderr);
        assert!(log.contains(reason), "{letter}: {log}");
    }
}
