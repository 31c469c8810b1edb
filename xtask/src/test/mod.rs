//! `cargo xtask test`: everything that must hold before a change lands, on a fresh machine too. It installs what
//! the tests talk to, runs each step with its title and seconds, and closes with the counts alone on a line.
//!
//! Invariant: a step that could not run is said in one line and counted as skipped, never as passed.

mod components;
mod count;
mod steps;
mod tools;

use crate::{out, sys};
use anyhow::{Context, Result};
use count::Counts;
use std::path::PathBuf;
use std::process::ExitCode;

/// How one run is meant.
pub(crate) struct Plan {
    /// Logs of every server that a test starts go here, to be searched for secrets.
    logs: PathBuf,
    /// Whether a missing component fails a test instead of skipping it.
    require: bool,
    /// Programs got for this run, by name.
    tools: tools::Tools,
}

/// How a step ended.
pub(crate) enum End {
    /// A check: one more passed or failed.
    Check(bool),
    /// A test runner: its own counts.
    Tests(Counts),
    /// Not run, with the reason.
    Skipped(String),
}

type Step = fn(&Plan) -> Result<End>;

/// Title, whether `--fast` runs it, and the step. Cheap and telling ones come first.
const STEPS: &[(&str, bool, Step)] = &[
    ("format", true, steps::format),
    ("tidy", true, steps::tidy),
    ("clippy", true, steps::clippy),
    ("tests", true, steps::tests),
    ("generated documents", true, steps::codegen),
    ("documentation tests", false, steps::doc_tests),
    ("advisories", false, steps::advisories),
    ("secrets in the history", false, steps::history),
    ("secrets in the logs of this run", false, steps::leaks),
];

/// Runs the steps and says how many checks and tests passed, failed and were skipped.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let fast = args.iter().any(|arg| arg == "--fast");
    let watch = out::Stopwatch::start();
    let plan = prepare(fast)?;
    let mut total = Counts::default();
    let mut broken = Vec::new();
    for (title, in_fast, step) in STEPS {
        if fast && !in_fast {
            continue;
        }
        out::line(&format!("\n== {title}"));
        let took = out::Stopwatch::start();
        let end = step(&plan).unwrap_or_else(|error| {
            out::line(&format!("error: {error:#}"));
            End::Check(false)
        });
        let (counts, word) = judged(&end);
        total = total.plus(counts);
        if counts.failed > 0 {
            broken.push(*title);
        }
        out::line(&format!("== {title}: {word}, {:.1} s", took.elapsed().as_secs_f64()));
    }
    out::line(&format!("\ncargo xtask test: {:.0} s", watch.elapsed().as_secs_f64()));
    if broken.is_empty() {
        drop(std::fs::remove_dir_all(&plan.logs));
    } else {
        out::line(&format!("failed: {} (server logs are in {})", broken.join(", "), plan.logs.display()));
    }
    out::line(&total.line());
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judged(end: &End) -> (Counts, String) {
    match end {
        End::Check(true) => (Counts { passed: 1, ..Counts::default() }, "ok".to_owned()),
        End::Check(false) => (Counts { failed: 1, ..Counts::default() }, "FAILED".to_owned()),
        End::Tests(counts) if counts.failed == 0 => (*counts, format!("ok, {}", counts.line())),
        End::Tests(counts) => (*counts, format!("FAILED, {}", counts.line())),
        End::Skipped(why) => (Counts { skipped: 1, ..Counts::default() }, format!("skipped: {why}")),
    }
}

fn prepare(fast: bool) -> Result<Plan> {
    let logs = std::env::temp_dir().join(format!("portcullis-test-logs-{}", std::process::id()));
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    if fast {
        return Ok(Plan { logs, require: false, tools: tools::Tools::present() });
    }
    out::line("== what the tests need");
    let took = out::Stopwatch::start();
    let mut failed = components::install();
    let (tools, no_tools) = tools::install();
    failed.extend(no_tools);
    for what in &failed {
        out::line(&format!("not installed: {what}; what needs it is skipped"));
    }
    out::line(&format!("== what the tests need: {:.1} s", took.elapsed().as_secs_f64()));
    // A continuous-integration machine that lacks a component must not pass by skipping.
    let require = failed.is_empty() || sys::env("CI").is_some();
    Ok(Plan { logs, require, tools })
}
