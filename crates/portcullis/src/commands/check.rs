//! `portcullis check`: everything that is wrong, at once.

use super::{Ended, block_on};
use crate::output::{BAD, BOLD, DIM, GOOD, Trouble, WARN, line};
use portcullis_runtime::{
    check,
    settings::{Severity, Sources},
};
use std::process::ExitCode;

pub(super) fn run(sources: &Sources, json: bool) -> Ended {
    let report = block_on(async { check(sources).await.map_err(|error| unreadable(&error)) })?;
    let (errors, warnings) = report.counts();
    let code = if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) };
    if json {
        line(report.to_json());
        return Ok(code);
    }
    for problem in &report.problems {
        let style = match problem.severity {
            Severity::Error => BAD,
            Severity::Warning => WARN,
        };
        let word = problem.severity.as_str();
        let key =
            if problem.key.is_empty() { String::new() } else { format!("{BOLD}{}{BOLD:#}: ", problem.key) };
        line(format_args!("{style}{word}{style:#} {}: {key}{}", report.place(problem), problem.message));
        if !problem.mend.is_empty() {
            line(format_args!("  {DIM}mend:{DIM:#} {}", problem.mend));
        }
    }
    let read = report.file.as_ref().map_or_else(
        || "no settings file; defaults, environment and flags".to_owned(),
        |file| file.display().to_string(),
    );
    let style = if errors == 0 { GOOD } else { BAD };
    let verdict = if errors == 0 { "ready to serve" } else { "serve would refuse to start" };
    line(format_args!(
        "{style}{verdict}{style:#}: {} and {} ({read})",
        count(errors, "error"),
        count(warnings, "warning")
    ));
    Ok(code)
}

fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

fn unreadable(error: &dyn std::error::Error) -> Trouble {
    Trouble::usage(error.to_string())
        .safe("nothing was started or changed")
        .mend("name a readable file with --config, or none to use the defaults")
}
