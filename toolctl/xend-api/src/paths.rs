//! Fixed places of the node, all under `$NOXEN_ROOT` when that is set.

use std::path::{Path, PathBuf};

/// Environment variable that is put in front of every path.
pub const ROOT_ENV: &str = "NOXEN_ROOT";

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// By the environment.
    pub fn from_env() -> Paths {
        let root = std::env::var_os(ROOT_ENV).filter(|root| !root.is_empty());
        Paths::under(root.map_or_else(|| PathBuf::from("/"), PathBuf::from))
    }

    /// With everything under `root` (`/` for the real places).
    pub fn under(root: impl Into<PathBuf>) -> Paths {
        Paths { root: root.into() }
    }

    /// The prefix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whom xm talks to.
    pub fn xm_config(&self) -> PathBuf {
        self.at("etc/xen/xm-config.xml")
    }

    /// Socket on which xend listens for toolctl.
    pub fn xend_socket(&self) -> PathBuf {
        self.at("var/run/xend/noxen.sock")
    }

    /// Socket of xend's XML-RPC.
    pub fn xmlrpc_socket(&self) -> PathBuf {
        self.at("var/run/xend/xmlrpc.sock")
    }

    /// Socket of xend's Xen-API.
    pub fn xen_api_socket(&self) -> PathBuf {
        self.at("var/run/xend/xen-api.sock")
    }

    /// Directory of xend's sockets.
    pub fn xend_run_dir(&self) -> PathBuf {
        self.at("var/run/xend")
    }

    /// Process id of xend.
    pub fn xend_pid(&self) -> PathBuf {
        self.at("var/run/xend.pid")
    }

    /// Held locked by a running xend.
    pub fn xend_lock(&self) -> PathBuf {
        self.at("var/run/xend.lock")
    }

    /// Run directory of the domains; each has its own below, named by its id.
    pub fn domains_run_dir(&self) -> PathBuf {
        self.at("var/run/noxen/domains")
    }

    /// Run directory of one domain.
    pub fn domain_run_dir(&self, domid: u32) -> PathBuf {
        self.domains_run_dir().join(domid.to_string())
    }

    /// Control socket of one domain's monitor.
    pub fn control_socket(&self, domid: u32) -> PathBuf {
        self.domain_run_dir(domid).join("control.sock")
    }

    /// Process id of one domain's monitor, written by itself.
    pub fn pid_file(&self, domid: u32) -> PathBuf {
        self.domain_run_dir(domid).join("pid")
    }

    /// The token of xend's web page.
    pub fn web_token(&self) -> PathBuf {
        self.at("var/lib/xend/web-token")
    }

    /// Users of the Xen-API who need a token.
    pub fn api_tokens(&self) -> PathBuf {
        self.at("var/lib/xend/api-tokens")
    }

    /// xend's settings.
    pub fn xend_config(&self) -> PathBuf {
        self.at("etc/xen/xend-config.sxp")
    }

    /// Directory of the logs.
    pub fn log_dir(&self) -> PathBuf {
        self.at("var/log/xen")
    }

    /// xend's log.
    pub fn xend_log(&self) -> PathBuf {
        self.at("var/log/xen/xend.log")
    }

    /// What xend's standard output and error go to.
    pub fn xend_debug_log(&self) -> PathBuf {
        self.at("var/log/xen/xend-debug.log")
    }

    /// Directory of the domains' logs.
    pub fn domain_log_dir(&self) -> PathBuf {
        self.at("var/log/xen/domains")
    }

    /// Hotplug scripts.
    pub fn scripts_dir(&self) -> PathBuf {
        self.at("etc/xen/scripts")
    }

    /// What the hotplug scripts print.
    pub fn hotplug_log(&self) -> PathBuf {
        self.at("var/log/xen/xen-hotplug.log")
    }

    /// Where boot loaders write.
    pub fn boot_dir(&self) -> PathBuf {
        self.at("var/run/xend/boot")
    }

    /// What boot loaders print.
    pub fn bootloader_log(&self) -> PathBuf {
        self.at("var/log/xen/bootloader.log")
    }

    /// xend's durable state.
    pub fn state_dir(&self) -> PathBuf {
        self.at("var/lib/xend")
    }

    /// Kernels that were unpacked once.
    pub fn kernel_cache_dir(&self) -> PathBuf {
        self.at("var/cache/noxen/kernels")
    }

    /// Core files.
    pub fn dump_dir(&self) -> PathBuf {
        self.at("var/xen/dump")
    }

    /// Managed domains, a directory each, named by its UUID.
    pub fn managed_dir(&self) -> PathBuf {
        self.at("var/lib/xend/domains")
    }

    /// Registry of running domains.
    pub fn running_dir(&self) -> PathBuf {
        self.at("var/lib/xend/domains-running")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_under_the_prefix() {
        let real = Paths::under("/");
        assert_eq!(real.xend_pid(), Path::new("/var/run/xend.pid"));
        let test = Paths::under("/tmp/x");
        assert_eq!(
            test.control_socket(3),
            Path::new("/tmp/x/var/run/noxen/domains/3/control.sock")
        );
    }
}
