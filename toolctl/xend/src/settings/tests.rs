use super::*;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, Path::new("/etc/xen/xend-config.sxp"))
}

#[test]
fn settings_of_an_empty_file_are_the_defaults() {
    let s = parse("# nothing but a comment\n").unwrap();
    assert_eq!(s, Settings::default());
    assert_eq!(s.text("vif-script"), "vif-bridge");
    assert_eq!(s.int("console-limit"), 1024);
    assert!(!s.bool("xend-http-server"));
    let paths = Paths::under("/r");
    assert_eq!(s.log_file(&paths), Path::new("/r/var/log/xen/xend.log"));
    assert_eq!(paths.xend_log(), s.log_file(&paths));
}

#[test]
fn settings_of_the_file_win_and_the_first_of_two_counts() {
    let s = parse(
        "(console-limit 64) (console-limit 65)\n(network-script 'network-bridge netdev=eth1')",
    )
    .unwrap();
    assert_eq!(s.int("console-limit"), 64);
    assert_eq!(s.text("network-script"), "network-bridge netdev=eth1");
    assert_eq!(
        s.remarks(),
        ["console-limit is set twice; the first value counts"]
    );
}

#[test]
fn settings_take_xends_words_for_yes_and_no_in_any_case() {
    for word in ["yes", "Y", "1", "on", "TRUE", "t"] {
        assert!(parse(&format!("(enable-dump {word})"))
            .unwrap()
            .bool("enable-dump"));
    }
    for word in ["no", "N", "0", "Off", "false", "f"] {
        assert!(!parse(&format!("(enable-dump {word})"))
            .unwrap()
            .bool("enable-dump"));
    }
}

#[test]
fn settings_with_a_value_of_the_wrong_kind_are_refused_in_xends_words() {
    for (text, want) in [
        (
            "(xend-http-server maybe)",
            "invalid xend config xend-http-server: expected bool: maybe",
        ),
        (
            "(xend-port http)",
            "invalid xend config xend-port: expected int: http",
        ),
        (
            "(loglevel LOUD)",
            "invalid xend config loglevel: expected one of DEBUG INFO WARNING ERROR CRITICAL: LOUD",
        ),
        (
            "(logfile xend.log)",
            "invalid xend config logfile: expected absolute path: xend.log",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), want);
    }
}

#[test]
fn settings_in_a_broken_file_are_refused_with_the_place() {
    let error = parse("(vif-script vif-bridge\n").unwrap_err().to_string();
    assert!(error.starts_with("/etc/xen/xend-config.sxp: "), "{error}");
    let error = parse("vif-script vif-bridge").unwrap_err().to_string();
    assert!(error.contains("expected (KEY VALUE)"), "{error}");
}

#[test]
fn settings_unknown_or_without_effect_are_remarked_upon() {
    let s = parse("(vif-scirpt x) (xend-udev-event-server yes) (xend-http-server no) (xend-port 8000) (resource-label-change-script x)")
        .unwrap();
    assert_eq!(
        s.remarks(),
        [
            "vif-scirpt is no setting of xend's and has no effect; is vif-script meant?",
            "xend-udev-event-server is set to yes, but this version takes no udev events",
            "resource-label-change-script is set to x, but this version has no access control",
        ]
    );
}

#[test]
fn settings_of_every_key_have_a_default_of_its_kind() {
    for known in KEYS {
        known.check(known.default).unwrap();
        assert_eq!(
            KEYS.iter().filter(|other| other.name == known.name).count(),
            1,
            "{}",
            known.name
        );
    }
}

#[test]
fn all_settings_are_told_but_for_passwords() {
    let settings = Settings::parse(
        "(xend-port 8001) (vncpasswd secret)",
        Path::new("xend-config.sxp"),
    )
    .unwrap();
    let all = settings.all();
    assert_eq!(all.len(), KEYS.len());
    assert_eq!(all["xend-port"], "8001");
    assert_eq!(all["vncpasswd"], "(set)");
    assert_eq!(Settings::default().all()["vncpasswd"], "");
}
