//! Kept answers given again, and answers on their way that are worth keeping. A streamed answer may be given whole and
//! the other way round, through the internal form; in the same shape the bytes are the same.

use super::entry::Entry;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use portcullis_domain::{
    ByteStream, CacheNote, ChatRequest, Completion, Failure, Finish, Format, Meter, Part, Reply, ReplyBody,
    RequestId,
};
use portcullis_wire::{Head, Reader, Writer, sse, steps};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The answer again, for a request of any shape; none when it cannot be brought into that shape.
pub(super) fn chat(entry: &Entry, request: &ChatRequest, id: RequestId, note: CacheNote) -> Option<Reply> {
    let head = || Head {
        id: id.to_string(),
        created: i64::try_from(entry.made).unwrap_or_default(),
        include_usage: request.include_usage,
        request: request.body.clone(),
    };
    let body = match (entry.stream, request.stream) {
        (false, false) => ReplyBody::Whole(entry.body.clone()),
        (true, true) => events(entry.body.clone()),
        (true, false) => {
            let answer = streamed(request.format, &entry.body)?;
            ReplyBody::Whole(portcullis_wire::write_answer(request.format, &answer, &head()))
        }
        (false, true) => {
            let answer = portcullis_wire::read_answer(request.format, &entry.body)?;
            let (mut writer, mut out) = (Writer::new(request.format, head()), BytesMut::new());
            for step in steps::of_answer(&answer) {
                writer.step(&step, &mut out);
            }
            writer.finish(&mut out);
            events(out.freeze())
        }
    };
    Some(reply(entry, body, note))
}

/// A whole answer again.
pub(super) fn whole(entry: &Entry, note: CacheNote) -> Reply {
    reply(entry, ReplyBody::Whole(entry.body.clone()), note)
}

/// What is given again costs nothing: its meter stays at rest.
fn reply(entry: &Entry, body: ReplyBody, note: CacheNote) -> Reply {
    Reply {
        degraded: entry.degraded,
        target: entry.target.clone(),
        dropped: entry.dropped.clone(),
        cache: Some(note),
        ..Reply::new(body, Meter::default())
    }
}

/// Event by event, as it came.
fn events(mut body: Bytes) -> ReplyBody {
    let next = std::iter::from_fn(move || {
        let end = sse::first_end(&body).unwrap_or(body.len());
        (!body.is_empty()).then(|| Ok(body.split_to(end)))
    });
    ReplyBody::Stream(Box::pin(futures_util::stream::iter(next)))
}

/// A streamed answer as a whole one; none when it is not complete.
fn streamed(format: Format, mut body: &[u8]) -> Option<Completion> {
    let (mut reader, mut out) = (Reader::new(format), Vec::new());
    while !body.is_empty() {
        let (event, rest) = body.split_at(sse::first_end(body).unwrap_or(body.len()));
        if let Some(data) = sse::data_of(event) {
            reader.event(&data, &mut out).ok()?;
        }
        body = rest;
    }
    steps::into_answer(out)
}

/// Whether an answer may be given to others: complete, ended by itself, and without tools to call when the question
/// was suspicious.
pub(super) fn worth_keeping(format: Format, stream: bool, body: &[u8], flagged: bool) -> bool {
    let answer = if stream { streamed(format, body) } else { portcullis_wire::read_answer(format, body) };
    let Some(answer) = answer else { return false };
    let ended = answer.choices.iter().all(|choice| match choice.finish {
        Finish::Stop | Finish::StopText(_) | Finish::ToolCalls => true,
        Finish::Length | Finish::ContentFilter => false,
    });
    let calls = || {
        answer.choices.iter().flat_map(|choice| &choice.parts).any(|part| matches!(part, Part::ToolCall(_)))
    };
    ended && !answer.choices.is_empty() && !(flagged && calls())
}

/// What is done with a stream that came to its end.
pub(super) type Keep = Box<dyn FnOnce(Bytes) + Send>;

/// A stream that is kept while it passes. It is forgotten when it breaks off, grows too long, or nobody reads it.
pub(super) struct Keeping {
    source: ByteStream,
    kept: Option<(BytesMut, Keep)>,
    max_bytes: usize,
}

impl Keeping {
    pub(super) fn new(source: ByteStream, max_bytes: usize, keep: Keep) -> Self {
        Self { source, kept: Some((BytesMut::new(), keep)), max_bytes }
    }
}

impl Stream for Keeping {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.source.as_mut().poll_next(cx));
        let max_bytes = self.max_bytes;
        match &item {
            Some(Ok(bytes)) => {
                self.kept = self.kept.take().filter(|(kept, _)| kept.len() + bytes.len() <= max_bytes);
                if let Some((kept, _)) = &mut self.kept {
                    kept.extend_from_slice(bytes);
                }
            }
            Some(Err(_)) => self.kept = None,
            None => {
                if let Some((kept, keep)) = self.kept.take() {
                    keep(kept.freeze());
                }
            }
        }
        Poll::Ready(item)
    }
}
