//! `cargo xtask fuzz`: runs the targets of `fuzz/` one after the other, each for so many minutes, from the committed
//! corpus and what earlier runs found on this machine.
//!
//! Invariant: the committed corpus changes only with `--keep`, which adds the few small inputs that reach something new.
//! A finding ends the run; its input lies in `fuzz/artifacts` and becomes a test of the crate it was found in.

use crate::{cargo, out, sys};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::{Command, ExitCode},
};

const TARGETS: [&str; 4] = ["normalise", "decode", "detector", "redactor"];
const USAGE: &str = "usage: cargo xtask fuzz [normalise|decode|detector|redactor] [--minutes N] [--keep]";
const DEFAULT_MINUTES: u64 = 10;
/// Longest input, in bytes: long ones are slow and say little more.
const LONGEST: &str = "-max_len=4096";
/// Longest input that is kept in the repository.
const LONGEST_KEPT: &str = "-max_len=192";
/// Seconds after which one input counts as a hang.
const HANG: &str = "-timeout=10";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    targets: Vec<&'static str>,
    minutes: u64,
    keep: bool,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let wanted = parse(args)?;
    if sys::which("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: `cargo install cargo-fuzz`, which needs no more than a C++ compiler");
    }
    let found = cargo::target_folder()?.join("fuzz");
    for target in wanted.targets {
        let seen = found.join("corpus").join(target);
        std::fs::create_dir_all(&seen).with_context(|| format!("cannot make {}", seen.display()))?;
        let kept = sys::root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        out::line(&format!("{target}: {} minutes", wanted.minutes));
        let seconds = format!("-max_total_time={}", wanted.minutes * 60);
        let more = [seconds.as_str(), LONGEST, HANG, "-print_final_stats=1", "-verbosity=0"];
        if !fuzzer(&found, target, &[&seen, &kept], &more).status()?.success() {
            out::line(&format!("{target}: a finding; its input lies in fuzz/artifacts/{target}"));
            return Ok(ExitCode::FAILURE);
        }
        if wanted.keep
            && !fuzzer(&found, target, &[&kept, &seen], &["-merge=1", LONGEST_KEPT]).status()?.success()
        {
            bail!("the corpus of {target} could not be reduced");
        }
    }
    out::line("no finding");
    Ok(ExitCode::SUCCESS)
}

fn fuzzer(found: &Path, target: &str, folders: &[&Path], more: &[&str]) -> Command {
    let mut command = sys::command("cargo");
    // The stable toolchain instruments too, when it is told to; what sanitizers look for, `unsafe_code = "forbid"` rules out.
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", found.join("target"));
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", "none", target]);
    command.args(folders).arg("--").args(more);
    command
}

fn parse(args: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted { targets: TARGETS.to_vec(), minutes: DEFAULT_MINUTES, keep: false };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--minutes" => {
                let number = rest.next().and_then(|text| text.parse().ok()).filter(|minutes| *minutes > 0);
                wanted.minutes = number.context(USAGE)?;
            }
            "--keep" => wanted.keep = true,
            name => {
                let known = TARGETS.into_iter().find(|target| *target == name);
                wanted.targets = vec![known.context(USAGE)?];
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_or_all_are_run_for_ten_minutes_or_as_long_as_is_said() {
        let read = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("").unwrap(), Wanted { targets: TARGETS.to_vec(), minutes: 10, keep: false });
        let one = Wanted { targets: vec!["decode"], minutes: 3, keep: true };
        assert_eq!(read("decode --minutes 3 --keep").unwrap(), one);
        for wrong in ["encode", "--minutes", "--minutes 0", "--minutes soon"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_target_has_its_file() {
        let manifest = std::fs::read_to_string(sys::root().join("fuzz/Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
