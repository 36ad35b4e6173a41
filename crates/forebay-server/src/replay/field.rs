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

/// The fields by their names.
pub(super) const ACCESS_FIELDS: [(&str, AccessField); 8] = [
    ("ip", AccessField::Ip),
    ("client", AccessField::Client),
    ("user", AccessField::User),
    ("method", AccessField::Method),
    ("path", AccessField::Path),
    ("status", AccessField::Status),
    ("referer", AccessField::Referer),
    ("agent", AccessField::Agent),
];

impl AccessField {
    /// Its members in Caddy's JSON.
    pub(super) fn of_caddy(self) -> &'static [&'static str] {
        match self {
            // `remote_ip` may be a proxy; `client_ip` is set where Caddy trusts it. Older versions write `remote_addr`.
            Self::Ip | Self::Client => &["request.client_ip", "request.remote_ip", "request.remote_addr"],
            Self::User => &["user_id"],
            Self::Method => &["request.method"],
            Self::Path => &["request.uri"],
            Self::Status => &["status"],
            Self::Referer => &["request.headers.Referer"],
            Self::Agent => &["request.headers.User-Agent"],
        }
    }

    /// Its member in Traefik's JSON.
    pub(super) fn of_traefik(self) -> &'static str {
        match self {
            Self::Ip | Self::Client => "ClientHost",
            Self::User => "ClientUsername",
            Self::Method => "RequestMethod",
            Self::Path => "RequestPath",
            Self::Status => "DownstreamStatus",
            Self::Referer => "request_Referer",
            Self::Agent => "request_User-Agent",
        }
    }
}
