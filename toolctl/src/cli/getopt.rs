//! Option parsing with the rules and the wording of Python's `getopt`, which xm's users and scripts know.
//!
//! Options and words may be mixed (`gnu_getopt`), `--` ends the options, long names may be shortened while they stay unique,
//! short ones may be joined: `-wa`.

use super::command::Opt;

/// What a command line holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Options in order: index in the definition, value.
    options: Vec<(usize, Option<String>)>,
    /// The other words.
    pub words: Vec<String>,
    definition: &'static [Opt],
}

impl Parsed {
    /// Was the option of that long name given?
    pub fn has(&self, long: &str) -> bool {
        self.last(long).is_some()
    }

    /// Value of the last occurrence of the option of that long name.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.last(long)?.as_deref()
    }

    fn last(&self, long: &str) -> Option<&Option<String>> {
        self.options
            .iter()
            .rev()
            .find(|(index, _)| {
                self.definition
                    .get(*index)
                    .is_some_and(|opt| opt.long == long)
            })
            .map(|(_, value)| value)
    }
}

/// Parses `args` by `definition`; the error is getopt's sentence.
pub fn parse(definition: &'static [Opt], args: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        definition,
        ..Parsed::default()
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.words.extend(rest.cloned());
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let index = find_long(definition, name)?;
            let full = definition.get(index).map_or("", |opt| opt.long);
            let takes = definition.get(index).is_some_and(|opt| opt.arg.is_some());
            let value = match (takes, value) {
                (true, None) => match rest.next() {
                    Some(value) => Some(value.clone()),
                    None => return Err(format!("option --{full} requires argument")),
                },
                (false, Some(_)) => {
                    return Err(format!("option --{full} must not have an argument"))
                }
                (_, value) => value,
            };
            parsed.options.push((index, value));
        } else if arg.len() > 1 && arg.starts_with('-') {
            let mut letters = arg.chars();
            letters.next();
            while let Some(letter) = letters.next() {
                let index = definition
                    .iter()
                    .position(|opt| opt.short == Some(letter))
                    .ok_or_else(|| format!("option -{letter} not recognized"))?;
                let takes = definition.get(index).is_some_and(|opt| opt.arg.is_some());
                let mut value = None;
                if takes {
                    let joined: String = letters.by_ref().collect();
                    value = match joined.is_empty() {
                        false => Some(joined),
                        true => Some(
                            rest.next()
                                .cloned()
                                .ok_or_else(|| format!("option -{letter} requires argument"))?,
                        ),
                    };
                }
                parsed.options.push((index, value));
            }
        } else {
            parsed.words.push(arg.clone());
        }
    }
    Ok(parsed)
}

fn find_long(definition: &[Opt], name: &str) -> Result<usize, String> {
    if let Some(exact) = definition.iter().position(|opt| opt.long == name) {
        return Ok(exact);
    }
    let mut matching = definition
        .iter()
        .enumerate()
        .filter(|(_, opt)| !name.is_empty() && opt.long.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(format!("option --{name} not a unique prefix")),
        _ => Err(format!("option --{name} not recognized")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        Opt::flag('w', "wait", "Wait."),
        Opt::flag('a', "all", "All."),
        Opt::value('f', "file", "FILE", "File."),
        Opt::long_flag("path-long", "Long only."),
        Opt::long_flag("path-other", "Long only."),
    ];

    fn run(args: &[&str]) -> Result<Parsed, String> {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        parse(OPTIONS, &args)
    }

    #[test]
    fn options_and_words_mix_until_two_dashes() {
        let parsed = run(&["a", "-wa", "b", "--fil=x", "-fy", "--", "-w"]).unwrap();
        assert_eq!(parsed.words, ["a", "b", "-w"]);
        assert!(parsed.has("wait") && parsed.has("all"));
        assert_eq!(parsed.value("file"), Some("y"));
        assert!(!run(&["x"]).unwrap().has("wait"));
        assert_eq!(run(&["-"]).unwrap().words, ["-"]);
        assert_eq!(run(&["--file", "-w"]).unwrap().value("file"), Some("-w"));
    }

    #[test]
    fn mistakes_have_getopts_words() {
        for (args, wanted) in [
            (vec!["-z"], "option -z not recognized"),
            (vec!["--foo"], "option --foo not recognized"),
            (vec!["-f"], "option -f requires argument"),
            (vec!["--file"], "option --file requires argument"),
            (vec!["--wait=1"], "option --wait must not have an argument"),
            (vec!["--path"], "option --path not a unique prefix"),
            (vec!["-wz"], "option -z not recognized"),
            (vec!["--=x"], "option -- not recognized"),
        ] {
            assert_eq!(run(&args).unwrap_err(), wanted, "{args:?}");
        }
    }
}
