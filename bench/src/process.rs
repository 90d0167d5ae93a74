//! Real processes under a bench: a receiver of remote writes over one kept connection, and what a process costs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Time in which a process must listen, and take what it is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that receives remote writes; ended when this is dropped.
pub struct Receiver {
    child: Child,
    port: u16,
    stream: BufReader<TcpStream>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    /// Starts `program`, which must listen at `port` of 127.0.0.1; what it says goes to `directory`/log.
    ///
    /// # Errors
    /// Where it cannot be started, or ends or does not listen within a minute, with what it said.
    pub fn start(program: &Path, arguments: &[String], directory: &Path, port: u16) -> anyhow::Result<Self> {
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
                    if child.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                        let _ = child.kill();
                        let _ = child.wait();
                        let said = fs::read_to_string(directory.join("log")).unwrap_or_default();
                        bail!("{} does not listen: {error}\n{said}", program.display());
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        };
        Ok(Self { child, port, stream: BufReader::new(stream) })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one request of remote write 1.0 and waits until it is taken.
    ///
    /// # Errors
    /// A refusal, or back-pressure for a minute.
    pub fn write(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let head = "POST /api/v1/write HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                    X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
        let started = Instant::now();
        loop {
            match self.request(head, body)? {
                (200..=299, _) => return Ok(()),
                // A server that is still starting, or has too much to do for the moment.
                (429 | 503, _) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                (status, text) => bail!("status {status}: {}", String::from_utf8_lossy(&text)),
            }
        }
    }

    /// The page at `/metrics`.
    ///
    /// # Errors
    /// Those of the connection, or a page that is no text.
    pub fn metrics(&mut self) -> anyhow::Result<String> {
        let (_, text) = self.request("GET /metrics HTTP/1.1\r\n", b"")?;
        Ok(String::from_utf8(text)?)
    }

    /// Status and body of the answer.
    fn request(&mut self, head: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!("{head}Host: 127.0.0.1:{}\r\nContent-Length: {}\r\n\r\n", self.port, body.len());
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
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
        Ok((status, answer))
    }

    /// [`cpu_seconds`] of it.
    ///
    /// # Errors
    /// As there.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// [`status_bytes`] of it.
    ///
    /// # Errors
    /// As there.
    pub fn status_bytes(&self, field: &str) -> anyhow::Result<f64> {
        status_bytes(self.child.id(), field)
    }
}

/// User and system time of all threads of a process, in seconds: fields 14 and 15 of `proc_pid_stat(5)`.
///
/// # Errors
/// Where there is no such process.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name is in brackets and may hold anything; the first field after it is number 3.
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no name in stat")?.1.split(' ').collect();
    let ticks: u64 =
        fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// A line of `/proc/PID/status` that is in kB, in bytes.
///
/// # Errors
/// Where there is no such process or line.
pub fn status_bytes(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let text = line.with_context(|| format!("no {field} in status"))?;
    Ok(text.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// A port of 127.0.0.1 at which nobody listens.
///
/// # Errors
/// Those of `bind(2)`.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
