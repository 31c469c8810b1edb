//! A digest of named sources, as JSON. Invariant: what is wrong with a request is told by the member's name and its rule, before
//! anything is fetched. Source: news.md section 14.

use super::{Digest, DigestAsk, Keeps, LONGEST_WINDOW, MOST_STORIES, Newsroom, Phases, Shown, Story};
use bytes::Bytes;
use portcullis_domain::{Degraded, DigestRequest, Failure, Meter, Reply, ReplyBody};
use portcullis_engine::Inspected;
use portcullis_knowledge::Language;
use portcullis_news::Source;
use serde_json::{Value, json};
use std::sync::Arc;
use unicode_segmentation::UnicodeSegmentation as _;

const HOUR_MS: i64 = 3_600_000;

/// Answers it.
pub(crate) async fn digest(
    room: &Newsroom,
    request: &Inspected,
    asked: &DigestRequest,
) -> Result<Reply, Failure> {
    let told = told(room, request, asked, Phases::silent()).await?;
    let degraded = (told["degraded"] == true).then_some(Degraded::Extractive);
    let body = ReplyBody::Whole(Bytes::from(told.to_string()));
    Ok(Reply { degraded, ..Reply::new(body, Meter::default()) })
}

/// The digest as JSON.
pub(crate) async fn told(
    room: &Newsroom,
    request: &Inspected,
    asked: &DigestRequest,
    progress: Phases,
) -> Result<Value, Failure> {
    let mut digest = room.digest(DigestAsk { progress, ..ask(room, request, asked)? }).await?;
    for story in &mut digest.stories {
        story.headline = request.filter.text(std::mem::take(&mut story.headline))?;
        for bullet in &mut story.bullets {
            *bullet = request.filter.text(std::mem::take(bullet))?;
        }
    }
    Ok(json(&digest))
}

fn ask(room: &Newsroom, request: &Inspected, asked: &DigestRequest) -> Result<DigestAsk, Failure> {
    let config = room.config();
    let most = config.max_sources;
    if asked.sources.is_empty() || asked.sources.len() > most {
        return Err(Failure::invalid("sources", format!("sources must be a list of 1 to {most} sources.")));
    }
    let mut sources: Vec<Source> = Vec::new();
    for (at, written) in asked.sources.iter().enumerate() {
        let source = Source::read(written).map_err(|why| {
            Failure::invalid(format!("sources[{at}]"), format!("This is no source: {why}."))
        })?;
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    let hours = asked.window_hours.unwrap_or(config.window_hours);
    if !(1..=LONGEST_WINDOW).contains(&hours) {
        let rule = format!("window_hours must be a whole number from 1 to {LONGEST_WINDOW}.");
        return Err(Failure::invalid("window_hours", rule));
    }
    let stories = asked.stories.unwrap_or(config.stories);
    if !(1..=MOST_STORIES).contains(&stories) {
        let rule = format!("stories must be a whole number from 1 to {MOST_STORIES}.");
        return Err(Failure::invalid("stories", rule));
    }
    let now = jiff::Timestamp::now().as_millisecond();
    Ok(DigestAsk {
        caller: request.caller.clone(),
        quotas: request.quotas.clone(),
        span: request.span.clone(),
        deadline: request.deadline,
        sources,
        since: now - i64::from(hours) * HOUR_MS,
        stories,
        language: asked.language.as_deref().map(Language::from_code),
        keeps: keeps(&asked.include, &asked.exclude),
        watches: None,
        shown: Shown::new(),
        urgent: true,
        progress: Phases::silent(),
    })
}

/// Posts with one of these words or phrases, if there are any, and none of those.
fn keeps(include: &[String], exclude: &[String]) -> Option<Keeps> {
    if include.is_empty() && exclude.is_empty() {
        return None;
    }
    let terms = |list: &[String]| list.iter().map(|term| words(term)).collect::<Vec<_>>();
    let (include, exclude) = (terms(include), terms(exclude));
    Some(Arc::new(move |text: &str| {
        let text = words(text);
        let has =
            |term: &Vec<String>| !term.is_empty() && text.windows(term.len()).any(|window| window == term);
        (include.is_empty() || include.iter().any(has)) && !exclude.iter().any(has)
    }))
}

fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

fn json(digest: &Digest) -> Value {
    let story = |story: &Story| {
        let source = |(title, url): &(String, String)| json!({"title": title, "url": url});
        json!({
            "headline": story.headline,
            "bullets": story.bullets,
            "posts": story.posts,
            "sources": story.links.iter().map(source).collect::<Vec<_>>(),
            "published_at": jiff::Timestamp::from_millisecond(story.at).map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).ok(),
        })
    };
    let failed: Vec<Value> = digest
        .failed
        .iter()
        .map(|failed| json!({"source": failed.source.to_string(), "reason": failed.reason.as_str()}))
        .collect();
    json!({
        "degraded": !digest.less.is_empty(),
        "stories": digest.stories.iter().map(story).collect::<Vec<_>>(),
        "failed_sources": failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_are_kept_by_whole_words_and_phrases_in_any_case() {
        let list = |terms: &[&str]| terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>();
        assert!(keeps(&[], &[]).is_none());
        let keeps = keeps(&list(&["railway", "the KING"]), &list(&["football"])).unwrap();
        for (text, kept) in [
            ("The Railway opens.", true),
            ("Long live the king!", true),
            ("Railways open.", false),
            ("The old king", false),
            ("Football on the railway", false),
        ] {
            assert_eq!(keeps(text), kept, "{text}");
        }
    }
}
