//! The body of a streamed answer: the provider's events as they come, comments while it is silent, and one error
//! event when it breaks off. Invariant: a broken answer never ends like a finished one (no `[DONE]` follows an
//! error), and nothing of ours is ever put inside another event.
//!
//! Source: gateway.md section 7; the WHATWG event stream format (comment lines begin with a colon).

use super::answer::{self, Schema};
use bytes::Bytes;
use http_body::Frame;
use portcullis_domain::{ByteStream, Failure, Format, RequestId};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Server-sent events on their way to a client.
pub(super) struct EventBody {
    source: Option<ByteStream>,
    schema: Schema,
    id: RequestId,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    quiet: Pin<Box<Sleep>>,
    comment_every: Duration,
    /// Whether the last byte sent ended an event.
    between_events: bool,
    /// End of the bytes sent last, for finding the blank line across chunks.
    last_was_newline: bool,
    /// The number of the next event, where the format numbers them.
    number: u64,
}

/// Before the number of an event of OpenAI's responses. In a text it would have its quotes escaped.
const NUMBER: &[u8] = b"\"sequence_number\":";

impl EventBody {
    /// `cut` resolves when the drain time is over and what still runs must end.
    pub(super) fn new(
        source: ByteStream,
        schema: Schema,
        id: RequestId,
        comment_every: Duration,
        cut: WaitForCancellationFutureOwned,
    ) -> Self {
        Self {
            source: Some(source),
            schema,
            id,
            cut: Box::pin(cut),
            quiet: Box::pin(sleep(comment_every)),
            comment_every,
            between_events: true,
            last_was_newline: false,
            number: 0,
        }
    }

    fn note(&mut self, chunk: &Bytes) {
        let ends = match chunk.as_ref() {
            [.., b'\n', b'\n'] | [.., b'\n', b'\r', b'\n'] => true,
            [b'\n'] | [b'\r', b'\n'] => self.last_was_newline,
            _ => false,
        };
        self.between_events = ends;
        self.last_was_newline = chunk.last() == Some(&b'\n');
        if self.schema == Schema::Wire(Format::Responses)
            && let Some(at) = memchr::memmem::rfind(chunk, NUMBER)
        {
            let digits = chunk[at + NUMBER.len()..].trim_ascii_start();
            let number = digits.iter().map_while(|digit| char::from(*digit).to_digit(10));
            self.number = number.take(18).fold(0, |all, digit| all * 10 + u64::from(digit)) + 1;
        }
        let next = Instant::now() + self.comment_every;
        self.quiet.as_mut().reset(next);
    }

    /// The last event of a broken answer. A blank line first, in case the break came inside an event.
    fn error_event(&mut self, failure: &Failure) -> Bytes {
        self.source = None;
        let lead = if self.between_events { "" } else { "\n\n" };
        format!("{lead}{}", answer::event(self.schema, failure, &self.id, self.number)).into()
    }
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(source) = this.source.as_mut() else { return Poll::Ready(None) };
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match source.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                this.note(&chunk);
                return frame(chunk);
            }
            Poll::Ready(Some(Err(failure))) => return frame(this.error_event(&failure)),
            Poll::Ready(None) => {
                this.source = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        if this.cut.as_mut().poll(cx).is_ready() {
            return frame(this.error_event(&Failure::UpstreamInterrupted));
        }
        if this.quiet.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + this.comment_every;
            this.quiet.as_mut().reset(next);
            if this.between_events {
                return frame(Bytes::from_static(b": keep-alive\n\n"));
            }
            // Registers the timer anew; inside an event nothing may be added.
            let _pending = this.quiet.as_mut().poll(cx);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use tokio_util::sync::CancellationToken;

    const EVERY: Duration = Duration::from_secs(15);

    async fn text(source: ByteStream, cut: CancellationToken) -> String {
        told(Format::OpenAi, source, cut).await
    }

    async fn told(format: Format, source: ByteStream, cut: CancellationToken) -> String {
        let id = RequestId::from_parts(0, 0);
        let mut body = EventBody::new(source, Schema::Wire(format), id, EVERY, cut.cancelled_owned());
        let mut out = String::new();
        while let Some(Ok(frame)) = body.frame().await {
            out.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        out
    }

    fn slowly(items: Vec<(u64, Result<&'static str, Failure>)>) -> ByteStream {
        Box::pin(stream::unfold(items.into_iter(), |mut items| async move {
            let (wait, item) = items.next()?;
            tokio::time::sleep(Duration::from_secs(wait)).await;
            Some((item.map(|text| Bytes::from_static(text.as_bytes())), items))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments_but_never_inside_an_event() {
        let source = slowly(vec![(0, Ok("data: 1\n\n")), (31, Ok("data: ")), (40, Ok("2\n")), (0, Ok("\n"))]);
        let seen = text(source, CancellationToken::new()).await;
        assert_eq!(seen, "data: 1\n\n: keep-alive\n\n: keep-alive\n\ndata: 2\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_break_ends_with_one_error_event_and_no_done() {
        let source = slowly(vec![
            (0, Ok("data: par")),
            (1, Err(Failure::UpstreamInterrupted)),
            (0, Ok("data: no\n\n")),
        ]);
        let seen = text(source, CancellationToken::new()).await;
        assert!(seen.starts_with("data: par\n\ndata: {\"error\":{"), "{seen}");
        assert!(seen.contains("upstream_interrupted") && !seen.contains("DONE") && !seen.contains("no\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_break_is_told_in_the_words_of_the_callers_format() {
        let source =
            slowly(vec![(0, Ok("event: ping\ndata: {}\n\n")), (0, Err(Failure::UpstreamInterrupted))]);
        let seen = told(Format::Anthropic, source, CancellationToken::new()).await;
        let last = seen.strip_prefix("event: ping\ndata: {}\n\nevent: error\ndata: ").expect(&seen);
        let body: serde_json::Value = serde_json::from_str(last.trim_end()).unwrap();
        assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &"api_error".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_break_is_numbered_where_events_are() {
        let first = "event: a\ndata: {\"sequence_number\": 41,\"delta\":\"\\\"sequence_number\\\":7\"}\n\n";
        let source = slowly(vec![(0, Ok(first)), (0, Err(Failure::UpstreamInterrupted))]);
        let seen = told(Format::Responses, source, CancellationToken::new()).await;
        let last = seen.strip_prefix(first).unwrap().strip_prefix("event: error\ndata: ").expect(&seen);
        let data: serde_json::Value = serde_json::from_str(last.trim_end()).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&"error".into(), &42.into()));
        assert_eq!((&data["code"], &data["error"]["code"]), (&"upstream_interrupted".into(), &data["code"]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_drain_time_ends_a_stream_with_the_error_event() {
        let cut = CancellationToken::new();
        let source = slowly(vec![(0, Ok("data: 1\n\n")), (10_000, Ok("data: 2\n\n"))]);
        let reader = text(source, cut.clone());
        let (seen, ()) = tokio::join!(reader, async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cut.cancel();
        });
        assert!(seen.starts_with("data: 1\n\ndata: {\"error\""), "{seen}");
    }
}
