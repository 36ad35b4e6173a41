//! The parameters of TLS in a store's URL, and their mistakes.

use std::path::PathBuf;

/// The parameters of TLS.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "a build without TLS refuses all of it"))]
pub(in super::super) struct Files {
    /// The certificates to trust, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// The client's certificate, and those that lead to its CA.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name in the server's certificate, if the URL's host is another.
    pub server_name: Option<String>,
}

/// Why a TLS handshake failed.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "a build without TLS refuses all of it"))]
pub(in super::super) enum Fault {
    /// A certificate is not accepted, by this side or by the server.
    Certificate(String),
    /// The peer answered in plain text.
    PlainText,
    Other(String),
}
