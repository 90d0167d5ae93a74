//! Processor time of whole processes on one stream, over HTTP: the real `quoll-scorer`, Prometheus and
//! VictoriaMetrics, side by side, request by request in turn.
//!
//! Receiving without storage against receiving with: the scorer keeps windows and a log of minutes, the peers
//! a database. What it tells is what a user pays for one more receiver on the path, not who decodes better.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Time in which a process must listen.
const START: Duration = Duration::from_secs(60);

/// A receiver of remote writes; ended when this is dropped.
pub struct Receiving {
    child: Child,
    port: u16,
    stream: BufReader<TcpStream>,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiving {
    /// The scorer, without a model: it takes every sample and keeps windows of those its preset selects.
    pub fn scorer(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(directory)?;
        let config = directory.join("scorer.yaml");
        let text = format!("listen: 127.0.0.1:{port}\ndata_dir: {}/data\nstep: 15s\n", directory.display());
        std::fs::write(&config, text)?;
        Self::start(program, &["serve".into(), "--config".into(), config.display().to_string()], directory, port)
    }

    /// A Prometheus that scrapes nothing.
    pub fn prometheus(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(directory)?;
        let config = directory.join("prometheus.yml");
        std::fs::write(&config, "global:\n  scrape_interval: 1h\n")?;
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".to_owned(),
        ];
        Self::start(program, &arguments, directory, port)
    }

    /// A single-node VictoriaMetrics.
    pub fn victoria_metrics(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(directory)?;
        let arguments = [
            format!("-storageDataPath={}", directory.join("data").display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=1d".to_owned(),
        ];
        Self::start(program, &arguments, directory, port)
    }

    fn start(program: &Path, arguments: &[String], directory: &Path, port: u16) -> anyhow::Result<Self> {
        let log = File::create(directory.join("log"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let started = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) => {
                    if child.try_wait()?.is_some() || started.elapsed() > START {
                        let _ = child.kill();
                        let _ = child.wait();
                        let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                        bail!("{} does not listen: {error}\n{said}", program.display());
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        };
        Ok(Self { child, port, stream: BufReader::new(stream) })
    }

    /// Sends one request of 1.0 and waits until it is taken.
    pub fn write(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        let started = Instant::now();
        loop {
            let stream = self.stream.get_mut();
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
            let (mut status, mut length, mut line) = (0_u16, 0, String::new());
            while self.stream.read_line(&mut line)? > 0 && line != "\r\n" {
                let lower = line.to_ascii_lowercase();
                if let Some(rest) = lower.strip_prefix("http/1.1 ") {
                    status = rest.split(' ').next().unwrap_or_default().parse()?;
                }
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse()?;
                }
                line.clear();
            }
            let mut answer = vec![0; length];
            self.stream.read_exact(&mut answer)?;
            match status {
                200..=299 => return Ok(()),
                // A server that is still starting, or has too much to do for the moment.
                429 | 503 if started.elapsed() < START => std::thread::sleep(Duration::from_millis(20)),
                _ => bail!("status {status}: {}", String::from_utf8_lossy(&answer)),
            }
        }
    }

    /// User and system time of all its threads, in seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name, which is in brackets: state is field 3, utime 14, stime 15 (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(") ").context("no name in stat")?.1.split(' ').collect();
        let ticks: u64 =
            fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// The release build of the scorer beside this program, built now.
pub fn scorer_program() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--release", "-p", "quoll-scorer"]).status()?;
    ensure!(built.success(), "cannot build quoll-scorer");
    Ok(std::env::current_exe()?.with_file_name("quoll-scorer"))
}

/// A program among the fetched peers, else on the path.
pub fn program(name: &str) -> Option<PathBuf> {
    let toolchains = std::env::var_os("QUOLL_TOOLCHAINS").map_or_else(|| "target/toolchains".into(), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![toolchains.join("peers")];
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
