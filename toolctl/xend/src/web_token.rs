//! The token that a browser must show before it may change something: made once, kept in a file that only root reads.

use crate::atomic;
use noxen_xend_http::web::Access;
use std::io;
use std::path::Path;

/// Shorter ones can be guessed; whoever writes the file himself is told.
const SHORTEST: usize = 16;

/// What the file at `path` asks for; the file is made when it is not there. With `tls` browsers keep the cookie to TLS.
pub fn access(path: &Path, tls: bool) -> Result<Access, String> {
    let failed = |what: &str, e: io::Error| format!("cannot {what} {}: {e}", path.display());
    let token = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let token = noxen_xend_api::random_uuid().map_err(|e| failed("make a token for", e))?;
            if let Some(directory) = path.parent() {
                atomic::make_directory(directory, 0o755).map_err(|e| failed("make", e))?;
            }
            atomic::write(path, format!("{token}\n").as_bytes(), 0o600)
                .map_err(|e| failed("write", e))?;
            token
        }
        Err(e) => return Err(failed("read", e)),
    };
    if token.len() < SHORTEST {
        return Err(format!(
            "the token in {} is shorter than {SHORTEST} characters; remove the file to have one made",
            path.display()
        ));
    }
    Ok(Access::Token {
        token,
        file: path.display().to_string(),
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn token_is_made_once_for_root_alone_and_short_ones_are_refused() {
        let dir = TempDir::new("web-token");
        let path = dir.path().join("a/web-token");
        let token = || match access(&path, false).unwrap() {
            Access::Token { token, .. } => token,
            Access::Open => panic!("open"),
        };
        let first = token();
        assert_eq!(token(), first);
        assert!(first.len() >= SHORTEST);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "short\n").unwrap();
        assert!(access(&path, false)
            .unwrap_err()
            .contains("shorter than 16"));
    }
}
