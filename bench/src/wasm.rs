//! The engine as a WASM module under node: built from this repository, asked over pipes.
//!
//! Needs the WASM toolchain that `scripts/setup` prepares (`$QUOLL_TOOLCHAINS`, else `target/toolchains`)
//! and node; [`Module::build`] says which of them is missing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use quoll_blast_radius_wasm::Question;

/// A built module.
#[derive(Debug)]
pub struct Module {
    repository: PathBuf,
    folder: PathBuf,
}

/// What came of a build.
#[derive(Debug)]
pub enum Build {
    /// It can be asked.
    Ready(Module),
    /// Something it needs is not on this machine: a sentence.
    Missing(String),
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// As [`quoll_blast_radius_wasm::answer`] gives them.
    pub values: Vec<f64>,
    /// Milliseconds of each time it was asked.
    pub milliseconds: Vec<f64>,
}

impl Module {
    /// Builds the module and its JavaScript glue.
    ///
    /// # Errors
    /// A build that fails; tools that are missing are no error.
    pub fn build() -> Result<Build> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?.to_owned();
        let from_environment = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let toolchains = from_environment("QUOLL_TOOLCHAINS").unwrap_or_else(|| repository.join("target/toolchains"));
        let target = repository.join(from_environment("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let cargo_wasm = toolchains.join("wasm/cargo");
        if !cargo_wasm.exists() {
            return Ok(Build::Missing(format!("no WASM toolchain at {}: run scripts/setup", cargo_wasm.display())));
        }
        if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
            return Ok(Build::Missing("no node on the path".to_owned()));
        }
        // Built by another compiler than the rest, so it never shares their target folder.
        let wasm_target = target.join("engine-wasm");
        run(Command::new(&cargo_wasm)
            .current_dir(&repository)
            .env("CARGO_TARGET_DIR", &wasm_target)
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-unknown-unknown"])
            .args(["-p", "quoll-blast-radius-wasm"]))?;
        let module = wasm_target.join("wasm32-unknown-unknown/release/quoll_blast_radius_wasm.wasm");
        let folder = wasm_target.join("glued");
        run(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(&repository)
            .env("CARGO_TARGET_DIR", &target)
            .args(["run", "--quiet", "--locked", "-p", "quoll-panel-glue", "--"])
            .args([module.as_os_str(), "--out".as_ref(), folder.as_os_str()]))?;
        Ok(Build::Ready(Self { repository, folder }))
    }

    /// Asks each question `times` times.
    ///
    /// # Errors
    /// Node fails, or gives something else than answers.
    pub fn ask(&self, questions: &[Question], times: u32) -> Result<Vec<Answer>> {
        let mut input = Vec::new();
        for question in questions {
            let request = question.request();
            input.extend(u32::try_from(request.len())?.to_le_bytes());
            input.extend(times.to_le_bytes());
            input.extend(request.iter().flat_map(|number| number.to_le_bytes()));
        }
        let mut node = Command::new("node")
            .arg(self.repository.join("blast-radius/wasm/run.mjs"))
            .arg(self.folder.join("quoll_blast_radius_wasm.js"))
            .arg(self.folder.join("quoll_blast_radius_wasm_bg.wasm"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run node")?;
        // The runner reads everything before it writes, so neither side waits for the other.
        node.stdin.take().context("node has no input")?.write_all(&input).context("node takes no requests")?;
        let output = node.wait_with_output()?;
        if !output.status.success() {
            bail!("node ended with {}", output.status);
        }
        let mut rest = &output.stdout[..];
        let answers = questions.iter().map(|_| Answer::read(&mut rest)).collect::<Option<Vec<_>>>();
        match answers {
            Some(answers) if rest.is_empty() => Ok(answers),
            _ => bail!("node gave {} bytes that are not {} answers", output.stdout.len(), questions.len()),
        }
    }
}

impl Answer {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let mut whole = || {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(u32::from_le_bytes(*bytes))
        };
        let (numbers, times) = (whole()?, whole()?);
        let mut list = |length: u32| {
            let (bytes, after) = rest.split_at_checked(length as usize * 8)?;
            *rest = after;
            let (numbers, _) = bytes.as_chunks();
            Some(numbers.iter().map(|number| f64::from_le_bytes(*number)).collect::<Vec<f64>>())
        };
        let milliseconds = list(times)?;
        Some(Self { values: list(numbers)?, milliseconds })
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
