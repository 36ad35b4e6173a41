//! Reads a store's URL or a list of hosts into named hosts in their order.

use super::{Host, router::RouterKind};
use crate::{
    engine::options::mixed_schemes,
    error::{Error, ErrorKind, Result, invalid},
};

/// The port of a host that names none.
const PORT: u16 = 6_379;

/// A host to connect to. Its URL may hold a password: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: Host,
    pub url: Box<str>,
}

impl Address {
    /// The URL of another host, at an address without a login: with the login and the parameters of this one.
    pub(crate) fn like(&self, address: &str) -> Box<str> {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let login = place.rsplit_once('@').map(|(login, _)| format!("{login}@")).unwrap_or_default();
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let (scheme, place) = address.split_once("://").unwrap_or_default();
        format!("{scheme}://{login}{place}{query}").into()
    }

    /// The address without login and parameters, for others to read.
    pub(crate) fn shown(&self) -> Box<str> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let place = rest.split('?').next().unwrap_or_default();
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        format!("{scheme}://{place}").into()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.host).finish()
    }
}

/// A host as the configuration lists it.
#[derive(Clone, PartialEq)]
pub(crate) struct Listed {
    pub name: String,
    pub url: String,
    pub weight: u32,
}

/// Whether a store's URL names more than one host.
pub(crate) fn is_list(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    // The list of a URL of Sentinels is of those.
    !scheme.ends_with("+sentinel") && rest.split('?').next().is_some_and(|rest| rest.contains(','))
}

/// Reads `host[:port]`, where the address of IPv6 is in brackets; without these, as it is resolved.
pub(crate) fn host_and_port(text: &str, default: u16) -> Option<(&str, u16)> {
    // The address of IPv6 has colons itself.
    let colon = text.rfind(':').filter(|colon| text.rfind(']') < Some(*colon));
    let (host, port) = match colon {
        Some(colon) => (&text[..colon], text[colon + 1..].parse().ok()?),
        None => (text, default),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = bare.len() != host.len() || !host.contains([':', '[', ']']);
    (!bare.is_empty() && plain).then_some((bare, port))
}

/// The hosts of `redis://[user[:password]@]host[:port][/db],…[/db][?router=…]`, and how keys find them.
///
/// The login before the first `@` applies to all hosts that have none of their own, and the database after the last host
/// to all that have none. A comma in a password is written `%2C`.
///
/// # Errors
/// [`ErrorKind::Invalid`], never with the login.
pub(crate) fn read_list(url: &str) -> Result<(RouterKind, Vec<Address>)> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("store URL without \"://\""))?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    if rest.contains("://") {
        return Err(mixed_schemes());
    }
    let mut kind = RouterKind::default();
    let mut query: Vec<&str> = query.map(|query| query.split('&').collect()).unwrap_or_default();
    if let Some(at) = query.iter().position(|pair| pair.starts_with("router=")) {
        kind = query.remove(at)["router=".len()..].parse()?;
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let parts: Vec<Part<'_>> = rest.split(',').map(Part::read).collect::<Result<_>>()?;
    let login = parts.first().and_then(|part| part.login);
    let db = parts.last().and_then(|part| part.db).unwrap_or(0);
    let address = |part: &Part<'_>| {
        let db = part.db.unwrap_or(db);
        let login = part.login.or(login).map(|login| format!("{login}@")).unwrap_or_default();
        let Part { host, port, .. } = part;
        Ok(Address {
            host: Host::new(&kind.host_name(host, *port, db))?,
            url: format!("{scheme}://{login}{host}:{port}/{db}{query}").into(),
        })
    };
    Ok((kind, parts.iter().map(address).collect::<Result<_>>()?))
}

/// The hosts of a list, in the order that counts.
///
/// Names that are all whole numbers are ids, as older libraries have them: they give the order, and where such a
/// library makes the name from the address, so does this.
///
/// # Errors
/// [`ErrorKind::Configuration`] where the router needs ids and there are none, or they have gaps; what
/// [`Host::new`] says of names and weights.
pub(crate) fn sort_listed(kind: RouterKind, listed: Vec<Listed>) -> Result<Vec<Address>> {
    let id = |listed: &Listed| listed.name.parse::<u32>().ok().filter(|id| id.to_string() == listed.name);
    let mut listed = listed;
    let are_ids = listed.iter().all(|listed| id(listed).is_some());
    if are_ids {
        listed.sort_by_key(id);
    }
    if kind == RouterKind::NydusPartition
        && !(are_ids && (0..).zip(&listed).all(|(place, listed)| id(listed) == Some(place)))
    {
        let names: Vec<_> = listed.iter().map(|listed| listed.name.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "hosts {}: router {kind} places keys by ids: name its hosts 0, 1, 2, … without a gap",
                names.join(", ")
            ),
        ));
    }
    let from_address = are_ids && matches!(kind, RouterKind::NydusKetama | RouterKind::TwemproxyKetama);
    let address = |listed: Listed| {
        let name = if from_address { name_of(kind, &listed)? } else { listed.name };
        Ok(Address { host: Host::new(&name)?.with_weight(listed.weight)?, url: listed.url.into() })
    };
    listed.into_iter().map(address).collect()
}

fn name_of(kind: RouterKind, listed: &Listed) -> Result<String> {
    let (_, rest) = listed.url.split_once("://").ok_or_else(|| {
        invalid(format!(
            "host {}: router {kind} names hosts by their address: redis://host:port/db",
            listed.name
        ))
    })?;
    let Part { host, port, db, .. } = Part::read(rest.split('?').next().unwrap_or_default())?;
    Ok(kind.host_name(host, port, db.unwrap_or(0)))
}

/// One host of a list.
struct Part<'a> {
    login: Option<&'a str>,
    host: &'a str,
    port: u16,
    db: Option<u32>,
}

impl<'a> Part<'a> {
    /// Reads `[login@]host[:port][/db]`.
    fn read(text: &'a str) -> Result<Self> {
        let bad = || invalid("store URL: between commas [user[:password]@]host[:port][/db] is accepted");
        let (login, rest) = text.rsplit_once('@').map_or((None, text), |(login, rest)| (Some(login), rest));
        let (rest, db) = rest.split_once('/').map_or((rest, ""), |(rest, db)| (rest, db));
        let db = if db.is_empty() { None } else { Some(db.parse().map_err(|_| bad())?) };
        let (bare, port) = host_and_port(rest, PORT).ok_or_else(bad)?;
        // In a URL the brackets stay.
        let host = &rest[..bare.len() + if rest.starts_with('[') { 2 } else { 0 }];
        Ok(Self { login, host, port, db })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Vec<(String, String)> {
        let (_, addresses) = read_list(url).expect("a good list");
        addresses.into_iter().map(|it| (it.host.name().to_owned(), it.url.into_string())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, url)| (name.to_owned(), url.to_owned())).collect()
    }

    #[test]
    fn a_host_that_joins_is_reached_with_the_login_of_the_others() {
        let address = |url: &str| Address { host: Host::new("a").expect("a good name"), url: url.into() };
        let known = address("rediss://u:p@a:6379/2?ca=/etc/ca.pem");
        assert_eq!(&*known.shown(), "rediss://a:6379/2");
        assert_eq!(&*known.like("redis://d:7000/3"), "redis://u:p@d:7000/3?ca=/etc/ca.pem");
        assert_eq!(&*address("redis://a").like("redis://[::1]:7/0"), "redis://[::1]:7/0");
    }

    #[test]
    fn a_list_is_known_by_its_comma() {
        assert!(is_list("redis://a,b"));
        for one in ["redis://a", "memory:", "redis://a?x=1,2", "redis+unix:///tmp/a"] {
            assert!(!is_list(one), "{one}");
        }
    }

    #[test]
    fn hosts_share_login_and_database_unless_they_have_their_own() {
        assert_eq!(
            read("redis://a,b:7000,[::1]:7001"),
            pairs(&[
                ("redis://a:6379/0", "redis://a:6379/0"),
                ("redis://b:7000/0", "redis://b:7000/0"),
                ("redis://[::1]:7001/0", "redis://[::1]:7001/0"),
            ])
        );
        assert_eq!(
            read("rediss://u:p%2Cw@a,v:q@b:7/3,[::1]/2?protocol=resp3"),
            pairs(&[
                ("redis://a:6379/2", "rediss://u:p%2Cw@a:6379/2?protocol=resp3"),
                ("redis://b:7/3", "rediss://v:q@b:7/3?protocol=resp3"),
                ("redis://[::1]:6379/2", "rediss://u:p%2Cw@[::1]:6379/2?protocol=resp3"),
            ])
        );
    }

    #[test]
    fn the_router_may_stand_in_the_url() {
        let (kind, addresses) = read_list("redis://a,b:11211?router=twemproxy-ketama&x=1").expect("good");
        assert_eq!(kind, RouterKind::TwemproxyKetama);
        assert_eq!(addresses[1].host.name(), "b");
        assert_eq!(&*addresses[1].url, "redis://b:11211/0?x=1");
        assert!(read_list("redis://a,b?router=slot").is_err());
    }

    #[test]
    fn bad_lists_are_refused_without_their_login() {
        for url in [
            "redis://a,",
            "redis://,b",
            "redis://a:x,b",
            "redis://a,b/x",
            "redis://a,b:70000",
            "redis://a:1:2,b",
        ] {
            let error = read_list(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        }
        let error = read_list("redis://u:s3cret@a,b:x").expect_err("a bad port");
        assert!(!format!("{error:?}").contains("s3cret"));
        let (_, addresses) = read_list("redis://u:s3cret@a,b").expect("good");
        assert!(!format!("{addresses:?}").contains("s3cret"));
    }

    fn listed(names: &[&str]) -> Vec<Listed> {
        let listed =
            |name: &&str| Listed { name: (*name).into(), url: format!("redis://h{name}:7000/1"), weight: 1 };
        names.iter().map(listed).collect()
    }

    fn sorted(kind: RouterKind, names: &[&str]) -> Result<Vec<String>> {
        let addresses = sort_listed(kind, listed(names))?;
        Ok(addresses.iter().map(|address| address.host.name().to_owned()).collect())
    }

    /// As text, 10 comes before 2, and every key of a modulo would be looked for on the wrong host.
    #[test]
    fn ids_are_in_the_order_of_numbers() {
        let names = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"];
        let order = sorted(RouterKind::NydusPartition, &names).expect("ids");
        assert_eq!(order, (0..12).map(|id| id.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_modulo_needs_ids_without_a_gap() {
        for names in [&["a", "b"][..], &["0", "2"], &["1", "2"], &["0", "01"], &["0", "b"]] {
            let error = sorted(RouterKind::NydusPartition, names).expect_err("no ids");
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        assert_eq!(sorted(RouterKind::Slots, &["b", "0"]).expect("names"), ["b", "0"]);
    }

    #[test]
    fn rings_take_the_address_for_a_name_where_there_is_only_an_id() {
        let ring = |names: &[&str]| sorted(RouterKind::NydusKetama, names).expect("good");
        assert_eq!(ring(&["1", "0"]), ["redis://h0:7000/1", "redis://h1:7000/1"]);
        assert_eq!(ring(&["x", "y"]), ["x", "y"]);
        assert_eq!(sorted(RouterKind::Slots, &["1", "0"]).expect("good"), ["0", "1"]);
    }
}
