//! Whom an `https` connection trusts and which certificate it shows.
//!
//! rustls with ring. Authorities come from `ca_file`, else from the bundle that `SSL_CERT_FILE` names, else
//! from the first of the places where distributions keep theirs; no list of authorities is built in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::config::Tls;
use crate::error::QueueError;

/// Debian, Alpine and Arch; Fedora and RHEL; openSUSE; OpenBSD and macOS.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Tells whether any of the files changed: their lengths and times of change.
pub(crate) type Stamp = Vec<(u64, Option<SystemTime>)>;

impl Tls {
    fn authorities(&self) -> PathBuf {
        let from_environment = || std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let found = || BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
        self.ca_file.clone().or_else(from_environment).or_else(found).unwrap_or_else(|| PathBuf::from(BUNDLES[0]))
    }

    /// As the files are now.
    pub(crate) fn stamp(&self) -> Stamp {
        let own = self.certificate.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]);
        let all = own.chain((!self.insecure_skip_verify).then(|| self.authorities()));
        all.map(|path| std::fs::metadata(path).map_or((0, None), |found| (found.len(), found.modified().ok())))
            .collect()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`QueueError::Certificate`]: one cannot be read, or does not hold what it should.
    pub(crate) fn load(&self) -> Result<TlsConfig, QueueError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if self.insecure_skip_verify {
            builder = builder.disable_verification(true).root_certs(RootCerts::new_with_certs(&[]));
        } else {
            builder = builder.root_certs(RootCerts::new_with_certs(&certificates(&self.authorities())?));
        }
        if let Some((certificate, key)) = &self.certificate {
            builder =
                builder.client_cert(Some(ClientCert::new_with_certs(&certificates(certificate)?, private_key(key)?)));
        }
        Ok(builder.build())
    }
}

fn bad(path: &Path) -> impl Fn(String) -> QueueError {
    let path = path.to_owned();
    move |reason| QueueError::Certificate { path: path.clone(), reason }
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>, QueueError> {
    let pem = std::fs::read(path).map_err(|error| bad(path)(error.to_string()))?;
    // Bundles may hold items of other kinds; what cannot be read is as if it were not there.
    Ok(parse_pem(&pem).filter_map(Result::ok).collect())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, QueueError> {
    let found = items(path)?.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() { Err(bad(path)("it holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, QueueError> {
    let found = items(path)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    found.ok_or_else(|| bad(path)("it holds no private key in PEM form".to_owned()))
}
