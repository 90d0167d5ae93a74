//! Runs wasm-bindgen over the compiled panel: reads the `.wasm` that rustc wrote and writes the
//! module and its typed JavaScript glue for the browser into `--out`.
//!
//! The library does what the `wasm-bindgen` command does; pinning it in the lock file keeps it at
//! exactly the version of the `wasm-bindgen` crate inside the module, which it insists on.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

const USAGE: &str = "usage: quoll-panel-glue INPUT.wasm --out FOLDER";

fn main() -> Result<()> {
    let mut input: Option<PathBuf> = None;
    let mut out: Option<PathBuf> = None;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            println!("{USAGE}");
            return Ok(());
        } else if argument == "--out" {
            out = Some(arguments.next().context("--out needs a folder")?.into());
        } else if input.is_none() {
            input = Some(argument.into());
        } else {
            bail!("unexpected argument {}\n{USAGE}", argument.display());
        }
    }
    let input = input.context(USAGE)?;
    let out = out.context(USAGE)?;
    // The caller always says where the module lies, so the glue needs no default (which would use
    // `import.meta`, unknown to the AMD modules Grafana loads).
    Bindgen::new()
        .input_path(&input)
        .web(true)?
        .omit_default_module_path(true)
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&out)
        .with_context(|| format!("wasm-bindgen over {} into {}", input.display(), out.display()))
}
