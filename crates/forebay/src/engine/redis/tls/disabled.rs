//! A build without TLS refuses `rediss:`.

use std::{convert::Infallible, io};

use tokio::net::TcpStream;

use super::files::{Fault, Files};
use crate::error::{Result, invalid};

/// There is none.
#[derive(Clone, Debug)]
pub(in super::super) struct Tls(Infallible);

impl Tls {
    pub(in super::super) fn new(_files: Files) -> Result<Self> {
        Err(invalid("store URL: TLS needs the feature `tls` of the crate forebay"))
    }

    #[expect(clippy::unused_async, reason = "the twin with TLS waits")]
    pub(in super::super) async fn over(
        &self,
        _host: &str,
        _stream: TcpStream,
    ) -> Result<io::Result<TcpStream>> {
        match self.0 {}
    }

    pub(in super::super) fn explain(&self, _host: &str, _cause: &io::Error) -> Fault {
        match self.0 {}
    }

    pub(in super::super) fn refusal(&self, _text: &str) -> Option<String> {
        match self.0 {}
    }
}

/// Nobody can tell in this build.
pub(in super::super) async fn is_spoken(_stream: TcpStream) -> bool {
    false
}
