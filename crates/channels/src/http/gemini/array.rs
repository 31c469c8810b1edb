//! A stream of events as one JSON array, element by element: what Google sends without `alt=sse`. Invariant: an array
//! that breaks off ends with the error as its last element, never like a whole one; silence is filled with white space.
//! Source: Google's API reference, "models.streamGenerateContent".

use super::super::stream::EventBody;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use portcullis_wire::sse::{data_of, first_end, last_end};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The array.
pub(in crate::http) struct ArrayBody {
    events: EventBody,
    held: BytesMut,
    /// Bytes of `held` known to hold no end of an event.
    searched: usize,
    begun: bool,
    ended: bool,
}

impl ArrayBody {
    pub(in crate::http) fn new(events: EventBody) -> Self {
        Self { events, held: BytesMut::new(), searched: 0, begun: false, ended: false }
    }

    fn take(&mut self, chunk: &Bytes) -> BytesMut {
        self.held.extend_from_slice(chunk);
        let mut out = BytesMut::new();
        let Some(end) = last_end(&self.held, self.searched) else {
            // An end is at most three bytes: two of them may be here already.
            self.searched = self.held.len().saturating_sub(2);
            return out;
        };
        let whole = self.held.split_to(end);
        self.searched = self.held.len().saturating_sub(2);
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let (event, after) = rest.split_at(first_end(rest).unwrap_or(rest.len()));
            self.event(event, &mut out);
            rest = after;
        }
        out
    }

    fn event(&mut self, event: &[u8], out: &mut BytesMut) {
        let Some(data) = data_of(event) else {
            // Between elements white space says nothing; before the first it would be no array.
            if self.begun {
                out.put_u8(b'\n');
            }
            return;
        };
        let comma: &[u8] = if std::mem::replace(&mut self.begun, true) { b",\r\n" } else { b"[" };
        out.put_slice(comma);
        out.put_slice(&data);
    }

    fn end(&mut self) -> BytesMut {
        self.ended = true;
        let mut out = BytesMut::new();
        let rest = self.held.split();
        if !rest.is_empty() {
            self.event(&rest, &mut out);
        }
        out.put_slice(if self.begun { b"\n]\n" } else { b"[]\n" });
        out
    }
}

impl Body for ArrayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        while !this.ended {
            let out = match ready!(Pin::new(&mut this.events).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    frame.into_data().map_or_else(|_| BytesMut::new(), |data| this.take(&data))
                }
                Some(Err(never)) => match never {},
                None => this.end(),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::Schema;
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use portcullis_domain::{Failure, Format, RequestId};
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    async fn told(items: Vec<Result<&'static str, Failure>>) -> String {
        let source = Box::pin(stream::iter(items.into_iter().map(|item| item.map(Bytes::from))));
        let cut = CancellationToken::new().cancelled_owned();
        let id = RequestId::from_parts(0, 0);
        let events = EventBody::new(source, Schema::Wire(Format::Gemini), id, Duration::from_secs(15), cut);
        let mut body = ArrayBody::new(events);
        let mut out = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            out.extend_from_slice(&frame.into_data().unwrap());
        }
        assert!(body.is_end_stream());
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn events_become_elements_wherever_they_are_cut() {
        let whole = "data: {\"a\":1}\r\n\r\n: hello\n\ndata: {\"b\":\ndata: 2}\n\n";
        for cut in 0..whole.len() {
            let said = told(vec![Ok(&whole[..cut]), Ok(&whole[cut..])]).await;
            let read: serde_json::Value = serde_json::from_str(&said).expect(&said);
            assert_eq!(read, serde_json::json!([{"a": 1}, {"b": 2}]), "{cut}");
        }
        assert_eq!(told(vec![]).await, "[]\n");
    }

    #[tokio::test]
    async fn a_break_is_the_last_element() {
        let said =
            told(vec![Ok("data: {\"a\":1}\n\n"), Ok("data: {\"ha"), Err(Failure::UpstreamInterrupted)]);
        let said = said.await;
        assert!(said.ends_with("\n]\n") && said.contains("\"status\":\"UNAVAILABLE\""), "{said}");
    }
}
