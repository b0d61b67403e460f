//! `cargo xtask demo [--check]`: a stock Debian PV guest and its console.
//!
//! ```text
//!   demo ── assets, binaries ── lab ── demo-inside ── toolctl create -c ── login ── ... ── everything gone
//! ```
//! `demo-inside` is the half that runs where kvm is: on this host, or in QEMU.

use crate::lab::{self, Spec};
use crate::{assets, suite};
use anyhow::{bail, ensure, Context, Result};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::layout;
use noxen_integration_tests::node::Node;
use std::process::Stdio;
use std::time::Duration;

/// Longest wait for any one thing; the lab is slow.
const LIMIT: Duration = Duration::from_secs(240);

/// `cargo xtask demo [--check]`
pub fn command(args: &[String]) -> Result<u8> {
    let check = checked(args)?;
    assets::ensure_all()?;
    suite::build_binaries()?;
    let agent = std::env::current_exe()?.display().to_string();
    let mut argv = vec![agent, "demo-inside".to_owned()];
    if check {
        argv.push("--check".to_owned());
    }
    let mut spec = Spec::new(argv);
    spec.env.push((
        "NOXEN_BIN".to_owned(),
        layout::bin_dir().display().to_string(),
    ));
    // A person may stay as long as they like.
    spec.timeout = Duration::from_secs(if check { 900 } else { 7 * 86_400 });
    lab::run(&spec)
}

/// `xtask demo-inside [--check]`, where kvm is.
pub fn inside(args: &[String]) -> Result<u8> {
    let check = checked(args)?;
    ensure!(
        std::env::var_os("NOXEN_LAB").is_some(),
        "demo-inside is run by `cargo xtask demo`"
    );
    let node = Node::new()?;
    let domain = Domain::debian("demo", Flavour::Generic)?
        .memory(512)
        .vcpus(2);
    if check {
        unattended(&node, &domain)?;
        Ok(0)
    } else {
        attended(&node, &domain)
    }
}

fn checked(args: &[String]) -> Result<bool> {
    match args {
        [] => Ok(false),
        [check] if check == "--check" => Ok(true),
        other => bail!("demo takes only --check, not {other:?}"),
    }
}

/// The user has the console.
fn attended(node: &Node, domain: &Domain) -> Result<u8> {
    let path = node.config(domain)?;
    println!("$ cat demo.cfg\n{}", domain.text());
    println!("$ toolctl create -c demo.cfg        (log in as root, password noxen; poweroff or Ctrl-] ends the demo)");
    let status = node
        .command("toolctl", &["create", "-c", &path])?
        .stdin(Stdio::inherit())
        .status()
        .context("toolctl does not run")?;
    println!("\n$ toolctl list\n{}", node.toolctl(&["list"]).stdout);
    Ok(status.code().map_or(1, |code| code as u8))
}

/// Nobody is there: log in, run commands, shut down.
fn unattended(node: &Node, domain: &Domain) -> Result<()> {
    println!(
        "demo: toolctl create -c: Debian's kernel, {} vCPUs, {} MiB",
        domain.vcpus, domain.memory
    );
    let mut console = node.create_on_console(domain)?;
    console
        .expect("NOXEN-INIT up", LIMIT)
        .context("no sign of user space")?;
    console.login(LIMIT).context("no login")?;
    println!("demo: logged in");
    let kernel = console.run("uname -r", LIMIT)?;
    let cpus = console.run("grep -c ^processor /proc/cpuinfo", LIMIT)?;
    let hypervisor = console.run("cat /sys/hypervisor/type", LIMIT)?;
    println!(
        "demo: it runs {}, sees {} CPUs and the hypervisor '{}'",
        kernel.trim(),
        cpus.trim(),
        hypervisor.trim()
    );
    ensure!(
        cpus.trim() == domain.vcpus.to_string(),
        "wrong number of CPUs"
    );
    ensure!(hypervisor.trim() == "xen", "wrong hypervisor");
    let table = node.toolctl(&["list"]).ok();
    print!("{table}");
    ensure!(
        table.lines().any(|line| line.starts_with("demo ")),
        "toolctl list does not show it"
    );
    let said = node.try_toolctl(&["shutdown", "-w", "demo"], LIMIT)?;
    ensure!(
        said.status == 0,
        "toolctl shutdown -w ended with {}: {}{}",
        said.status,
        said.stdout,
        said.stderr
    );
    let left = node.domains();
    ensure!(
        left.is_empty(),
        "after its shutdown there still is {left:?}"
    );
    console
        .wait(LIMIT)
        .context("the console stays attached to a domain that has gone")?;
    println!("demo: shut down, all well");
    Ok(())
}
