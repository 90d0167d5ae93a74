//! What a request within TLS costs a server: nginx with OpenSSL, wrk as its clients over connections that are kept.
//!
//! Most of what a cheap probe in a program costs is the trap into the kernel and back, which the kernel's statistics of our
//! programs leave out. So this is nginx's own processor time per request, alone, with the exporter, and with the
//! exporter looking into TLS, in turn; of several rounds, the median.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quoll_bench::Report;
use quoll_bench::process::cpu_seconds;

use crate::agent::Exporter;

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// The figure of each way to run, and the exporter's flags, if it runs.
const WAYS: [(&str, Option<[&str; 2]>); 3] = [
    ("https_server_us_per_request_alone", None),
    ("https_server_us_per_request_tls_off", Some(["--tls", "false"])),
    ("https_server_us_per_request_tls_on", Some(["--tls", "auto"])),
];

struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().display();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=bench", "-keyout", "key", "-out", "certificate"])
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .status()
            .context("openssl")?;
        ensure!(made.success(), "openssl makes no certificate");
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.path().join("nginx.conf");
        let body = "x".repeat(1000);
        fs::write(
            &config,
            format!(
                "daemon off; master_process off; worker_processes 1; pid {root}/pid; error_log stderr crit;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{\n\
                   access_log off; keepalive_requests 100000000;\n\
                   client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
                   uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
                   ssl_certificate {root}/certificate; ssl_certificate_key {root}/key;\n\
                   server {{ listen {address} ssl; location / {{ return 200 '{body}'; }} }}\n\
                 }}\n"
            ),
        )?;
        let child = Command::new("nginx").arg("-c").arg(&config).arg("-e").arg("stderr").spawn().context("nginx")?;
        let nginx = Self { child, address, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < PATIENCE, "nginx does not listen at {address}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// Processor time of this server per request, in microseconds.
    fn cost(&self, seconds: f64) -> anyhow::Result<f64> {
        let before = cpu_seconds(self.child.id())?;
        let output = Command::new("wrk")
            .args(["-t1", "-c4", &format!("-d{}s", seconds.ceil()), &format!("https://{}/", self.address)])
            .output()
            .context("wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk counted nothing")?;
        let answered: f64 = line.split_ascii_whitespace().next().context("no count")?.parse()?;
        Ok(1e6 * (cpu_seconds(self.child.id())? - before) / answered)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds the figures; a machine without nginx, wrk or openssl has none.
pub fn run(binary: &Path, seconds: f64, report: &mut Report) -> anyhow::Result<()> {
    let is_there = |program: &&str| Command::new(program).arg("-v").output().is_err();
    if let Some(missing) = ["nginx", "wrk", "openssl"].iter().find(|program| is_there(program)) {
        report.note(&format!("skipped: {missing} is missing, scripts/setup installs it"));
        return Ok(());
    }
    let nginx = Nginx::start()?;
    let mut costs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (figure, flags) in WAYS {
            let _exporter = match flags {
                Some(flags) => Some(Exporter::start(binary, "ebpf", "services: []\n", &flags)?),
                None => None,
            };
            costs.entry(figure).or_default().push(nginx.cost(seconds / (2 * ROUNDS) as f64)?);
        }
    }
    let mut median = |figure: &str| {
        let all = costs.get_mut(figure)?;
        all.sort_unstable_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    let [alone, off, on] = WAYS.map(|(figure, _)| median(figure).unwrap_or(f64::NAN));
    for ((figure, _), cost) in WAYS.into_iter().zip([alone, off, on]) {
        report.add(figure, cost);
    }
    report.add("us_per_https_request_tls_off", off - alone);
    report.add("us_per_https_request", on - alone);
    Ok(())
}
