//! XML-RPC over a POST: what both interfaces that speak it share.

use crate::http::{Request, Response};
use dxr::{FaultResponse, MethodCall, MethodResponse, Value};

/// Elements within elements that a call may have: a configuration of 90 levels takes four for each.
const MOST_DEPTH: usize = 400;

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

/// How deep the elements of `text` are nested, counted without an XML parser because that one recurses.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0usize, 0usize);
    for piece in text.split('<').skip(1) {
        if piece.starts_with('/') {
            now = now.saturating_sub(1);
        } else if !piece.starts_with(['?', '!']) {
            let tag = piece.split('>').next().unwrap_or_default();
            if !tag.ends_with('/') {
                now += 1;
                most = most.max(now);
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_open_elements() {
        assert_eq!(depth("<?xml?><a><b/><c><d></d></c></a>"), 3);
        assert_eq!(depth("</a></a><a>"), 1);
    }
}
