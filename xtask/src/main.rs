//! `cargo xtask`: dispatches to the tools of this repository, and does nothing itself.

use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask COMMAND

  build                     release binaries of the exporter, the scorer and microsim
  lint                      cargo fmt --check and clippy, warnings denied, over all three workspaces
  bench NAME [ARGS]         one benchmark: accuracy, exporter, fleet, infer, ingest, panel, rca, score, tick
  check-reference FILE      largest difference between the engine and a file of exact posteriors,
                            natively and in WASM
  demo                      the whole stack on loopback, one fault, one verdict
  campaign [ARGS]           many faults, one report

Each bench, demo and campaign explain themselves: cargo xtask bench rca --help
";

const BENCHES: [&str; 9] = ["accuracy", "exporter", "fleet", "infer", "ingest", "panel", "rca", "score", "tick"];

/// What the demo runs. Always built as one set: cargo unifies features over it, so that no package is compiled again
/// with others.
const SHOWN: [&str; 4] = ["quoll-exporter", "quoll-scorer", "quoll-microsim", "quoll-e2e"];

/// One program with its arguments.
fn cargo(arguments: &[&str], rest: &[String]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).args(rest);
    command
}

/// Release binaries of [`SHOWN`].
fn build(rest: &[String]) -> Command {
    let mut command = cargo(&["build", "--release", "--locked"], rest);
    command.args(SHOWN.iter().flat_map(|package| ["-p", package]));
    command
}

/// A release binary in the target folder that this program lies in (`debug/xtask`).
fn beside(binary: &str, rest: &[String]) -> Option<Command> {
    let own = std::env::current_exe().ok()?;
    let mut command = Command::new(own.parent()?.parent()?.join("release").join(binary));
    command.args(rest);
    Some(command)
}

/// The commands, in order, that `name` stands for; `None` for an unknown name.
fn dispatch(name: &str, rest: &[String]) -> Option<Vec<Command>> {
    let tool = |package: &str, binary: &str, rest: &[String]| {
        cargo(&["run", "--quiet", "--release", "--locked", "-p", package, "--bin", binary, "--"], rest)
    };
    let commands = match name {
        "build" => vec![build(rest)],
        "lint" => vec![Command::new("scripts/lint")],
        "bench" => {
            let (bench, arguments) = rest.split_first().filter(|(bench, _)| BENCHES.contains(&bench.as_str()))?;
            vec![tool("quoll-bench", bench, arguments)]
        }
        "check-reference" => vec![tool("quoll-bench", "check-reference", rest)],
        "demo" | "campaign" => vec![build(&["--quiet".to_owned()]), beside(name, rest)?],
        _ => return None,
    };
    Some(commands)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(commands) = dispatch(name, rest) else {
        eprint!("unknown command '{}'\n\n{USAGE}", arguments.join(" "));
        return ExitCode::from(2);
    };
    for mut command in commands {
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => return ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
            Err(error) => {
                eprintln!("cannot run {command:?}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
