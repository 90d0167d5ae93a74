//! Over TLS: who is trusted, who we are, and certificates that change while we run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Peer, now_ms, series, wait_for};
use quoll_queue::{Queue, QueueConfig, QueueError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

/// An authority and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `localhost` and its key.
    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server of this authority; with `clients`, only for those who show a certificate of that authority.
    fn server(&self, clients: Option<&Self>) -> rustls::ServerConfig {
        let (certificate, key) = self.sign();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(rustls_pem(&authority.pem)).unwrap();
                let roots = Arc::new(roots);
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

fn rustls_pem(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn config(peer: &Peer, dir: &Path) -> QueueConfig {
    let mut config = QueueConfig::new(&peer.url, dir.join("queue"));
    config.backoff = (Duration::from_millis(20), Duration::from_millis(100));
    config
}

#[test]
fn a_peer_is_trusted_by_its_authority_and_by_that_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let peer = Peer::over_tls(authority.server(None));
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(&peer, dir.path());
    // Somebody else's first; then the right one comes into the same file.
    let ca = file(dir.path(), "ca.pem", &other.pem);
    settings.tls.ca_file = Some(ca.clone());
    let queue = Queue::open(settings).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("a failed handshake", || queue.stats().requests_retried > 0);
    assert!(peer.requests().is_empty());
    std::fs::write(&ca, format!("# renewed\n{}", authority.pem)).unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
    assert_eq!(peer.requests()[0].samples()[0].2, 1.0);
}

#[test]
fn a_peer_that_asks_who_we_are_is_shown_our_certificate() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let peer = Peer::over_tls(servers.server(Some(&clients)));
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(&peer, dir.path());
    settings.tls.ca_file = Some(file(dir.path(), "ca.pem", &servers.pem));
    let queue = Queue::open(settings.clone()).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("a refusal of nobody", || queue.stats().requests_retried > 0);
    assert!(peer.requests().is_empty());
    drop(queue);
    let (certificate, key) = clients.sign();
    let certificate = file(dir.path(), "own.pem", &certificate.pem());
    settings.tls.certificate = Some((certificate, file(dir.path(), "own.key", &key.serialize_pem())));
    let queue = Queue::open(settings).unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
}

#[test]
fn whoever_answers_is_trusted_only_where_that_is_asked_for() {
    let authority = Authority::new();
    let peer = Peer::over_tls(authority.server(None));
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(&peer, dir.path());
    settings.tls.insecure_skip_verify = true;
    let queue = Queue::open(settings).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
}

#[test]
fn files_that_hold_no_certificate_or_key_are_refused_by_name() {
    let authority = Authority::new();
    let peer = Peer::over_tls(authority.server(None));
    let dir = tempfile::tempdir().unwrap();
    let empty = file(dir.path(), "empty.pem", "nothing");
    let own = file(dir.path(), "own.pem", &authority.pem);
    let mut settings = config(&peer, dir.path());
    settings.tls.ca_file = Some(empty.clone());
    let refused = Queue::open(settings.clone()).unwrap_err();
    assert!(matches!(&refused, QueueError::Certificate { path, .. } if *path == empty), "{refused}");
    settings.tls.ca_file = Some(own.clone());
    settings.tls.certificate = Some((own.clone(), own.clone()));
    assert!(matches!(Queue::open(settings).unwrap_err(), QueueError::Certificate { path, .. } if path == own));
}
