//! Somebody who has only `xm help` makes a domain, watches it, tunes it and takes it away.
//!
//! ```text
//!   xm help ──what each command is for──> its name ──> xm help NAME ──usage──> words, each placeholder from what the pages say ──> typed
//! ```
//! Nothing is typed here whose name or form is not on a page: commands are found by what the list says they do, options and variables by what
//! their rows say, values by the examples of the text.

mod support;

use noxen_xenstore::client::Nodes;
use std::collections::BTreeMap;
use std::path::Path;
use support::{eventually, toolctl, Lab};

/// Rows of a page: what stands on the left, and the text on the right with its continuations, as one line.
fn rows(page: &str) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if (1..=2).contains(&indent) {
            let (left, right) = text.split_once("  ").unwrap_or((text, ""));
            rows.push((left.to_owned(), right.trim().to_owned()));
        } else if let (true, Some((_, last))) = (indent > 2, rows.last_mut()) {
            *last = format!("{last} {text}");
        }
    }
    rows
}

/// What stands on the left of the one row that is about `purpose`.
#[track_caller]
fn about(page: &str, purpose: &str) -> String {
    let rows = rows(page);
    let mut found = rows.iter().filter(|(_, right)| right.starts_with(purpose));
    match (found.next(), found.next()) {
        (Some((left, _)), None) => left.clone(),
        (first, _) => panic!("{purpose:?} is on no row, or on several ({first:?}):\n{page}"),
    }
}

/// The word that follows `before` in a page's running text, without what ends a sentence.
#[track_caller]
fn example(page: &str, before: &str) -> String {
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?}: {page}"));
    let word = rest.split_whitespace().next().unwrap();
    word.trim_end_matches([';', ',', '.']).to_owned()
}

struct Stranger {
    lab: Lab,
    list: String,
    /// What each placeholder of a usage line stands for.
    knows: BTreeMap<&'static str, String>,
}

impl Stranger {
    fn type_words(&self, words: &[String]) -> (i32, String, String) {
        let mut xm = self.lab.command(toolctl());
        let output = xm
            .args(words)
            .current_dir(self.lab.root())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// `xm help NAME` of the command that is for `purpose`, and its name.
    #[track_caller]
    fn page(&self, purpose: &str) -> (String, String) {
        let name = about(&self.list, purpose);
        let (status, page, _) = self.type_words(&["help".into(), name.clone()]);
        assert_eq!(status, 0);
        (name, page)
    }

    /// Types the command that is for `purpose` as its usage says, with `options`; what it prints.
    #[track_caller]
    fn does(&self, purpose: &str, options: &[String]) -> String {
        let (name, page) = self.page(purpose);
        let usage = page.lines().next().unwrap();
        let usage = usage.strip_prefix("Usage: xm ").unwrap();
        let mut words = vec![name.clone()];
        let mut placeholders = usage.split_whitespace();
        assert_eq!(placeholders.next(), Some(name.as_str()));
        for placeholder in placeholders {
            // What is in brackets may be left out.
            if placeholder.starts_with('[') {
                break;
            }
            let known = self.knows.get(placeholder);
            let word = known.unwrap_or_else(|| panic!("what is {placeholder}? {page}"));
            words.push(word.clone());
        }
        words.extend_from_slice(options);
        let (status, out, error) = self.type_words(&words);
        assert_eq!((status, error.as_str()), (0, ""), "xm {words:?}");
        out
    }

    /// A long option of the command for `purpose`, found by what it says it does; with its value, if it takes one.
    #[track_caller]
    fn option(&self, purpose: &str, effect: &str, value: &str) -> String {
        let (_, page) = self.page(purpose);
        let left = about(&page, effect);
        let option = left.split(", ").last().unwrap();
        match option.split_once('=') {
            Some((name, _)) => format!("{name}={value}"),
            None => option.to_owned(),
        }
    }

    /// What the guest is told; the stand-in for it does nothing about it.
    fn told(&self, node: &str) -> String {
        let domid = self
            .lab
            .guest(&self.knows["<Domain>"])
            .unwrap()
            .domid
            .unwrap();
        let path = format!("/local/domain/{domid}/{node}");
        self.lab.store().read(&path).unwrap()
    }

    /// The row of `xm list` that is about the domain.
    fn row(&self) -> Vec<String> {
        let text = self.does("List information about all/some", &[]);
        let name = &self.knows["<Domain>"];
        let row = text.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().map(str::to_owned).collect()
    }
}

#[test]
fn stranger_with_only_the_help_creates_watches_tunes_and_removes_a_domain() {
    let lab = Lab::new();
    lab.script("block", "say hotplug-status connected");
    let (kernel, image) = (lab.root().join("kernel-ok"), lab.image("data.img", "data"));
    let mut xm = lab.command(toolctl());
    let list = String::from_utf8(xm.arg("help").output().unwrap().stdout).unwrap();
    assert!(
        list.contains("For the page of one subcommand run 'xm help <subcommand>'."),
        "{list}"
    );
    let mut stranger = Stranger {
        lab,
        list,
        knows: BTreeMap::new(),
    };

    // Made, by a file of the variables that the page of `create` names.
    let create = "Create a domain based on";
    let (_, page) = stranger.page(create);
    let variable = |purpose: &str| about(&page, purpose).split('=').next().unwrap().to_owned();
    let config = format!(
        "{} = 'first'\n{} = '{}'\n{} = 64\n{} = 2\n",
        variable("Domain's name"),
        variable("Kernel image"),
        kernel.display(),
        variable("Memory in MiB"),
        variable("Number of virtual CPUs"),
    );
    std::fs::write(stranger.lab.root().join("first.cfg"), &config).unwrap();
    stranger.knows.insert("<ConfigFile>", "first.cfg".into());
    // Tried first, then made, as a word sets a variable over the file's.
    let trial = stranger.option(create, "Dry run - prints the resulting", "");
    assert!(stranger.does(create, &[trial]).contains("(name first)"));
    assert!(stranger.lab.guests().is_empty());
    let name = variable("Domain's name");
    let out = stranger.does(create, &[format!("{name}=mine")]);
    assert!(out.contains("Started domain mine"), "{out}");
    stranger.knows.insert("<Domain>", "mine".into());

    // Watched.
    assert_eq!(stranger.row()[2..4], ["64", "2"]);
    let (_, page) = stranger.page("List information about all/some");
    let states = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        states.contains("p paused, s shut down, c crashed"),
        "{page}"
    );
    assert!(stranger
        .does("Print uptime for all/some", &[])
        .contains("mine"));
    assert!(stranger
        .does("List the VCPUs for all/some", &[])
        .contains("mine"));
    let monitor = "Monitor a host and the domains";
    let once = [
        stranger.option(monitor, "Output in batch mode", ""),
        stranger.option(monitor, "Number of iterations", "1"),
    ];
    assert!(stranger.does(monitor, &once).contains("mine"));
    stranger.does("Pause execution", &[]);
    assert_eq!(stranger.row()[4], "--p---");
    stranger.does("Unpause a paused", &[]);

    // Tuned: memory, CPUs, share, name, a disk.
    let memory = "Set the current memory usage";
    assert!(stranger.page(memory).1.contains("MEM is in MiB"));
    stranger.knows.insert("<Mem>", "48".into());
    stranger.does(memory, &[]);
    assert_eq!(stranger.told("memory/target"), "49152");
    stranger.knows.insert("<vCPUs>", "1".into());
    stranger.does("Set the number of active VCPUs", &[]);
    assert_eq!(stranger.told("cpu/1/availability"), "offline");
    stranger.knows.insert("<VCPU|all>", "all".into());
    stranger.knows.insert("<CPUs|all>", "0".into());
    stranger.does("Set which CPUs a VCPU can use", &[]);
    let vcpus = stranger.does("List the VCPUs for all/some", &[]);
    let pinned = vcpus.lines().filter(|line| line.starts_with("mine"));
    assert!(
        pinned.clone().count() > 0 && pinned.clone().all(|line| line.ends_with(" 0")),
        "{vcpus}"
    );
    let (disk, mut words) = stranger.page("Create a new virtual block").clone();
    assert_eq!(disk, "block-attach");
    words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("file:FILE"), "{words}");
    stranger.knows.insert("<BackDev>", format!("file:{image}"));
    stranger
        .knows
        .insert("<FrontDev>", example(&words, "such as "));
    stranger.knows.insert("<Mode>", example(&words, "; Mode "));
    stranger.does("Create a new virtual block", &[]);
    assert!(stranger
        .does("List virtual block devices", &[])
        .contains("51728"));
    stranger.knows.insert("<NewDomainName>", "renamed".into());
    stranger.does("Rename a domain", &[]);
    stranger.knows.insert("<Domain>", "renamed".into());
    assert_eq!(stranger.row()[0], "renamed");

    // Taken away: asked to end, and another one by the plug.
    let shutdown = "Shutdown a domain";
    let wait = stranger.option(shutdown, "Wait for the domain to complete", "");
    let out = stranger.does(shutdown, &[wait]);
    assert!(out.contains("Domain renamed terminated"), "{out}");
    let gone = || stranger.lab.guests().is_empty().then_some(());
    eventually("it is gone", gone);
    stranger.does(create, &[]);
    stranger.knows.insert("<Domain>", "first".into());
    stranger.does("End a domain at once", &[]);
    eventually("nothing is left", || {
        stranger.lab.guests().is_empty().then_some(())
    });

    // A mistake on the way is told with what to do.
    let pause = about(&stranger.list, "Pause execution");
    let (status, page, error) = stranger.type_words(std::slice::from_ref(&pause));
    assert_eq!(
        (status, error.trim()),
        (1, "Error: 'xm pause' requires 1 argument.")
    );
    assert!(page.contains("Usage: xm pause <Domain>"), "{page}");
    assert!(Path::new(&kernel).exists());
}
