//! `portcullis answer eval`: how often the sentence that would be quoted first is one that answers.

use super::{Ended, block_on, evaluate};
use crate::{
    cli,
    output::{Progress, line},
};
use portcullis_runtime::{
    knowledge::{Embedder, Purpose, Space, eval::answered, sentences, text::of_text},
    settings::Sources,
};
use serde::Deserialize;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Row {
    #[serde(alias = "query")]
    question: String,
    sentences: Vec<String>,
    /// 1 for a sentence that answers.
    #[serde(default)]
    labels: Vec<u8>,
    /// The same as positions from 0.
    #[serde(default)]
    gold: Vec<usize>,
}

impl Row {
    fn answers(&self, at: usize) -> bool {
        self.labels.get(at).is_some_and(|label| *label > 0) || self.gold.contains(&at)
    }
}

pub(super) fn run(sources: &Sources, command: &cli::Answer, json: bool) -> Ended {
    let cli::Answer::Eval(wanted) = command;
    let rows: Vec<Row> = evaluate::rows(&wanted.questions)?;
    // Questions without an answer say nothing about which sentence is picked.
    let rows: Vec<Row> =
        rows.into_iter().filter(|row| (0..row.sentences.len()).any(|at| row.answers(at))).collect();
    let (mut right, mut reciprocal) = (0_usize, 0.0);
    let cosines = block_on(async {
        match &evaluate::embedder(sources, &wanted.embedder).await? {
            Some(embedder) => cosines(embedder, &rows).await,
            None => Ok(vec![None; rows.len()]),
        }
    })?;
    for (row, cosines) in rows.iter().zip(cosines) {
        let texts: Vec<&str> = row.sentences.iter().map(String::as_str).collect();
        let scores = sentences::score(&row.question, &texts, language(row), cosines.as_deref());
        let labels: Vec<bool> = (0..texts.len()).map(|at| row.answers(at)).collect();
        if let Some((first, place)) = answered(&scores, &labels) {
            right += usize::from(first);
            reciprocal += place;
        }
    }
    let share = |sum: f64| if rows.is_empty() { 0.0 } else { sum / rows.len() as f64 };
    let (first, mrr) = (share(right as f64), share(reciprocal));
    if json {
        line(serde_json::json!({"p@1": first, "mrr": mrr, "questions": rows.len()}));
    } else {
        line(format_args!("P@1 {first:.3}, MRR {mrr:.3} over {} questions with an answer", rows.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The sentences tell it better than the short question does.
fn language(row: &Row) -> portcullis_runtime::knowledge::Language {
    of_text(&row.sentences.join(" "))
}

/// Likenesses of question and sentences, where the embedder understands the language.
async fn cosines(embedder: &Embedder, rows: &[Row]) -> Result<Vec<Option<Vec<f32>>>, crate::output::Trouble> {
    let understood = |space: &Space, row: &Row| space.understands(language(row));
    let rows: Vec<Option<&Row>> =
        rows.iter().map(|row| Some(row).filter(|row| understood(&embedder.space, row))).collect();
    let questions: Vec<&str> = rows.iter().flatten().map(|row| row.question.as_str()).collect();
    let texts: Vec<&str> =
        rows.iter().flatten().flat_map(|row| row.sentences.iter().map(String::as_str)).collect();
    let mut progress = Progress::new("questions");
    let mut questions =
        evaluate::vectors(embedder, &questions, Purpose::Question, &mut progress).await?.into_iter();
    let mut progress = Progress::new("sentences");
    let mut texts = evaluate::vectors(embedder, &texts, Purpose::Passage, &mut progress).await?.into_iter();
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let of = |row: Option<&Row>| {
        let question = questions.next().filter(|_| row.is_some()).unwrap_or_default();
        row.map(|row| texts.by_ref().take(row.sentences.len()).map(|text| cosine(&question, &text)).collect())
    };
    Ok(rows.into_iter().map(of).collect())
}
