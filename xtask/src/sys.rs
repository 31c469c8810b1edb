//! The machine as xtask sees it: environment, folders, programs on the path, child processes.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An environment variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "a developer's command has no settings file to read instead")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The workspace root: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where downloads and virtual environments are kept between runs.
pub(crate) fn cache() -> PathBuf {
    let base = env("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("portcullis")
}

/// The first place a program is found: `PATH`, then the system folders that are not on everyone's path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// A child of this process, without the variables that the outer `cargo run` set: they would make build scripts
/// of the inner cargo run again.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "LD_LIBRARY_PATH"
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end and gives standard output; a failure carries the last of standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().with_context(|| format!("cannot start {name}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        bail!(
            "{name} ended with {}: {}",
            done.status,
            last.into_iter().rev().collect::<Vec<_>>().join(" | ")
        );
    }
    String::from_utf8(done.stdout).with_context(|| format!("{name} printed something that is not UTF-8"))
}
