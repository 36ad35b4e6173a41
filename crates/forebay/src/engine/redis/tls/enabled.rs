//! TLS by rustls with the provider `ring`, which is passed on and not installed: the process may have another.

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::files::{Fault, Files};
use crate::error::{Result, invalid};

/// How to make a connection secret.
#[derive(Clone)]
pub(in super::super) struct Tls(Arc<Files>);

impl Tls {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a file that cannot be read or has something else in it.
    pub(in super::super) fn new(files: Files) -> Result<Self> {
        if files.certificate.is_some() != files.key.is_some() {
            return Err(invalid("store URL: a client certificate has cert=FILE and key=FILE"));
        }
        if let Some(name) = &files.server_name {
            server_name(name)?;
        }
        let tls = Self(Arc::new(files));
        tls.config()?;
        Ok(tls)
    }

    /// Begins TLS with the server that was called `host`. The files are read anew: a renewed certificate needs no restart.
    pub(in super::super) async fn over(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<io::Result<TlsStream<TcpStream>>> {
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let name = server_name(self.0.server_name.as_deref().unwrap_or(host))?;
        Ok(connector.connect(name, stream).await)
    }

    fn config(&self) -> Result<ClientConfig> {
        let Files { ca, certificate, key, .. } = &*self.0;
        let roots = match ca {
            Some(path) => Arc::new(roots_of(path)?),
            None => system_roots()?,
        };
        let builder = builder().with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| invalid(format!("store URL: {} has no private key in PEM", key.display())))?;
        builder.with_client_auth_cert(chain, secret).map_err(|cause| {
            invalid(format!(
                "store URL: certificate {} and key {} do not fit: {cause}",
                certificate.display(),
                key.display()
            ))
        })
    }

    /// Explains why a handshake with `host` failed.
    pub(in super::super) fn explain(&self, host: &str, cause: &io::Error) -> Fault {
        let Some(error) = cause.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
            return Fault::Other(cause.to_string());
        };
        match error {
            TlsError::InvalidCertificate(wrong) => Fault::Certificate(self.certificate(host, wrong)),
            TlsError::InvalidMessage(_) => Fault::PlainText,
            TlsError::AlertReceived(alert) => match self.alert(*alert) {
                Some(text) => Fault::Certificate(text),
                None => Fault::Other(error.to_string()),
            },
            TlsError::PeerIncompatible(_) => Fault::Other(format!("{error}; TLS 1.2 and 1.3 are accepted")),
            _ => Fault::Other(error.to_string()),
        }
    }

    /// Explains the end of a connection after the handshake: in TLS 1.3 a server refuses a client's certificate that late.
    pub(in super::super) fn refusal(&self, text: &str) -> Option<String> {
        [
            ("CertificateRequired", AlertDescription::CertificateRequired),
            ("HandshakeFailure", AlertDescription::HandshakeFailure),
            ("BadCertificate", AlertDescription::BadCertificate),
            ("CertificateExpired", AlertDescription::CertificateExpired),
            ("UnknownCA", AlertDescription::UnknownCA),
        ]
        .into_iter()
        .find(|(name, _)| text.contains(name))
        .and_then(|(_, alert)| self.alert(alert))
    }

    fn certificate(&self, host: &str, wrong: &CertificateError) -> String {
        let host = self.0.server_name.as_deref().unwrap_or(host);
        match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired: renew it, or set this machine's clock".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet: set this machine's clock".into()
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "the server's certificate is for {}, not for {host}: connect by a name that it has, or write \
                 server-name=NAME",
                presented.iter().map(|name| name_in(name)).collect::<Vec<_>>().join(", ")
            ),
            CertificateError::NotValidForName => format!("the server's certificate is not for {host}"),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.0.ca {
                Some(ca) => format!(
                    "the server's certificate was not issued by a CA in {}: write ca=FILE with the server's CA",
                    ca.display()
                ),
                None => "the server's certificate was not issued by a CA that this machine trusts: write \
                         ca=FILE with the server's CA"
                    .into(),
            },
            other => format!("the server's certificate is not accepted: {other}"),
        }
    }

    fn alert(&self, alert: AlertDescription) -> Option<String> {
        use AlertDescription as A;
        let refuses = matches!(
            alert,
            A::CertificateRequired
                | A::HandshakeFailure
                | A::BadCertificate
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::UnknownCA
        );
        let text = match &self.0.certificate {
            None => "the server demands a client certificate: write cert=FILE and key=FILE".into(),
            Some(path) => format!("the server refuses the client certificate {} ({alert:?})", path.display()),
        };
        refuses.then_some(text)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the peer of a fresh connection speaks TLS. Nothing that it says is used.
pub(in super::super) async fn is_spoken(stream: TcpStream) -> bool {
    let config = builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(_) => true,
        // It has a certificate, or an alert.
        Err(cause) => matches!(
            cause.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()),
            Some(TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_))
        ),
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(ring::default_provider()));
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    let named = ServerName::try_from(name.to_owned());
    named.map_err(|_| invalid(format!("store URL: {name:?} is no name or address for a certificate")))
}

/// The roots that this machine trusts, read once: there are many.
fn system_roots() -> Result<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(invalid(
            "store URL: this machine has no CA certificates: install them, or write ca=FILE",
        ));
    }
    Ok(roots.clone())
}

fn roots_of(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|cause| invalid(format!("store URL: CA file {}: {cause}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(invalid(format!("store URL: {} has no certificate in PEM", path.display()))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|cause| invalid(format!("store URL: cannot read {}: {cause}", path.display())))
}

/// The name in rustls's form of it: `DnsName("redis.internal")`.
fn name_in(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}
