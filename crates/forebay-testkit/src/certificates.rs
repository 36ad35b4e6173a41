//! Certificates for servers and clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::unique::random;

/// A CA, and the certificates that it issues, as PEM files in a directory of their own.
///
/// ```
/// let ca = forebay_testkit::Certificates::new();
/// let pair = ca.issue("server", &["localhost", "127.0.0.1"]);
/// assert!(pair.certificate.is_file() && pair.key.is_file() && ca.file().is_file());
/// ```
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes a CA of its own.
    ///
    /// # Panics
    /// If the files cannot be written.
    #[expect(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut parameters = CertificateParams::new(vec![]).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, format!("CA {:x}", random()));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        write(&directory.path().join("ca.crt"), &certificate.pem());
        Self { directory, issuer: Issuer::new(parameters, key) }
    }

    /// The CA's certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Issues a certificate for `names`, which may be addresses. `file` names its files.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.write(file, names, 2099)
    }

    /// Like [`issue`](Self::issue), but the certificate has expired.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn issue_expired(&self, file: &str, names: &[&str]) -> Pair {
        self.write(file, names, 2020)
    }

    fn write(&self, file: &str, names: &[&str], until: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("good names");
        parameters.distinguished_name.push(DnType::CommonName, file);
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |end| self.directory.path().join(format!("{file}.{end}"));
        let pair = Pair { certificate: path("crt"), key: path("key") };
        write(&pair.certificate, &certificate.pem());
        write(&pair.key, &key.serialize_pem());
        pair
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
