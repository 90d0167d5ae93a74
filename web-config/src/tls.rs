//! From PEM files to a TLS configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use crate::error::WebConfigError;

/// PEM text, or where it lies.
#[derive(Debug)]
pub(crate) enum Pem {
    Inline(String),
    File(PathBuf),
}

/// What is asked of clients.
#[derive(Debug)]
pub(crate) enum ClientAuth {
    None,
    /// A certificate, if given, must be signed by this authority.
    IfGiven(Pem),
    /// There must be a certificate signed by this authority.
    Required(Pem),
}

/// Versions of TLS to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    Only12,
    Only13,
    Both,
}

/// `tls_server_config`, checked but with its files unread.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
    pub(crate) client_auth: ClientAuth,
    pub(crate) allowed_sans: Vec<String>,
    pub(crate) versions: Versions,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) curves: Vec<String>,
}

/// TLS, ready for handshakes.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) requires_certificate: bool,
    allowed_sans: Vec<String>,
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, WebConfigError> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => {
                std::fs::read(path).map_err(|source| WebConfigError::Read { path: path.clone(), source })
            }
        }
    }

    fn place(&self, key: &str) -> String {
        match self {
            Self::Inline(_) => format!("tls_server_config.{key}"),
            Self::File(path) => format!("tls_server_config.{key}_file {}", path.display()),
        }
    }

    fn certificates(&self, key: &str) -> Result<Vec<CertificateDer<'static>>, WebConfigError> {
        let pem = self.read()?;
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| WebConfigError::setting(self.place(key), error.to_string()))?;
        if certificates.is_empty() {
            return Err(WebConfigError::setting(self.place(key), "there is no certificate in it"));
        }
        Ok(certificates)
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

impl TlsSettings {
    /// The files it names.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let ca = match &self.client_auth {
            ClientAuth::None => None,
            ClientAuth::IfGiven(ca) | ClientAuth::Required(ca) => ca.file(),
        };
        [self.certificate.file(), self.key.file(), ca].into_iter().flatten().collect()
    }

    /// Reads the files and makes them one.
    pub(crate) fn load(&self) -> Result<Tls, WebConfigError> {
        let provider = Arc::new(self.provider()?);
        let versions: &[&SupportedProtocolVersion] = match self.versions {
            Versions::Only12 => &[&rustls::version::TLS12],
            Versions::Only13 => &[&rustls::version::TLS13],
            Versions::Both => &[&rustls::version::TLS12, &rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let verifier = |ca: &Pem| {
            let mut roots = RootCertStore::empty();
            for certificate in ca.certificates("client_ca")? {
                roots.add(certificate)?;
            }
            Ok::<_, WebConfigError>(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)))
        };
        let unusable = |error: rustls::server::VerifierBuilderError| {
            WebConfigError::setting("tls_server_config.client_ca", error.to_string())
        };
        let builder = match &self.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::IfGiven(ca) => {
                builder.with_client_cert_verifier(verifier(ca)?.allow_unauthenticated().build().map_err(unusable)?)
            }
            ClientAuth::Required(ca) => builder.with_client_cert_verifier(verifier(ca)?.build().map_err(unusable)?),
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key.read()?)
            .map_err(|error| WebConfigError::setting(self.key.place("key"), error.to_string()))?;
        let mut config = builder.with_single_cert(self.certificate.certificates("cert")?, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            requires_certificate: matches!(self.client_auth, ClientAuth::Required(_)),
            allowed_sans: self.allowed_sans.clone(),
        })
    }

    /// The cryptography that the file leaves. As in Go, suites of TLS 1.3 are not a matter of choice.
    fn provider(&self) -> Result<CryptoProvider, WebConfigError> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let all = std::mem::take(&mut provider.cipher_suites);
            let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
            provider.cipher_suites = all.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
            for wanted in &self.cipher_suites {
                // In Go, names of the suites of TLS 1.3 lack the version, and two older names the hash.
                let is_it = |suite: &&rustls::SupportedCipherSuite| {
                    let name = name(suite).replacen("TLS13_", "TLS_", 1);
                    name == *wanted || name.strip_suffix("_SHA256") == Some(wanted)
                };
                let Some(suite) = all.iter().find(is_it) else {
                    let known: Vec<_> = all.iter().filter(|suite| suite.tls13().is_none()).map(name).collect();
                    let reason = format!("{wanted:?} is not supported, only {}", known.join(", "));
                    return Err(WebConfigError::setting("tls_server_config.cipher_suites", reason));
                };
                if suite.tls13().is_some() {
                    continue;
                }
                provider.cipher_suites.push(*suite);
            }
        }
        if !self.curves.is_empty() {
            let all = std::mem::take(&mut provider.kx_groups);
            for wanted in &self.curves {
                let name = match wanted.as_str() {
                    "X25519" => "X25519",
                    "CurveP256" => "secp256r1",
                    "CurveP384" => "secp384r1",
                    _ => "",
                };
                let Some(group) = all.iter().find(|group| format!("{:?}", group.name()) == name) else {
                    let reason = format!("{wanted:?} is not supported, only X25519, CurveP256, CurveP384");
                    return Err(WebConfigError::setting("tls_server_config.curve_preferences", reason));
                };
                provider.kx_groups.push(*group);
            }
        }
        Ok(provider)
    }
}

impl Tls {
    /// Whether a client with this verified certificate may connect.
    pub(crate) fn allows(&self, certificate: Option<&CertificateDer<'_>>) -> bool {
        if self.allowed_sans.is_empty() {
            return true;
        }
        let Some(parsed) = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok()) else { return false };
        // Exactly the name, as the format says: a wildcard in a certificate stands for itself.
        self.allowed_sans.iter().any(|allowed| match allowed.parse::<IpAddr>() {
            Ok(address) => parsed.verify_is_valid_for_subject_name(&ServerName::from(address)).is_ok(),
            Err(_) => parsed.valid_dns_names().any(|name| name == allowed),
        })
    }
}
