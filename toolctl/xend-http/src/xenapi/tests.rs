use super::*;
use crate::stand_in::{StandIn, UUID};
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::String(text.into())
}

struct Client {
    api: XenApi,
    ask: StandIn,
    session: Value,
}

impl Client {
    fn new() -> Client {
        let (api, ask) = (XenApi::default(), StandIn::default());
        let session = api.call(
            &ask,
            "session.login_with_password",
            vec![text("root"), text("")],
        );
        Client {
            session: session.unwrap(),
            api,
            ask,
        }
    }

    fn call(&self, name: &str, rest: &[Value]) -> Result<Value, Failure> {
        let mut params = vec![self.session.clone()];
        params.extend_from_slice(rest);
        self.api.call(&self.ask, name, params)
    }

    fn failure(&self, name: &str, rest: &[Value]) -> Vec<String> {
        self.call(name, rest).unwrap_err().words()
    }
}

#[test]
fn every_answer_has_a_status() {
    let client = Client::new();
    let answer = |name: &str, params| match client.api.answer(&client.ask, name, params) {
        Value::Struct(members) => members["Status"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        answer("VM.get_all", vec![client.session.clone()]),
        text("Success")
    );
    assert_eq!(answer("VM.get_all", vec![text("x")]), text("Failure"));
    assert_eq!(answer("", vec![]), text("Failure"));
}

#[test]
fn session_ends_with_its_logout() {
    let client = Client::new();
    let Value::String(session) = client.session.clone() else {
        panic!()
    };
    client.call("session.logout", &[]).unwrap();
    assert_eq!(
        client.failure("VM.get_all", &[]),
        ["SESSION_INVALID", &session]
    );
}

#[test]
fn fence_agents_calls_find_and_stop_a_vm() {
    let client = Client::new();
    let found = client
        .call("VM.get_by_name_label", &[text("web1")])
        .unwrap();
    assert_eq!(found, Value::Array(vec![text(UUID)]));
    let Value::Struct(record) = client.call("VM.get_record", &[text(UUID)]).unwrap() else {
        panic!()
    };
    assert_eq!(record["power_state"], text("Running"));
    assert_eq!(record["is_control_domain"], Value::Boolean(false));
    assert_eq!(record["memory_static_max"], text("67108864"));
    client.call("VM.hard_shutdown", &[text(UUID)]).unwrap();
    assert!(
        matches!(&client.ask.asked()[..], [noxen_xend_api::Request::Destroy { domain }] if domain == UUID)
    );
    let words = client.failure(
        "VM.start",
        &[text(UUID), Value::Boolean(false), Value::Boolean(true)],
    );
    assert_eq!(words, ["VM_BAD_POWER_STATE", UUID, "Halted", "Running"]);
}

#[test]
fn all_records_are_those_of_each_vm() {
    let client = Client::new();
    let Value::Struct(records) = client.call("VM.get_all_records", &[]).unwrap() else {
        panic!()
    };
    assert_eq!(records.len(), 2);
    let one = client.call("VM.get_record", &[text(UUID)]).unwrap();
    assert_eq!(records[UUID], one);
}

#[test]
fn parameters_too_many_are_counted_against_those_wanted() {
    let client = Client::new();
    let words = client.failure("VM.pause", &[text(UUID), text("now")]);
    let wanted = ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.pause", "2", "3"];
    assert_eq!(words, wanted);
}

#[test]
fn getters_give_attributes_of_the_record() {
    let client = Client::new();
    assert_eq!(
        client.call("VM.get_name_label", &[text(UUID)]).unwrap(),
        text("web1")
    );
    assert_eq!(
        client
            .call("VM_metrics.get_memory_actual", &[text(UUID)])
            .unwrap(),
        text("67108864")
    );
    let Value::Array(hosts) = client.call("host.get_all", &[]).unwrap() else {
        panic!()
    };
    let major = client.call("host.get_API_version_major", &hosts).unwrap();
    assert_eq!(major, text("1"));
}

#[test]
fn failures_have_their_codes() {
    let client = Client::new();
    assert_eq!(
        client.failure("VM.get_record", &[text("nobody")]),
        ["HANDLE_INVALID", "VM", "nobody"]
    );
    assert_eq!(
        client.failure("VM.fly", &[text(UUID)]),
        ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]
    );
    assert_eq!(
        client.failure("SR.get_all", &[]),
        ["MESSAGE_METHOD_UNKNOWN", "SR.get_all"]
    );
    let words = client.failure("VM.get_by_name_label", &[]);
    assert_eq!(
        words,
        [
            "MESSAGE_PARAMETER_COUNT_MISMATCH",
            "VM.get_by_name_label",
            "2",
            "1"
        ]
    );
    assert_eq!(
        client.failure("VM.set_VCPUs_number_live", &[text(UUID), text("two")])[0],
        "VALUE_NOT_SUPPORTED"
    );
    assert!(client.ask.asked().is_empty());
}

#[test]
fn sessions_are_bounded_and_the_silent_go_first() {
    let client = Client::new();
    for _ in 0..300 {
        client
            .api
            .call(
                &client.ask,
                "session.login_with_password",
                vec![text("a"), text("b")],
            )
            .unwrap();
    }
    assert_eq!(client.failure("VM.get_all", &[])[0], "SESSION_INVALID");
}

proptest! {
    #[test]
    fn any_method_is_answered(class in "(VM|host|session|VM_metrics|task)", name in "[a-z_]{0,20}", arg in ".{0,20}") {
        let client = Client::new();
        let _ = client.call(&format!("{class}.{name}"), &[text(&arg)]);
    }
}
