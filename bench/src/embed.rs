//! Tokens a second of the builtin embedder on one thread, beside the same model on ONNX Runtime in the same run.
//! Invariant: both read the same texts, tokenise them themselves, and take turns, so that a machine that slows down
//! slows both; the better of the rounds counts.

use crate::{machine, report};
use anyhow::{Context, Result, bail, ensure};
use portcullis_providers::minilm::MiniLm;
use serde::Deserialize;
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::time::Instant;

const PEER: &str = include_str!("embed_peer.py");
const VOCABULARY: &str = "crates/providers/models/minilm-l6-v2-int8/vocab.txt";
const GOLDEN: &str = "crates/providers/models/minilm-l6-v2-int8/golden.json";
/// Texts of a set that are read.
const TEXTS: usize = 300;
const ROUNDS: usize = 3;
/// The ratio of the README beside the retrieval sets: 4,058 tokens a second to 3,247.
const ASKED: f64 = 1.25;

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Peer {
    tokens: u64,
    seconds: f64,
    version: String,
}

/// What follows the command's name.
#[derive(Default)]
struct Wanted {
    data: Option<PathBuf>,
    /// With the peer's packages; without it only we are measured.
    python: Option<PathBuf>,
}

fn wanted(args: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--data" => wanted.data = Some(value.into()),
            "--python" => wanted.python = Some(value.into()),
            unknown => bail!("unknown option {unknown}"),
        }
    }
    Ok(wanted)
}

/// Measures documents and questions of a retrieval set (`--data`), or the texts of the golden test, and writes `embed.md`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = wanted(args)?;
    let results = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
    let sets = match &options.data {
        Some(folder) => vec![
            ("documents", lines(&folder.join("corpus.jsonl"))?),
            ("questions", lines(&folder.join("queries.jsonl"))?),
        ],
        None => {
            let golden: Vec<Text> = serde_json::from_str(&fs::read_to_string(GOLDEN)?)?;
            vec![("golden texts", golden.into_iter().map(|line| line.text).collect())]
        }
    };
    let model = MiniLm::default();
    let mut page = format!(
        "# Embedding\n\nWritten by `portcullis-bench embed`: tokens a second of the built-in model on one thread, beside the \
         same model on ONNX Runtime; best of {ROUNDS} rounds in turns.\n\n* {}; {}\n\n\
         | texts | portcullis | ONNX Runtime | ratio | asked for |\n|---|---:|---:|---:|---:|\n",
        machine::today(),
        machine::description()
    );
    for (name, texts) in sets {
        let (mut ours, mut theirs, mut version) = (0.0_f64, None::<f64>, String::new());
        for _ in 0..ROUNDS {
            ours = ours.max(measure(&model, &texts)?);
            if let Some(python) = &options.python {
                let peer = peer(python, &texts)?;
                theirs = Some(theirs.unwrap_or_default().max(peer.tokens as f64 / peer.seconds));
                version = peer.version;
            }
        }
        match theirs {
            Some(theirs) => {
                let ratio = ours / theirs;
                writeln!(page, "| {name} | {ours:.0} | {theirs:.0} ({version}) | {ratio:.2} | {ASKED:.2} |")?;
            }
            None => writeln!(page, "| {name} | {ours:.0} | not there | - | {ASKED:.2} |")?,
        }
    }
    println!("{page}");
    report::write(&results, "embed.md", &page)
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let read = text.lines().take(TEXTS).map(|line| Ok(serde_json::from_str::<Text>(line)?.text));
    read.collect()
}

/// Tokens a second.
fn measure(model: &MiniLm, texts: &[String]) -> Result<f64> {
    for text in texts.iter().take(3) {
        model.embed(text)?;
    }
    let (started, mut tokens) = (Instant::now(), 0);
    for text in texts {
        tokens += model.embed(text)?.tokens;
    }
    Ok(tokens as f64 / started.elapsed().as_secs_f64())
}

fn peer(python: &Path, texts: &[String]) -> Result<Peer> {
    let mut child = Command::new(python)
        .args(["-c", PEER, VOCABULARY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the peer's Python")?;
    child.stdin.take().context("a pipe")?.write_all(serde_json::to_string(texts)?.as_bytes())?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success(), "the peer failed");
    Ok(serde_json::from_slice(&ended.stdout)?)
}
