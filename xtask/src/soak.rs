//! `cargo xtask soak`: tests that take minutes and so are no part of the usual run, at their full size. Invariant: the
//! table is written only when all of them hold.

use crate::{out, sys};
use anyhow::{Context, Result, bail};
use std::process::{ExitCode, Stdio};

/// What can be soaked: a name, which tests that are, the head of their table, and the file of its page.
const SOAKS: &[(&str, &str, &str, &str)] = &[(
    "readers",
    "test(readers::soak)",
    "# Readers under kill -9\n\nWritten by `cargo xtask soak readers`: the real binary, killed at random moments while everybody asks for news; the \
     test asserts that nothing is lost, doubled or charged for nothing. A message that was on its way at a kill is sent once more.\n\n\
     | database | asked | kills | digests | status messages that stay |\n|---|---|---:|---|---:|\n",
    "readers.md",
)];

/// Runs one of them.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let wanted = args.first().map(String::as_str);
    let Some((_, filter, head, file)) = SOAKS.iter().find(|(name, ..)| Some(*name) == wanted) else {
        bail!("usage: cargo xtask soak readers");
    };
    let mut command = sys::command("cargo");
    command.args([
        "nextest",
        "run",
        "-p",
        "portcullis",
        "--run-ignored",
        "only",
        "--no-capture",
        "-E",
        filter,
    ]);
    let done = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let printed = String::from_utf8_lossy(&done.stdout);
    out::line(&printed);
    if !done.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let rows: String =
        printed.lines().filter(|line| line.starts_with("| ")).map(|line| format!("{line}\n")).collect();
    std::fs::write(sys::root().join("bench/results").join(file), format!("{head}{rows}"))?;
    Ok(ExitCode::SUCCESS)
}
