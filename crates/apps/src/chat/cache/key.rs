//! What a kept answer is found by: a digest of everything that could make another answer of it.
//!
//! Invariants: requests that differ in anything but `stream`, `user`, `metadata` (where answers do not repeat them), the
//! order of members and white space have different keys; so have callers of different scopes. Members that we do not
//! know count. Source: gateway design section 12.

use portcullis_domain::{Caller, Format, Payload};
use ring::digest::{Context, SHA256};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use super::{super::routes::Route, config::CacheScope};

/// The digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// As text, for Redis.
    pub(crate) fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ok = write!(out, "{byte:02x}");
            out
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

/// Members that change nothing of what is said. The model is told by the route.
const fn idle(format: Format) -> &'static [&'static str] {
    match format {
        Format::OpenAi | Format::Anthropic | Format::Gemini => &["stream", "user", "metadata", "model"],
        // Its answers repeat the others.
        Format::Responses => &["stream", "model"],
    }
}

/// A digest under way. Every piece goes in with its length, so that no two rows of pieces look the same.
struct Digest(Context);

impl Digest {
    fn of(what: &str) -> Self {
        let mut digest = Self(Context::new(&SHA256));
        digest.put(what.as_bytes());
        digest
    }

    fn put(&mut self, piece: &[u8]) {
        self.0.update(&(piece.len() as u64).to_le_bytes());
        self.0.update(piece);
    }

    fn key(self) -> Key {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Key(key)
    }
}

/// What one answer to this request is kept under; `strict` because it decides whether there is one.
pub(crate) fn exact(
    scope: CacheScope,
    caller: &Caller,
    route: &Route,
    payload: &Payload,
    strict: bool,
) -> Option<Key> {
    let (format, model, body) = asked(payload)?;
    let mut digest = begun("exact", scope, caller, route, strict);
    digest.put(format.as_str().as_bytes());
    digest.put(model.as_bytes());
    canonical(&mut digest, body, idle(format))?;
    Some(digest.key())
}

/// What questions are compared within: the same request but for its last words. None when the last words are not the
/// caller's own, or not all in one piece.
pub(crate) fn around_question(
    scope: CacheScope,
    caller: &Caller,
    route: &Route,
    payload: &Payload,
    strict: bool,
) -> Option<Key> {
    let Payload::Chat(chat) = payload else { return None };
    let last = chat.parts.last().filter(|part| part.role == portcullis_domain::Role::User)?;
    let (before, after) = (chat.body.get(..last.span.start)?, chat.body.get(last.span.end..)?);
    let mut digest = begun("around", scope, caller, route, strict);
    digest.put(chat.format.as_str().as_bytes());
    digest.put(chat.model.as_bytes());
    canonical(&mut digest, &[before, after].concat(), idle(chat.format))?;
    Some(digest.key())
}

/// What a request with an `Idempotency-Key` is remembered under.
pub(crate) fn once(caller: &Caller, key: &str) -> Key {
    let mut digest = Digest::of("once");
    digest.put(caller.id.as_bytes());
    digest.put(key.as_bytes());
    digest.key()
}

/// The request itself, to the byte.
pub(crate) fn print(payload: &Payload) -> Option<Key> {
    let (format, model, body) = asked(payload)?;
    let mut digest = Digest::of("print");
    let kind = match payload {
        Payload::Chat(chat) if chat.stream => "stream",
        Payload::Chat(_) => "chat",
        Payload::Embed(_) => "embed",
        Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => return None,
    };
    for piece in [kind.as_bytes(), format.as_str().as_bytes(), model.as_bytes(), body] {
        digest.put(piece);
    }
    Some(digest.key())
}

fn asked(payload: &Payload) -> Option<(Format, &str, &[u8])> {
    match payload {
        Payload::Chat(chat) => Some((chat.format, &chat.model, &chat.body)),
        Payload::Embed(embed) => Some((embed.format, &embed.model, &embed.body)),
        Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => None,
    }
}

fn begun(what: &str, scope: CacheScope, caller: &Caller, route: &Route, strict: bool) -> Digest {
    let mut digest = Digest::of(what);
    let (kind, who) = match (scope, &caller.team) {
        (CacheScope::Team, Some(team)) => ("team", &**team),
        (CacheScope::Key, _) | (CacheScope::Team, None) => ("key", &*caller.id),
        (CacheScope::Global, _) => ("global", ""),
    };
    for piece in [kind, who, &route.label, &route.policy, if strict { "strict" } else { "" }] {
        digest.put(piece.as_bytes());
    }
    for target in &route.targets {
        digest.put(target.name.as_bytes());
    }
    digest
}

/// Puts JSON in with its members in order and without white space; none when it is no object.
fn canonical(digest: &mut Digest, body: &[u8], without: &[&str]) -> Option<()> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    for (name, value) in members.iter().filter(|(name, _)| !without.contains(&name.as_ref())) {
        digest.put(name.as_bytes());
        self::value(digest, value)?;
    }
    Some(())
}

/// Depth is bounded by the door.
fn value(digest: &mut Digest, raw: &RawValue) -> Option<()> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
            digest.put(b"{");
            digest.put(&(members.len() as u64).to_le_bytes());
            for (name, member) in members {
                digest.put(name.as_bytes());
                value(digest, member)?;
            }
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            digest.put(b"[");
            digest.put(&(items.len() as u64).to_le_bytes());
            for item in items {
                value(digest, item)?;
            }
        }
        // The same words may be escaped in several ways.
        b'"' if text.contains('\\') => {
            let read: Option<String> = serde_json::from_str(text).ok();
            digest.put(b"\"");
            digest.put(read.as_deref().map_or(text.as_bytes(), str::as_bytes));
        }
        b'"' => {
            digest.put(b"\"");
            digest.put(text.get(1..text.len() - 1)?.as_bytes());
        }
        _ => digest.put(text.as_bytes()),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn of(body: &str) -> Option<Key> {
        let mut digest = Digest::of("test");
        canonical(&mut digest, body.as_bytes(), idle(Format::OpenAi))?;
        Some(digest.key())
    }

    #[test]
    fn order_white_space_escapes_and_idle_members_make_no_difference() {
        let one =
            of(r#"{"messages":[{"role":"user","content":"Zo\u00eb"}],"seed":1,"stream":true,"user":"a"}"#);
        let two = of(
            "{ \"metadata\": {\"x\": 1}, \"seed\" : 1 ,\"messages\":[ {\"content\":\"Zoë\", \"role\":\"user\"} ] }",
        );
        assert!(one.is_some() && one == two);
    }

    #[test]
    fn what_an_answer_repeats_makes_a_difference() {
        let of = |user: &str| {
            let mut digest = Digest::of("test");
            let body = format!(r#"{{"input":"a","user":"{user}","stream":true}}"#);
            canonical(&mut digest, body.as_bytes(), idle(Format::Responses)).map(|()| digest.key())
        };
        assert!(of("a").is_some() && of("a") == of("a") && of("a") != of("b"));
    }

    #[test]
    fn everything_else_makes_one() {
        let bodies = [
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":[1,1]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{"b":{"stream":1}}}"#,
            r#"{"a":{"b":{"stream":2}}}"#,
            r#"{"a":null}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":""}"#,
            r#"{"a":["b","c"]}"#,
            r#"{"a":["bc"]}"#,
            r#"{"b":1}"#,
            r#"{"a":123456789012345678901}"#,
            r#"{"a":123456789012345678902}"#,
            "{}",
        ];
        let keys: std::collections::BTreeSet<_> = bodies.iter().map(|body| of(body).unwrap()).collect();
        assert_eq!(keys.len(), bodies.len());
        assert_eq!((of("[1]"), of("1"), of("{")), (None, None, None));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\ é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_bodies_have_the_same_key_exactly_when_they_say_the_same(a in any_json(), b in any_json()) {
            let (one, two) = (json!({ "x": a }), json!({ "x": b }));
            prop_assert_eq!(of(&one.to_string()) == of(&two.to_string()), one == two);
            prop_assert_eq!(of(&one.to_string()), of(&serde_json::to_string_pretty(&one).unwrap()));
        }
    }
}
