//! A client of the server's HTTP interface, for the command line.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::{Router, body::Body};
use forebay::{Clock, time::secs};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header,
    service::Service as _,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{config::Secret, text::shown};

/// The time limit for a connection attempt.
const CONNECT_TIMEOUT: Duration = secs(5);

/// The time limit for an answer. A flush of a large buffer takes longest.
const ANSWER_TIMEOUT: Duration = secs(300);

const JSON: &str = "application/json";

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header of an answer that is a copy of the first one.
const REPLAYED: &str = "idempotency-replayed";

/// The reason why a request cannot be made.
const UNSENDABLE: &str = "FOREBAY_TOKEN cannot be sent";

/// A server, and the connection to it once there is one.
///
/// Speaks plain HTTP/1.1. A request is never sent twice: after an error instead of an answer it is not known whether the
/// server has carried it out.
#[derive(Debug)]
pub(crate) struct Client {
    /// The URL as the user wrote it.
    url: String,
    /// Host and port.
    authority: String,
    /// The path before `/v1`, without a slash at its end.
    prefix: String,
    token: Option<Secret>,
    clock: Clock,
    transport: Transport,
}

/// The way to a server.
#[derive(Debug)]
enum Transport {
    /// A connection, once there is one.
    Tcp(Option<SendRequest<Full<Bytes>>>),
    /// A server in this process.
    Local(Router),
}

/// The answer of a server.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body; null if it was empty.
    pub(crate) body: Value,
    /// It is a copy of the first answer to a request with the same `Idempotency-Key`.
    pub(crate) is_replayed: bool,
}

/// The body of an answer, part by part.
#[derive(Debug)]
pub(crate) struct Download {
    url: String,
    body: Body,
    clock: Clock,
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:7070`, that sends `token`.
    ///
    /// # Errors
    /// If `url` is no plain HTTP URL.
    pub(crate) fn new(url: &str, token: Option<Secret>) -> Result<Self> {
        let wrong = |why: &str| anyhow!("server {url:?}: {why} (a URL such as http://127.0.0.1:7070)");
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong("TLS is not spoken here; use a tunnel, or a proxy on this machine"));
            }
            _ => return Err(wrong("lacks http://")),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("lacks a host"))?;
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let clock = Clock::system();
        let transport = Transport::Tcp(None);
        Ok(Self { url: url.to_owned(), authority, prefix, token, clock, transport })
    }

    /// A client of a server in this process, which needs no token.
    pub(crate) fn local(router: Router) -> Self {
        Self {
            url: "the store".to_owned(),
            authority: "localhost".to_owned(),
            prefix: String::new(),
            token: None,
            clock: Clock::system(),
            transport: Transport::Local(router),
        }
    }

    /// Gets `path`, which begins with a slash.
    ///
    /// # Errors
    /// If there is no answer. An answer with an error status is none.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, JSON, vec![]).await
    }

    /// Posts JSON to `path`.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn post(&mut self, path: &str, body: &impl Serialize) -> Result<Answer> {
        self.send(Method::POST, path, JSON, serde_json::to_vec(body)?).await
    }

    /// Posts lines of JSON to `path`.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn post_lines(&mut self, path: &str, lines: Vec<u8>) -> Result<Answer> {
        self.send(Method::POST, path, "application/x-ndjson", lines).await
    }

    /// Posts lines of JSON to `path` under an `Idempotency-Key`. After an error the same request can be sent again.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn post_lines_once(&mut self, path: &str, lines: Vec<u8>, key: &str) -> Result<Answer> {
        let request = self.request(Method::POST, path, "application/x-ndjson").header(IDEMPOTENCY_KEY, key);
        self.answer(request.body(Full::new(lines.into()))).await
    }

    /// Gets `path` as a file.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn download(mut self, path: &str) -> Result<Download> {
        let request = self.request(Method::GET, path, JSON).body(Full::default());
        let (response, _) = self.call(request.context(UNSENDABLE)?).await?;
        if response.status() != StatusCode::OK {
            let answer = self.read(response).await?;
            answer.expect(&[])?;
            bail!("{}: answered, but not as Forebay does", self.url);
        }
        Ok(Download { url: self.url, body: response.into_body(), clock: self.clock })
    }

    /// Puts JSON to `path`.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn put(&mut self, path: &str, body: &impl Serialize) -> Result<Answer> {
        self.send(Method::PUT, path, JSON, serde_json::to_vec(body)?).await
    }

    /// Deletes `path`.
    ///
    /// # Errors
    /// Like [`get`](Self::get).
    pub(crate) async fn delete(&mut self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, JSON, vec![]).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer> {
        let request = self.request(method, path, kind);
        self.answer(request.body(Full::new(body.into()))).await
    }

    fn request(&self, method: Method, path: &str, kind: &'static str) -> hyper::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, kind);
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal())),
            None => request,
        }
    }

    async fn answer(&mut self, request: hyper::http::Result<Request<Full<Bytes>>>) -> Result<Answer> {
        let (response, connection) = self.call(request.context(UNSENDABLE)?).await?;
        let answer = self.read(response).await?;
        if let Transport::Tcp(kept) = &mut self.transport {
            *kept = connection;
        }
        Ok(answer)
    }

    /// Sends a request; returns the response, and the connection that it came from.
    async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Body>, Option<SendRequest<Full<Bytes>>>)> {
        if let Transport::Local(router) = &self.transport {
            let service = TowerToHyperService::new(router.clone());
            let response = service.call(request.map(Body::new)).await;
            return Ok((response.unwrap_or_else(|never| match never {}), None));
        }
        let mut connection = self.connected().await?;
        let answer = self.clock.timeout(ANSWER_TIMEOUT, connection.send_request(request)).await;
        let answer = answer.ok_or_else(|| late(&self.url))?;
        let response = answer.with_context(|| broken(&self.url))?;
        Ok((response.map(Body::new), Some(connection)))
    }

    /// Reads a response to its end.
    async fn read(&self, response: Response<Body>) -> Result<Answer> {
        let url = &self.url;
        let status = response.status().as_u16();
        let is_replayed = response.headers().contains_key(REPLAYED);
        let body = self.clock.timeout(ANSWER_TIMEOUT, response.into_body().collect()).await;
        let body = body.ok_or_else(|| late(url))?.with_context(|| broken(url))?.to_bytes();
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        let body = body.with_context(|| format!("{url}: answered {status}, but not as Forebay does"))?;
        Ok(Answer { status, body, is_replayed })
    }

    /// The open connection, or a new one.
    async fn connected(&mut self) -> Result<SendRequest<Full<Bytes>>> {
        if let Transport::Tcp(kept) = &mut self.transport
            && let Some(mut connection) = kept.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let (url, authority) = (&self.url, &self.authority);
        let hint = "start one with: forebay serve; or name another with --server or FOREBAY_SERVER";
        let stream = match self.clock.timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => bail!("no server at {url}: {error}; {hint}"),
            None => bail!("no server at {url}: no connection within {} s; {hint}", CONNECT_TIMEOUT.as_secs()),
        };
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender. The caller that waits for an answer gets the error.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

impl Answer {
    /// Reads the body of a success, or of one of the `expected` error statuses.
    ///
    /// # Errors
    /// The error in the server's answer, or that the body has another form.
    pub(crate) fn read<T: DeserializeOwned>(self, expected: &[u16]) -> Result<T> {
        serde_json::from_value(self.expect(expected)?).context("the server answered, but not as Forebay does")
    }

    /// The body of a success, or of one of the `expected` error statuses.
    ///
    /// # Errors
    /// The error in the server's answer.
    pub(crate) fn expect(self, expected: &[u16]) -> Result<Value> {
        if (200..300).contains(&self.status) || expected.contains(&self.status) {
            return Ok(self.body);
        }
        let text = |field: &str| self.body.get(field).and_then(Value::as_str);
        let said = text("detail").or_else(|| text("title")).unwrap_or("no reason given");
        let hint = if self.status == 401 { "; the token is taken from FOREBAY_TOKEN" } else { "" };
        bail!("the server answered {}: {}{hint}", self.status, shown(said))
    }
}

impl Download {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks before the end. The parts before are not all.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = self.clock.timeout(ANSWER_TIMEOUT, self.body.frame()).await;
            let Some(frame) = frame.ok_or_else(|| late(&self.url))? else { return Ok(None) };
            if let Ok(part) = frame.with_context(|| broken(&self.url))?.into_data() {
                return Ok(Some(part));
            }
        }
    }
}

fn late(url: &str) -> anyhow::Error {
    anyhow!("{url}: no answer within {} s", ANSWER_TIMEOUT.as_secs())
}

fn broken(url: &str) -> String {
    format!("{url}: the connection broke")
}

/// The characters that a path or a query may contain as they are.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes `text` for a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_server_url_is_refused() {
        for good in ["http://127.0.0.1:7070", "http://[::1]:7070/", "http://host", "http://host/forebay/"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("127.0.0.1:7070", "lacks http://"),
            ("https://host", "TLS"),
            ("http://", "not a URL"),
            ("http://host/?a=b", "has a query"),
        ] {
            let error = Client::new(bad, None).expect_err(bad).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn keys_of_any_kind_survive_a_query() {
        assert_eq!(escaped("a-1._~"), "a-1._~");
        assert_eq!(escaped("&a=b c+%ü"), "%26a%3Db%20c%2B%25%C3%BC");
    }
}
