//! `cargo xtask`: what a developer runs. Each command is one row of [`COMMANDS`].
//!
//! Invariant: this crate stays light (anyhow and serde_json), because it is compiled before anything else.

mod bench;
mod cargo;
mod codegen;
mod coverage;
mod fuzz;
mod llvm;
mod out;
mod pack;
mod release;
mod soak;
mod sys;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

/// One command: its name, what it takes, what it does, and the function that does it.
struct Command {
    name: &'static str,
    takes: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<ExitCode>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        takes: "[--fast]",
        about: "install what tests need, then format, tidy, clippy, tests, documents, advisories, leaks",
        run: test::run,
    },
    Command {
        name: "tidy",
        takes: "",
        about: "check the walls between crates, marks, sizes, licences, dependencies and documents",
        run: tidy::run,
    },
    Command {
        name: "codegen",
        takes: "[--check]",
        about: "write the reference documents from the code, or say which are out of date",
        run: codegen::run,
    },
    Command {
        name: "bench",
        takes: "gateway|scaling|admission|guard|embed|news|outbox|crowd [...]",
        about: "measure the product beside nginx and a bare proxy, one admission decision, the detector, or the embedder",
        run: bench::run,
    },
    Command {
        name: "fuzz",
        takes: "[TARGET] [--minutes N] [--keep]",
        about: "run the fuzz targets of what reads strangers' texts, ten minutes each",
        run: fuzz::run,
    },
    Command {
        name: "coverage",
        takes: "CRATE [--least PERCENT]",
        about: "which lines of a crate its own tests run",
        run: coverage::run,
    },
    Command {
        name: "soak",
        takes: "readers",
        about: "run tests of the real binary that take minutes, at their full size, and write what they showed",
        run: soak::run,
    },
    Command {
        name: "train-guard",
        takes: "--data DIR [--check]",
        about: "train the detector and write its weights and report, or say whether they would differ",
        run: bench::train_guard,
    },
    Command {
        name: "release",
        takes: "[--learn]",
        about: "build the program after a profile of what serving runs; --learn takes the profile and the order of functions anew (needs valgrind and llvm-profdata)",
        run: release::run,
    },
    Command {
        name: "pack-model",
        takes: "",
        about: "make the builtin embedding model's file from its published weights, and say whether it differs",
        run: pack::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first().filter(|a| !matches!(a.as_str(), "help" | "--help" | "-h")) else {
        help();
        return ExitCode::SUCCESS;
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        out::line(&format!("unknown command `{name}`\n"));
        help();
        return ExitCode::from(2);
    };
    if args.iter().any(|a| matches!(a.as_str(), "--help" | "-h")) {
        out::line(&format!("cargo xtask {} {}\n  {}", command.name, command.takes, command.about));
        return ExitCode::SUCCESS;
    }
    match (command.run)(args.get(1..).unwrap_or_default()) {
        Ok(code) => code,
        Err(error) => {
            out::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn help() {
    out::line("cargo xtask <command>\n");
    for command in COMMANDS {
        out::line(&format!("  {:<34} {}", format!("{} {}", command.name, command.takes), command.about));
    }
}
