//! The binary under a web configuration file: TLS, mutual TLS, users, and a change of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// "ann:right" and "ann:new".
const RIGHT: &str = "Authorization: Basic YW5uOnJpZ2h0\r\n";
const NEW: &str = "Authorization: Basic YW5uOm5ldw==\r\n";

struct Exporter {
    child: Child,
    address: String,
    /// Held open: a process whose log nobody takes cannot go on.
    _log: Box<dyn Iterator<Item = String>>,
}

impl Exporter {
    fn start(web: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quoll-exporter"))
            .args(["--listen", "127.0.0.1:0", "--source", "procfs", "--web.config.file", web.to_str().unwrap()])
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.split_once("serving https://")?.1.to_owned())).unwrap();
        Self { child, address: address.trim_end_matches("/metrics").to_owned(), _log: Box::new(lines) }
    }

    /// Status of a scrape, and the page; an error where the connection is refused.
    fn scrape(&self, client: &Arc<ClientConfig>, headers: &str) -> std::io::Result<(u16, String)> {
        let stream = TcpStream::connect(&self.address)?;
        let connection = ClientConnection::new(Arc::clone(client), ServerName::try_from("server.test").unwrap());
        let mut stream = StreamOwned::new(connection.unwrap(), stream);
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok((answer.split(' ').nth(1).unwrap().parse().unwrap(), answer))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with certificates of an authority for each name.
fn certificates(folder: &Path, names: [&str; 2]) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    for name in names {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Trusts the authority, and shows a certificate if one is named.
fn client(folder: &Path, name: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.crt")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}.crt"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

fn users(password: &str) -> String {
    format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash(password, 4).unwrap())
}

const TLS: &str = "tls_server_config:\n  cert_file: server.test.crt\n  key_file: server.test.key\n";

#[test]
fn metrics_are_served_over_tls_to_a_user_whose_password_may_change() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), ["server.test", "ann.test"]);
    let web = folder.path().join("web.yml");
    std::fs::write(&web, format!("{TLS}{}", users("right"))).unwrap();
    let exporter = Exporter::start(&web);
    let client = client(folder.path(), None);

    let (status, page) = exporter.scrape(&client, "").unwrap();
    assert!(status == 401 && !page.contains("quoll_"), "{page}");
    let (status, page) = exporter.scrape(&client, RIGHT).unwrap();
    assert!(status == 200 && page.contains("\nquoll_exporter_build_info{"), "{page}");
    assert!(page.contains("\nquoll_exporter_web_requests_unauthorized_total 1\n"), "{page}");
    let mut plain = TcpStream::connect(&exporter.address).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "plain text is not answered");

    std::fs::write(&web, format!("{TLS}{}", users("new"))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while exporter.scrape(&client, NEW).unwrap().0 != 200 {
        assert!(Instant::now() < deadline, "the new password does not come into force");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(exporter.scrape(&client, RIGHT).unwrap().0, 401);
}

#[test]
fn clients_without_a_certificate_are_refused_where_it_is_required() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), ["server.test", "ann.test"]);
    let web = folder.path().join("web.yml");
    let mutual = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    std::fs::write(&web, format!("{TLS}{mutual}")).unwrap();
    let exporter = Exporter::start(&web);
    assert!(exporter.scrape(&client(folder.path(), None), "").is_err());
    assert_eq!(exporter.scrape(&client(folder.path(), Some("ann.test")), "").unwrap().0, 200);
}

#[test]
fn a_wrong_web_configuration_file_is_explained_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web.yml");
    std::fs::write(&web, "basic_auth_user: {}\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_quoll-exporter"))
        .args(["--listen", "127.0.0.1:0", "--source", "procfs", "--web-config-file", web.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("basic_auth_users"), "{said}");
}
