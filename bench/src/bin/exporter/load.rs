//! The processes that make the load; see [`quoll_bench::tcp_load`] for what each of them does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use quoll_bench::process::cpu_seconds;
use quoll_bench::tcp_load::Shape;

/// One of the processes that make the load; ended when this is dropped.
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn start(shape: Shape) -> anyhow::Result<Self> {
        let mut child = Command::new("unshare")
            .arg("--net")
            .arg(std::env::current_exe()?)
            .args(["--load", "--services", &shape.services.to_string(), "--edges", &shape.edges.to_string()])
            .args(["--part", &shape.part.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let input = child.stdin.take().context("no pipe")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, input, output })
    }

    fn answer(&mut self) -> anyhow::Result<(f64, f64)> {
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        let mut numbers = answer.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(seconds))) => Ok((count, seconds)),
            _ => bail!("a part of the load ended"),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of them.
pub struct Load(Vec<Part>);

impl Load {
    /// One process per shape, each in a network namespace of its own.
    ///
    /// # Errors
    /// Where one cannot be started.
    pub fn start(shapes: &[Shape]) -> anyhow::Result<Self> {
        shapes.iter().map(|shape| Part::start(*shape)).collect::<anyhow::Result<_>>().map(Self)
    }

    /// How many together, and the most seconds that any of them took.
    ///
    /// # Errors
    /// Where one of them ended.
    pub fn tell(&mut self, line: &str) -> anyhow::Result<(f64, f64)> {
        for part in &mut self.0 {
            writeln!(part.input, "{line}")?;
        }
        let mut total = (0.0, 0.0_f64);
        for part in &mut self.0 {
            let (count, seconds) = part.answer()?;
            total = (total.0 + count, total.1.max(seconds));
        }
        Ok(total)
    }

    /// Processor time of all of them so far.
    ///
    /// # Errors
    /// Where one of them ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.0.iter().map(|part| cpu_seconds(part.child.id())).sum()
    }
}
