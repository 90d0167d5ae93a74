//! An authority and what it signs, and a web configuration that demands a certificate of it and a password.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Who may come in.
pub const USER: &str = "sender";
/// With what.
pub const PASSWORD: &str = "right:password";

/// Files of an authority, of a server at 127.0.0.1 and of a client, and the server's web configuration.
#[derive(Debug)]
pub struct Security {
    directory: PathBuf,
}

impl Security {
    /// Makes everything in `directory`.
    ///
    /// # Panics
    /// Where that cannot be done.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        Self::issue(directory);
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let text = format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n  \
             client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  {USER}: {hash}\n"
        );
        std::fs::write(directory.join("web.yml"), text).unwrap();
        Self { directory: directory.to_owned() }
    }

    /// Makes an authority, and certificates and keys by it, in place of those that are there.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn issue(directory: &Path) {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.join("ca.crt"), authority.pem()).unwrap();
        for (name, subject) in [("server", "127.0.0.1"), ("client", "client.test")] {
            let key = KeyPair::generate().unwrap();
            let parameters = CertificateParams::new(vec![subject.to_owned()]).unwrap();
            let certificate = parameters.signed_by(&key, &authority).unwrap();
            std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
            std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
    }

    /// One of its files: `web.yml`, `ca.crt`, `client.crt`, `client.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// A client that trusts the authority, with or without a certificate of its own.
    ///
    /// # Panics
    /// Where the files cannot be read.
    #[must_use]
    pub fn agent(&self, with_certificate: bool) -> ureq::Agent {
        let read = |name: &str| std::fs::read(self.directory.join(name)).unwrap();
        let certificate = |name: &str| Certificate::from_pem(&read(name)).unwrap();
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[certificate("ca.crt")]));
        if with_certificate {
            let key = PrivateKey::from_pem(&read("client.key")).unwrap();
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&[certificate("client.crt")], key)));
        }
        ureq::Agent::config_builder()
            .max_idle_connections(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build()
            .into()
    }

    /// The header of the user with this password (RFC 7617).
    #[must_use]
    pub fn authorization(password: &str) -> String {
        format!(
            "Basic {}",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{USER}:{password}"))
        )
    }
}
