//! Compression of bodies, in both directions.

use std::io::{Read as _, Write as _};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use flate2::{Compression, Decompress, FlushDecompress, Status, bufread::MultiGzDecoder, write::GzEncoder};
use futures::stream;
use http_body_util::{BodyExt, Limited};

use super::{
    Problem,
    body::{BodyError, MAX_BODY},
};

/// The accepted encodings, for the header of a refusal.
const ACCEPTED: &str = "gzip, deflate";

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    /// The deflate format: with the header of zlib, as in the standard, or without it, as some clients send it.
    Deflate,
}

/// Decodes the body of a request when it is read. The next layers see the request without compression: under an
/// `Idempotency-Key`, a body is the same with any encoding.
pub(super) async fn decode(request: Request, next: Next) -> Response {
    let encoding = match encoding_of(request.headers()) {
        Ok(Some(encoding)) => encoding,
        Ok(None) => return next.run(request).await,
        Err(found) => return unsupported(&found).into_response(),
    };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = Body::from_stream(stream::once(decoded(encoding, body)));
    next.run(Request::from_parts(parts, body)).await
}

/// The encoding of a body, if it has one; the error is a value that is not accepted.
fn encoding_of(headers: &HeaderMap) -> Result<Option<Encoding>, String> {
    let given = headers.get_all(header::CONTENT_ENCODING).iter();
    let given: Vec<&str> = given.map(|value| value.to_str().unwrap_or("?").trim()).collect();
    match given.join(", ").to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "deflate" => Ok(Some(Encoding::Deflate)),
        other => Err(other.to_owned()),
    }
}

fn unsupported(found: &str) -> Problem {
    let detail =
        format!("Content-Encoding: {}: one of {ACCEPTED} is accepted, or none", crate::text::quoted(found));
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail)
        .header(header::ACCEPT_ENCODING, ACCEPTED)
}

async fn decoded(encoding: Encoding, body: Body) -> Result<Bytes, BodyError> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let bytes = collected.map_err(|error| BodyError::of(&*error))?.to_bytes();
    if bytes.is_empty() {
        return Ok(bytes);
    }
    let text = match encoding {
        Encoding::Gzip => gunzip(&bytes),
        Encoding::Deflate => inflate(&bytes),
    };
    text.map(Bytes::from)
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut text = vec![];
    // One more byte than accepted detects a body that is too large.
    let read = MultiGzDecoder::new(bytes).take(MAX_BODY as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| corrupt("gzip", &error))?;
    if text.len() > MAX_BODY { Err(BodyError::TooLarge) } else { Ok(text) }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    // The first two bytes of zlib: method 8, and as a number a multiple of 31.
    let is_zlib = matches!(bytes, [first, second, ..]
        if first & 15 == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut stream = Decompress::new(is_zlib);
    // One more byte than accepted detects a body that is too large. The system backs only the part that is written.
    let mut text = Vec::with_capacity(MAX_BODY + 1);
    let status = stream.decompress_vec(bytes, &mut text, FlushDecompress::Finish);
    let status = status.map_err(|error| corrupt("deflate", &error))?;
    if text.len() > MAX_BODY {
        return Err(BodyError::TooLarge);
    }
    text.shrink_to_fit();
    match status {
        Status::StreamEnd if stream.total_in() == bytes.len() as u64 => Ok(text),
        Status::StreamEnd => Err(corrupt("deflate", &"bytes follow its end")),
        _ => Err(corrupt("deflate", &"it ends early")),
    }
}

fn corrupt(encoding: &str, why: &dyn std::fmt::Display) -> BodyError {
    BodyError::Corrupt(format!("the body is not {encoding}: {why}"))
}

/// A document that is the same for all callers, and is compressed once.
pub(crate) struct Document {
    headers: HeaderMap,
    plain: Bytes,
    gzip: Bytes,
}

impl Document {
    /// A document with these headers.
    pub(crate) fn new(headers: Vec<(HeaderName, &'static str)>, text: impl Into<Bytes>) -> Self {
        let headers = headers.into_iter().chain([(header::VARY, "accept-encoding")]);
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        let plain = text.into();
        let mut encoder = GzEncoder::new(vec![], Compression::best());
        encoder.write_all(&plain).expect("memory takes it");
        let gzip = encoder.finish().expect("memory takes it").into();
        Self { headers, plain, gzip }
    }

    /// The response, compressed if the request's headers accept it.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let compressed = accepts_gzip(request);
        let mut response = if compressed { self.gzip.clone() } else { self.plain.clone() }.into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers.clone());
        if compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Returns whether a client accepts gzip: by its name or by `*`, and not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in given.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight =
            parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        let accepted = weight.unwrap_or(1.0) > 0.0;
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                return accepted;
            }
            "*" => any = accepted,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
        for (values, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZIP;q=0.5"], true),
            (&["br, gzip"], true),
            (&["br", "deflate, gzip; q=1"], true),
            (&["*"], true),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["*, gzip;q=0"], false),
            (&["*;q=0"], false),
            (&["gzipped"], false),
        ] {
            assert_eq!(accepts_gzip(&headers(&header::ACCEPT_ENCODING, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn one_encoding_is_accepted_and_a_stack_is_not() {
        let of = |values: &[&str]| encoding_of(&headers(&header::CONTENT_ENCODING, values));
        for none in [&[][..], &[""], &["identity"], &["Identity "]] {
            assert_eq!(of(none), Ok(None));
        }
        assert_eq!(of(&["x-gzip"]), Ok(Some(Encoding::Gzip)));
        assert_eq!(of(&["Deflate"]), Ok(Some(Encoding::Deflate)));
        for refused in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["gzip", "identity"], &["zstd, br"]]
        {
            assert!(of(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_or_too_large_is_refused() {
        use flate2::write::{DeflateEncoder, ZlibEncoder};
        let compressed = |text: &[u8]| {
            let mut zlib = ZlibEncoder::new(vec![], Compression::fast());
            let mut raw = DeflateEncoder::new(vec![], Compression::fast());
            zlib.write_all(text).and(raw.write_all(text)).expect("memory");
            [zlib.finish().expect("memory"), raw.finish().expect("memory")]
        };
        let text = b"{\"key\":\"a\"}".repeat(100);
        for bytes in compressed(&text) {
            assert_eq!(inflate(&bytes).ok(), Some(text.clone()));
            assert!(inflate(&bytes[..bytes.len() - 1]).is_err(), "cut");
            assert!(inflate(&bytes[..2]).is_err(), "cut");
            assert!(inflate(&[&bytes[..], b"x"].concat()).is_err(), "more follows");
        }
        for bytes in compressed(&vec![b' '; MAX_BODY]) {
            assert_eq!(inflate(&bytes).map(|text| text.len()).ok(), Some(MAX_BODY));
        }
        for bytes in compressed(&vec![b' '; 50 * MAX_BODY]) {
            assert!(matches!(inflate(&bytes), Err(BodyError::TooLarge)));
        }
    }
}
