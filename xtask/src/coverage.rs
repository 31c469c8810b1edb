//! `cargo xtask coverage CRATE`: which lines of a crate its own tests run, by the compiler's counters. Invariants: only
//! the crate itself is compiled anew, with counters, and what it stands on is taken as it is; files of tests count neither
//! as covered nor as missing.

use crate::{cargo, llvm, out, sys};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode};

/// Files whose lines are not counted.
const IGNORED: &str = r"(/\.cargo/|/rustc/|/library/|tests\.rs$|/tests/)";

/// Lines of a file.
struct Lines {
    file: String,
    count: u64,
    covered: u64,
}

impl Lines {
    fn missing(&self) -> u64 {
        self.count - self.covered
    }

    fn percent(&self) -> f64 {
        if self.count == 0 { 100.0 } else { self.covered as f64 * 100.0 / self.count as f64 }
    }
}

/// Builds the tests of a crate with counters, runs them, and prints the share of lines by file.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut least = None;
    let mut name = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--least" {
            let percent: f64 = args.next().context("--least needs a number")?.parse().context("--least")?;
            least = Some(percent);
        } else {
            name = Some(arg.as_str());
        }
    }
    let Some(name) = name else {
        bail!("usage: cargo xtask coverage CRATE [--least PERCENT], such as knowledge")
    };
    let folder = format!("crates/{name}/");
    if !sys::root().join(&folder).is_dir() {
        bail!("there is no {folder}");
    }
    let [profdata, cov] = llvm::tools()?;
    let program = build(name)?;
    let counters = cargo::target_folder()?.join("coverage").join(name);
    // What an earlier build counted does not fit this one.
    drop(std::fs::remove_dir_all(&counters));
    std::fs::create_dir_all(&counters)?;
    let mut tests = sys::command(&program);
    tests.current_dir(sys::root().join(&folder)).arg("--quiet");
    tests.env("LLVM_PROFILE_FILE", counters.join("%p-%m.profraw"));
    if !tests.status().context("the tests cannot be started")?.success() {
        bail!("the tests failed: their coverage says nothing");
    }
    let merged = counters.join("all.profdata");
    sys::output(
        sys::command(profdata).args(["merge", "--sparse", "-o"]).arg(&merged).args(llvm::raw(&counters)?),
    )?;
    let mut export = sys::command(cov);
    export.args(["export", "--summary-only", "--ignore-filename-regex", IGNORED, "--instr-profile"]);
    let told: Value = serde_json::from_str(&sys::output(export.arg(&merged).arg(&program))?)?;
    let lines = lines(&told, &folder);
    Ok(report(name, lines, least))
}

fn report(name: &str, mut lines: Vec<Lines>, least: Option<f64>) -> ExitCode {
    lines.sort_by_key(|file| std::cmp::Reverse(file.missing()));
    let all = Lines {
        file: name.to_owned(),
        count: lines.iter().map(|file| file.count).sum(),
        covered: lines.iter().map(|file| file.covered).sum(),
    };
    for file in lines.iter().filter(|file| file.missing() > 0) {
        out::line(&format!(
            "{:6.1} %  {:5} of {:5} lines missing  {}",
            file.percent(),
            file.missing(),
            file.count,
            file.file
        ));
    }
    out::line(&format!("{name}: {:.2} % of {} lines", all.percent(), all.count));
    match least {
        Some(least) if all.percent() < least => {
            out::line(&format!("less than {least} %"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The lines of the files below that folder.
fn lines(told: &Value, folder: &str) -> Vec<Lines> {
    let files = told["data"][0]["files"].as_array().map_or(&[][..], Vec::as_slice);
    let number = |file: &Value, name: &str| file["summary"]["lines"][name].as_u64().unwrap_or_default();
    files
        .iter()
        .filter_map(|file| {
            let (_, inside) = file["filename"].as_str()?.split_once(folder)?;
            let (count, covered) = (number(file, "count"), number(file, "covered"));
            Some(Lines { file: inside.to_owned(), count, covered })
        })
        .collect()
}

/// The test program of the crate's library, compiled with counters.
fn build(name: &str) -> Result<PathBuf> {
    let mut command = sys::command("cargo");
    command.args(["rustc", "-p", &format!("portcullis-{name}"), "--lib", "--profile", "test"]);
    command.args(["--message-format", "json-render-diagnostics", "--", "-C", "instrument-coverage"]);
    let told = sys::output(&mut command)?;
    let programs = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    last.context("cargo named no test program")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_of_the_crate_are_counted_and_no_others() {
        let file = |name: &str, covered: u64| json!({ "filename": name, "summary": { "lines": { "count": 10, "covered": covered } } });
        let told = json!({ "data": [{ "files": [file("/x/crates/knowledge/src/a.rs", 9), file("/x/crates/store/src/a.rs", 1)] }] });
        let lines = lines(&told, "crates/knowledge/");
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].file.as_str(), lines[0].missing(), lines[0].percent()), ("src/a.rs", 1, 90.0));
    }
}
