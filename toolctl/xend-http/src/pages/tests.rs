use super::*;
use crate::stand_in::StandIn;
use proptest::prelude::*;

fn request(method: &str, path: &str, body: &str) -> Request {
    Request {
        method: method.into(),
        path: path.split('?').next().unwrap().into(),
        query: path.split_once('?').map_or("", |(_, query)| query).into(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
        keep: false,
    }
}

fn said(response: Response) -> (u16, String) {
    (response.status, String::from_utf8(response.body).unwrap())
}

fn get_page(path: &str) -> (u16, String) {
    said(handle(&StandIn::default(), &request("GET", path, "")))
}

#[test]
fn trees_are_listed_from_the_root_down() {
    assert_eq!(
        get_page("/xend").1.split_whitespace().collect::<String>(),
        "(lsnodedomainvnet)"
    );
    assert_eq!(
        get_page("/xend/domain")
            .1
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "(Domain-0 web1)"
    );
    assert!(get_page("/xend/domain?detail=1").1.contains("(name web1)"));
    assert!(get_page("/xend/domain/web1").1.starts_with("(domain"));
    assert!(get_page("/xend/node").1.contains("(system Linux)"));
    assert_eq!(get_page("/xend/node/dmesg"), (200, "(XEN) hello\n".into()));
}

#[test]
fn what_is_not_there_has_its_status() {
    assert_eq!(get_page("/nowhere"), (404, "Not found: /nowhere\n".into()));
    assert_eq!(get_page("/xend/domain/x").0, 404);
    assert_eq!(get_page("/xend/vnet/5"), (404, "No such vnet 5\n".into()));
    assert_eq!(get_page("/xend/domain?state=odd").0, 500);
    assert_eq!(
        said(handle(&StandIn::default(), &request("PUT", "/xend", ""))).0,
        405
    );
}

#[test]
fn operations_become_requests_and_bad_ones_do_not() {
    let ask = StandIn::default();
    let post = |body: &str| said(handle(&ask, &request("POST", "/xend/domain/web1", body))).0;
    assert_eq!(post("op=pause"), 200);
    assert_eq!(post("op=set_vcpus&vcpus=2"), 200);
    assert_eq!(post("op=shutdown&reason=poweroff"), 200);
    assert_eq!(ask.asked().len(), 3);
    assert_eq!(post("op=set_vcpus&vcpus=two"), 400);
    assert_eq!(post("op=shutdown&reason=tired"), 400);
    assert_eq!(post("op=save&file=x"), 400);
    assert_eq!(post("op=save"), 400);
    assert_eq!(post("op=save&file=/x&checkpoint=1"), 200);
    assert_eq!(post("op=suspend"), 200);
    assert_eq!(post("op=resume&paused=1"), 200);
    assert_eq!(post("op=dump"), 200);
    assert_eq!(post("op=configure"), 501);
    assert_eq!(post("op=migrate"), 400);
    assert_eq!(post("op=migrate&destination=other&port=x"), 400);
    assert_eq!(post("op=dance"), 501);
    assert_eq!(post(""), 406);
    assert_eq!(ask.asked().len(), 7);
}

#[test]
fn restore_answers_with_the_place_of_the_domain() {
    let ask = StandIn::default();
    let post = |body: &str| handle(&ask, &request("POST", "/xend/domain", body));
    let response = post("op=restore&file=/x&paused=1");
    assert_eq!(
        (response.status, &response.headers[..]),
        (201, &[("Location", "/xend/domain/web1".to_owned())][..])
    );
    assert_eq!(post("op=restore&file=x").status, 400);
    assert_eq!(post("op=restore").status, 400);
    assert!(matches!(
        &ask.asked()[..],
        [noxen_xend_api::Request::Restore { file, paused: true, .. }] if file == "/x"
    ));
}

#[test]
fn create_answers_with_the_place_of_the_new_domain() {
    let body = "op=create&config=(vm+(name+web1)+(memory+64)+(image+(linux+(kernel+/k))))";
    let response = handle(&StandIn::default(), &request("POST", "/xend/domain", body));
    assert_eq!(response.status, 201);
    assert_eq!(
        response.headers,
        [("Location", "/xend/domain/web1".to_owned())]
    );
    let body = "op=create&config=(vm";
    assert_eq!(
        handle(&StandIn::default(), &request("POST", "/xend/domain", body)).status,
        400
    );
}

#[test]
fn browser_gets_a_page_in_which_nothing_of_a_name_is_markup() {
    let mut asked = request("GET", "/xend/domain", "");
    asked
        .headers
        .push(("user-agent".into(), "Mozilla/5.0".into()));
    let (status, text) = said(handle(&StandIn::default(), &asked));
    assert_eq!(status, 200);
    assert!(
        text.contains("<a href=\"/xend/domain/web1\">web1</a>"),
        "{text}"
    );
    let page = html::tree("/xend/domain", &Node::List(vec![Node::atom("<script>\"x")]));
    let text = String::from_utf8(page.body).unwrap();
    assert!(!text.contains("<script>"), "{text}");
    assert!(text.contains("/xend/domain/%3Cscript%3E%22x"), "{text}");
    asked
        .headers
        .push(("accept".into(), "application/sxp".into()));
    assert!(said(handle(&StandIn::default(), &asked)).1.starts_with('('));
}

proptest! {
    #[test]
    fn any_path_and_form_are_answered(path in "/[a-z/?=&%]{0,40}", body in "[a-z=&%+()]{0,80}") {
        for method in ["GET", "POST"] {
            prop_assert!(handle(&StandIn::default(), &request(method, &path, &body)).status >= 200);
        }
    }
}
