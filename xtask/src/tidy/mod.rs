//! `cargo xtask tidy`: the rules that the compiler cannot hold. One check is one function from the tree to what
//! it found, and one row of [`CHECKS`]; each is tested on small made-up inputs beside it.

mod arrows;
mod dependencies;
mod documents;
mod licences;
pub(crate) mod marks;
mod secrets;
mod sources;
mod walls;

use crate::cargo::{self, Package, Resolved};
use crate::out;
use crate::tree::Tree;
use anyhow::Result;
use std::process::ExitCode;

/// What a check complains about. Warnings are shown and do not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// File, from the root; empty for the workspace as a whole.
    pub(crate) path: String,
    /// Line from 1; 0 for the whole file.
    pub(crate) line: usize,
    pub(crate) message: String,
    pub(crate) fatal: bool,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into(), fatal: true }
    }

    pub(crate) fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::new(path, line, message) }
    }

    fn shown(&self) -> String {
        let level = if self.fatal { "error" } else { "warning" };
        match (self.path.as_str(), self.line) {
            ("", _) => format!("  {level}: {}", self.message),
            (path, 0) => format!("  {level}: {path}: {}", self.message),
            (path, line) => format!("  {level}: {path}:{line}: {}", self.message),
        }
    }
}

/// What the checks look at, read once.
pub(crate) struct Ground {
    pub(crate) tree: Tree,
    pub(crate) packages: Vec<Package>,
    pub(crate) resolved: Vec<Resolved>,
}

type Check = fn(&Ground) -> Vec<Finding>;

const CHECKS: &[(&str, Check)] = &[
    ("arrows between crates", arrows::check),
    ("walls inside the code", walls::check),
    ("file headers", sources::headers),
    ("file sizes", sources::sizes),
    ("unfinished work", sources::unfinished),
    ("machine paths and registries", sources::places),
    ("secrets", secrets::check),
    ("requirement marks", marks::check),
    ("unused dependencies", dependencies::unused),
    ("licences and banned crates", licences::check),
    ("links and named files", documents::names),
    ("named proofs", documents::proofs),
    ("newcomer's questions", documents::questions),
];

/// Runs every check and says what each found.
pub(crate) fn run(_args: &[String]) -> Result<ExitCode> {
    let ground = Ground { tree: Tree::read()?, packages: cargo::workspace()?, resolved: cargo::resolved()? };
    let mut fatal = 0;
    for (name, check) in CHECKS {
        let found = check(&ground);
        let errors = found.iter().filter(|f| f.fatal).count();
        fatal += errors;
        let word = if errors == 0 { "ok" } else { "FAILED" };
        out::line(&format!("tidy: {name:<30} {word}"));
        for finding in &found {
            out::line(&finding.shown());
        }
    }
    out::line(&format!("tidy: {} files, {} checks, {fatal} errors", ground.tree.files.len(), CHECKS.len()));
    Ok(if fatal == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
