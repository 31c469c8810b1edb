//! The steps of `cargo xtask test`, one function each.

use super::count::Counts;
use super::{End, Plan};
use crate::{cargo, codegen as generated, out, sys, tidy as rules};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
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
    Ok(End::Tests(without_skipped(counted(&mut command)?, &plan.logs)))
}

/// A test that skips itself for want of a component passes as far as its runner knows; it leaves a line in
/// `skipped.txt`. Here it is told apart.
fn without_skipped(mut counts: Counts, logs: &Path) -> Counts {
    let said = std::fs::read_to_string(logs.join("skipped.txt")).unwrap_or_default();
    let skipped = u64::try_from(said.lines().count()).unwrap_or(0).min(counts.passed);
    said.lines().for_each(out::line);
    counts.passed -= skipped;
    counts.skipped += skipped;
    counts
}

pub(crate) fn codegen(_: &Plan) -> Result<End> {
    // The test run has built the binary with the features of the whole workspace; building it alone would
    // compile half of the dependencies again.
    let binary = cargo::target_folder()?.join("debug").join("portcullis");
    let binary = binary.is_file().then_some(binary);
    Ok(End::Check(generated::generate(true, binary.as_deref())?.is_empty()))
}

pub(crate) fn doc_tests(_: &Plan) -> Result<End> {
    let args = ["test", "--workspace", "--locked", "--doc", "--quiet"];
    Ok(End::Tests(counted(sys::command("cargo").args(args))?))
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
    // Not the allowances of the history: those are for made-up credentials in sources.
    command.args(["dir", "--config", ".config/gitleaks-logs.toml", "--no-banner", "--log-level", "warn"]);
    command.args(["--redact=80", "--verbose"]).arg(&plan.logs);
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
fn counted(command: &mut Command) -> Result<Counts> {
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
        if !empty_group(&line) {
            out::line(line.trim_end());
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// What cargo test says of each of the many groups that have no test.
fn empty_group(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line == "running 0 tests" || line.starts_with("test result: ok. 0 passed; 0 failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_skipped_itself_is_not_counted_as_passed() {
        let folder = std::env::temp_dir().join(format!("xtask-skipped-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("skipped.txt"), "skipped: redis is missing\n").unwrap();
        let counts = without_skipped(Counts { passed: 3, failed: 0, skipped: 0 }, &folder);
        assert_eq!(counts, Counts { passed: 2, failed: 0, skipped: 1 });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(without_skipped(counts, &folder), counts);
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_counts_as_one_failure() {
        let counts = counted(Command::new("sh").args(["-c", "echo broken; exit 1"])).unwrap();
        assert_eq!(counts, Counts { passed: 0, failed: 1, skipped: 0 });
        let line = "test result: ok. 2 passed; 0 failed; 0 ignored";
        let counts = counted(Command::new("sh").args(["-c", &format!("echo '{line}' >&2")])).unwrap();
        assert_eq!(counts, Counts { passed: 2, failed: 0, skipped: 0 });
    }
}
