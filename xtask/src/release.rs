//! `cargo xtask release`: the program as it is given to people, built after a profile of what serving runs
//! (`crates/portcullis/serving.profdata`), so that what runs is compiled for speed and lies densely. With `--learn` the profile
//! and the order of functions (`layout.txt`) are learnt anew first: the program counts its own branches while it is sent
//! what a gateway is sent (`portcullis-bench exercise`).
//!
//! Invariant: a profile says what is worth optimising and nothing else, so a build without it, or with one of other code,
//! does the same; what the exercise does not run is not in it and is compiled as always.
//!
//! Source: profile-guided optimisation, <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>.

use crate::{bench, cargo, llvm, out, sys};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What serving runs; written by `--learn`.
const PROFILE: &str = "crates/portcullis/serving.profdata";
/// The order of functions; written by `--learn`.
const LAYOUT: &str = "crates/portcullis/layout.txt";
/// The compiler's LLVM that wrote the profile: an older one cannot read it.
const PROFILE_LLVM: u32 = 22;
/// Blocks that the profile never saw stand away from those that it did.
const APART: &str = "-Cllvm-args=-enable-split-machine-functions";
/// Code that changed since is compiled as without a profile; that is no fault to be told of.
const NO_WARNINGS: &str = "-Cllvm-args=-no-pgo-warn-mismatch";

/// Builds the program, or learns first.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["--learn"] => learn()?,
        _ => bail!("usage: cargo xtask release [--learn]"),
    }
    let program = build()?;
    let list = fs::read_to_string(sys::root().join(LAYOUT)).unwrap_or_default();
    let (known, all) = known(&list, &fs::read(&program)?);
    if known * 100 < all * LEAST_KNOWN {
        out::line(&format!(
            "only {known} of the {all} functions that were learnt have their names in this program, because its dependencies \
             are others: it is sound, and slower and larger than it could be; `cargo xtask release --learn` learns anew"
        ));
    }
    out::line(&format!("the program is {}", program.display()));
    Ok(ExitCode::SUCCESS)
}

/// Fewer of a hundred names than this in the program: the profile fits little of it, as names hold a sum of all that a
/// package depends on. Ordinary changes of code leave nine in ten.
const LEAST_KNOWN: usize = 75;

/// How many functions of a list are in a program under these names, and how many are in the list.
fn known(list: &str, program: &[u8]) -> (usize, usize) {
    let names: HashSet<&[u8]> =
        program.split(|byte| *byte == 0).filter(|name| name.starts_with(b"_")).collect();
    let known = list.lines().filter(|name| names.contains(name.as_bytes())).count();
    (known, list.lines().count())
}

/// The program, built after the profile where this compiler can read it. A profile is a source like others to cargo: what
/// was built after an older one is built again.
pub(crate) fn build() -> Result<PathBuf> {
    let profile = sys::root().join(PROFILE);
    let version = llvm::version()?;
    if version.major < PROFILE_LLVM || !profile.is_file() {
        out::line(&format!(
            "built without a profile: the compiler's LLVM is {}, the profile is of {PROFILE_LLVM}",
            version.major
        ));
        return compile(&folder("release")?, &[]);
    }
    let profile = format!("-Cprofile-use={}", profile.display());
    compile(&folder("release")?, &[&profile, APART, NO_WARNINGS])
}

/// Profile first: the order is that of the functions that are left when it has been used.
fn learn() -> Result<()> {
    let [profdata, _] = llvm::tools()?;
    let counters = folder("counters")?;
    let counting = format!("-Cprofile-generate={}", counters.display());
    let program = compile(&folder("counting")?, &[&counting])?;
    // What an earlier build counted does not fit this one, and what its build scripts counted is nobody's.
    drop(fs::remove_dir_all(&counters));
    fs::create_dir_all(&counters)?;
    let mut exercise = bench::program()?;
    exercise.arg("exercise").arg("--portcullis").arg(&program);
    exercise.env("LLVM_PROFILE_FILE", counters.join("%p-%m.profraw"));
    ensure!(exercise.status()?.success(), "the exercise failed; nothing was written");
    let mut merge = sys::command(profdata);
    // Sparse: without functions that never ran, which would be compiled for size instead of speed.
    merge.args(["merge", "--sparse", "-o"]).arg(sys::root().join(PROFILE)).args(llvm::raw(&counters)?);
    sys::output(&mut merge)?;
    out::line(&format!("written to {PROFILE}"));
    let mut layout = bench::program()?;
    layout.arg("layout").arg(sys::root().join(LAYOUT)).arg("--portcullis").arg(build()?);
    ensure!(layout.status()?.success(), "the order of functions could not be learnt");
    Ok(())
}

fn folder(name: &str) -> Result<PathBuf> {
    Ok(cargo::target_folder()?.join("tuned").join(name))
}

/// The program alone: beside other packages its dependencies would have other features, and its functions other names.
fn compile(folder: &Path, flags: &[&str]) -> Result<PathBuf> {
    let mut command = sys::command("cargo");
    command.args(["build", "--release", "--locked", "-p", "portcullis", "--target-dir"]).arg(folder);
    // Whoever builds may have flags too. In this form a flag may hold blanks, as a folder's name may.
    let theirs = sys::env("RUSTFLAGS").unwrap_or_default();
    let all: Vec<&str> = theirs.split_whitespace().chain(flags.iter().copied()).collect();
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"));
    ensure!(command.status().context("cannot start cargo")?.success(), "the release build failed");
    Ok(folder.join("release/portcullis"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_whole_among_those_of_the_program() {
        let program = b"\x7fELF\0_ZN1a17h01E\0other\0_ZN1b17h02E\0_ZN1c17h03Emore\0";
        assert_eq!(known("_ZN1a17h01E\n_ZN1b17h09E\n_ZN1c17h03E\n_ZN1b17h02E\n", program), (2, 4));
        assert_eq!(known("", program), (0, 0));
    }
}
