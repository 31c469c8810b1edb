//! `cargo xtask bench`: builds what is measured with the release profile and starts the benchmarks.
//!
//! Invariant: nothing is measured here; `portcullis-bench` does that, and this only builds and passes arguments on.

use crate::{cargo, sys};
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode, Stdio};

/// Runs `gateway` or `admission` with the arguments that follow.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    match args.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("gateway", rest)) => gateway(rest),
        Some(("admission", rest)) => admission(rest),
        _ => bail!(
            "usage: cargo xtask bench gateway [--seconds N] [--rounds N] [--only small,large,stream,latency,memory] [--targets floor,nginx,portcullis] [--json]\n       cargo xtask bench admission"
        ),
    }
}

fn gateway(args: &[String]) -> Result<ExitCode> {
    // Without the product among the targets its build is not waited for.
    let targets = args.iter().position(|arg| arg == "--targets").and_then(|at| args.get(at + 1));
    let product = targets.is_none_or(|list| list.contains("portcullis"));
    let mut build = sys::command("cargo");
    build.args(["build", "--release", "-p", "portcullis-bench"]);
    if product {
        build.args(["-p", "portcullis"]);
    }
    finish(&mut build)?;
    let status = bench()?.arg("gateway").args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn admission(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    let mut criterion = sys::command("cargo")
        .args(["bench", "-p", "portcullis-resilience", "--bench", "admission"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo bench")?;
    let printed = criterion.stdout.take().context("cargo bench has no output")?;
    let stored = bench()?.arg("admission").args(args).stdin(printed).status()?;
    let measured = criterion.wait()?;
    Ok(if stored.success() && measured.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bench() -> Result<Command> {
    Ok(sys::command(cargo::target_folder()?.join("release/portcullis-bench")))
}

fn finish(command: &mut Command) -> Result<()> {
    if !command.status().context("cannot start cargo")?.success() {
        bail!("the release build failed");
    }
    Ok(())
}
