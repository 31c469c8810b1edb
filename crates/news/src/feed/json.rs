//! JSON Feed. Invariant: members of another type than the standard's are left out, not refused.

use super::{Entry, MOST_ENTRIES, Words};
use crate::{dates, text::line};
use serde_json::Value;

/// The name of a feed and its entries; none: no feed.
pub(super) fn read(text: &str) -> Option<(String, Vec<Entry>)> {
    let feed: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let items = feed.get("items")?.as_array()?;
    let name = line(member(&feed, "title"));
    Some((name, items.iter().take(MOST_ENTRIES).filter(|item| item.is_object()).map(entry).collect()))
}

fn member<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn entry(item: &Value) -> Entry {
    let html = member(item, "content_html");
    let text = member(item, "content_text");
    let id = match item.get("id") {
        Some(Value::Number(number)) => number.to_string(),
        _ => member(item, "id").to_owned(),
    };
    let link =
        ["url", "external_url"].map(|name| member(item, name)).into_iter().find(|link| !link.is_empty());
    Entry {
        id,
        link: link.unwrap_or_default().to_owned(),
        title: Words::plain(member(item, "title")),
        content: if text.is_empty() { Words::html(html) } else { Words::plain(text) },
        summary: Words::plain(member(item, "summary")),
        published: dates::read(member(item, "date_published")),
        updated: dates::read(member(item, "date_modified")),
    }
}
