//! One kept answer, and how it is written for Redis. Invariant: it holds the bytes that a caller was given, so that a
//! hit in the same shape is the same to the byte.

use super::key::Key;
use bytes::Bytes;
use portcullis_domain::Degraded;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc, time::SystemTime};

/// One kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Whether `body` is server-sent events; else one JSON object.
    pub(crate) stream: bool,
    /// In the caller's own format.
    pub(crate) body: Bytes,
    /// Unix seconds.
    pub(crate) made: u64,
    /// `provider/model`.
    pub(crate) target: Option<Arc<str>>,
    /// Only answers to an `Idempotency-Key` may be.
    pub(crate) degraded: Option<Degraded>,
    pub(crate) dropped: Vec<Cow<'static, str>>,
    /// Of the request that it answers, where an `Idempotency-Key` was given: hex.
    pub(crate) print: Option<String>,
}

/// What an entry costs beside its body.
const OVERHEAD: usize = 512;

/// The line before the body.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    stream: bool,
    made: u64,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    degraded: Option<Cow<'a, str>>,
    dropped: Vec<String>,
    #[serde(borrow)]
    print: Option<Cow<'a, str>>,
}

impl Entry {
    /// Bytes it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + OVERHEAD
    }

    /// Seconds since it was made.
    pub(crate) fn age_secs(&self) -> u64 {
        now().saturating_sub(self.made)
    }

    /// Whether it answers that request; without an `Idempotency-Key` the key says it already.
    pub(crate) fn is_of(&self, print: &Key) -> bool {
        self.print.as_deref() == Some(print.hex().as_str())
    }

    /// For Redis; none when its body is no text.
    pub(crate) fn write(&self) -> Option<String> {
        let head = Head {
            stream: self.stream,
            made: self.made,
            target: self.target.as_deref().map(Cow::Borrowed),
            degraded: self.degraded.map(|degraded| degraded.as_str().into()),
            dropped: self.dropped.iter().map(ToString::to_string).collect(),
            print: self.print.as_deref().map(Cow::Borrowed),
        };
        let head = serde_json::to_string(&head).ok()?;
        Some([&head, "\n", std::str::from_utf8(&self.body).ok()?].concat())
    }

    /// From Redis; none when it is of another version of ours.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once('\n')?;
        let head: Head<'_> = serde_json::from_str(head).ok()?;
        let known = [Degraded::NoProvider, Degraded::Fallback, Degraded::EmbeddingSpace];
        let degraded = match head.degraded {
            None => None,
            Some(name) => Some(known.into_iter().find(|known| known.as_str() == name)?),
        };
        Some(Self {
            stream: head.stream,
            body: Bytes::copy_from_slice(body.as_bytes()),
            made: head.made,
            target: head.target.map(|target| target.as_ref().into()),
            degraded,
            dropped: head.dropped.into_iter().map(Cow::Owned).collect(),
            print: head.print.map(Cow::into_owned),
        })
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_redis_is_read_again() {
        let plain = Entry {
            stream: false,
            body: Bytes::from_static(b"{\n\"a\":1}\n"),
            made: 7,
            target: None,
            degraded: None,
            dropped: vec![],
            print: None,
        };
        let full = Entry {
            stream: true,
            target: Some("a/b".into()),
            degraded: Some(Degraded::Fallback),
            dropped: vec!["seed".into(), "x\"y".into()],
            print: Some("00ff".into()),
            ..plain.clone()
        };
        for entry in [plain, full] {
            assert_eq!(Entry::read(&entry.write().unwrap()), Some(entry));
        }
        for text in ["", "{}", "{}\n", "no\nbody", "{\"stream\":true}\nx"] {
            assert_eq!(Entry::read(text), None, "{text:?}");
        }
    }
}
