//! An answer with its sources, and how it looks: as JSON, as events, as a message for people. Invariant: every shape
//! says the same: the words, whether they are less than what was asked for, and what they rest on; nothing of paths,
//! prompts or providers is in it. Source: ask.md sections 7 and 11.

use super::words::{Say, Tongue};
use bytes::Bytes;
use portcullis_domain::{Degraded, Look, MessageReply, Post, RequestId, Style, Usage};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How an answer came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// An AI wrote it, and its sources support it.
    #[default]
    Full,
    /// It was given before.
    Cached,
    /// The passages themselves.
    Extractive,
    /// An AI wrote it without documents.
    NoDocuments,
    /// The documents hold no answer.
    Refused,
}

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Cached => "cached",
            Self::Extractive => "extractive",
            Self::NoDocuments => "no_documents",
            Self::Refused => "refused",
        }
    }
}

/// A passage as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Source {
    /// Its number in the answer, from 1.
    pub(crate) n: usize,
    pub(crate) document: String,
    pub(crate) title: String,
    pub(crate) pages: Option<(u32, u32)>,
    pub(crate) heading: Vec<String>,
    pub(crate) url: Option<String>,
    pub(crate) text: String,
    pub(crate) score: f32,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    pub(crate) text: String,
    pub(crate) mode: Mode,
    /// One line for people about what is less than usual.
    pub(crate) note: Option<String>,
    pub(crate) degraded: Option<Degraded>,
    /// Those that the answer cites, in order of their numbers.
    pub(crate) sources: Vec<Source>,
    pub(crate) collection: String,
    pub(crate) generation: Option<u64>,
    pub(crate) usage: Usage,
    /// The language of our own words in it.
    pub(crate) language: String,
    /// The question and the circumstances allow giving it again.
    pub(crate) keeps: bool,
}

impl Source {
    /// Such as `Handbook, p. 12`.
    pub(crate) fn name(&self, tongue: Tongue) -> String {
        let mut out = if self.title.is_empty() { self.document.clone() } else { self.title.clone() };
        if let Some(pages) = self.place(tongue) {
            let _ = write!(out, ", {pages}");
        } else if let Some(heading) = self.heading.last().filter(|heading| **heading != self.title) {
            let _ = write!(out, ", {heading}");
        }
        out
    }

    /// Such as `p. 12`.
    pub(crate) fn place(&self, tongue: Tongue) -> Option<String> {
        let (first, last) = self.pages?;
        let n = if first == last { first.to_string() } else { format!("{first}–{last}") };
        Some(Say::Page.with(tongue, &[("n", &n)]))
    }

    /// As JSON; `texts` says whether the passage itself is in it.
    pub(crate) fn json(&self, texts: bool) -> Value {
        let pages =
            self.pages.map_or_else(Vec::new, |(first, last)| (first..=last.max(first)).take(50).collect());
        let mut out = json!({
            "n": self.n,
            "document": self.document,
            "title": self.title,
            "pages": pages,
            "heading": self.heading,
            "url": self.url,
            "score": (f64::from(self.score) * 1e4).round() / 1e4,
        });
        if texts {
            out["text"] = self.text.as_str().into();
        }
        out
    }
}

impl Answered {
    /// The whole answer as JSON.
    pub(crate) fn json(&self, id: &RequestId, took_ms: u64, texts: bool) -> Value {
        let mut out = json!({
            "id": format!("ask_{}", id.as_str().trim_start_matches("req_")),
            "answer": self.text,
            "degraded": self.degraded.is_some(),
            "mode": self.mode.as_str(),
            "collection": self.collection,
            "generation": self.generation,
            "sources": self.sources.iter().map(|source| source.json(texts)).collect::<Vec<_>>(),
            "usage": { "prompt_tokens": self.usage.input, "completion_tokens": self.usage.output },
            "duration_ms": took_ms,
        });
        if let Some(note) = &self.note {
            out["note"] = note.as_str().into();
        }
        out
    }

    /// The answer as events: its sources, its words sentence by sentence, and all of it without passages.
    pub(crate) fn events(&self, id: &RequestId, took_ms: u64) -> Vec<Bytes> {
        use unicode_segmentation::UnicodeSegmentation as _;
        let event = |name: &str, data: &Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        let sources: Vec<Value> = self.sources.iter().map(|source| source.json(true)).collect();
        let mut out = vec![event("sources", &json!({ "sources": sources, "generation": self.generation }))];
        out.extend(self.text.split_sentence_bounds().map(|text| event("delta", &json!({ "text": text }))));
        out.push(event("done", &self.json(id, took_ms, false)));
        out
    }

    /// The answer as a message for people.
    pub(crate) fn message(&self, tongue: Tongue) -> MessageReply {
        let mut out = Builder::default();
        if let Some(note) = &self.note {
            out.styled(note, Look::Italic);
            out.plain("\n\n");
        }
        out.plain(&self.text);
        if !self.sources.is_empty() {
            out.plain("\n\n");
            out.styled(&Say::Sources.of(tongue), Look::Bold);
            out.plain(&listed(&self.sources, tongue));
        }
        let mut links: Vec<&String> = self.sources.iter().filter_map(|source| source.url.as_ref()).collect();
        links.dedup();
        let preview = (links.len() == 1).then(|| links[0].clone());
        MessageReply::post(Post { text: out.text, styles: out.styles, preview, ..Post::default() })
    }

    /// The passages behind the answer, for `/sources`.
    pub(crate) fn passages_listed(&self, tongue: Tongue) -> Option<String> {
        /// Characters of a passage that are shown.
        const SHOWN: usize = 400;
        let mut out = String::new();
        for source in &self.sources {
            let text: String = source.text.chars().take(SHOWN).collect();
            let more = if text.len() < source.text.len() { " …" } else { "" };
            let _ = write!(out, "[{}] {}", source.n, source.name(tongue));
            if let Some(url) = &source.url {
                let _ = write!(out, " {url}");
            }
            let _ = write!(out, "\n{}{more}\n\n", text.trim());
        }
        (!out.is_empty()).then(|| out.trim_end().to_owned())
    }
}

/// What was found, for whoever waits while it is being worded: sources come first, words when they are checked.
pub(crate) fn found(sources: &[Source], tongue: Tongue) -> Post {
    let mut out = Builder::default();
    out.plain("🔎 ");
    out.styled(&Say::Sources.of(tongue), Look::Bold);
    out.plain(&listed(sources, tongue));
    Post { text: out.text, styles: out.styles, silent: true, ..Post::default() }
}

/// One line a source, each after a line's end.
fn listed(sources: &[Source], tongue: Tongue) -> String {
    let mut out = String::new();
    for source in sources {
        let _ = write!(out, "\n[{}] {}", source.n, source.name(tongue));
        if let Some(url) = &source.url {
            let _ = write!(out, " {url}");
        }
    }
    out
}

/// A text with what stands out in it, in UTF-16 units.
#[derive(Default)]
pub(crate) struct Builder {
    text: String,
    styles: Vec<Style>,
    units: usize,
}

impl Builder {
    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += text.encode_utf16().count();
    }

    fn styled(&mut self, text: &str, look: Look) {
        let start = self.units;
        self.plain(text);
        self.styles.push(Style { start, length: self.units - start, look });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered() -> Answered {
        Answered {
            text: "Two months [1]. 🙂".to_owned(),
            note: Some("Ü: less".to_owned()),
            degraded: Some(Degraded::Extractive),
            mode: Mode::Extractive,
            sources: vec![Source {
                n: 1,
                document: "d_1".into(),
                title: "Handbook".into(),
                pages: Some((12, 13)),
                url: Some("https://example.org/h".into()),
                text: "The notice period is two months.".into(),
                score: 0.183_333,
                ..Source::default()
            }],
            collection: "default".into(),
            generation: Some(42),
            ..Answered::default()
        }
    }

    #[test]
    fn the_json_is_the_documented_one() {
        let id = RequestId::from_parts(0, 7);
        let json = answered().json(&id, 1830, true);
        assert!(json["id"].as_str().unwrap().starts_with("ask_"));
        assert_eq!(
            (&json["degraded"], &json["mode"], &json["generation"]),
            (&true.into(), &"extractive".into(), &42.into())
        );
        assert_eq!(json["sources"][0]["pages"], json!([12, 13]));
        assert_eq!((&json["sources"][0]["score"], &json["duration_ms"]), (&json!(0.1833), &1830.into()));
        assert!(answered().json(&id, 0, false)["sources"][0].get("text").is_none());
    }

    #[test]
    fn events_carry_the_sources_first_then_every_letter_then_the_whole() {
        let all = answered().events(&RequestId::from_parts(0, 7), 5);
        let texts: Vec<&str> = all.iter().map(|event| std::str::from_utf8(event).unwrap()).collect();
        assert!(
            texts[0].starts_with("event: sources\ndata: {")
                && texts.last().unwrap().starts_with("event: done\n")
        );
        let words: String = texts[1..texts.len() - 1]
            .iter()
            .map(|event| {
                let data = event.strip_prefix("event: delta\ndata: ").unwrap();
                serde_json::from_str::<Value>(data).unwrap()["text"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(words, answered().text);
    }

    #[test]
    fn a_message_names_its_sources_and_counts_styles_in_utf_16_units() {
        let message = answered().message(Tongue::En).posts.remove(0);
        assert_eq!(
            message.text,
            "Ü: less\n\nTwo months [1]. 🙂\n\nSources\n[1] Handbook, p. 12–13 https://example.org/h"
        );
        let units: Vec<u16> = message.text.encode_utf16().collect();
        let styled: Vec<String> = message
            .styles
            .iter()
            .map(|style| String::from_utf16(&units[style.start..style.start + style.length]).unwrap())
            .collect();
        assert_eq!(styled, ["Ü: less", "Sources"]);
        assert_eq!(message.preview.as_deref(), Some("https://example.org/h"));
    }
}
