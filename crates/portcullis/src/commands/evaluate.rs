//! What `index eval` and `answer eval` share: files of lines, texts into vectors with progress.

use super::settings;
use crate::output::{Progress, Trouble};
use portcullis_runtime::{
    embedding,
    knowledge::{Embedder, Purpose},
    read_secrets,
    settings::Sources,
};
use serde::de::DeserializeOwned;
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

/// The lines of a file of JSON objects.
pub(super) fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Trouble> {
    let unreadable = |said: String| Trouble::usage(format!("{}: {said}", path.display()));
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut rows = Vec::new();
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        let line = line.map_err(|error| unreadable(error.to_string()))?;
        if !line.trim().is_empty() {
            rows.push(
                serde_json::from_str(&line).map_err(|error| unreadable(format!("line {number}: {error}")))?,
            );
        }
    }
    Ok(rows)
}

/// The embedder of that name; `none` is none.
pub(super) async fn embedder(sources: &Sources, name: &str) -> Result<Option<Embedder>, Trouble> {
    if name == "none" {
        return Ok(None);
    }
    let settings = settings(sources)?.settings;
    let secrets = read_secrets(&settings, &sources.environment).await;
    let made = embedding::standalone(name, &settings, &secrets);
    made.map(Some)
        .map_err(|error| Trouble::usage(error.to_string()).mend("name an embedder that is there, or none"))
}

/// One vector for each text, in order. Texts of like length go together, so that no thread waits long for another.
pub(super) async fn vectors(
    embedder: &Embedder,
    texts: &[&str],
    purpose: Purpose,
    progress: &mut Progress,
) -> Result<Vec<Vec<f32>>, Trouble> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(texts[*at].len()));
    let mut out = vec![Vec::new(); texts.len()];
    let mut done = 0;
    for batch in order.chunks(embedder.batch) {
        let texts = batch.iter().map(|at| texts[*at].to_owned()).collect();
        let made = embedder.embed(texts, purpose).await;
        let made = made
            .map_err(|error| Trouble::failed(error.to_string()).mend("try again, or use --embedder none"))?;
        for (at, vector) in batch.iter().zip(made) {
            out[*at] = vector;
        }
        done += batch.len();
        progress.tell(done, order.len());
    }
    Ok(out)
}
