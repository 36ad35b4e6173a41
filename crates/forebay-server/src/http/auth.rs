//! Authorization by tokens, and the checks of `Host` and `Origin`.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::{
    app::{App, Shared},
    config::{Scope, Token},
};

macro_rules! scope_extractors {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) Shared);

        impl FromRequestParts<Shared> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
                authorize(&app.rules().tokens, &parts.headers, Scope::$name).map(|()| Self(app.clone()))
            }
        }
    )*};
}
scope_extractors! {
    /// The state for a handler that reads. Only callers with the scope `read` get it.
    Read
    /// The state for a handler that counts, takes or buffers. Only callers with the scope `write` get it.
    Write
    /// The state for a handler that resets, deletes or flushes. Only callers with the scope `admin` get it.
    Admin
    /// The state for a handler of plain keys. Only callers with the scope `map` get it.
    Map
}

fn authorize(tokens: &[Token], headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
    if tokens.is_empty() {
        return Ok(());
    }
    let Some(given) = bearer(headers) else {
        return Err(unauthorized("this server needs a token: Authorization: Bearer TOKEN"));
    };
    // All tokens are compared, each in constant time, so that the time reveals nothing about them.
    let matches = |token: &Token| bool::from(token.secret.reveal().as_bytes().ct_eq(given.as_bytes()));
    let found = tokens.iter().fold(None, |found, token| if matches(token) { Some(token) } else { found });
    let Some(token) = found else {
        return Err(unauthorized("the token is unknown"));
    };
    if token.scopes.contains(&scope) {
        return Ok(());
    }
    let scope = scope.as_str();
    let detail = format!("the token {:?} lacks the scope {scope}", token.name);
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).header(header::WWW_AUTHENTICATE, challenge))
}

fn unauthorized(detail: &str) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    problem.header(header::WWW_AUTHENTICATE, "Bearer realm=\"forebay\"")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses requests that a web page of another server may have sent.
///
/// A page can post to 127.0.0.1 without permission, so another `Origin` is always refused. It can also make its own name
/// point to 127.0.0.1 (DNS rebinding), so without tokens `Host` must name this machine.
pub(super) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    match check_sender(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_sender(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let (host, origin) = (only(headers, &header::HOST)?, only(headers, &header::ORIGIN)?);
    let authority = request.uri().authority().map(Authority::as_str);
    if let (Some(host), Some(authority)) = (host, authority)
        && !host.eq_ignore_ascii_case(authority)
    {
        let detail = "the request line and the header Host name different hosts";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "foreign-host", detail));
    }
    let host = host.or(authority);
    if app.trusts_loopback_only() && !host.is_some_and(is_loopback) {
        let detail = "without tokens, Host must be localhost or a loopback address";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-host", detail));
    }
    let is_own = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    if origin.is_some_and(|origin| !is_own(origin)) {
        let detail = "pages of another origin may not call this server";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
    }
    Ok(())
}

/// A header that occurs at most once: of two, a proxy may have checked the other one. A value that is not ASCII counts as
/// empty, which is no host.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut given = headers.get_all(name).iter();
    let first = given.next().map(|value| value.to_str().unwrap_or_default());
    if given.next().is_none() {
        return Ok(first);
    }
    let detail = format!("the header {name} was sent more than once: one is accepted");
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-header", detail))
}

/// Returns whether an authority (`host` or `host:port`) names this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_loopback_authority_differs_from_one_that_looks_like_it() {
        for good in ["localhost", "LOCALHOST:7070", "127.0.0.1", "127.3.2.1:80", "[::1]", "[::1]:7070"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "localhost.example.com",
            "127.0.0.1.example.com:80",
            "10.0.0.1",
            "[::2]:1",
            "[::1",
            "[::1]x",
            "::1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_opens_its_own_scopes_only() {
        let tokens = [
            Token { name: "a".into(), secret: Secret::new("one"), scopes: [Scope::Write].into() },
            Token { name: "b".into(), secret: Secret::new("two"), scopes: Scope::ALL.into() },
        ];
        let status = |authorization: &str, scope| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, authorization.parse().expect("a header"));
            authorize(&tokens, &headers, scope).map_or_else(|problem| problem.status.as_u16(), |()| 200)
        };
        assert_eq!(status("Bearer one", Scope::Write), 200);
        assert_eq!(status("bearer one", Scope::Write), 200);
        assert_eq!(status("Bearer one", Scope::Read), 403);
        assert_eq!(status("Bearer one", Scope::Admin), 403);
        assert_eq!(status("Bearer two", Scope::Admin), 200);
        for wrong in ["Bearer", "Bearer ", "Bearer on", "Bearer onee", "Basic one", "one", "Bearer three"] {
            assert_eq!(status(wrong, Scope::Write), 401, "{wrong}");
        }
        assert_eq!(authorize(&tokens, &HeaderMap::new(), Scope::Read).expect_err("no token").status, 401);
        assert!(authorize(&[], &HeaderMap::new(), Scope::Admin).is_ok());
    }
}
