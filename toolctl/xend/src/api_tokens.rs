//! Users of the Xen-API on listeners that ask for a token, and `xend token`, which makes and takes them.
//!
//! ```text
//!   xend token add USER  ──> a random token, printed once ──> USER HASH in /var/lib/xend/api-tokens (root only)
//!   session.login_with_password(USER, TOKEN) ──> hash ──> the same line? ──> session
//! ```
//! A token has 128 random bits, so its plain SHA-256 gives nothing away. The file is read at each login: what `xend token` does counts
//! at once.

use crate::refusals::Refusals;
use crate::{atomic, warning};
use noxen_xend_api::paths::Paths;
use noxen_xend_http::xenapi::Logins;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Users at most, and the largest file that is read.
const MOST: usize = 1000;
const LARGEST: u64 = 1 << 20;

/// The file.
pub struct Tokens {
    path: PathBuf,
    refusals: Refusals,
}

impl Tokens {
    /// That of `paths`; it need not be there.
    pub fn of(paths: &Paths) -> Tokens {
        Tokens {
            path: paths.api_tokens(),
            refusals: Refusals::default(),
        }
    }

    /// Hashes by user.
    fn read(&self) -> Result<BTreeMap<String, String>, String> {
        let failed = |e: io::Error| format!("cannot read {}: {e}", self.path.display());
        let text = match std::fs::metadata(&self.path) {
            Ok(meta) if meta.len() > LARGEST => {
                return Err(format!(
                    "{} is larger than {LARGEST} bytes",
                    self.path.display()
                ))
            }
            Ok(_) => std::fs::read_to_string(&self.path).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(failed(e)),
        };
        let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
        Ok(pairs
            .map(|(user, hash)| (user.to_owned(), hash.trim().to_owned()))
            .collect())
    }

    fn write(&self, all: &BTreeMap<String, String>) -> Result<(), String> {
        let failed = |e: io::Error| format!("cannot write {}: {e}", self.path.display());
        let lines = all.iter().map(|(user, hash)| format!("{user} {hash}\n"));
        if let Some(directory) = self.path.parent() {
            atomic::make_directory(directory, 0o755).map_err(failed)?;
        }
        let text: String = lines.collect();
        atomic::write(&self.path, text.as_bytes(), 0o600).map_err(failed)
    }

    /// A new token of `user`; one that he had before is void.
    pub fn add(&self, user: &str) -> Result<String, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
        if user.is_empty() || user.len() > 64 || !user.chars().all(good) {
            return Err(format!(
                "'{user}' is no name of a user: letters, digits and _-.@, 64 at most"
            ));
        }
        let mut all = self.read()?;
        if all.len() >= MOST && !all.contains_key(user) {
            return Err(format!("there are {MOST} users already; remove some"));
        }
        let mut bytes = [0u8; 16];
        io::Read::read_exact(
            &mut std::fs::File::open("/dev/urandom").map_err(|e| e.to_string())?,
            &mut bytes,
        )
        .map_err(|e| format!("no random numbers: {e}"))?;
        let token = hex(&bytes);
        all.insert(user.to_owned(), hash(&token));
        self.write(&all)?;
        Ok(token)
    }

    /// Takes the token of `user`.
    pub fn remove(&self, user: &str) -> Result<(), String> {
        let mut all = self.read()?;
        match all.remove(user) {
            Some(_) => self.write(&all),
            None => Err(format!("'{user}' has no token")),
        }
    }

    /// Those who have one.
    pub fn users(&self) -> Result<Vec<String>, String> {
        Ok(self.read()?.into_keys().collect())
    }
}

impl Logins for Tokens {
    fn admits(&self, user: &str, secret: &str) -> bool {
        let known = match self.read() {
            Ok(all) => all.get(user).cloned(),
            Err(line) => {
                warning!("Xen-API: nobody can log in: {line}");
                None
            }
        };
        let admitted = known.is_some_and(|known| known == hash(secret.trim()));
        if !admitted {
            self.refusals.note(user, "");
        }
        admitted
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// `xend token add USER | remove USER | list`: what it prints.
pub fn command(paths: &Paths, words: &[String]) -> Result<String, String> {
    let tokens = Tokens::of(paths);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["add", user] => Ok(format!("{}\n", tokens.add(user)?)),
        ["remove", user] => tokens.remove(user).map(|()| String::new()),
        ["list"] => Ok(tokens
            .users()?
            .iter()
            .map(|user| format!("{user}\n"))
            .collect()),
        _ => Err("usage: xend token {add USER|remove USER|list}".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn token_lets_its_user_in_until_it_is_taken() {
        let dir = TempDir::new("api-tokens");
        let paths = Paths::under(dir.path());
        let say = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            command(&paths, &words)
        };
        let tokens = Tokens::of(&paths);
        assert!(!tokens.admits("a", ""));
        let first = say(&["add", "a"]).unwrap();
        assert_eq!(first.trim().len(), 32);
        assert!(tokens.admits("a", first.trim()));
        assert!(!tokens.admits("b", first.trim()) && !tokens.admits("a", ""));
        let second = say(&["add", "a"]).unwrap();
        assert!(!tokens.admits("a", first.trim()) && tokens.admits("a", second.trim()));
        let path = paths.api_tokens();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("a ") && !text.contains(second.trim()),
            "{text}"
        );
        assert!(!tokens.admits("a", text.trim().rsplit(' ').next().unwrap()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(say(&["list"]).unwrap(), "a\n");
        say(&["remove", "a"]).unwrap();
        assert!(!tokens.admits("a", second.trim()));
        assert!(say(&["remove", "a"]).unwrap_err().contains("no token"));
        assert!(say(&["add", "a b"]).unwrap_err().contains("no name"));
        assert!(say(&[]).unwrap_err().starts_with("usage: "));
    }
}
