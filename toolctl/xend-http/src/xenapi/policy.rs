//! Class XSPolicy where no policy can be: what asks is answered as xend did without a module of access control, what would change something is
//! refused (objects).

use super::failure::Failure;
use super::{record, Call, Record};
use dxr::Value;

/// No kind of policy is supported: neither ACM (1) nor FLASK (2).
const NO_TYPE: &str = "0";

/// `XSPolicy.METHOD`; None for what every class has.
pub fn method(method: &str, call: &mut Call) -> Option<Result<Value, Failure>> {
    Some(match method {
        "get_xstype" => call.end().map(|()| record::text(NO_TYPE)),
        "get_xspolicy" => call.end().map(|()| Value::Struct(none())),
        "get_labeled_resources" => call.end().map(|()| Value::Struct(Record::new())),
        "get_resource_label" => call
            .text(2)
            .and_then(|_| call.end())
            .map(|()| record::text("")),
        _ => return None,
    })
}

/// What xend told of a policy, of none.
fn none() -> Record {
    record::of([
        ("xs_ref", record::text("")),
        ("repr", record::text("")),
        ("type", record::text(NO_TYPE)),
        ("flags", record::text("0")),
        ("version", record::text("")),
        ("errors", record::text("")),
        ("xserr", record::text("0")),
    ])
}
