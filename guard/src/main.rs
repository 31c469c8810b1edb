//! Trains and measures the detector of `portcullis-inspect`. `cargo xtask train-guard` and `cargo xtask bench guard`
//! build and start this program. Invariant: the same data and the same code give the same file, byte for byte.
#![expect(clippy::print_stdout, reason = "a command line of the workspace; its tables go to standard output")]

mod bench;
mod calibrate;
mod folds;
mod grammar;
mod learn;
mod report;
mod rows;

use anyhow::{Context as _, Result, bail};
use folds::Parting;
use learn::{Example, Recipe};
use portcullis_inspect::model::learnt;
use rows::Row;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
portcullis-guard train --data DIR [--root DIR] [--check] [--no-report] [--try NAME=VALUE]...
  --data DIR    the folder with dev-attack.jsonl.gz, dev-benign.jsonl.gz, dev-extra_benign_train.jsonl.gz
  --root DIR    the repository; default: here
  --check       write nothing; exit 1 when the file in the repository differs
  --no-report   only the weights
  --try         one value of the recipe, for experiments; writes nothing
  --show        print what was judged wrongly
  --dump FILE   the score of every measured text, one JSON line each, for experiments
portcullis-guard bench [--data DIR] [--root DIR]
  measures what inspection costs, and what it finds in encoded and in long texts";

/// The weights, from the root of the repository.
const WEIGHTS: &str = "crates/inspect/model/guard.bin";

struct Options {
    data: PathBuf,
    root: PathBuf,
    check: bool,
    report: bool,
    tried: bool,
    show: bool,
    dump: Option<PathBuf>,
    recipe: Recipe,
}

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("train", rest)) => {
            let options = options(rest)?;
            if options.data.as_os_str().is_empty() {
                bail!("--data is missing\n{HELP}");
            }
            train(&options)
        }
        Some(("bench", rest)) => {
            let options = options(rest)?;
            bench::run(
                &options.root,
                Some(options.data.as_path()).filter(|data| !data.as_os_str().is_empty()),
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Some(("--help" | "help", _)) => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage:\n{HELP}"),
    }
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options {
        data: PathBuf::new(),
        root: PathBuf::from("."),
        check: false,
        report: true,
        tried: false,
        show: false,
        dump: None,
        recipe: Recipe::default(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--data" => options.data = value()?.into(),
            "--root" => options.root = value()?.into(),
            "--check" => options.check = true,
            "--no-report" => options.report = false,
            "--show" => options.show = true,
            "--dump" => options.dump = Some(value()?.into()),
            "--try" => {
                let (name, number) = value()?.split_once('=').context("write it as NAME=VALUE")?;
                if !options.recipe.set(name, number.parse()?) {
                    bail!("the recipe has no `{name}`");
                }
                options.tried = true;
            }
            _ => bail!("unknown argument `{arg}`\n{HELP}"),
        }
    }
    Ok(options)
}

fn train(options: &Options) -> Result<ExitCode> {
    let rows = rows::read(&options.data, &options.root)?;
    let examples = examples(&rows);
    let language = learn::language(&rows);
    let recipe = &options.recipe;
    println!("{} rows, {} to learn from", rows.len(), examples.len());
    let known = folds::measure(&rows, &examples, &language, recipe, Parting::Cluster)?;
    let scale = calibrate::calibrate(&rows, &known);
    let all: Vec<&Example> = examples.iter().collect();
    let file = learn::learn(&rows, &all, recipe).file(recipe, &language, &scale);
    if options.report || options.tried {
        let unknown = folds::measure(&rows, &examples, &language, recipe, Parting::Source)?;
        let parts = [("known sources", &known), ("unknown sources", &unknown)];
        let mut scored = Vec::new();
        for (name, measured) in parts {
            scored.push((name, folds::scores(&rows, measured, &language, recipe, &scale)?));
        }
        if let Some(path) = &options.dump {
            write(path, report::dump(&rows, &scored).as_bytes())?;
        }
        let written = report::written(&file, options.show)?;
        println!("written honest sentences: {}, held back: {}", written[0].shares(), written[1].shares());
        let report = report::write(&rows, &scored, &file, written);
        if options.tried || options.check {
            println!("{}", report::brief(&rows, &scored));
            if options.show {
                report::show(&rows, &scored);
            }
        } else {
            report::store(&options.root, report::TRAINING, &report)?;
            println!("{}", report::brief(&rows, &scored));
        }
    }
    conclude(options, &file)
}

fn conclude(options: &Options, file: &[u8]) -> Result<ExitCode> {
    if options.tried {
        return Ok(ExitCode::SUCCESS);
    }
    let path = options.root.join(WEIGHTS);
    let same = std::fs::read(&path).is_ok_and(|present| present == file);
    if same {
        println!("{WEIGHTS} is what training gives");
    } else if options.check {
        println!("{WEIGHTS} differs from what training gives: run `cargo xtask train-guard --data DIR`");
        return Ok(ExitCode::FAILURE);
    } else {
        write(&path, file)?;
        println!("wrote {WEIGHTS}");
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What is learnt from: permitted rows that are no transform of another.
fn examples(rows: &[Row]) -> Vec<Example> {
    let learnt_from = rows.iter().enumerate().filter(|(_, row)| row.permitted && !row.transformed());
    let example = |(index, row): (usize, &Row)| Example {
        features: learnt(&portcullis_inspect::copy(&row.text)),
        row: index,
    };
    learnt_from.map(example).filter(|example| !example.features.is_empty()).collect()
}
