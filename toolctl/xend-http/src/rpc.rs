//! XML-RPC over a POST: what both interfaces that speak it share.

use crate::http::{Request, Response};
use dxr::{FaultResponse, MethodCall, MethodResponse, Value};
use noxen_xen_api::wire::{depth, MOST_DEPTH};

/// Answers `request` by what `answer` makes of the call in it.
pub fn handle(
    request: &Request,
    answer: impl FnOnce(&str, Vec<Value>) -> Result<Value, dxr::Fault>,
) -> Response {
    if request.method != "POST" {
        return Response::text(405, "XML-RPC calls are POSTed");
    }
    let Ok(text) = std::str::from_utf8(&request.body) else {
        return Response::text(400, "the call is not UTF-8");
    };
    if depth(text) > MOST_DEPTH {
        return Response::text(400, "the call is nested too deeply");
    }
    let answer = match MethodCall::from_xml(text) {
        Ok(call) => answer(&call.name, call.params),
        // The error of the library repeats the whole call.
        Err(_) => Err(dxr::Fault::new(1, "this is not an XML-RPC call".into())),
    };
    let xml = match answer {
        Ok(value) => MethodResponse { value }.to_xml(),
        Err(fault) => FaultResponse { fault }.to_xml(),
    };
    match xml {
        Ok(xml) => Response::new(200, "text/xml", format!("<?xml version='1.0'?>\n{xml}\n")),
        Err(error) => Response::text(500, format!("the answer cannot be written as XML: {error}")),
    }
}
