//! Forms: what `op=..` requests carry, url-encoded or multipart.

use super::Request;

/// Most fields.
const MAX_FIELDS: usize = 256;

/// Names and values of query and body, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

/// The body is of a kind that is no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is {0}; send application/x-www-form-urlencoded or multipart/form-data")]
pub struct NoForm(pub String);

impl Form {
    /// The fields of `request`.
    pub fn of(request: &Request) -> Result<Form, NoForm> {
        let mut fields = encoded(request.query.as_bytes());
        let kind = request.header("content-type").unwrap_or("");
        let base = kind.split(';').next().unwrap_or("").trim();
        match base.to_ascii_lowercase().as_str() {
            _ if request.body.is_empty() => {}
            "" | "application/x-www-form-urlencoded" => fields.extend(encoded(&request.body)),
            "multipart/form-data" => match boundary(kind) {
                Some(boundary) => fields.extend(multipart(&request.body, &boundary)),
                None => return Err(NoForm("multipart/form-data without a boundary".into())),
            },
            other => return Err(NoForm(other.to_owned())),
        }
        fields.truncate(MAX_FIELDS);
        Ok(Form(fields))
    }

    /// First value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn encoded(bytes: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(bytes)
        .take(MAX_FIELDS)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// `boundary=X` or `boundary="X"` of a content type.
fn boundary(kind: &str) -> Option<String> {
    let value = kind
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?
        .1
        .trim_matches('"');
    (!value.is_empty() && value.len() <= 70).then(|| value.to_owned())
}

/// Parts between `--BOUNDARY` lines (RFC 7578): a head with the field's name, an empty line, the value.
fn multipart(body: &[u8], boundary: &str) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let mark = format!("--{boundary}");
    let mut fields = Vec::new();
    for part in text.split(mark.as_str()).skip(1).take(MAX_FIELDS) {
        let part = part.strip_prefix("\r\n").unwrap_or(part);
        if part.starts_with("--") {
            break;
        }
        let Some((head, value)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let name = head
            .lines()
            .filter(|line| {
                line.to_ascii_lowercase()
                    .starts_with("content-disposition:")
            })
            .flat_map(|line| line.split(';'))
            .filter_map(|piece| piece.trim().split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case("name"));
        if let Some((_, name)) = name {
            let value = value.strip_suffix("\r\n").unwrap_or(value);
            fields.push((name.trim_matches('"').to_owned(), value.to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(kind: &str, body: &[u8]) -> Request {
        Request {
            method: "POST".into(),
            path: "/".into(),
            query: "q=1".into(),
            headers: vec![("content-type".into(), kind.into())],
            body: body.to_vec(),
            keep: false,
        }
    }

    #[test]
    fn encoded_body_and_query_are_one_form() {
        let form = Form::of(&request(
            "application/x-www-form-urlencoded",
            b"op=rename&name=a%20b+c",
        ));
        let form = form.unwrap();
        assert_eq!(
            (form.get("q"), form.get("op"), form.get("name")),
            (Some("1"), Some("rename"), Some("a b c"))
        );
    }

    #[test]
    fn multipart_body_keeps_line_ends_within_a_value() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"op\"\r\n\r\ncreate\r\n--XX\r\n\
                    Content-Disposition: form-data; name=\"config\"; filename=\"c\"\r\nContent-Type: text/plain\r\n\r\n\
                    (vm\r\n (name a))\r\n--XX--\r\n";
        let form = Form::of(&request(
            "multipart/form-data; boundary=XX",
            body.as_bytes(),
        ))
        .unwrap();
        assert_eq!(form.get("op"), Some("create"));
        assert_eq!(form.get("config"), Some("(vm\r\n (name a))"));
    }

    #[test]
    fn body_of_another_kind_is_refused_by_its_name() {
        let error = Form::of(&request("text/xml", b"<a/>")).unwrap_err();
        assert!(error.to_string().contains("text/xml"));
        assert!(Form::of(&request("multipart/form-data", b"x")).is_err());
    }

    proptest! {
        #[test]
        fn any_multipart_body_is_read_within_bounds(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let form = Form::of(&request("multipart/form-data; boundary=-", &body)).unwrap();
            prop_assert!(form.0.len() <= MAX_FIELDS);
        }
    }
}
