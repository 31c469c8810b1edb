//! What a path answers: whole, packed, slow, endless, never; with validators, redirects and pauses.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{io::Write as _, time::Duration};

/// How the body goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At once, with its length.
    Whole,
    /// In pieces of so many bytes, so far apart, without a length.
    Drip { piece: usize, gap: Duration },
    /// The same piece for ever.
    Endless,
    /// A length is promised, and half of it sent.
    Cut,
    /// Nothing, not even a head.
    Hang,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) flow: Flow,
}

impl Answer {
    /// Only a status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), flow: Flow::Whole }
    }

    /// A text of a type.
    #[must_use]
    pub fn text(kind: &str, text: &str) -> Self {
        let body = Bytes::copy_from_slice(text.as_bytes());
        Self { body, ..Self::status(200) }.header("content-type", kind)
    }

    /// A page.
    #[must_use]
    pub fn html(text: &str) -> Self {
        Self::text("text/html; charset=utf-8", text)
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("location", to)
    }

    /// 429 with Retry-After; a request before its end is a violation.
    #[must_use]
    pub fn later(secs: u64) -> Self {
        Self::status(429).header("retry-after", &secs.to_string())
    }

    /// A page of so many bytes, packed into very few.
    #[must_use]
    pub fn bomb(bytes: usize) -> Self {
        Self::html("").body(vec![b' '; bytes]).gzip()
    }

    /// A body that never ends.
    #[must_use]
    pub fn endless() -> Self {
        Self { flow: Flow::Endless, ..Self::html(&"<p>and on</p>".repeat(500)) }
    }

    /// No answer at all.
    #[must_use]
    pub fn hang() -> Self {
        Self { flow: Flow::Hang, ..Self::status(200) }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same, packed.
    ///
    /// # Panics
    /// Never: memory can be written to.
    #[must_use]
    pub fn gzip(self) -> Self {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&self.body).expect("memory can be written to");
        let body = packed.finish().expect("memory can be written to");
        self.body(body).header("content-encoding", "gzip")
    }

    /// The same in small pieces.
    #[must_use]
    pub fn slowly(self, piece: usize, gap: Duration) -> Self {
        Self { flow: Flow::Drip { piece: piece.max(1), gap }, ..self }
    }

    /// The same, broken off in the middle.
    #[must_use]
    pub fn cut(self) -> Self {
        Self { flow: Flow::Cut, ..self }
    }

    /// The value of one of its headers.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How long it asks to be left alone.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.named("retry-after")?.parse().ok().map(Duration::from_secs)
    }
}
