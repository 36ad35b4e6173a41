//! Values that must not be printed.

use std::fmt;

use crate::text::unknown;

/// A text that is never printed, such as a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to send or compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The address of a store or a database. It prints without its credentials.
///
/// ```
/// use forebay_server::config::Url;
/// let url = Url::new("redis://app:hunter2@10.0.0.7:6379/0");
/// assert_eq!(url.to_string(), "redis://***@10.0.0.7:6379/0");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Takes an address without a check.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Takes an address with one of `schemes`. The error does not repeat the rest, which may hold a password.
    ///
    /// # Errors
    /// If it has no scheme, or another one; `what` is for the message.
    pub(super) fn parse(what: &str, text: &str, schemes: &[&str]) -> Result<Self, String> {
        let url = Self::new(text);
        if !text.contains(':') {
            let schemes = schemes.join(", ");
            return Err(format!(
                "a {what} is written as a scheme, a colon and an address; schemes: {schemes}"
            ));
        }
        if schemes.contains(&url.scheme()) {
            return Ok(url);
        }
        Err(unknown(&format!("scheme of a {what}"), url.scheme(), schemes.iter().copied()).to_string())
    }

    /// The whole address with its credentials, for a connection.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The part before the first colon; the whole text if there is none.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Url {
    /// Hides everything up to the last `@`, and query values whose name suggests a credential.
    ///
    /// Up to the *last* one, because a password that was not encoded may contain `@`, `/` or `:`, and because a list of
    /// hosts may repeat it. The user name is hidden too: `redis://PASSWORD@host` is a common mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |separator: &str| self.0.find(separator).map(|at| at + separator.len());
        let (scheme, rest) = self.0.split_at(after("://").or_else(|| after(":")).unwrap_or(0));
        let rest = match rest.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => rest.to_owned(),
        };
        let Some((address, query)) = rest.split_once('?') else { return write!(f, "{scheme}{rest}") };
        write!(f, "{scheme}{address}")?;
        for (n, pair) in query.split('&').enumerate() {
            f.write_str(if n == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((name, _)) if suggests_secret(name) => write!(f, "{name}=***")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

fn suggests_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "user"].iter().any(|word| name.contains(word))
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_hidden_wherever_they_stand() {
        let cases = [
            ("redis://:hunter2@h:6379/0", "redis://***@h:6379/0"),
            ("redis://hunter2@h", "redis://***@h"),
            ("redis://:hunter2@a,:hunter2@b/1", "redis://***@b/1"),
            ("redis://:hunt@er/2:@h", "redis://***@h"),
            ("redis:hunter2@h", "redis:***@h"),
            ("hunter2@h", "***@h"),
            (
                "postgres://h/d?password=hunter2&sslmode=require",
                "postgres://h/d?password=***&sslmode=require",
            ),
            (
                "postgres://h/d?sslmode=require&PGPASSWORD=hunter2",
                "postgres://h/d?sslmode=require&PGPASSWORD=***",
            ),
            ("embedded:forebay.redb", "embedded:forebay.redb"),
            ("memory:", "memory:"),
        ];
        for (url, shown) in cases {
            let url = Url::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }

    proptest! {
        #[test]
        fn no_password_is_shown(password in "[!-~]{1,20}", host in "[a-z]{1,9}") {
            let shown = Url::new(format!("redis://user:<{password}>@{host}:6379/0")).to_string();
            let expected = format!("redis://***@{host}:6379/0");
            prop_assert_eq!(shown, expected);
        }
    }
}
