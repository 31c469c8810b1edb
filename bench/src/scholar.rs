//! A mock provider that answers from what it is given, as a model does: after a pause it says the first whole sentence of
//! the first passage and cites it, so that the answer holds against its passages. Invariant: the pause is the only thing
//! it waits for, however many ask at once.

use crate::upstream::collect;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The running double; it stops when dropped.
pub(crate) struct Scholar {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
    _tasks: JoinSet<()>,
}

impl Scholar {
    /// Answers each request after `pause`.
    pub(crate) async fn start(pause: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, stop, mut tasks) = (listener.local_addr()?, CancellationToken::new(), JoinSet::new());
        let stopped = stop.clone();
        tasks.spawn(async move {
            drop(stopped.run_until_cancelled(serve(listener, pause)).await);
        });
        Ok(Self { address, _stop: stop.drop_guard(), _tasks: tasks })
    }
}

async fn serve(listener: TcpListener, pause: Duration) -> Result<()> {
    let tasks = TaskTracker::new();
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tasks.spawn(async move {
            let service = service_fn(move |request| answer(request, pause));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>, pause: Duration) -> Result<Response<Full<Bytes>>> {
    let body: Value = serde_json::from_slice(&collect(request.into_body()).await?)?;
    let prompt = body["messages"].as_array().and_then(|all| all.last()).context("no message")?;
    let said = sentence(prompt["content"].as_str().unwrap_or_default());
    sleep(pause).await;
    let answer = json!({
        "id": "chatcmpl-scholar", "object": "chat.completion", "created": 1_760_000_000, "model": "bench-model",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": said } }],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 40, "total_tokens": 1040 },
    });
    let mut response = Response::new(Full::from(answer.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The first sentence of the first passage that is long enough to be one, cited.
fn sentence(prompt: &str) -> String {
    let passage = prompt.split_once("Passage 1:").map_or(prompt, |(_, rest)| rest);
    let lines = passage.lines().skip(1).flat_map(|line| line.split_inclusive(". "));
    let whole = lines.map(str::trim).find(|text| text.len() > 40 && text.ends_with('.'));
    format!("{} [1]", whole.unwrap_or("NO_ANSWER"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_sentence_of_the_first_passage_is_cited() {
        let prompt = "Earlier:\nx\n\nPassage 1:\n<marker>\n\"Title\"\nShort. \
                      A backup is restored while the server stands still. More of it.\n\nPassage 2:\nOther.";
        assert_eq!(sentence(prompt), "A backup is restored while the server stands still. [1]");
        assert_eq!(sentence("nothing"), "NO_ANSWER [1]");
    }
}
