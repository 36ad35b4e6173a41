//! The method and the path of a request line.

use memchr::memchr;

/// The method of a request line, if it is HTTP.
pub(super) fn method_of(request: &[u8]) -> Option<&[u8]> {
    Some(parts(request)?.0)
}

/// The path of a request line without the query, if it is HTTP.
pub(super) fn path_of(request: &[u8]) -> Option<&[u8]> {
    Some(path_of_target(parts(request)?.1))
}

/// The path of a request target, without the query and, in an absolute URI, without the host.
pub(super) fn path_of_target(target: &[u8]) -> &[u8] {
    let path = match after_authority(target) {
        Some([]) => b"/",
        Some(path) => path,
        None => target,
    };
    &path[..memchr(b'?', path).unwrap_or(path.len())]
}

/// The part after `http://host:80`, if the target is an absolute URI.
fn after_authority(target: &[u8]) -> Option<&[u8]> {
    if target.first() == Some(&b'/') {
        return None;
    }
    let scheme = memchr(b':', target)?;
    let rest = target[scheme..].strip_prefix(b"://")?;
    let is_scheme = target[..scheme].iter().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(c));
    let end = rest.iter().position(|c| b"/?#".contains(c)).unwrap_or(rest.len());
    match &rest[end..] {
        _ if !is_scheme => None,
        [b'?' | b'#', ..] => Some(&[]),
        path => Some(path),
    }
}

/// Method and target. In HTTP/0.9 no version follows; some clients send several blanks.
fn parts(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = request.split(|&c| c == b' ');
    let method = words.next().filter(|word| is_token(word))?;
    let target = words.find(|word| !word.is_empty())?;
    Some((method, target))
}

/// A method is a token of RFC 9110: `GET`, `M-SEARCH`. A `-` stands for no method.
fn is_token(word: &[u8]) -> bool {
    let is_part = |c: &u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(c);
    !word.is_empty() && word != b"-" && word.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_are_found() {
        for (request, method, path) in [
            ("GET /a?b=c HTTP/1.1", "GET", "/a"),
            ("GET /old", "GET", "/old"),
            ("GET  /two-blanks HTTP/1.1", "GET", "/two-blanks"),
            ("M-SEARCH * HTTP/1.1", "M-SEARCH", "*"),
            ("VERSION-CONTROL /svn HTTP/1.1", "VERSION-CONTROL", "/svn"),
            ("GET http://example.org/a/b?c=d HTTP/1.1", "GET", "/a/b"),
            ("GET https://example.org:443/ HTTP/1.1", "GET", "/"),
            ("GET http://example.org HTTP/1.1", "GET", "/"),
            ("GET http://example.org?q HTTP/1.1", "GET", "/"),
            ("GET /redirect?to=http://example.org/ HTTP/1.1", "GET", "/redirect"),
            ("GET //example.org/a HTTP/1.1", "GET", "//example.org/a"),
            ("CONNECT example.org:443 HTTP/1.1", "CONNECT", "example.org:443"),
            ("OPTIONS * HTTP/1.1", "OPTIONS", "*"),
        ] {
            let found = (method_of(request.as_bytes()), path_of(request.as_bytes()));
            assert_eq!(found, (Some(method.as_bytes()), Some(path.as_bytes())), "{request}");
        }
    }

    #[test]
    fn a_request_line_that_is_not_http_has_neither() {
        for request in ["", "-", " ", "GET", "GET ", r"\x16\x03\x01\x02 a", "- - - ", "(a) b", "\u{e9} /"] {
            assert_eq!(
                (method_of(request.as_bytes()), path_of(request.as_bytes())),
                (None, None),
                "{request}"
            );
        }
    }
}
