//! A conversation as clients usually send it, read on one walk over the body: nesting, strings and members in the same
//! pass. Invariant: it gives up on whatever is unusual or wrong, and what it does read is what the general way reads; a
//! test compares the two.

use super::{DecodeLimits, StreamOptions, json, role};
use bytes::Bytes;
use portcullis_domain::{ChatRequest, Format, Needs, Role, TextPart};
use portcullis_wire::walk::{Text, Walk};
use std::ops::Range;

/// What has been read of a body.
#[derive(Default)]
struct Read<'a> {
    /// Members that were there, a bit each.
    seen: u32,
    model: Option<&'a str>,
    messages: usize,
    parts: Vec<TextPart>,
    stream: bool,
    include_usage: bool,
    forced_span: Option<Range<usize>>,
    /// `max_completion_tokens`, which goes before the older `max_tokens`.
    most: [Option<u32>; 2],
    n: Option<u32>,
    cold: bool,
    seeded: bool,
    tools: bool,
}

/// Reads it; none where the general way has to.
pub(super) fn chat(body: &Bytes, limits: &DecodeLimits) -> Option<ChatRequest> {
    let mut walk = Walk::over(body, limits.depth)?;
    let mut read = Read::default();
    walk.object(|walk, name| read.member(walk, name, body, limits))?;
    walk.end()?;
    let model = read.model.filter(|_| read.messages > 0)?;
    let at = json::span(body, model);
    Some(ChatRequest {
        format: Format::OpenAi,
        body: body.clone(),
        model: model.to_owned(),
        model_span: Some(at.start - 1..at.end + 1),
        stream: read.stream,
        include_usage: read.include_usage,
        forced_span: read.forced_span,
        max_tokens: read.most[0].or(read.most[1]),
        n: read.n.unwrap_or(1),
        deterministic: read.cold || read.seeded,
        needs: Needs { tools: read.tools, ..Needs::default() },
        parts: read.parts,
    })
}

impl<'a> Read<'a> {
    fn member(
        &mut self,
        walk: &mut Walk<'a>,
        name: &str,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Option<()> {
        const MEMBERS: [&str; 15] = [
            "model",
            "messages",
            "stream",
            "stream_options",
            "max_completion_tokens",
            "max_tokens",
            "n",
            "tools",
            "seed",
            "temperature",
            "top_p",
            "presence_penalty",
            "frequency_penalty",
            "response_format",
            "logprobs",
        ];
        let known = MEMBERS.iter().position(|known| *known == name);
        if let Some(number) = known {
            let before = self.seen;
            self.seen |= 1 << number;
            if before == self.seen {
                return None;
            }
        }
        match name {
            "model" => {
                let Text { inside, escaped: false } = walk.string()? else { return None };
                let fits = !inside.is_empty()
                    && (inside.len() <= limits.model_chars || inside.chars().count() <= limits.model_chars)
                    && !inside.chars().any(char::is_control);
                self.model = Some(inside).filter(|_| fits);
                self.model.map(drop)
            }
            "messages" => walk.list(|walk| self.message(walk, body, limits)),
            "stream" => {
                let raw = walk.value()?;
                self.stream = raw == "true";
                matches!(raw, "true" | "false" | "null").then_some(())
            }
            "stream_options" => {
                let raw = walk.value()?;
                self.forced_span = Some(json::span(body, raw));
                let options: Option<StreamOptions> = serde_json::from_str(raw).ok()?;
                self.include_usage = options.and_then(|options| options.include_usage).unwrap_or(false);
                Some(())
            }
            "max_completion_tokens" => whole(walk, u32::MAX).map(|most| self.most[0] = most),
            "max_tokens" => whole(walk, u32::MAX).map(|most| self.most[1] = most),
            "n" => whole(walk, limits.answers).map(|n| self.n = n),
            "tools" => {
                let mut count = 0;
                if !walk.null()? {
                    walk.list(|walk| {
                        count += 1;
                        walk.value().map(drop)
                    })?;
                }
                self.tools = count > 0;
                (count <= limits.tools).then_some(())
            }
            "seed" => walk.value().map(|raw| self.seeded = raw != "null"),
            "temperature" => number(walk, 0.0, 2.0).map(|value| self.cold = value == Some(0.0)),
            "top_p" => number(walk, 0.0, 1.0).map(drop),
            "presence_penalty" | "frequency_penalty" => number(walk, -2.0, 2.0).map(drop),
            "response_format" | "logprobs" => walk.null()?.then_some(()),
            _ => walk.value().map(drop),
        }
    }

    fn message(&mut self, walk: &mut Walk<'a>, body: &[u8], limits: &DecodeLimits) -> Option<()> {
        let (mut who, mut text) = (None, None);
        self.messages += 1;
        walk.object(|walk, name| match name {
            "role" if who.is_none() => {
                let Text { inside, escaped: false } = walk.string()? else { return None };
                who = Some(role(Some(inside), 0).ok()?);
                Some(())
            }
            "content" if text.is_none() => walk.string().map(|found| text = Some(found)),
            "role" | "content" | "tool_calls" | "function_call" => None,
            _ => walk.value().map(drop),
        })?;
        self.parts.push(part(body, text?, who?)?);
        (self.messages <= limits.messages).then_some(())
    }
}

fn part(body: &[u8], text: Text<'_>, role: Role) -> Option<TextPart> {
    if text.escaped {
        // Surrogates that stand alone.
        json::escapes(text.inside).ok()?;
    }
    Some(TextPart { role, span: json::span(body, text.inside), escaped: text.escaped })
}

/// A whole number from 1 on, or null.
fn whole(walk: &mut Walk<'_>, most: u32) -> Option<Option<u32>> {
    if walk.null()? {
        return Some(None);
    }
    let value = u32::try_from(walk.count()?).ok()?;
    (1..=most).contains(&value).then_some(Some(value))
}

/// A number that only the provider reads, or null.
fn number(walk: &mut Walk<'_>, least: f64, most: f64) -> Option<Option<f64>> {
    let raw = walk.value()?;
    if raw == "null" {
        return Some(None);
    }
    let value: f64 = serde_json::from_str(raw).ok()?;
    (least..=most).contains(&value).then_some(Some(value))
}
