//! The example configurations that are installed: each loads without a remark, and gives what it says.

use std::path::{Path, PathBuf};

use noxen_xm_config::{domain_config, load_file, to_sxp, Options};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// The file, the words of the command line, and the expression that xend is sent, without what is random in it.
fn expression(file: &str, words: &[&str]) -> Result<String, String> {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let loaded = load_file(&configs().join(file), &words, &Options::default())
        .map_err(|error| error.render())?;
    assert_eq!(loaded.warnings, [], "{file}");
    let config = domain_config(&loaded.settings).map_err(|error| error.render())?;
    let node = to_sxp(&config).map_err(|error| error.to_string())?;
    let text = node.pretty();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("(uuid"));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// What each example needs to be given.
const EXAMPLES: [(&str, &[&str]); 8] = [
    ("xmexample1", &[]),
    ("xmexample2", &["vmid=3"]),
    ("xmexample3", &["vmid=3"]),
    ("xmexample.hvm", &[]),
    ("xmexample.hvm-stubdom", &[]),
    ("xmexample.nbd", &["server=storage.example.com"]),
    ("xmexample.pv-grub", &[]),
    ("xmexample.vti", &[]),
];

#[test]
fn every_example_gives_the_expression_that_is_kept_for_it() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (file, words) in EXAMPLES {
        let found = expression(file, words).unwrap();
        let path = golden.join(format!("{file}.sxp"));
        if std::env::var_os("NOXEN_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            found, kept,
            "{file}; NOXEN_WRITE_GOLDEN=1 writes what is right now"
        );
    }
}

#[test]
fn every_example_that_is_installed_is_in_the_table() {
    for entry in std::fs::read_dir(configs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("xmexample") {
            assert!(EXAMPLES.iter().any(|(file, _)| *file == name), "{name}");
        }
    }
}

#[test]
fn example_that_is_not_given_its_number_says_which_one_and_where() {
    let said = expression("xmexample3", &[]).unwrap_err();
    assert!(
        said.contains("vmid - int() argument must be a string or a number"),
        "{said}"
    );
    let said = expression("xmexample3", &["vmid=0"]).unwrap_err();
    assert!(
        said.contains("vmid - must be from 1 to 200, not 0"),
        "{said}"
    );
    let said = expression("xmexample.nbd", &[]).unwrap_err();
    assert!(
        said.contains("name 'server' is not defined") && said.contains("disk = ["),
        "{said}"
    );
}
