//! A web server that knows nothing of us, and writes down every request that it answered.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Of a slow machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Locations that hold requests back, by [`super::latency::PATHS`], and refuse them then.
pub const LATE: &str = "location /late { auth_basic late; auth_basic_user_file none; auth_delay 20ms; } \
                        location /later { auth_basic late; auth_basic_user_file none; auth_delay 60ms; }";

/// Writes a key and a certificate into a folder.
pub fn certificate(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["test".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("certificate"), certificate.pem()).unwrap();
}

/// A client within TLS that loads the copy of OpenSSL in a folder, and sends what is written to its input.
pub fn tls_client(address: SocketAddr, libraries: &Path) -> Child {
    Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address.to_string()])
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is missing")
}

/// A running nginx; it ends when this is dropped.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with some directives of its `http` block, and some of its only `server`. Relative paths are
    /// those of its own folder.
    pub fn start(address: SocketAddr, http: &str, server: &str) -> Self {
        Self::start_with(address, http, server, |_| ())
    }

    /// The same with files that `prepare` puts into its folder.
    pub fn start_with(address: SocketAddr, http: &str, server: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::listen(address, "", http, server, prepare)
    }

    /// The same within TLS, with a certificate of its own.
    pub fn start_tls(address: SocketAddr, http: &str, server: &str) -> Self {
        let server = format!("ssl_certificate certificate; ssl_certificate_key key; {server}");
        Self::listen(address, "ssl", http, &server, certificate)
    }

    fn listen(address: SocketAddr, how: &str, http: &str, server: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {root}/pid; error_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
               log_format sizes '$status $bytes_sent $request_length $request_method'; access_log {root}/log sizes;\n\
               client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
               uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; keepalive_requests 100000000;\n\
               {http}\n\
               server {{ listen {address} {how}; root {root}; {server} }}\n\
             }}\n"
        );
        prepare(folder.path());
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let child = Command::new("nginx").arg("-c").arg(&file).arg("-e").arg("stderr").spawn();
        let started = Self { child: child.expect("nginx is missing: scripts/setup installs it"), folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen at {address}");
            thread::sleep(Duration::from_millis(10));
        }
        started
    }

    /// Requests answered with a status of one class, such as 2 for 200 to 299.
    pub fn answered(&self, class: u16) -> f64 {
        // Of a log with many lines, and read often.
        let class = class.to_string();
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap();
        text.lines().filter(|line| line.starts_with(&class)).count() as f64
    }

    /// Number of its only process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The library of OpenSSL's that it uses.
    pub fn libssl(&self) -> String {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.id())).unwrap();
        let path = maps.lines().filter_map(|line| line.split_once(" /")).find(|(_, path)| path.contains("libssl"));
        format!("/{}", path.expect("nginx has OpenSSL in a library").1)
    }

    /// The same with one status.
    pub fn answered_with(&self, status: &str) -> f64 {
        self.lines().iter().filter(|line| line[0] == status).count() as f64
    }

    /// Requests of one method.
    pub fn asked(&self, method: &str) -> f64 {
        self.lines().iter().filter(|line| line[3] == method).count() as f64
    }

    /// Of each request.
    pub fn methods_and_statuses(&self) -> Vec<(String, String)> {
        self.lines().into_iter().map(|line| (line[3].clone(), line[0].clone())).collect()
    }

    /// Bytes sent and received by all.
    pub fn bytes(&self) -> [f64; 2] {
        let lines = self.lines();
        [1, 2].map(|at| lines.iter().map(|line| line[at].parse::<f64>().unwrap()).sum())
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap();
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What wrk counted.
pub struct Wrk {
    /// That it had at once.
    pub connections: usize,
    /// Requests answered in full.
    pub requests: f64,
    /// With `--latency`: quantiles, and the seconds of each. wrk adds requests that it would have sent had it not waited
    /// (`stats_correct`), which are none where all take as long.
    pub quantiles: Vec<(f64, f64)>,
}

impl Wrk {
    /// Runs it with some connections at once.
    pub fn run(connections: usize, more: &[&str], url: &str) -> Self {
        let at_once = format!("-c{connections}");
        let output = Command::new("wrk").args(["-t1", &at_once]).args(more).arg(url).stderr(Stdio::inherit()).output();
        let output = output.expect("wrk is missing: scripts/setup installs it");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find(|line| line.contains(" requests in ")).expect(&text);
        let requests = line.split_whitespace().next().unwrap().parse().unwrap();
        let lines = text.lines().map(str::split_whitespace);
        let quantile = |mut words: std::str::SplitWhitespace<'_>| {
            let quantile: f64 = words.next()?.strip_suffix('%')?.parse().ok()?;
            Some((quantile / 100.0, seconds(words.next()?)?))
        };
        Self { connections, requests, quantiles: lines.filter_map(quantile).collect() }
    }
}

/// From wrk's way to write them.
fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, unit)))?;
    number.parse::<f64>().ok().map(|number| number * unit)
}
