//! `cargo xtask codegen`: documents that are written from the code, so that they cannot be wrong. The binary says
//! what it offers (`portcullis reference ...`, `portcullis openapi`); the marks in the tests say what is proved.

use crate::tidy::marks;
use crate::tree::Tree;
use crate::{out, sys};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// File and the arguments that make the binary print it.
const WRITTEN_BY_THE_BINARY: &[(&str, &[&str])] = &[
    ("docs/reference/configuration.md", &["reference", "config"]),
    ("docs/reference/providers.md", &["reference", "providers"]),
    ("docs/reference/metrics.md", &["reference", "metrics"]),
    ("docs/reference/cli.md", &["reference", "cli"]),
    ("portcullis.example.toml", &["reference", "example"]),
    ("deploy/portcullis.env.template", &["reference", "env"]),
    ("docs/reference/openapi.json", &["openapi"]),
    ("monitoring/alerts.yml", &["rules"]),
];

/// Writes every generated file, or with `--check` only says which differ.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let check = args.iter().any(|arg| arg == "--check");
    let stale = generate(check, None)?;
    Ok(if check && !stale.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the files that differed; an error when one could not be made. `binary` spares a build where one is at hand.
pub(crate) fn generate(check: bool, binary: Option<&Path>) -> Result<Vec<String>> {
    let root = sys::root();
    let mut stale = Vec::new();
    let wanted = contents(binary)?;
    let files = wanted.len();
    let mut failed = 0;
    for (path, text) in wanted {
        let full = root.join(&path);
        match text {
            Err(error) => {
                failed += 1;
                out::line(&format!("codegen: {path}: {error:#}"));
            }
            Ok(text) if std::fs::read_to_string(&full).is_ok_and(|present| present == text) => continue,
            Ok(_) if check => {
                out::line(&format!("codegen: {path} is out of date: run `cargo xtask codegen`"))
            }
            Ok(text) => {
                write(&full, &text)?;
                out::line(&format!("codegen: wrote {path}"));
            }
        }
        stale.push(path);
    }
    out::line(&format!("codegen: {} of {files} files differed", stale.len()));
    ensure!(failed == 0, "{failed} files could not be made");
    Ok(stale)
}

/// A file and its text, or why the binary did not print it.
type Wanted = (String, Result<String>);

fn contents(binary: Option<&Path>) -> Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = WRITTEN_BY_THE_BINARY
        .iter()
        .map(|(path, args)| {
            let printed = sys::output(portcullis(binary).args(*args))
                .with_context(|| format!("`portcullis {}` fails", args.join(" ")));
            ((*path).to_owned(), printed.map(|text| format!("{}\n", text.trim_end())))
        })
        .collect();
    if let Some(table) = marks::filled(&Tree::read()?) {
        all.push((marks::REQUIREMENTS.to_owned(), Ok(table)));
    }
    Ok(all)
}

fn portcullis(binary: Option<&Path>) -> Command {
    let mut command = match binary {
        Some(path) => sys::command(path),
        None => {
            let mut cargo = sys::command("cargo");
            cargo.args(["run", "--quiet", "--locked", "--package", "portcullis", "--"]);
            cargo
        }
    };
    // The reference shows defaults; nothing of the caller's own set-up may leak into it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(&name);
        }
    }
    command
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
