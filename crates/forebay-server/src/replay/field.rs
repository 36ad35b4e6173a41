//! The fields that all access logs have.

/// A field of the lines of access logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessField {
    Ip,
    Client,
    User,
    Method,
    Path,
    Status,
    Referer,
    Agent,
}

/// The names of a field.
pub(super) struct Names {
    /// Its name in `--key`.
    pub(super) key: &'static str,
    /// Its member in Traefik's JSON.
    pub(super) traefik: &'static str,
    /// Its column in the W3C extended format.
    pub(super) w3c: &'static str,
    /// Its members in Caddy's JSON.
    pub(super) caddy: &'static [&'static str],
}

/// `remote_ip` may be a proxy; `client_ip` is set where Caddy trusts it. Older versions write `remote_addr`.
const CADDY_CLIENT: &[&str] = &["request.client_ip", "request.remote_ip", "request.remote_addr"];

/// The fields with their names, in the order of [`AccessField`].
pub(super) static ACCESS_FIELDS: [(AccessField, Names); 8] = [
    (AccessField::Ip, names("ip", "ClientHost", "c-ip", CADDY_CLIENT)),
    (AccessField::Client, names("client", "ClientHost", "c-ip", CADDY_CLIENT)),
    (AccessField::User, names("user", "ClientUsername", "cs-username", &["user_id"])),
    (AccessField::Method, names("method", "RequestMethod", "cs-method", &["request.method"])),
    (AccessField::Path, names("path", "RequestPath", "cs-uri-stem", &["request.uri"])),
    (AccessField::Status, names("status", "DownstreamStatus", "sc-status", &["status"])),
    (AccessField::Referer, names("referer", "request_Referer", "cs(referer)", &["request.headers.Referer"])),
    (
        AccessField::Agent,
        names("agent", "request_User-Agent", "cs(user-agent)", &["request.headers.User-Agent"]),
    ),
];

const fn names(
    key: &'static str,
    traefik: &'static str,
    w3c: &'static str,
    caddy: &'static [&'static str],
) -> Names {
    Names { key, traefik, w3c, caddy }
}

impl AccessField {
    pub(super) fn names(self) -> &'static Names {
        &ACCESS_FIELDS[self as usize].1
    }
}
