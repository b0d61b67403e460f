use super::*;
use crate::settings::Setting;

fn load(source: &str, words: &[&str]) -> Result<Loaded> {
    let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    load_source(source, "./dom.xm", &words, &Options::default())
}

fn message(source: &str, words: &[&str]) -> String {
    match load(source, words) {
        Ok(loaded) => panic!("{source:?} gave {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn plain_file_gives_its_settings_and_a_name() {
    let loaded = load(
        "# a guest\nkernel = '/boot/k'\nmemory = 64\nvcpus = '2'\ndisk = [ 'phy:a,xvda,w',\n 'phy:b,xvdb,r' ]\n",
        &[],
    )
    .unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.text("name").as_deref(), Some("dom.xm"));
    assert_eq!(settings.whole("memory"), Ok(Some(64)));
    assert_eq!(settings.whole("vcpus"), Ok(Some(2)));
    assert_eq!(settings.list("disk"), ["phy:a,xvda,w", "phy:b,xvdb,r"]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn command_line_wins_over_the_file_and_lists_add_up() {
    let loaded = load(
        "memory = 64\ndisk = ['x']\nname = 'f'\n",
        &["memory=256", "disk=a", "disk=b", "name=c"],
    )
    .unwrap();
    assert_eq!(loaded.settings.get("memory"), Some(&Setting::Int(256)));
    assert_eq!(loaded.settings.list("disk"), ["a", "b"]);
    assert_eq!(loaded.settings.text("name").as_deref(), Some("c"));
}

#[test]
fn unknown_command_line_variable_is_text_for_the_file() {
    let loaded = load(
        "name = 'VM%s' % vmid\nmemory = 32 * int(vmid)\n",
        &["vmid=3"],
    )
    .unwrap();
    assert_eq!(loaded.settings.text("name").as_deref(), Some("VM3"));
    assert_eq!(loaded.settings.whole("memory"), Ok(Some(96)));
    assert_eq!(
        message("name = 'VM%s' % vmid\n", &[]),
        "name 'vmid' is not defined"
    );
    assert_eq!(
        message("memory = 1\n", &["memmory=3"]),
        "unknown variable on the command line 'memmory': did you mean 'memory'? (--lenient goes on without it)"
    );
}

#[test]
fn unknown_key_is_an_error_naming_the_nearest_one() {
    let error = load("memory = 64\nvcpu = 2\n", &[]).unwrap_err();
    assert_eq!(
        error.render(),
        "unknown key 'vcpu': did you mean 'vcpus'? (--lenient goes on without it)\n\tvcpu = 2\n\t^ ./dom.xm:2:1"
    );
    assert_eq!(
        message("favourite_colour = 'red'\n", &[]),
        "unknown key 'favourite_colour': no known key is like it (--lenient goes on without it)"
    );
}

#[test]
fn helper_variables_that_are_read_or_underscored_are_no_keys() {
    let loaded = load(
        "vg = 'vg0'\n_note = 'mine'\ndisk = ['phy:%s/t,xvda,w' % vg]\n",
        &[],
    )
    .unwrap();
    assert_eq!(loaded.settings.list("disk"), ["phy:vg0/t,xvda,w"]);
}

#[test]
fn lenient_turns_unknown_keys_into_warnings() {
    let options = Options {
        lenient: true,
        ..Options::default()
    };
    let loaded = load_source("vcpu = 2\n", "f", &["x=1".into()], &options).unwrap();
    let messages: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "unknown key 'vcpu': did you mean 'vcpus'?; ignored",
            "unknown variable on the command line 'x': no known key is like it; ignored"
        ]
    );
}

#[test]
fn types_that_xm_skipped_have_no_effect_and_are_told() {
    let loaded = load(
        "pae = True\nmemory = 64L\nname = u'x'\nroot = None\nvcpus = (1,)\n",
        &[],
    )
    .unwrap();
    let set: Vec<_> = loaded.settings.iter().map(|(name, _)| name).collect();
    assert_eq!(set, ["name"], "only the default name");
    let messages: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "'pae' is a bool and has no effect, as with xm; write 1",
            "'memory' is a long and has no effect, as with xm",
            "'name' is a unicode and has no effect, as with xm",
            "'vcpus' is a tuple and has no effect, as with xm",
        ]
    );
}

#[test]
fn values_of_the_wrong_kind_are_errors_with_their_place() {
    let error = load("disk = 'phy:a,b,w'\n", &[]).unwrap_err();
    assert_eq!(
        error.message,
        "'disk' must be a list, found str; write disk = [ ... ]"
    );
    assert_eq!(error.at, Some(Pos { line: 1, column: 1 }));
    assert_eq!(
        message("kernel = ['a']\n", &[]),
        "'kernel' must be a single value, found a list"
    );
    assert_eq!(
        message("disk = [{}]\n", &[]),
        "member 1 of 'disk' must be text, found dict"
    );
    assert_eq!(message("a = 1\n", &["usb=maybe"]), "Invalid value:maybe");
    assert!(message("<?xml version='1.0'?>", &[]).contains("Xen-API"));
}

#[test]
fn hyphenated_relic_is_accepted() {
    assert!(load("full-screen=1\n", &[]).is_ok());
}

#[test]
fn xen_tools_and_ganeti_names_are_accepted() {
    let source = "vcpus = '2'\nmemory = '512'\nmaxmem = '512'\nroot = '/dev/xvda2 ro'\ndisk = [\n 'file:/a,xvda2,w',\n ]\nvif = [ '' ]\n\
        name = 'n'\non_poweroff = 'destroy'\ndhcp = 'dhcp'\nxen_shell = 'root'\nbroadcast = '1.2.3.4'\nbootargs = '-q'\ncpu_cap = 0\n";
    let loaded = load(source, &[]).unwrap();
    assert_eq!(loaded.settings.whole("memory"), Ok(Some(512)));
}

#[test]
fn config_is_found_by_name_then_along_the_path() {
    let dir = std::env::temp_dir().join(format!("noxen-find-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("guest")).unwrap();
    std::fs::write(dir.join("one"), "memory = 1\n").unwrap();
    let dir_text = dir.to_str().unwrap();
    let path = format!("/nonexistent:{dir_text}");
    assert_eq!(find_config("one", &path), Some(dir.join("one")));
    assert_eq!(find_config("guest", &path), None, "a directory is no file");
    assert_eq!(find_config("absent", &path), None);
    // Tests run in the crate's directory.
    assert_eq!(
        find_config("Cargo.toml", "."),
        Some(PathBuf::from("./Cargo.toml"))
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn file_in_latin_1_is_read() {
    let path = std::env::temp_dir().join(format!("noxen-latin-{}", std::process::id()));
    std::fs::write(&path, b"# gr\xfc\xdfe\nmemory = 7\n").unwrap();
    let loaded = load_file(&path, &[], &Options::default()).unwrap();
    assert_eq!(loaded.settings.whole("memory"), Ok(Some(7)));
    std::fs::remove_file(&path).unwrap();
    let error = load_file(&path, &[], &Options::default()).unwrap_err();
    assert!(
        error.to_string().ends_with(": No such file or directory"),
        "{error}"
    );
}

#[test]
fn helpers_of_loops_imports_and_branches_are_no_unknown_keys() {
    let source = "import os, re\narch = os.uname()[4]\nif re.search('64', arch):\n    arch_libdir = 'lib64'\nelse:\n    arch_libdir = 'lib'\n\
        vif = []\nfor i in range(2):\n    vif.append('bridge=xenbr0')\ndef helper(a):\n    return a\n\
        kernel = '/usr/' + arch_libdir + '/xen/boot/hvmloader'\ntry:\n    pass\nexcept Exception, e:\n    pass\n\
        unused = 1\nif 0: memory = unused\n";
    let loaded = load(source, &[]).unwrap();
    assert_eq!(loaded.settings.list("vif").len(), 2);
    assert!(loaded
        .settings
        .text("kernel")
        .unwrap()
        .ends_with("/xen/boot/hvmloader"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn declared_variable_may_be_given_without_being_read() {
    assert!(load("xm_vars.var('slot')\nmemory = 1\n", &["slot=2"]).is_ok());
    assert!(load("memory = 1\n", &["slot=2"]).is_err());
}

#[test]
fn exit_of_the_file_is_an_error_of_its_own_kind() {
    let error = load("import sys\nsys.exit('no such slot')\n", &[]).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Exit(1), "no such slot")
    );
}

#[test]
fn declared_variables_are_told_without_being_checked() {
    let dir = std::env::temp_dir().join(format!("noxen-declared-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let told = |source: &str| {
        let path = dir.join("dom.xm");
        std::fs::write(&path, source).unwrap();
        declared_variables(&path, &[], &Limits::default()).map_err(|e| e.to_string())
    };
    let source = "def no(var, val):\n    raise ValueError, 'never called'\n\
                  xm_vars.var('vmid', use='the number', check=no)\nxm_vars.var('size')\n\
                  if xm_help:\n    print 'and this'\nxm_vars.check()\nboom\n";
    assert_eq!(
        told(source).unwrap(),
        "and this\nvmid         the number\nsize         \n"
    );
    assert_eq!(told("memory = 64\n").unwrap(), "");
    assert_eq!(
        told("memory = vmid\n").unwrap_err(),
        "name 'vmid' is not defined"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}
