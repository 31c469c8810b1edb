//! How an answer leaves the double: chunk by chunk, at a pace, to one of three ends. Invariant: an exchange is complete
//! once its last chunk is handed over, because the connection may never ask again after it.

use super::{answer, record::Exchange};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use std::{io, pin::Pin, time::Duration};
use tokio::time::sleep;

pub(super) type Body = StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>;

pub(super) fn bytewise(chunks: &[Bytes]) -> Vec<Bytes> {
    chunks.iter().flatten().map(|byte| Bytes::copy_from_slice(&[*byte])).collect()
}

/// What comes after the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Cut,
    Hang,
}

pub(super) fn deliver(chunks: Vec<Bytes>, gap: Duration, end: End, mut exchange: Exchange) -> Body {
    let count = chunks.len();
    exchange.complete = count == 0 && end == End::Clean;
    let steps =
        stream::unfold((chunks.into_iter(), exchange, 0), move |(mut rest, mut exchange, sent)| async move {
            if let Some(chunk) = rest.next() {
                if sent > 0 && !gap.is_zero() {
                    sleep(gap).await;
                }
                exchange.chunks_sent = sent + 1;
                // The connection may never ask again after the last chunk.
                exchange.complete = sent + 1 == count && end == End::Clean;
                return Some((Ok(Frame::data(chunk)), (rest, exchange, sent + 1)));
            }
            match end {
                End::Clean => None,
                End::Hang => std::future::pending().await,
                End::Cut => {
                    // The bytes before the cut must have left, or the cut would swallow them.
                    sleep(Duration::from_millis(20)).await;
                    exchange.complete = true;
                    let cut = Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    Some((cut, (rest, exchange, sent)))
                }
            }
        });
    StreamBody::new(Box::pin(steps))
}

pub(super) fn huge(bytes: u64, exchange: Exchange) -> Body {
    const BLOCK: Bytes = Bytes::from_static(&[b'a'; 65_536]);
    let opening = Bytes::from_static(br#"{"id":"chatcmpl-huge","object":"chat.completion","filler":""#);
    let blocks = usize::try_from(bytes / 65_536 + 1).expect("fits a machine word");
    let chunks = std::iter::once(opening).chain(std::iter::repeat_n(BLOCK, blocks));
    counted(stream::iter(chunks.chain([Bytes::from_static(b"\"}")])), Some(blocks + 2), exchange)
}

pub(super) fn endless(exchange: Exchange) -> Body {
    let event = answer::event(
        &json!({ "id": "chatcmpl-endless", "object": "chat.completion.chunk", "created": 0, "model": "endless",
            "choices": [{ "index": 0, "delta": { "content": "more " }, "finish_reason": null }] })
        .to_string(),
    );
    counted(stream::repeat(event), None, exchange)
}

fn counted(
    chunks: impl Stream<Item = Bytes> + Send + 'static,
    total: Option<usize>,
    mut exchange: Exchange,
) -> Body {
    StreamBody::new(Box::pin(chunks.map(move |chunk| {
        // A method, not field access: a closure would copy the fields and drop the exchange here.
        exchange.sent(total);
        Ok(Frame::data(chunk))
    })))
}
