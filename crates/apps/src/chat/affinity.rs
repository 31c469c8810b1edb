//! What keeps requests that belong together at one target: a number made of what they share, the same in every
//! replica. Invariant: it says nothing about who asks, so that everybody with the same prompt shares the provider's
//! cache; without anything to share there is none, and turns are taken. Source: gateway design section 2, `sticky`.

use super::config::Sticky;
use portcullis_domain::{ChatRequest, Role};
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The affinity of a conversation with these headers.
pub(crate) fn affinity(sticky: &Sticky, chat: &ChatRequest, headers: &[(Box<str>, Box<str>)]) -> Option<u64> {
    match sticky {
        Sticky::Off => None,
        Sticky::Header(name) => {
            headers.iter().find(|(found, _)| found == name).map(|(_, value)| of([value.as_bytes()]))
        }
        Sticky::Prefix => {
            let system = chat.parts.iter().filter(|part| part.role == Role::System);
            let tools = if chat.needs.tools { tools(&chat.body) } else { None };
            let shared = system
                .filter_map(|part| chat.body.get(part.span.clone()))
                .chain(tools.map(|tools| tools.get().as_bytes()));
            let mut shared = shared.peekable();
            shared.peek().is_some().then(|| of(shared))
        }
    }
}

/// The caller's tools, as written; every wire calls them so.
fn tools(body: &[u8]) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        tools: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Peek<'_>>(body).ok()?.tools
}

/// A number that different texts share only by chance.
pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut context = Context::new(&SHA256);
    for text in texts {
        // With its length, or two texts could be cut differently and yet look the same.
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text);
    }
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
