//! Listeners under web configurations, over real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quoll_web_config::{Peer, ServeLimits, Web, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsConnector;
use warp::Filter;

/// A user, with "right" as the password.
fn users() -> String {
    format!(
        "basic_auth_users:
  ann: {}
",
        bcrypt::hash("right", 4).unwrap()
    )
}

const RIGHT: &str = "Authorization: Basic YW5uOnJpZ2h0\r\n";
const WRONG: &str = "Authorization: Basic YW5uOndyb25n\r\n";

struct Server {
    address: SocketAddr,
    web: Web,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
    /// `/slow` tells that it was asked, and answers when it is told to.
    begun: Arc<Notify>,
    finish: Arc<Notify>,
}

async fn start(web: Web, limits: ServeLimits) -> Server {
    let routes = warp::path!("who").and(warp::ext::get::<Peer>()).map(|peer: Peer| {
        format!("user={:?} certificate={} local={}", peer.user.as_deref(), peer.certificate, peer.is_local())
    });
    let begun = Arc::new(Notify::new());
    let finish = Arc::new(Notify::new());
    let slow = (Arc::clone(&begun), Arc::clone(&finish));
    let slow = warp::path!("slow").then(move || {
        let (begun, finish) = slow.clone();
        async move {
            begun.notify_one();
            finish.notified().await;
            "done"
        }
    });
    let write = warp::post().and(warp::path!("write")).map(|| "written");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = warp::service(routes.or(slow).or(write));
    let ended = tokio::spawn(serve(listener, service, web.clone(), limits, async {
        let _ = stopped.await;
    }));
    Server { address, web, stop: Some(stop), ended, begun, finish }
}

impl Server {
    fn counter(&self, name: &str) -> u64 {
        self.web.counters().figures().into_iter().find(|figure| figure.name == name).unwrap().value
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, headers: &str) -> std::io::Result<String> {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

async fn plain(server: &Server, request: &str, headers: &str) -> String {
    ask(TcpStream::connect(server.address).await.unwrap(), request, headers).await.unwrap()
}

/// An authority, and certificates by it in a directory.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, directory: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn write(&self, directory: &Path) {
        std::fs::write(directory.join("ca.crt"), self.0.pem()).unwrap();
    }

    /// A client that trusts this authority, with the named certificate if there is one.
    fn client(&self, directory: &Path, name: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificate = CertificateDer::from_pem_file(directory.join(format!("{name}.crt"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn encrypted(server: &Server, client: &TlsConnector, request: &str, headers: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(server.address).await?;
    let stream = client.connect(ServerName::try_from("server.test").unwrap(), stream).await?;
    ask(stream, request, headers).await
}

fn open(directory: &Path, text: &str) -> Web {
    let path = directory.join("web.yml");
    std::fs::write(&path, text).unwrap();
    Web::open(Some(&path)).unwrap()
}

const TLS: &str = "tls_server_config:\n  cert_file: server.test.crt\n  key_file: server.test.key\n";

#[tokio::test]
async fn without_a_file_everybody_is_served_and_named_by_address() {
    let server = start(Web::open(None).unwrap(), ServeLimits::default()).await;
    let answer = plain(&server, "GET /who", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("user=None certificate=false local=true"),
        "{answer}"
    );
    assert!(!server.web.authenticates() && !server.web.encrypts());
}

#[tokio::test]
async fn no_route_is_reached_without_the_right_password() {
    let directory = tempfile::tempdir().unwrap();
    let web = open(directory.path(), &users());
    assert!(web.authenticates());
    let server = start(web, ServeLimits::default()).await;
    for (path, headers) in [("GET /who", ""), ("GET /who", WRONG), ("POST /write", WRONG), ("GET /nowhere", "")] {
        let answer = plain(&server, path, headers).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        assert!(answer.contains("www-authenticate: Basic"), "{answer}");
    }
    assert_eq!(server.counter("web_requests_unauthorized_total"), 4);
    let answer = plain(&server, "GET /who", RIGHT).await;
    assert!(answer.ends_with("user=Some(\"ann\") certificate=false local=true"), "{answer}");
}

#[tokio::test]
async fn tls_serves_who_trusts_the_authority_and_no_plain_text() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(directory.path(), "server.test");
    let server = start(open(directory.path(), TLS), ServeLimits::default()).await;
    let answer = encrypted(&server, &authority.client(directory.path(), None), "GET /who", "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let other = Authority::new();
    encrypted(&server, &other.client(directory.path(), None), "GET /who", "").await.unwrap_err();
    let unencrypted = ask(TcpStream::connect(server.address).await.unwrap(), "GET /who", "").await.unwrap_or_default();
    assert!(!unencrypted.contains("200"), "{unencrypted}");
    assert_eq!(server.counter("web_handshakes_failed_total"), 2);
}

#[tokio::test]
async fn a_required_client_certificate_must_be_of_the_authority_and_of_an_allowed_name() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.write(directory.path());
    for name in ["server.test", "good.client", "other.client"] {
        authority.issue(directory.path(), name);
    }
    stranger.issue(directory.path(), "strange.client");
    let text = format!(
        "{TLS}  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [good.client]\n"
    );
    let server = start(open(directory.path(), &text), ServeLimits::default()).await;
    assert!(server.web.authenticates());
    let client = |name| authority.client(directory.path(), name);
    let answer = encrypted(&server, &client(Some("good.client")), "GET /who", "").await.unwrap();
    assert!(answer.ends_with("user=None certificate=true local=true"), "{answer}");
    for refused in [None, Some("other.client"), Some("strange.client")] {
        let answer = encrypted(&server, &client(refused), "GET /who", "").await.unwrap_or_default();
        assert!(answer.is_empty(), "{refused:?}: {answer}");
    }
}

/// Writes a file and waits until the listener took the change or refused it.
async fn change(server: &Server, directory: &Path, text: &str) -> (u64, u64) {
    let counts = || (server.counter("web_config_reloads_total"), server.counter("web_config_reloads_failed_total"));
    let before = counts();
    std::fs::write(directory.join("web.yml"), text).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while std::time::Instant::now() < deadline {
        // Any connection makes the listener look at the files, at most once a second.
        let _ = ask(TcpStream::connect(server.address).await.unwrap(), "GET /who", "").await;
        if counts() != before {
            return counts();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the change was not noticed");
}

#[tokio::test]
async fn a_change_is_taken_over_and_a_bad_one_leaves_the_last_good_one() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(directory.path(), "server.test");
    let users = users();
    let server = start(open(directory.path(), &users), ServeLimits::default()).await;
    assert_eq!(change(&server, directory.path(), "basic_auth_users: [").await, (0, 1));
    assert!(plain(&server, "GET /who", "").await.starts_with("HTTP/1.1 401"));
    assert_eq!(change(&server, directory.path(), "").await, (0, 2), "a change may not open what was closed");
    assert!(plain(&server, "GET /who", "").await.starts_with("HTTP/1.1 401"));
    assert_eq!(change(&server, directory.path(), &format!("{TLS}{users}")).await, (1, 2));
    let answer = encrypted(&server, &authority.client(directory.path(), None), "GET /who", RIGHT).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(change(&server, directory.path(), &users).await, (1, 3), "nor take TLS away");
}

#[tokio::test]
async fn headers_of_the_file_are_on_every_answer() {
    let directory = tempfile::tempdir().unwrap();
    let text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let server = start(open(directory.path(), text), ServeLimits::default()).await;
    for path in ["GET /who", "GET /nowhere"] {
        assert!(plain(&server, path, "").await.contains("x-frame-options: deny"));
    }
}

#[tokio::test]
async fn an_address_above_its_rate_is_told_to_wait() {
    let limits =
        ServeLimits { requests_per_second_per_address: 1, request_burst_per_address: 2, ..ServeLimits::default() };
    let server = start(Web::open(None).unwrap(), limits).await;
    for _ in 0..2 {
        assert!(plain(&server, "GET /who", "").await.starts_with("HTTP/1.1 200"));
    }
    // Where the machine is slow, another second may begin between two of them.
    for (request, served, status) in
        [("GET /who", "HTTP/1.1 200", "HTTP/1.1 429"), ("POST /write", "HTTP/1.1 200", "HTTP/1.1 503")]
    {
        let before = server.counter("web_requests_rate_limited_total");
        let told = loop {
            let answer = plain(&server, request, "").await;
            if !answer.starts_with(served) {
                break answer;
            }
        };
        assert!(told.starts_with(status) && told.contains("retry-after: 1"), "{told}");
        assert_eq!(server.counter("web_requests_rate_limited_total"), before + 1);
    }
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_room_is_made_when_one_ends() {
    let limits = ServeLimits { connections: 1, ..ServeLimits::default() };
    let server = start(Web::open(None).unwrap(), limits).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 64]).await.unwrap();
    // Who is too slow to be told within a second is hung up on.
    let refused = loop {
        if let Ok(answer) = ask(TcpStream::connect(server.address).await.unwrap(), "GET /who", "").await {
            break answer;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("too many connections\n"), "{refused}");
    assert!(server.counter("web_connections_refused_total") >= 1);
    drop(first);
    while server.counter("web_connections") > 0 {
        tokio::task::yield_now().await;
    }
    assert!(plain(&server, "GET /who", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_sends_no_headers_is_hung_up_on() {
    let limits = ServeLimits { idle_seconds: 1, ..ServeLimits::default() };
    let server = start(Web::open(None).unwrap(), limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /who HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.windows(3).any(|part| part == b"200"));
}

#[tokio::test]
async fn a_stop_lets_what_was_begun_finish() {
    let mut server = start(Web::open(None).unwrap(), ServeLimits::default()).await;
    let address = server.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    server.begun.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    // From now on nobody is taken in any more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.finish.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    server.ended.await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}
