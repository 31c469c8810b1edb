//! `portcullis inspect …`: what inspection thinks of a text, with the settings' own thresholds. Nothing is sent and
//! nothing is recorded.

use super::{Ended, settings, stdin_or};
use crate::{
    cli,
    output::{BAD, GOOD, Trouble, WARN, line},
};
use portcullis_runtime::{
    inspect::{Channel, Inspector, Verdict, VerdictKind},
    settings::Sources,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    process::ExitCode,
};

pub(super) fn run(sources: &Sources, arguments: &cli::Inspect, as_json: bool) -> Ended {
    let inspector = Inspector::new(&settings(sources)?.settings.inspect);
    let channel = match arguments.channel {
        cli::Channel::User => Channel::User,
        cli::Channel::Document => Channel::Document,
    };
    if let Some(path) = &arguments.jsonl {
        return lines(&inspector, path, channel);
    }
    let text = stdin_or(arguments.text.as_deref().unwrap_or_default())?;
    let verdict = inspector.inspect(&text, channel);
    if as_json {
        line(told(&verdict));
        return Ok(ExitCode::SUCCESS);
    }
    let style = match verdict.verdict {
        VerdictKind::Allow => GOOD,
        VerdictKind::Flag => WARN,
        VerdictKind::Block => BAD,
    };
    line(format_args!("{style}{}{style:#} score {:.2}", verdict.verdict.as_str(), verdict.score));
    for reason in &verdict.reasons {
        line(format_args!("  {}", reason.id));
    }
    Ok(ExitCode::SUCCESS)
}

/// One verdict a line, in the order of the file.
fn lines(inspector: &Inspector, path: &Path, default: Channel) -> Ended {
    let unreadable = |what: String| {
        Trouble::usage(format!("{}: {what}", path.display())).mend("give lines of {\"text\": …}")
    };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    for (index, row) in BufReader::new(file).lines().enumerate() {
        let row = row.map_err(|error| unreadable(error.to_string()))?;
        if row.trim().is_empty() {
            continue;
        }
        let value: Value =
            serde_json::from_str(&row).map_err(|error| unreadable(format!("line {}: {error}", index + 1)))?;
        let Some(text) = value["text"].as_str() else {
            return Err(unreadable(format!("line {} has no text", index + 1)));
        };
        let channel = match value["channel"].as_str() {
            Some("document") => Channel::Document,
            Some("user") => Channel::User,
            Some(_) => return Err(unreadable(format!("line {}: channel is user or document", index + 1))),
            None => default,
        };
        line(told(&inspector.inspect(text, channel)));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(verdict: &Verdict) -> Value {
    let reasons: Vec<&str> = verdict.reasons.iter().map(|reason| reason.id).collect();
    // Four digits say all a score of a rule table can say.
    let score = (f64::from(verdict.score) * 10_000.0).round() / 10_000.0;
    json!({"score": score, "verdict": verdict.verdict.as_str(), "reasons": reasons})
}
