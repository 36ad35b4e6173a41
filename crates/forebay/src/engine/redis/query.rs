//! The parameters of a store's URL.

use percent_encoding::percent_decode_str;

use crate::{
    engine::options::unknown_parameter,
    error::{Result, invalid},
};

/// Parameters by name, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the `?` of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a parameter that is not accepted, or stands twice.
    pub(super) fn read(url: &str, accepted: &[&str]) -> Result<Self> {
        let query = text_of(url);
        let mut pairs: Vec<(String, String)> = vec![];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !accepted.contains(&name) {
                // Then it may be the end of a password, which no message shows.
                if query.contains('@') {
                    return Err(invalid("store URL: unknown parameter; a \"?\" in a login is written %3F"));
                }
                return Err(unknown_parameter(name, accepted));
            }
            if pairs.iter().any(|(known, _)| known == name) {
                return Err(invalid(format!("store URL: parameter {name}: it stands there twice")));
            }
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| invalid(format!("store URL: parameter {name}: not UTF-8")))?;
            pairs.push((name.to_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a URL has this parameter.
    pub(super) fn names(url: &str, name: &str) -> bool {
        text_of(url).split('&').any(|pair| pair.split('=').next() == Some(name))
    }
}

fn text_of(url: &str) -> &str {
    url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query)
}
