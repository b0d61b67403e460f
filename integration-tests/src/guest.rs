//! Configs of test domains.

use crate::assets::{self, Flavour, MissingAsset};
use std::path::PathBuf;

/// A PV domain in xm's config language.
#[derive(Debug, Clone)]
pub struct Domain {
    /// `name`
    pub name: String,
    /// `kernel`
    pub kernel: PathBuf,
    /// `ramdisk`
    pub ramdisk: Option<PathBuf>,
    /// `memory`, MiB
    pub memory: u32,
    /// `vcpus`
    pub vcpus: u32,
    /// `extra`, the kernel's command line
    pub extra: String,
    /// Further lines as they are.
    pub more: Vec<String>,
}

impl Domain {
    /// Debian's stock kernel with our initramfs: 1 vCPU, 256 MiB, a login on its console.
    pub fn debian(name: &str, flavour: Flavour) -> Result<Domain, MissingAsset> {
        Ok(Domain {
            name: name.to_owned(),
            kernel: assets::vmlinuz(flavour)?,
            ramdisk: Some(assets::guest_initramfs(flavour)?),
            memory: 256,
            vcpus: 1,
            extra: "console=hvc0".to_owned(),
            more: Vec::new(),
        })
    }

    /// GRUB's image for Xen: 128 MiB; at its prompt in seconds, and keeps nothing but memory.
    pub fn grub(name: &str) -> Result<Domain, MissingAsset> {
        Ok(Domain {
            name: name.to_owned(),
            kernel: assets::grub_x86_64_xen()?,
            ramdisk: None,
            memory: 128,
            vcpus: 1,
            extra: String::new(),
            more: Vec::new(),
        })
    }

    /// A PC with two vCPUs on which Debian's cloud kernel boots to a shell on its serial port.
    pub fn pc(name: &str) -> Result<Domain, MissingAsset> {
        let mut domain = Domain::debian(name, Flavour::Cloud)?
            .vcpus(2)
            .line("builder = 'hvm'")
            .line("loader = '/usr/lib/xen/boot/hvmloader'")
            .line("serial = 'pty'");
        domain.extra = "console=ttyS0 quiet noxen.autologin".into();
        Ok(domain)
    }

    /// The same with that many vCPUs.
    pub fn vcpus(mut self, vcpus: u32) -> Domain {
        self.vcpus = vcpus;
        self
    }

    /// The same with that much memory.
    pub fn memory(mut self, mib: u32) -> Domain {
        self.memory = mib;
        self
    }

    /// The guest runs `command` instead of a login, then powers off. `command` holds no double quote or backslash.
    pub fn running(mut self, command: &str) -> Domain {
        self.extra.push_str(&format!(" noxen.cmd={command}"));
        self
    }

    /// One more line, such as `on_reboot = "destroy"`.
    pub fn line(mut self, line: &str) -> Domain {
        self.more.push(line.to_owned());
        self
    }

    /// The config file's text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "name = \"{}\"\nkernel = \"{}\"\n",
            self.name,
            self.kernel.display()
        );
        if let Some(ramdisk) = &self.ramdisk {
            text.push_str(&format!("ramdisk = \"{}\"\n", ramdisk.display()));
        }
        text.push_str(&format!(
            "memory = {}\nvcpus = {}\nextra = \"{}\"\n",
            self.memory, self.vcpus, self.extra
        ));
        for line in &self.more {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_text_holds_every_value_once() {
        let domain = Domain {
            name: "a".into(),
            kernel: "/k".into(),
            ramdisk: Some("/r".into()),
            memory: 64,
            vcpus: 1,
            extra: "console=hvc0".into(),
            more: vec![],
        };
        let text = domain
            .vcpus(4)
            .memory(128)
            .line("on_reboot = \"destroy\"")
            .running("id")
            .text();
        let expected = "name = \"a\"\nkernel = \"/k\"\nramdisk = \"/r\"\nmemory = 128\nvcpus = 4\n\
                        extra = \"console=hvc0 noxen.cmd=id\"\non_reboot = \"destroy\"\n";
        assert_eq!(text, expected);
    }
}
