//! A text with its entities as the server stores it: parsed, cleaned, trimmed, within its limits. Invariant: entities
//! lie inside the text, in the server's order, and none of them is empty or white space only.

use super::{
    entities::{Span, untangled},
    markdown,
    state::{Refusal, State},
};
use serde_json::{Map, Value, json};

/// Raw bytes a text may have before it is looked at.
const RAW_BYTES: usize = 1 << 15;
/// Entities that are read.
const ENTITIES: usize = 100;
/// What they may take together.
const ENTITIES_BYTES: usize = 9_500;
/// The biggest offset and length that are numbers to the server.
const UNITS: i64 = 1_000_000;

/// UTF-16 units.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The order of entities of the same place.
pub(super) fn rank(kind: &str) -> usize {
    match kind {
        "blockquote" | "expandable_blockquote" => 0,
        "pre" => 10,
        "code" => 20,
        "date_time" => 48,
        "text_link" | "text_mention" => 49,
        "bold" => 90,
        "italic" => 91,
        "underline" => 92,
        "strikethrough" => 93,
        "spoiler" => 94,
        "custom_emoji" => 99,
        _ => 50,
    }
}

/// A text that may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) entities: Vec<Value>,
}

/// What its caller wants of a text.
pub(super) struct Wanted {
    /// UTF-16 units.
    pub(super) most: usize,
    /// What is said when it is longer.
    pub(super) too_long: &'static str,
    /// The parameter with its entities.
    pub(super) entities: &'static str,
}

/// Reads a text with its `parse_mode` or entities.
pub(super) fn formatted(
    state: &mut State,
    raw: &str,
    values: &Map<String, Value>,
    wanted: &Wanted,
) -> Result<Formatted, Refusal> {
    if raw.len() > RAW_BYTES {
        return Err(Refusal::bad("text is too long"));
    }
    let mode = values.get("parse_mode").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let (text, entities) = match mode.as_str() {
        "" | "none" => (raw.to_owned(), explicit(state, values.get(wanted.entities))?),
        _ if raw.is_empty() => (String::new(), Vec::new()),
        "markdownv2" => {
            let parsed = markdown::markdown_v2(raw);
            parsed.map_err(|why| Refusal::bad(&format!("can't parse entities: {why}")))?
        }
        "html" | "markdown" => {
            state.violation(format!("parse_mode {mode} is not imitated"));
            return Err(Refusal::new(501, format!("Not Implemented: parse_mode {mode} is not imitated")));
        }
        _ => return Err(Refusal::bad("unsupported parse_mode")),
    };
    if !mode.is_empty() && values.contains_key(wanted.entities) {
        state.violation_once(format!("{} is ignored beside a parse_mode", wanted.entities));
    }
    let (given, length) = (entities.len(), units(&text));
    let outside = entities.iter().filter(|entity| end_of(entity) > length).count();
    if outside > 0 {
        state.violation(format!("{outside} of {given} entities lie outside the text"));
    }
    let formatted = clean(&text, entities)?;
    if units(&formatted.text) > wanted.most {
        let over = units(&formatted.text);
        state.violation(format!("a text of {over} units, {} are allowed", wanted.most));
        return Err(Refusal::bad(wanted.too_long));
    }
    let formatted = Formatted { entities: named(state, formatted.entities), ..formatted };
    if Value::from(formatted.entities.clone()).to_string().len() > ENTITIES_BYTES {
        return Err(Refusal::bad("ENTITIES_TOO_LONG"));
    }
    Ok(formatted)
}

/// Entities as a caller gives them, those that the server takes.
fn explicit(state: &mut State, given: Option<&Value>) -> Result<Vec<Value>, Refusal> {
    let given = given.and_then(Value::as_array).cloned().unwrap_or_default();
    if given.len() > ENTITIES {
        state.violation(format!("{} entities, {ENTITIES} are read", given.len()));
    }
    let mut taken = Vec::new();
    for mut entity in given.into_iter().take(ENTITIES) {
        let kind = entity["type"].as_str().unwrap_or_default().to_owned();
        let (offset, length) =
            (entity["offset"].as_i64().unwrap_or(-1), entity["length"].as_i64().unwrap_or(-1));
        for (name, value) in [("offset", offset), ("length", length)] {
            if !(0..=UNITS).contains(&value) {
                return Err(Refusal::bad(&format!("receive an entity with incorrect {name} {value}")));
            }
        }
        let own = |name: &str| entity[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let bad = |what: &str| Err(Refusal::bad(&format!("can't parse MessageEntity: {what}")));
        match kind.as_str() {
            "bold"
            | "italic"
            | "underline"
            | "strikethrough"
            | "spoiler"
            | "code"
            | "pre"
            | "blockquote"
            | "expandable_blockquote" => {}
            "text_link" => {
                let Some(url) = own("url") else { return bad("Can't find field \"url\"") };
                let Some(checked) = markdown::checked(&url) else {
                    state.violation(format!("a link without an address: {url:?}"));
                    continue;
                };
                entity["url"] = json!(checked);
            }
            "text_mention" if entity["user"]["id"].is_i64() => {}
            "text_mention" => return bad("Can't find field \"user\""),
            "custom_emoji" if own("custom_emoji_id").is_some() => {}
            "custom_emoji" => return bad("Can't find field \"custom_emoji_id\""),
            "date_time" if entity["unix_time"].is_i64() => {}
            "date_time" => return bad("Can't find field \"unix_time\""),
            // The server finds these itself.
            "mention" | "hashtag" | "cashtag" | "bot_command" | "url" | "email" | "phone_number" => continue,
            _ => return bad("Unsupported type specified"),
        }
        taken.push(entity);
    }
    Ok(taken)
}

/// Mentions get their person; those of nobody known vanish.
fn named(state: &mut State, entities: Vec<Value>) -> Vec<Value> {
    let known = |entity: &Value| match entity["user"]["id"].as_i64() {
        Some(id) => state.people.get(&id).map(|person| {
            let mut entity = entity.clone();
            entity["user"] = person.json();
            entity
        }),
        None => Some(entity.clone()),
    };
    entities.iter().filter_map(known).collect()
}

fn place(entity: &Value, name: &str) -> usize {
    entity[name].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(0)
}

fn end_of(entity: &Value) -> usize {
    place(entity, "offset") + place(entity, "length")
}

/// Takes out what the server takes out, and trims.
fn clean(text: &str, entities: Vec<Value>) -> Result<Formatted, Refusal> {
    let wide: Vec<u16> = text.encode_utf16().collect();
    let mut spans = Vec::new();
    for body in entities {
        let (from, to) = (place(&body, "offset"), end_of(&body));
        // Outside the text: dropped.
        if from == to || to > wide.len() {
            continue;
        }
        for (at, what) in [(from, "begins"), (to, "ends")] {
            if wide.get(at).is_some_and(|unit| (0xDC00..0xE000).contains(unit)) {
                return Err(Refusal::bad(&format!(
                    "entity {what} in a middle of a UTF-16 symbol at UTF-16 offset {at}"
                )));
            }
        }
        spans.push(Span { from, to, body });
    }
    // Old places to new ones, as signs go.
    let mut moved = vec![0; wide.len() + 1];
    let mut kept = Vec::with_capacity(wide.len());
    for (at, unit) in wide.iter().enumerate() {
        moved[at] = kept.len();
        match unit {
            0x0D | 0x2028..=0x202E => {}
            0x0A => kept.push(*unit),
            0..=0x1F => kept.push(0x20),
            other => kept.push(*other),
        }
    }
    moved[wide.len()] = kept.len();
    let blank = |unit: &u16| matches!(unit, 0x20 | 0x0A | 0xA0 | 0x2000..=0x200F | 0x3000);
    for span in &mut spans {
        (span.from, span.to) = (moved[span.from], moved[span.to]);
    }
    spans.retain(|span| span.to > span.from && !kept[span.from..span.to].iter().all(blank));
    let end = kept.iter().rposition(|unit| !blank(unit)).map_or(0, |last| last + 1);
    if end == 0 {
        return Err(Refusal::bad("text must be non-empty"));
    }
    let first = spans.iter().map(|span| span.from).min().unwrap_or(end);
    let begin = kept.iter().position(|unit| !matches!(unit, 0x20 | 0x0A)).unwrap_or(0).min(first);
    let spans = untangled(spans);
    let entities = spans
        .into_iter()
        .map(|Span { from, to, mut body }| {
            body["offset"] = json!(from - begin);
            body["length"] = json!(to.min(end) - from);
            body
        })
        .collect();
    Ok(Formatted { text: String::from_utf16_lossy(&kept[begin..end]), entities })
}
