//! Who may change something.
//!
//! ```text
//!   Authorization: Bearer TOKEN                          programs
//!   Cookie: xend=TOKEN, and the header X-Xend: 1         the page's script, after /web/login
//! ```
//! The cookie alone does not do: another site's form would send it too (browsers that know SameSite do not). A header of one's own
//! cannot be sent across sites without being asked for first, and this server never grants that.

use crate::http::{Request, Response};

const COOKIE: &str = "xend";

/// What it takes to change something.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nothing more: the socket's mode lets only root connect.
    Open,
    /// The token.
    Token {
        /// It.
        token: String,
        /// Where an administrator reads it.
        file: String,
        /// Does this listener speak TLS? Then the cookie goes nowhere else.
        tls: bool,
    },
}

impl Access {
    /// Has the client shown the token, or need it not?
    pub fn is_known(&self, request: &Request) -> bool {
        match self {
            Access::Open => true,
            Access::Token { token, .. } => {
                bearer(request).is_some_and(|shown| same(shown, token))
                    || cookie(request).is_some_and(|shown| same(shown, token))
            }
        }
    }

    /// May this request change something?
    pub fn may_change(&self, request: &Request) -> bool {
        let own = bearer(request).is_some() || request.header("x-xend").is_some();
        match self {
            Access::Open => true,
            Access::Token { .. } => own && self.is_known(request),
        }
    }

    /// What to say to whoever may not.
    pub fn refusal(&self) -> String {
        let file = match self {
            Access::Open => "",
            Access::Token { file, .. } => file,
        };
        format!("changing something needs the token of {file}: sign in, or send it as 'Authorization: Bearer TOKEN'")
    }

    /// The cookie for whoever has the token.
    pub fn login(&self, shown: &str) -> Response {
        match self {
            Access::Token { token, .. } if !same(shown.trim(), token) => {
                Response::text(403, "this is not the token of this host")
            }
            Access::Token { token, .. } => self.cookie_set(token, "done"),
            Access::Open => Response::text(200, "done"),
        }
    }

    fn cookie_set(&self, value: &str, line: &str) -> Response {
        let secure = match self {
            Access::Token { tls: true, .. } => "; Secure",
            _ => "",
        };
        let mut response = Response::text(200, line);
        response.headers.push((
            "Set-Cookie",
            format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"),
        ));
        response
    }

    /// Takes the cookie away.
    pub fn forget(&self) -> Response {
        let mut response = self.cookie_set("", "done");
        for (_, value) in &mut response.headers {
            value.push_str("; Max-Age=0");
        }
        response
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let (kind, token) = request.header("authorization")?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(request: &Request) -> Option<&str> {
    request
        .header("cookie")?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// Equal? Takes as long for every text of the token's length, so that nothing can be learnt octet by octet.
fn same(shown: &str, token: &str) -> bool {
    let differing = shown
        .bytes()
        .zip(token.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    !token.is_empty() && shown.len() == token.len() && differing == 0
}
