//! A host as placement sees it: a name and a share.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result, invalid};

/// The most hosts of one cluster.
///
/// Far above what independent hosts are good for, and below 2^16, in which a slot's owner is kept.
pub(crate) const MAX_HOSTS: usize = 1_000;

/// The largest weight of a host. Filling the first slot table takes time in proportion to the weights.
pub(crate) const MAX_WEIGHT: u32 = 1_000;

/// The longest host name, in bytes: a DNS name is no longer.
const MAX_NAME: usize = 255;

/// A name that stays when the address changes, and a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    name: Arc<str>,
    weight: u32,
}

impl Host {
    /// A host of weight 1.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless the name has 1 to 255 bytes, no white space or control character
    /// (they separate fields in the stored slot table), and no `@`: a name is stored and shown, and
    /// what has an `@` is a URL with a password more often than not.
    pub(crate) fn new(name: &str) -> Result<Self> {
        if name.contains('@') {
            // Not repeated in the message: it may hold the password.
            return Err(invalid(
                "host name with an \"@\": leave out user and password, a name is stored and shown",
            ));
        }
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(invalid(format!(
                "host name {name:?}: a name has 1 to {MAX_NAME} bytes, without white space and control characters"
            )));
        }
        Ok(Self { name: name.into(), weight: 1 })
    }

    /// The same host with a share of `weight` in proportion to those of the others.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] unless it is 1 to [`MAX_WEIGHT`].
    pub(crate) fn with_weight(self, weight: u32) -> Result<Self> {
        if weight == 0 || weight > MAX_WEIGHT {
            let name = &self.name;
            let message = format!("host {name:?}: weight {weight} (a weight is 1 to {MAX_WEIGHT})");
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        Ok(Self { weight, ..self })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// A hash of its name, by which the record of a request knows it.
    pub(crate) fn id(&self) -> u32 {
        let [a, b, c, d, ..] = crate::key::hash(self.name.as_bytes()).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }
}

/// Checks a list of hosts: 1 to [`MAX_HOSTS`], no name twice.
pub(super) fn check_hosts(hosts: &[Host]) -> Result<()> {
    check_names(hosts.iter().map(Host::name))
}

/// [`check_hosts`] for names alone.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut names: Vec<_> = names.collect();
    if names.is_empty() || names.len() > MAX_HOSTS {
        let count = names.len();
        return Err(Error::new(
            ErrorKind::Configuration,
            format!("cluster of {count} hosts (a cluster has 1 to {MAX_HOSTS})"),
        ));
    }
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let name = twice[0];
        return Err(Error::new(
            ErrorKind::Configuration,
            format!("cluster with two hosts named {name:?}: each host needs a name of its own"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_and_holds_no_password() {
        for good in ["0", "cache-a", "redis://10.0.0.1:6379/0", "[::1]:6379", "höst"] {
            assert!(Host::new(good).is_ok(), "{good}");
        }
        for bad in ["", "two words", "line\nbreak", "\u{7f}", "\u{2003}", &"a".repeat(256)] {
            assert!(Host::new(bad).is_err(), "{bad:?}");
        }
        let error = Host::new("redis://user:s3cret@10.0.0.1").expect_err("it has a password");
        assert!(!format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn a_weight_is_1_to_1000() {
        let host = || Host::new("a").expect("a name");
        assert_eq!(host().weight(), 1);
        assert_eq!(host().with_weight(1_000).expect("in range").weight(), 1_000);
        assert!(host().with_weight(0).is_err());
        assert!(host().with_weight(1_001).is_err());
    }

    #[test]
    fn a_cluster_needs_hosts_with_different_names() {
        let named = |names: &[&str]| check_names(names.iter().copied());
        assert!(named(&["b", "a"]).is_ok());
        assert!(named(&[]).is_err());
        assert!(named(&["a", "b", "a"]).is_err());
        let many: Vec<_> = (0..=MAX_HOSTS).map(|i| i.to_string()).collect();
        assert!(check_names(many.iter().map(String::as_str)).is_err());
        assert!(check_names(many[1..].iter().map(String::as_str)).is_ok());
    }
}
