//! Fuzzes on a stable compiler, without coverage: changed seeds, for as long as asked.
//!
//! Each target runs in a process of its own with bounded memory, which notes the number of every input before it is
//! read. Where that process ends, or is stuck at one input, the input is made again, stored in `found/TARGET/` and
//! told; the run then goes on behind it and fails at its end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use quoll_fuzz::{TARGETS, Target, mutate};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space of a target's process.
const MEMORY_BYTES: u64 = 2 << 30;
/// Time that one input may take.
const STUCK: Duration = Duration::from_secs(20);
/// Inputs after which a target is left.
const ENOUGH: usize = 5;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug, Parser)]
#[command(about = "Fuzzes what reads bytes of others; see tests/fuzz/README.md")]
struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fuzz, the time shared among the targets.
    Run {
        /// Minutes in all.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
        /// Seed; by default the clock's.
        #[arg(long)]
        seed: Option<u64>,
        /// Targets; by default all.
        targets: Vec<String>,
    },
    /// Read files, to see again how they break a target.
    Try {
        /// Target.
        target: String,
        /// Files.
        files: Vec<PathBuf>,
    },
    /// Write every corpus to a directory, for cargo-fuzz.
    Seeds {
        /// Directory.
        directory: PathBuf,
    },
    /// Name the targets.
    List,
    #[command(hide = true)]
    Work { target: String, seed: u64, from: u64, seconds: f64, progress: PathBuf },
}

fn named(name: &str) -> Result<Target, Failure> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("no target is called {name:?}; there are {}", names.join(", ")).into()
    })
}

/// Reads inputs until the time is over.
fn work(target: &Target, seed: u64, from: u64, seconds: f64, progress: &Path) -> Result<(), Failure> {
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) })?;
    let progress = File::options().write(true).open(progress)?;
    let corpus = target.corpus();
    let started = Instant::now();
    for index in from.. {
        if index % 64 == 0 && started.elapsed().as_secs_f64() >= seconds {
            progress.write_all_at(&index.to_le_bytes(), 0)?;
            return Ok(());
        }
        let input = mutate::input(&corpus, target.shape, seed, index);
        progress.write_all_at(&index.to_le_bytes(), 0)?;
        (target.run)(&input);
    }
    Ok(())
}

fn noted(progress: &Path) -> Result<u64, Failure> {
    let bytes = std::fs::read(progress)?;
    Ok(u64::from_le_bytes(bytes.get(..8).ok_or("no progress was noted")?.try_into()?))
}

/// Waits for a target's process; `false` where it broke or is stuck.
fn watch(mut child: std::process::Child, progress: &Path) -> Result<bool, Failure> {
    let (mut seen, mut since) = (u64::MAX, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        let at = noted(progress)?;
        if at != seen {
            (seen, since) = (at, Instant::now());
        } else if since.elapsed() > STUCK {
            eprintln!("stuck for {} s", STUCK.as_secs());
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Stores what broke a target.
fn store(target: &Target, input: &[u8]) -> Result<PathBuf, Failure> {
    let directory = target.found();
    std::fs::create_dir_all(&directory)?;
    // FNV-1a: a name that says the same bytes are the same.
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let path = directory.join(format!("{hash:016x}"));
    std::fs::write(&path, input)?;
    Ok(path)
}

/// Fuzzes one target, and says how many inputs broke it.
fn fuzz(target: &Target, seed: u64, seconds: f64) -> Result<usize, Failure> {
    let progress = std::env::temp_dir().join(format!("quoll-fuzz-{}-{}", std::process::id(), target.name));
    std::fs::write(&progress, [0; 8])?;
    let corpus = target.corpus();
    let started = Instant::now();
    let (mut from, mut broken) = (0, 0);
    while broken < ENOUGH && started.elapsed().as_secs_f64() < seconds {
        let left = seconds - started.elapsed().as_secs_f64();
        let child = Command::new(std::env::current_exe()?)
            .args(["work", target.name, &seed.to_string(), &from.to_string(), &left.to_string()])
            .arg(&progress)
            .stdin(Stdio::null())
            .spawn()?;
        let sound = watch(child, &progress)?;
        from = noted(&progress)?;
        if !sound {
            broken += 1;
            let path = store(target, &mutate::input(&corpus, target.shape, seed, from))?;
            println!("{}: input {from} broke it; see it again with", target.name);
            println!("  cargo run -p quoll-fuzz -- try {} {}", target.name, path.display());
            from += 1;
        }
    }
    std::fs::remove_file(&progress)?;
    println!("{:<16} {from:>10} inputs, {broken} broke it", target.name);
    Ok(broken)
}

fn run(minutes: f64, seed: Option<u64>, names: &[String]) -> Result<bool, Failure> {
    let targets = if names.is_empty() {
        TARGETS.to_vec()
    } else {
        names.iter().map(|name| named(name)).collect::<Result<_, _>>()?
    };
    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    println!("seed {seed}, {minutes} minutes for {} targets", targets.len());
    let share = minutes * 60.0 / targets.len() as f64;
    let mut broken = 0;
    for target in &targets {
        broken += fuzz(target, seed, share)?;
    }
    Ok(broken == 0)
}

fn main() -> Result<ExitCode, Failure> {
    match Args::parse().command {
        Action::Run { minutes, seed, targets } => {
            return Ok(if run(minutes, seed, &targets)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Action::Try { target, files } => {
            let target = named(&target)?;
            for file in files {
                (target.run)(&std::fs::read(&file)?);
                println!("{}: {} is read as it should be", target.name, file.display());
            }
        }
        Action::Seeds { directory } => {
            for target in TARGETS {
                let to = directory.join(target.name);
                std::fs::create_dir_all(&to)?;
                for (number, seed) in target.corpus().iter().enumerate() {
                    File::create(to.join(format!("{number:03}")))?.write_all(seed)?;
                }
            }
        }
        Action::List => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        Action::Work { target, seed, from, seconds, progress } => {
            work(&named(&target)?, seed, from, seconds, &progress)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
