//! The tools that read what a program counted of itself. Invariant: they are of the compiler's own LLVM, because another
//! version does not read its counters: rustup's component `llvm-tools`, or the distribution's package of that version.

use crate::sys;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The compiler's LLVM, and the machine it compiles for.
pub(crate) struct Version {
    pub(crate) major: u32,
    host: String,
}

/// What `rustc` says of itself.
pub(crate) fn version() -> Result<Version> {
    let told = sys::output(sys::command("rustc").arg("-vV"))?;
    let word = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let version = word("LLVM version:").context("rustc names no LLVM")?;
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    let host = word("host:").context("rustc names no host")?.to_owned();
    Ok(Version { major: major.context("rustc names no LLVM")?, host })
}

/// `llvm-profdata` and `llvm-cov`. Those of rustup lie beside the compiler, those of a distribution have the version in
/// their names.
pub(crate) fn tools() -> Result<[PathBuf; 2]> {
    let Version { major, host } = version()?;
    let home = sys::output(sys::command("rustc").args(["--print", "sysroot"]))?;
    let beside = Path::new(home.trim()).join("lib/rustlib").join(host).join("bin");
    let found = ["llvm-profdata", "llvm-cov"].map(|tool| {
        let own = beside.join(tool);
        if own.is_file() { Some(own) } else { sys::which(&format!("{tool}-{major}")) }
    });
    match found {
        [Some(profdata), Some(cov)] => Ok([profdata, cov]),
        _ => bail!(
            "nobody here reads the counters of LLVM {major}: `rustup component add llvm-tools`, or `apt-get install llvm-{major}`"
        ),
    }
}

/// What programs counted, in files of that folder.
pub(crate) fn raw(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let all: Result<Vec<PathBuf>> = entries.collect();
    Ok(all?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "profraw")).collect())
}
