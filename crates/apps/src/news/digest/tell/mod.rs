//! Stories told in a few words: by an AI from the posts, or in the posts' own sentences. Invariants: a post that inspection
//! suspects never reaches a prompt; what an AI says passes the checks or is not told; a story that fails costs no other; the
//! same story is told once for all its readers. Source: news.md section 7.

mod check;
mod extract;
mod prompt;

use super::{item::Item, model::DigestAsk, turns::Turns};
use crate::{
    ask::{ladder::text_of, prompt::Sending},
    chat::ChatApp,
    news::NewsConfig,
};
use portcullis_domain::{Action, Deadline, Failure, Hints, Payload, ReplyBody, RequestId};
use portcullis_engine::{App as _, Filter, Inspected};
use portcullis_inspect::{Channel, CheckAction, Inspector, VerdictKind, Watch};
use portcullis_knowledge::Language;
use portcullis_store::Store;
use portcullis_telemetry::Metrics;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// Times an AI is asked for one story: what does not pass is asked for once more.
const TRIES: usize = 2;

/// A story in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) headline: String,
    pub(crate) bullets: Vec<String>,
}

/// A story to tell.
pub(crate) struct Untold<'a> {
    /// The post in the middle first.
    pub(crate) posts: Vec<&'a Item>,
    /// Which of them may enter a prompt, in the same order.
    pub(crate) harmless: Vec<bool>,
}

/// A story that was told.
pub(crate) struct Telling {
    pub(crate) told: Told,
    pub(crate) by_ai: bool,
    /// Whether an AI was to tell it and could not.
    pub(crate) less: bool,
}

/// Who tells stories.
pub(crate) struct Teller {
    pub(crate) chat: ChatApp,
    pub(crate) store: Option<Store>,
    pub(crate) inspector: Arc<Inspector>,
    pub(crate) config: Arc<NewsConfig>,
    pub(crate) metrics: Metrics,
    pub(crate) turns: Arc<Turns>,
}

impl Teller {
    /// Tells a story until that moment.
    pub(crate) async fn tell(
        &self,
        ask: &DigestAsk,
        story: &Untold<'_>,
        language: Language,
        until: Deadline,
    ) -> Telling {
        let chosen = self.chosen(story);
        let reason = if !self.chat.has_ai(&self.config.summary.route) {
            "no_provider"
        } else if chosen.is_empty() {
            "flagged"
        } else {
            let worded = tokio::time::timeout_at(until.instant(), self.worded(ask, &chosen, language, until));
            match worded.await.unwrap_or(Err("deadline_exceeded")) {
                Ok(told) => return Telling { told, by_ai: true, less: false },
                Err(reason) => reason,
            }
        };
        self.metrics.degraded("news", "extractive", reason);
        let less = reason != "no_provider";
        if less {
            tracing::warn!(
                event = "news_story_extractive",
                reason,
                "a story is told in sentences of its posts"
            );
        }
        let texts: Vec<&str> = story.posts.iter().map(|post| self.beginning(post)).collect();
        let language = story.posts.first().map_or(Language::UNKNOWN, |post| post.language);
        Telling { told: extract::told(&texts, language), by_ai: false, less }
    }

    /// The posts that are summed up: one of each source, the longest first.
    fn chosen<'a>(&self, story: &Untold<'a>) -> Vec<&'a Item> {
        let harmless = story.posts.iter().zip(&story.harmless).filter(|(_, harmless)| **harmless);
        let mut posts: Vec<&Item> = harmless.map(|(post, _)| *post).collect();
        posts.sort_by(|a, b| b.words.len().cmp(&a.words.len()).then(a.hash.cmp(&b.hash)));
        let mut sources = Vec::new();
        posts.retain(|post| {
            let new = !sources.contains(&post.source);
            sources.push(post.source);
            new
        });
        posts.truncate(self.config.summary.posts);
        posts
    }

    fn beginning<'a>(&self, post: &'a Item) -> &'a str {
        post.beginning(self.config.summary.post_chars)
    }

    /// An AI's words, kept or new.
    async fn worded(
        &self,
        ask: &DigestAsk,
        posts: &[&Item],
        language: Language,
        until: Deadline,
    ) -> Result<Told, &'static str> {
        let key = self.key(posts, language);
        let _turn = self.turns.of(&key).await;
        if let Some(told) = self.kept(&key).await {
            self.metrics.summary_cache(true);
            return Ok(told);
        }
        self.metrics.summary_cache(false);
        let texts: Vec<&str> = posts.iter().map(|post| self.beginning(post)).collect();
        let mut wrong = "wrong_schema";
        for _ in 0..TRIES {
            if ask.quotas.charge(&ask.caller, Action::Summarise).await.is_err() {
                return Err("rate_limited");
            }
            let said = self.said(ask, &texts, language, until).await?;
            match check::checked(&said, &texts, language) {
                Ok(told) if self.is_suspicious(&told) => wrong = "suspicious",
                Ok(told) => {
                    self.keep(&key, &told).await;
                    return Ok(told);
                }
                Err(why) => wrong = why.as_str(),
            }
            tracing::info!(
                event = "news_summary_refused",
                reason = wrong,
                "a summary did not pass its checks"
            );
        }
        Err(wrong)
    }

    /// What a model said, whatever it is.
    async fn said(
        &self,
        ask: &DigestAsk,
        texts: &[&str],
        language: Language,
        until: Deadline,
    ) -> Result<String, &'static str> {
        let summary = &self.config.summary;
        let sending = Sending {
            route: &summary.route,
            max_tokens: summary.max_tokens,
            temperature: summary.temperature,
        };
        let prompt = prompt::prompt(texts, language.code(), &sending, &rand::random());
        let now = jiff::Timestamp::now().as_millisecond();
        let request = Inspected {
            id: RequestId::from_parts(now.unsigned_abs(), rand::random()),
            caller: ask.caller.clone(),
            weight: 1,
            deadline: until,
            hints: Hints { purpose: Some(Action::Summarise), ..Hints::default() },
            payload: Payload::Chat(prompt.request),
            span: ask.span.clone(),
            score: 0.0,
            shape: None,
            flagged: false,
            filter: Filter::OPEN,
            quotas: ask.quotas.clone(),
        };
        let reply = self.chat.run(request).await.map_err(|failure| {
            if matches!(failure, Failure::Blocked { .. }) { "safety" } else { failure.kind() }
        })?;
        if reply.target.as_deref().is_none_or(|target| target.starts_with("builtin/")) {
            return Err("no_provider");
        }
        let ReplyBody::Whole(body) = reply.body else { return Err("wrong_schema") };
        let text = text_of(&body).ok_or("wrong_schema")?;
        let watch = Watch::default().and_leak(CheckAction::Block, prompt.leak);
        if watch.whole(&text).2 {
            self.metrics.guard("news", "leak", "block");
            return Err("leak");
        }
        Ok(text)
    }

    /// What looks like instructions is no summary of news.
    fn is_suspicious(&self, told: &Told) -> bool {
        let whole = format!("{}\n{}", told.headline, told.bullets.join("\n"));
        self.inspector.inspect(&whole, Channel::Document).verdict != VerdictKind::Allow
    }

    fn key(&self, posts: &[&Item], language: Language) -> String {
        let mut all = format!("{}\0{}\0{language}", prompt::VERSION, self.config.summary.route);
        for post in posts {
            let _ = write!(all, "\0{:016x}", post.hash);
        }
        let sum = digest(&SHA256, all.as_bytes());
        sum.as_ref().iter().take(16).fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    async fn kept(&self, key: &str) -> Option<Told> {
        let life = Duration::from_secs(self.config.summary.cache_hours * 3600);
        let since = super::now_ms() - i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        let store = self.store.as_ref().filter(|_| !life.is_zero())?;
        let told = store.feeds().told(key, since).await.ok()??;
        serde_json::from_str(&told).ok()
    }

    async fn keep(&self, key: &str, told: &Told) {
        let Some(store) = self.store.as_ref().filter(|_| self.config.summary.cache_hours > 0) else { return };
        let Ok(text) = serde_json::to_string(told) else { return };
        if let Err(error) = store.feeds().keep_told(key, &text, super::now_ms()).await {
            tracing::warn!(%error, "a summary is not kept");
        }
    }
}

/// Whether a word is an address, or a name that leads somewhere in a messenger.
pub(crate) fn is_address(word: &str) -> bool {
    /// Endings that nobody takes for the next sentence.
    const ENDINGS: [&str; 24] = [
        "com", "org", "net", "io", "ru", "nl", "me", "info", "biz", "app", "dev", "uk", "de", "fr", "ua",
        "eu", "tv", "gg", "ly", "xyz", "top", "su", "by", "example",
    ];
    let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '@' && c != '/').to_lowercase();
    if word.contains("://") || word.starts_with("www.") {
        return true;
    }
    if let Some(name) = word.strip_prefix('@') {
        return name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count() >= 3;
    }
    let (host, path) = word.split_once('/').map_or((word.as_str(), None), |(host, path)| (host, Some(path)));
    let Some((name, ending)) = host.rsplit_once('.') else { return false };
    let letters = ending.len() >= 2 && ending.bytes().all(|b| b.is_ascii_lowercase());
    !name.is_empty() && letters && (path.is_some() || ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_are_told_from_words() {
        for word in
            ["https://x.y", "(www.example.org)", "t.me/abc", "example.org,", "@channel", "evil.example/win"]
        {
            assert!(is_address(word), "{word}");
        }
        for word in ["end.Next", "U.S.", "3.5", "and/or", "e.g.", "@", "09:30", "Zembla", "a@"] {
            assert!(!is_address(word), "{word}");
        }
    }
}
