//! Further modules of a guest's own kernel, in a second archive behind its initramfs.

#[allow(dead_code)]
#[path = "../../xtask/src/cpio.rs"]
mod cpio;

use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use std::collections::BTreeSet;
use std::path::Path;

/// `domain` with the modules `names` and what they need in `/more`; its initramfs is made in `dir`. [`LOAD`] loads them.
pub fn with_modules(mut domain: Domain, flavour: Flavour, names: &[&str], dir: &Path) -> Domain {
    let modules = assets::modules(flavour).unwrap();
    let needs = std::fs::read_to_string(modules.join("modules.dep")).unwrap();
    let mut all: Vec<&str> = Vec::new();
    for name in names {
        let file = format!("/{name}.ko");
        let line = needs
            .lines()
            .find(|line| line.split(':').next().unwrap().ends_with(&file))
            .unwrap_or_else(|| panic!("no module {name}"));
        let (own, needed) = line.split_once(':').unwrap();
        // The last one named has to be there first.
        all.extend(needed.split_whitespace().rev());
        all.push(own);
    }
    let mut archive = cpio::Writer::new(std::fs::read(domain.ramdisk.unwrap()).unwrap());
    archive.directory("more", 0o755).unwrap();
    let mut seen = BTreeSet::new();
    let mut script = String::from("set -e\n");
    for file in all.into_iter().filter(|file| seen.insert(*file)) {
        let bytes = std::fs::read(modules.join(file)).unwrap();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        archive
            .file(&format!("more/{name}"), 0o644, &bytes)
            .unwrap();
        // Some are there already.
        script.push_str(&format!(
            "grep -q \"^{} \" /proc/modules || insmod /more/{name}\n",
            name.trim_end_matches(".ko").replace('-', "_")
        ));
    }
    archive.file("more/load", 0o755, script.as_bytes()).unwrap();
    let path = dir.join(format!("{}.cpio", domain.name));
    std::fs::write(&path, archive.finish().unwrap()).unwrap();
    domain.ramdisk = Some(path);
    domain
}

/// What loads them in the guest; it says `loaded`.
pub const LOAD: &str = "sh /more/load && echo loaded";
