use super::*;
use crate::stand_in::StandIn;
use proptest::prelude::*;

fn post(ask: &dyn Ask, xml: &str) -> String {
    let request = HttpRequest {
        method: "POST".into(),
        path: "/RPC2".into(),
        query: String::new(),
        headers: Vec::new(),
        body: xml.as_bytes().to_vec(),
        keep: false,
    };
    String::from_utf8(handle(ask, &request).body).unwrap()
}

fn call(ask: &dyn Ask, name: &str, params: Vec<Value>) -> Result<Value, Fault> {
    answer(ask, name, params)
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

#[test]
fn domain_that_does_not_exist_is_a_fault_of_code_3_with_its_name() {
    let xml = "<methodCall><methodName>xend.domain.pause</methodName><params><param><value>nobody</value></param></params></methodCall>";
    let answer = post(&StandIn::default(), xml);
    assert!(
        answer.contains("<int>3</int>") || answer.contains("<i4>3</i4>"),
        "{answer}"
    );
    assert!(answer.contains("<string>nobody</string>"), "{answer}");
}

#[test]
fn detail_form_has_numbers_as_numbers_and_names_as_text() {
    let ask = StandIn::default();
    let Value::Array(members) = call(&ask, "xend.domain", vec![text("web1")]).unwrap() else {
        panic!()
    };
    assert_eq!(members[0], text("domain"));
    let pair = |key: &str, value: Value| Value::Array(vec![text(key), value]);
    assert!(
        members.contains(&pair("domid", Value::Integer(3))),
        "{members:?}"
    );
    assert!(members.contains(&pair("name", text("web1"))), "{members:?}");
    assert!(
        members.contains(&pair("cpu_time", Value::Double(1.5))),
        "{members:?}"
    );
}

#[test]
fn domains_without_detail_are_names() {
    let names = call(&StandIn::default(), "xend.domains", vec![Value::Integer(0)]).unwrap();
    assert_eq!(names, Value::Array(vec![text("Domain-0"), text("web1")]));
}

#[test]
fn create_takes_nested_arrays_and_gives_the_domain() {
    let ask = StandIn::default();
    let pair = |key: &str, value: Value| Value::Array(vec![text(key), value]);
    let image = Value::Array(vec![text("linux"), pair("kernel", text("/k"))]);
    let config = Value::Array(vec![
        text("vm"),
        pair("name", text("web1")),
        pair("memory", Value::Integer(64)),
        pair("image", image),
    ]);
    call(&ask, "xend.domain.create", vec![config]).unwrap();
    let asked = ask.asked();
    let Some(noxen_xend_api::Request::Create { config }) = asked.first() else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (config.name.as_str(), config.memory, config.kernel.as_str()),
        ("web1", 64, "/k")
    );
}

#[test]
fn wrong_arguments_are_named_by_method_and_place() {
    let ask = StandIn::default();
    let fault = call(
        &ask,
        "xend.domain.setMemoryTarget",
        vec![text("web1"), text("much")],
    )
    .unwrap_err();
    assert_eq!(
        fault.message,
        "xend.domain.setMemoryTarget: argument 2 is to be a whole number"
    );
    let fault = call(&ask, "xend.domain.pause", vec![text("web1"), text("x")]).unwrap_err();
    assert_eq!(fault.message, "xend.domain.pause: 1 arguments too many");
    assert!(ask.asked().is_empty());
}

#[test]
fn save_and_its_like_take_what_xm_sent() {
    use noxen_xend_api::Request;
    let ask = StandIn::default();
    let web1 = || "web1".to_owned();
    let no = Value::Boolean(false);
    let yes = Value::Boolean(true);
    call(
        &ask,
        "xend.domain.save",
        vec![text("web1"), text("/a"), yes.clone()],
    )
    .unwrap();
    call(
        &ask,
        "xend.domain.dump",
        vec![
            text("web1"),
            Value::Nil,
            yes.clone(),
            no.clone(),
            yes.clone(),
        ],
    )
    .unwrap();
    call(&ask, "xend.domain.suspend", vec![text("web1")]).unwrap();
    call(&ask, "xend.domain.resume", vec![text("web1"), no]).unwrap();
    let restored = call(&ask, "xend.domain.restore", vec![text("/a"), yes]).unwrap();
    let Value::Array(members) = restored else {
        panic!()
    };
    assert_eq!(members[0], text("domain"));
    let file = "/a".to_owned();
    assert_eq!(
        ask.asked(),
        [
            Request::Save {
                domain: web1(),
                file: file.clone(),
                checkpoint: true,
                how: Default::default(),
            },
            Request::DumpCore {
                domain: web1(),
                file: None,
                live: true,
                crash: false,
                reset: true
            },
            Request::Suspend { domain: web1() },
            Request::Resume {
                domain: web1(),
                paused: false
            },
            Request::Restore {
                file,
                paused: true,
                lazy: false
            },
        ]
    );
    let relative = call(&ask, "xend.domain.save", vec![text("web1"), text("a")]).unwrap_err();
    assert!(relative.message.contains("absolute path"), "{relative}");
}

#[test]
fn unknown_and_planned_methods_say_which_they_are() {
    let ask = StandIn::default();
    let message = |name: &str| call(&ask, name, vec![]).unwrap_err().message;
    assert_eq!(
        message("xend.domain.configure"),
        "xend.domain.configure is not built yet"
    );
    assert_eq!(message("xend.fly"), "method \"xend.fly\" is not supported");
}

#[test]
fn text_results_are_escaped_as_repr_does() {
    assert_eq!(
        value::escaped("a\n\\ é\u{1}"),
        text("a\\n\\\\ \\xc3\\xa9\\x01")
    );
}

#[test]
fn multicall_does_each_and_none_within_another() {
    let one = |name: &str| {
        Value::Struct(
            [
                ("methodName".to_owned(), text(name)),
                ("params".to_owned(), Value::Array(vec![])),
            ]
            .into(),
        )
    };
    let calls = Value::Array(vec![
        one("system.methodSignature"),
        one("system.multicall"),
        one("nope"),
    ]);
    let Value::Array(results) = call(&StandIn::default(), "system.multicall", vec![calls]).unwrap()
    else {
        panic!()
    };
    assert!(matches!(&results[0], Value::Array(one) if one.len() == 1));
    assert!(matches!(&results[1], Value::Struct(_)), "{results:?}");
    assert!(matches!(&results[2], Value::Struct(_)), "{results:?}");
}

#[test]
fn deeply_nested_call_is_refused_before_it_is_parsed() {
    let deep = format!(
        "{}{}",
        "<array><data><value>".repeat(5000),
        "</value></data></array>".repeat(5000)
    );
    let xml = format!("<methodCall><methodName>x</methodName><params><param><value>{deep}</value></param></params></methodCall>");
    assert!(post(&StandIn::default(), &xml).contains("nested too deeply"));
}

proptest! {
    #[test]
    fn any_body_is_answered(body in "\\PC{0,300}") {
        prop_assert!(!post(&StandIn::default(), &body).is_empty());
    }
}
