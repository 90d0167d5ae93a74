//! Apache behind HAProxy, asked by h2load: each says how many it answered, or got.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{can_load, loopback, wait_until};
use crate::{agent, check, output};

/// A program that ends when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, args: &[&str], at: SocketAddr) -> Running {
    let child = Command::new(program).args(args).stdout(Stdio::null()).spawn();
    let running = Running(child.unwrap_or_else(|error| panic!("{program} (scripts/soak peers installs it): {error}")));
    wait_until(program, || TcpStream::connect(at).is_ok());
    running
}

/// An address and a port that nobody has.
fn free(host: u8) -> SocketAddr {
    TcpListener::bind((loopback(94, host), 0)).unwrap().local_addr().unwrap()
}

/// Static files by sendfile, over HTTP/1.1 and HTTP/2; each answer's status in a line of `log`.
fn apache(folder: &Path, at: SocketAddr) -> Running {
    fs::create_dir(folder.join("pages")).unwrap();
    fs::write(folder.join("pages/small"), "some text\n").unwrap();
    fs::write(folder.join("pages/large"), "some text\n".repeat(30_000)).unwrap();
    let modules = ["mpm_event", "authz_core", "alias", "http2"];
    let modules: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let root = folder.display();
    let config = format!(
        "ServerRoot {root}\nServerName test\nPidFile {root}/pid\nDefaultRuntimeDir {root}\nListen {at}\n{modules}\
         User www-data\nGroup www-data\nErrorLog {root}/errors\nLogFormat %>s status\nCustomLog {root}/log status\n\
         DocumentRoot {root}/pages\nRedirect 302 /moved /small\nRedirect 503 /broken\n\
         MaxKeepAliveRequests 0\nEnableSendfile On\nProtocols h2c http/1.1\nH2Direct on\n\
         <Directory {root}/pages>\nRequire all granted\n</Directory>\n"
    );
    let file = folder.join("apache.conf");
    fs::write(&file, config).unwrap();
    start("apache2", &["-D", "FOREGROUND", "-f", file.to_str().unwrap()], at)
}

/// Passes on HTTP/1.1 as it is, and HTTP/2 as HTTP/2; answers `/refused` itself. Bodies go by splice.
fn haproxy(folder: &Path, fronts: [SocketAddr; 2], behind: SocketAddr) -> Running {
    let proxy = |name: &str, front: SocketAddr, protocol: &str| {
        format!(
            "listen {name}\n  bind {front} {protocol}\n  http-request return status 403 if {{ path /refused }}\n  \
             server shop {behind} {protocol}\n"
        )
    };
    let config = format!(
        "defaults\n  mode http\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n  \
         http-reuse always\n  option splice-auto\n{}{}",
        proxy("plain", fronts[0], ""),
        proxy("framed", fronts[1], "proto h2")
    );
    let file = folder.join("haproxy.conf");
    fs::write(&file, config).unwrap();
    start("haproxy", &["-db", "-f", file.to_str().unwrap()], fronts[0])
}

/// Asks for all pages in turn over a few connections. Gives the answers by class, 2xx first.
fn h2load(folder: &Path, at: SocketAddr, more: &[&str]) -> [f64; 4] {
    let pages = ["small", "large", "none", "moved", "broken", "refused"];
    let urls: String = pages.iter().map(|page| format!("http://{at}/{page}\n")).collect();
    let file = folder.join("urls");
    fs::write(&file, urls).unwrap();
    let said = output(Command::new("h2load").args(["-n", "1200", "-c", "4", "-i"]).arg(&file).args(more));
    // `status codes: 400 2xx, 200 3xx, 400 4xx, 200 5xx`
    let line = said.lines().find_map(|line| line.strip_prefix("status codes: ")).unwrap();
    let counts: Vec<f64> = line.split(", ").map(|part| part.split_once(' ').unwrap().0.parse().unwrap()).collect();
    counts.try_into().unwrap()
}

fn logged(folder: &Path) -> [f64; 4] {
    let mut counts = BTreeMap::<u8, f64>::new();
    for line in fs::read_to_string(folder.join("log")).unwrap().lines() {
        *counts.entry(line.as_bytes()[0]).or_default() += 1.0;
    }
    [b'2', b'3', b'4', b'5'].map(|class| counts.get(&class).copied().unwrap_or_default())
}

#[test]
#[ignore = "takes HAProxy and Apache: scripts/soak peers"]
fn what_apache_answered_and_haproxy_passed_on_counts_exactly() {
    if !can_load() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let agent = agent(94, &["front", "framed", "shop"]);
    let [front, framed, shop] = [1, 2, 3].map(free);
    let _apache = apache(folder.path(), shop);
    let _haproxy = haproxy(folder.path(), [front, framed], shop);
    let mut passed_on = [0.0; 4];
    for (server, at, more) in [("front", front, &["--h1"][..]), ("framed", framed, &["-m", "8"])] {
        let answered = h2load(folder.path(), at, more);
        assert_eq!(answered.iter().sum::<f64>(), 1200.0);
        check(&agent, server, &[&answered[..], &[0.0, 0.0]].concat());
        // A sixth is refused by the proxy.
        passed_on = [0, 1, 2, 3].map(|class| passed_on[class] + answered[class] - if class == 2 { 200.0 } else { 0.0 });
    }
    wait_until("Apache writes down the last one", || logged(folder.path()) == passed_on);
    check(&agent, "shop", &[&passed_on[..], &[0.0, 0.0]].concat());
}
