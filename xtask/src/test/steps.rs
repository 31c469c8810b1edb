//! The steps of `cargo xtask test`, one function each.

use super::count::Counts;
use super::{End, Plan};
use crate::{cargo, codegen as generated, out, sys, tidy as rules};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

pub(crate) fn format(_: &Plan) -> Result<End> {
    shown(sys::command("cargo").args(["fmt", "--all", "--check"]))
}

pub(crate) fn tidy(_: &Plan) -> Result<End> {
    Ok(End::Check(rules::run(&[])? == ExitCode::SUCCESS))
}

pub(crate) fn clippy(_: &Plan) -> Result<End> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    shown(sys::command("cargo").args(args))
}

pub(crate) fn tests(plan: &Plan) -> Result<End> {
    let mut command = match plan.tools.get("cargo-nextest") {
        Some(program) => {
            let mut nextest = sys::command(program);
            let args = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--color", "never"];
            // Passed tests are counted, not listed: what matters is read from the end of the output.
            nextest.args(args).args(["--status-level", "slow", "--final-status-level", "slow"]);
            nextest
        }
        None => {
            out::line("cargo-nextest is not here: cargo test instead, slower");
            let mut cargo = sys::command("cargo");
            cargo.args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]);
            cargo
        }
    };
    command.env("PORTCULLIS_TEST_LOGS", &plan.logs);
    if plan.require {
        command.env("PORTCULLIS_REQUIRE_COMPONENTS", "1");
    }
    if plan.fast {
        command.env("PORTCULLIS_FAST", "1");
    }
    counted(&mut command)
}

pub(crate) fn codegen(_: &Plan) -> Result<End> {
    // The test run has built the binary with the features of the whole workspace; building it alone would
    // compile half of the dependencies again.
    let binary = cargo::target_folder()?.join("debug").join("portcullis");
    let binary = binary.is_file().then_some(binary);
    Ok(End::Check(generated::generate(true, binary.as_deref())?.is_empty()))
}

pub(crate) fn doc_tests(_: &Plan) -> Result<End> {
    counted(sys::command("cargo").args(["test", "--workspace", "--locked", "--doc", "--quiet"]))
}

/// The lock file against the RustSec database: a folder named by `PORTCULLIS_ADVISORY_DB`, or the one that
/// cargo-audit keeps, fetched anew where the network allows.
pub(crate) fn advisories(plan: &Plan) -> Result<End> {
    let Some(program) = plan.tools.get("cargo-audit") else {
        return Ok(End::Skipped("cargo-audit is not here".to_owned()));
    };
    let given = sys::env("PORTCULLIS_ADVISORY_DB").map(PathBuf::from).filter(|folder| folder.is_dir());
    let kept = sys::env("HOME").map(|home| PathBuf::from(home).join(".cargo/advisory-db"));
    let mut command = sys::command(program);
    command.arg("audit").arg("--quiet");
    match given {
        Some(folder) => {
            command.arg("--db").arg(folder).args(["--no-fetch", "--stale"]);
        }
        None if kept.is_some_and(|folder| folder.is_dir()) => {
            command.args(["--no-fetch", "--stale"]);
        }
        None => {
            let fetched = sys::output(sys::command(program).args(["audit", "--quiet"]));
            let Err(error) = fetched else { return Ok(End::Check(true)) };
            let said = format!("{error:#}");
            if said.contains("couldn't fetch") || said.contains("fetch advisory database") {
                return Ok(End::Skipped("no advisory database here and none could be fetched".to_owned()));
            }
            out::line(&said);
            return Ok(End::Check(false));
        }
    }
    shown(&mut command)
}

/// No log that a test's server wrote may hold a secret.
pub(crate) fn leaks(plan: &Plan) -> Result<End> {
    let Some(program) = plan.tools.get("gitleaks") else {
        return Ok(End::Skipped("gitleaks is not here".to_owned()));
    };
    let files = std::fs::read_dir(&plan.logs).into_iter().flatten().count();
    out::line(&format!("{files} entries in the log folder of this run"));
    let mut command = sys::command(program);
    command.args(["dir", "--no-banner", "--log-level", "warn", "--redact=80", "--verbose"]).arg(&plan.logs);
    shown(&mut command)
}

/// Nor may any commit: what was ever pushed is known.
pub(crate) fn history(plan: &Plan) -> Result<End> {
    let Some(program) = plan.tools.get("gitleaks") else {
        return Ok(End::Skipped("gitleaks is not here".to_owned()));
    };
    shown(sys::command(program).args([
        "git",
        "--no-banner",
        "--log-level",
        "warn",
        "--redact=80",
        "--verbose",
        ".",
    ]))
}

/// Runs with the terminal of this process.
fn shown(command: &mut Command) -> Result<End> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    Ok(End::Check(status.success()))
}

/// Runs a test runner, passes its output on and reads the counts from it. A runner that fails without a failed
/// test (it did not compile) counts as one failure.
fn counted(command: &mut Command) -> Result<End> {
    let name = command.get_program().to_string_lossy().into_owned();
    // One pipe for both: the runners write their closing line to one or the other.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone().context("cannot share a pipe")?).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // The command keeps its end of the pipe open; without letting go of it the reader never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Counts::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what {name} says"))?;
        let line = String::from_utf8_lossy(&line);
        counts.read(&line);
        out::line(line.trim_end());
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(End::Tests(counts))
}
