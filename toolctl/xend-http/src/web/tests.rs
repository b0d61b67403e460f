use super::*;
use crate::stand_in::{StandIn, UUID};

fn site(access: Access) -> Site {
    Site {
        access,
        consoles: Consoles::new("/nonexistent/toolctl".into()),
        screens: Screens::new("/nonexistent/novnc".into()),
        terminal: Terminal::new("/nonexistent/xterm".into()),
    }
}

fn token() -> Site {
    site(Access::Token {
        token: "secret-token".into(),
        file: "/var/lib/xend/web-token".into(),
        tls: false,
    })
}

fn request(method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Request {
    Request {
        method: method.into(),
        path: path.into(),
        query: String::new(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
        keep: false,
    }
}

fn post(site: &Site, ask: &StandIn, path: &str, body: &str, headers: &[(&str, &str)]) -> u16 {
    handle(site, ask, &request("POST", path, body, headers)).status
}

const SIGNED_IN: [(&str, &str); 2] = [("cookie", "a=b; xend=secret-token"), ("x-xend", "1")];

#[test]
fn browser_gets_the_page_and_nothing_of_it_comes_from_elsewhere() {
    let browser = [("user-agent", "Mozilla/5.0"), ("accept", "text/html")];
    let ask = StandIn::default();
    let page = handle(&token(), &ask, &request("GET", "/", "", &browser));
    assert_eq!((page.status, page.kind), (200, "text/html; charset=utf-8"));
    let policy = page
        .headers
        .iter()
        .find(|(name, _)| *name == "Content-Security-Policy");
    assert!(policy
        .unwrap()
        .1
        .starts_with("default-src 'none'; script-src 'self'"));
    for text in [
        PAGE,
        STYLE,
        SCRIPT,
        CONSOLE_SCRIPT,
        TERMINAL_SCRIPT,
        SCREEN_SCRIPT,
    ] {
        for line in text.lines().filter(|line| line.contains("://")) {
            assert!(line.contains("http://www.w3.org/2000/svg"), "{line}");
        }
    }
    for script in [SCRIPT, CONSOLE_SCRIPT, TERMINAL_SCRIPT, SCREEN_SCRIPT] {
        assert!(!script.contains("innerHTML"));
    }
    let sxp = handle(&token(), &ask, &request("GET", "/", "", &[]));
    assert_eq!(sxp.kind, "application/sxp");
}

#[test]
fn state_is_read_by_everybody_and_says_who_may_change_something() {
    let ask = StandIn::default();
    let state = |headers: &[(&str, &str)]| {
        let answer = handle(&token(), &ask, &request("GET", "/web/state", "", headers));
        assert_eq!(answer.status, 200);
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    let seen = state(&[]);
    assert_eq!(seen["may_change"], false);
    assert_eq!(seen["domains"][1]["name"], "web1");
    assert_eq!(seen["domains"][1]["cpu_time_s"], 1.5);
    assert_eq!(state(&SIGNED_IN[..1])["may_change"], true);
    assert_eq!(
        state(&[("cookie", "xend=other-token0")])["may_change"],
        false
    );
}

#[test]
fn nothing_is_changed_without_the_token() {
    let ask = StandIn::default();
    let refused: [&[(&str, &str)]; 7] = [
        &[],
        // A form of another site would send the cookie, but no header of its own.
        &[("cookie", "xend=secret-token")],
        &[("x-xend", "1")],
        &[("cookie", "xend="), ("x-xend", "1")],
        &[("cookie", "xend=secret-toke"), ("x-xend", "1")],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Basic secret-token")],
    ];
    let domain = format!("/web/domain/{UUID}");
    for headers in refused {
        for (path, body) in [
            (domain.as_str(), "op=pause"),
            ("/web/create", "config=name='a'"),
            ("/xend/domain/web1", "op=destroy"),
            ("/xend/node/dmesg", "op=clear"),
        ] {
            assert_eq!(
                post(&token(), &ask, path, body, headers),
                403,
                "{path} {headers:?}"
            );
        }
    }
    assert!(ask.asked().is_empty());
}

#[test]
fn with_the_token_domains_are_paused_shut_down_and_created() {
    let ask = StandIn::default();
    let domain = format!("/web/domain/{UUID}");
    for op in ["pause", "unpause", "shutdown", "reboot", "destroy"] {
        let body = format!("op={op}");
        assert_eq!(
            post(&token(), &ask, &domain, &body, &SIGNED_IN),
            200,
            "{op}"
        );
    }
    let bearer = [("authorization", "Bearer secret-token")];
    assert_eq!(
        post(&token(), &ask, "/xend/domain/web1", "op=pause", &bearer),
        200
    );
    assert_eq!(
        post(&site(Access::Open), &ask, &domain, "op=pause", &[]),
        200
    );
    assert_eq!(ask.asked().len(), 7);
    assert_eq!(post(&token(), &ask, &domain, "op=dance", &SIGNED_IN), 400);
    assert_eq!(post(&token(), &ask, &domain, "op=migrate", &SIGNED_IN), 400);
    let there = "op=migrate&host=other";
    assert_eq!(post(&token(), &ask, &domain, there, &SIGNED_IN), 200);
    assert!(
        matches!(&ask.asked()[7..], [Asked::Migrate { how, .. }] if how.host == "other" && how.live)
    );
    assert_eq!(
        post(&token(), &ask, "/web/domain/nobody", "op=pause", &SIGNED_IN),
        404
    );
    let config = "config=name+%3D+'web1'%0D%0Akernel+%3D+'%2Fk'%0D%0Amemory+%3D+32*2%0D%0A";
    assert_eq!(post(&token(), &ask, "/web/create", config, &SIGNED_IN), 200);
    let asked = ask.asked();
    let Asked::Create { config } = &asked[asked.len() - 2] else {
        panic!("{asked:?}");
    };
    assert_eq!((config.name.as_str(), config.memory), ("web1", 64));
    let wrong = request("POST", "/web/create", "config=memory+%3D", &SIGNED_IN);
    let answer = handle(&token(), &ask, &wrong);
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8(answer.body).unwrap().contains("line 1"));
}

#[test]
fn login_sets_a_cookie_that_scripts_cannot_read_and_logout_takes_it() {
    let ask = StandIn::default();
    let login = |token_shown: &str| {
        let body = format!("token={token_shown}");
        handle(&token(), &ask, &request("POST", "/web/login", &body, &[]))
    };
    assert_eq!(login("wrong").status, 403);
    assert!(login("wrong").headers.is_empty());
    let answer = login("secret-token");
    assert_eq!(
        answer.headers,
        [(
            "Set-Cookie",
            "xend=secret-token; Path=/; HttpOnly; SameSite=Strict".to_owned()
        )]
    );
    let out = handle(&token(), &ask, &request("POST", "/web/logout", "", &[]));
    assert!(out.headers[0].1.starts_with("xend=; ") && out.headers[0].1.ends_with("Max-Age=0"));
}

#[test]
fn console_is_read_and_typed_at_with_the_token_only() {
    let ask = StandIn::default();
    let path = format!("/web/console/{UUID}");
    let read = |headers: &[(&str, &str)]| {
        handle(&token(), &ask, &request("GET", &path, "", headers)).status
    };
    // The cookie alone is not enough even to read: reading takes the console.
    for headers in [&[][..], &SIGNED_IN[..1], &[("x-xend", "1")]] {
        assert_eq!(read(headers), 403, "{headers:?}");
        assert_eq!(post(&token(), &ask, &path, "input=x", headers), 403);
    }
    // With it, only the program is missing here.
    assert_eq!(read(&SIGNED_IN), 500);
    assert_eq!(post(&token(), &ask, &path, "input=x", &SIGNED_IN), 400);
}

#[test]
fn screen_without_novnc_names_the_package_and_one_with_a_password_asks_to_sign_in() {
    let ask = StandIn::default();
    let tell = |site: &Site, headers: &[(&str, &str)], path: &str| {
        let answer = handle(site, &ask, &request("GET", path, "", headers));
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let path = format!("/web/screen/{UUID}");
    let (status, line) = tell(&token(), &SIGNED_IN, &path);
    assert!(status == 400 && line.contains("package novnc"), "{line}");
    assert_eq!(tell(&token(), &[], "/web/novnc/core/rfb.js").0, 404);
    assert_eq!(tell(&token(), &[], "/web/screen/nobody").0, 404);

    let directory = std::env::temp_dir().join(format!("noxen-novnc-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("core")).unwrap();
    std::fs::write(directory.join("core/rfb.js"), "export default 1;").unwrap();
    let mut site = token();
    site.screens = Screens::new(directory.clone());
    let (status, script) = tell(&site, &[], "/web/novnc/core/rfb.js");
    assert_eq!((status, script.as_str()), (200, "export default 1;"));
    let (status, line) = tell(&site, &[], &path);
    assert!(status == 400 && line.contains("sign in"), "{line}");
    let (_, told) = tell(&site, &SIGNED_IN, &path);
    assert_eq!(told, r#"{"may_type":true,"password":"secret"}"#);
    std::fs::remove_dir_all(&directory).unwrap();

    // By the WebSocket no more than by the page.
    let asked = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    match answer(&site, &ask, &request("GET", &path, "", &asked)) {
        Answer::Whole(refused) => assert_eq!(refused.status, 403),
        other => panic!("{other:?}"),
    }
}

#[test]
fn xterm_is_handed_out_where_it_is_installed_and_only_then_may_style_the_page() {
    let ask = StandIn::default();
    let get = |site: &Site, path: &str| {
        let browser = [("user-agent", "Mozilla/5.0"), ("accept", "text/html")];
        handle(site, &ask, &request("GET", path, "", &browser))
    };
    let policy = |answer: &Response| {
        let mut headers = answer.headers.iter();
        let found = headers.find(|(name, _)| *name == "Content-Security-Policy");
        found.unwrap().1.to_string()
    };
    let installed = |site: &Site| {
        let state = get(site, "/web/state").body;
        serde_json::from_slice::<serde_json::Value>(&state).unwrap()["xterm"].clone()
    };
    let mut site = token();
    assert_eq!(installed(&site), false);
    assert!(!policy(&get(&site, "/")).contains("unsafe"));
    assert_eq!(get(&site, "/web/xterm/lib/xterm.js").status, 404);

    let directory = std::env::temp_dir().join(format!("noxen-xterm-{}", std::process::id()));
    for (name, text) in [
        ("lib/xterm.js", "var Terminal;"),
        ("css/xterm.css", "a {}"),
        ("package.json", "{}"),
    ] {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    site.terminal = Terminal::new(directory.clone());
    assert_eq!(installed(&site), true);
    let page = policy(&get(&site, "/"));
    assert!(page.contains("style-src 'self' 'unsafe-inline';"), "{page}");
    assert!(page.contains("script-src 'self';"), "{page}");
    let script = get(&site, "/web/xterm/lib/xterm.js");
    assert_eq!(
        (script.status, script.kind),
        (200, "text/javascript; charset=utf-8")
    );
    assert_eq!(get(&site, "/web/xterm/css/xterm.css").body, b"a {}");
    // Two files, whatever else is there.
    for other in ["package.json", "lib/../package.json", "", "lib/xterm.mjs"] {
        assert_eq!(
            get(&site, &format!("/web/xterm/{other}")).status,
            404,
            "{other}"
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
