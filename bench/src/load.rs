//! The load generator: a fixed number of keep-alive connections, each sending its next request when the last answer
//! is complete. Invariant: an answer that is not exactly the expected one is an error and ends the run.

use crate::wire;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// No answer takes this long on loopback.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where and what to ask.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// More keys, used in turn; none: only `key`.
    pub(crate) keys: std::sync::Arc<[String]>,
    pub(crate) body: Bytes,
    /// Whether no two requests ask the same; else each is the same to the last byte.
    pub(crate) fresh: bool,
    pub(crate) expect: Expect,
}

/// What a right answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The mock's whole answer, byte for byte.
    Whole,
    /// All events of the mock's stream, to `[DONE]`.
    Stream,
    /// The mock's words, in whichever bytes: from a peer that writes answers anew.
    Words,
    /// A stream of the mock's words to `[DONE]`, likewise.
    StreamOfWords,
}

/// One connection to a target.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    plan: Plan,
    /// Which key is next.
    turn: usize,
    /// The number of the next question; connections begin at numbers far apart.
    question: u32,
    /// Keeps the connection going; dropped with it.
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(plan: Plan) -> Result<Self> {
        let stream = TcpStream::connect(plan.address).await?;
        stream.set_nodelay(true)?;
        let stream_port = usize::from(stream.local_addr()?.port());
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            drop(connection.await);
        });
        // Connections begin at different keys.
        let turn = stream_port;
        let question = rand::random();
        Ok(Self { sender, plan, turn, question, _driver: driver })
    }

    /// Sends the request; the answer's head.
    pub(crate) async fn send(&mut self) -> Result<Response<Incoming>> {
        self.turn = self.turn.wrapping_add(1);
        self.question = self.question.wrapping_add(1);
        let body = match self.plan.fresh {
            true => wire::numbered(&self.plan.body, self.question),
            false => self.plan.body.clone(),
        };
        let keys = &self.plan.keys;
        let key = keys.get(self.turn % keys.len().max(1)).unwrap_or(&self.plan.key);
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, self.plan.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "portcullis-bench")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await.context("no answer")??;
        ensure!(response.status() == StatusCode::OK, "{}: {}", response.status(), text(response).await);
        Ok(response)
    }

    /// Sends the request and verifies the whole answer.
    pub(crate) async fn exchange(&mut self) -> Result<()> {
        let expect = self.plan.expect;
        let mut body = self.send().await?.into_body();
        let (mut length, mut last) = (0, Bytes::new());
        let mut whole = Vec::new();
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.context("the answer stopped")? {
            if let Ok(data) = frame?.into_data() {
                length += data.len();
                if matches!(expect, Expect::Whole | Expect::Words | Expect::StreamOfWords) {
                    whole.extend_from_slice(&data);
                }
                last = data;
            }
        }
        match expect {
            Expect::Whole if whole == wire::ANSWER.as_bytes() => Ok(()),
            Expect::Words if memchr::memmem::find(&whole, wire::WORDS.as_bytes()).is_some() => Ok(()),
            Expect::Whole | Expect::Words => bail!("another answer: {}", String::from_utf8_lossy(&whole)),
            Expect::StreamOfWords => {
                ensure!(whole.trim_ascii_end().ends_with(b"data: [DONE]"), "the stream ended without [DONE]");
                for word in ["word001", "word050", "word098"] {
                    ensure!(memchr::memmem::find(&whole, word.as_bytes()).is_some(), "{word} is missing");
                }
                Ok(())
            }
            Expect::Stream => {
                ensure!(last.ends_with(b"data: [DONE]\n\n"), "the stream ended without [DONE]");
                let expected: usize = (0..wire::EVENTS).map(|index| wire::event(index).len()).sum();
                ensure!(length == expected, "{length} bytes of events instead of {expected}");
                Ok(())
            }
        }
    }
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = crate::upstream::collect(response.into_body()).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Keeps `connections` busy for `length`; how many exchanges were completed, all of them verified.
pub(crate) async fn run(plan: &Plan, connections: usize, length: Duration) -> Result<u64> {
    let mut workers = JoinSet::new();
    let until = Instant::now() + length;
    for _ in 0..connections {
        let plan = plan.clone();
        workers.spawn(async move {
            let mut connection = Connection::open(plan).await?;
            let mut done = 0_u64;
            while Instant::now() < until {
                connection.exchange().await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut total = 0;
    while let Some(finished) = workers.join_next().await {
        total += finished.context("a load worker ended early")??;
    }
    ensure!(total > 0, "nothing was completed");
    Ok(total)
}

/// Sends at a fixed rate over idle connections; the time each exchange took, sorted.
pub(crate) async fn paced(plan: &Plan, per_sec: u32, length: Duration) -> Result<Vec<Duration>> {
    const LANES: u32 = 4;
    let mut workers = JoinSet::new();
    let begin = Instant::now() + Duration::from_millis(100);
    let gap = Duration::from_secs(1) / per_sec;
    for lane in 0..LANES {
        let plan = plan.clone();
        workers.spawn(async move {
            let mut connection = Connection::open(plan).await?;
            connection.exchange().await?;
            let mut took = Vec::new();
            let mut due = begin + gap * lane;
            while due < begin + length {
                sleep_until(due).await;
                // From waking, not from due: tokio's timer is a millisecond coarse, the same for every target.
                let sent = Instant::now();
                connection.exchange().await?;
                took.push(sent.elapsed());
                due += gap * LANES;
            }
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(finished) = workers.join_next().await {
        all.extend(finished.context("a load worker ended early")??);
    }
    all.sort_unstable();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{floor, upstream};
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    async fn floor_and_upstream() -> [SocketAddr; 2] {
        let tasks = TaskTracker::new();
        let [floor, mock] = [
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        ];
        let addresses = [floor.local_addr().unwrap(), mock.local_addr().unwrap()];
        tasks.spawn(upstream::serve(mock, tasks.clone()));
        tasks.spawn(floor::serve(floor, addresses[1], tasks.clone()));
        addresses
    }

    fn plan(address: SocketAddr, key: &str, stream: bool) -> Plan {
        Plan {
            address,
            key: key.into(),
            keys: std::sync::Arc::default(),
            body: wire::request(wire::MODEL, 0, stream),
            fresh: false,
            expect: if stream { Expect::Stream } else { Expect::Whole },
        }
    }

    #[tokio::test]
    async fn the_floor_swaps_the_key_and_passes_whole_and_streamed_answers() {
        let [floor, _mock] = floor_and_upstream().await;
        let short = Duration::from_millis(50);
        assert!(run(&plan(floor, wire::CALLER_KEY, false), 4, short).await.unwrap() >= 4);
        assert!(run(&plan(floor, wire::CALLER_KEY, true), 4, short).await.unwrap() >= 4);
        assert!(!paced(&plan(floor, wire::CALLER_KEY, false), 50, short).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_wrong_key_and_a_wrong_answer_end_the_run() {
        let [floor, mock] = floor_and_upstream().await;
        let short = Duration::from_millis(50);
        assert!(run(&plan(floor, "pcl_other", false), 1, short).await.is_err());
        assert!(run(&plan(mock, wire::CALLER_KEY, false), 1, short).await.is_err());
        for stream in [false, true] {
            let mut mixed = plan(floor, wire::CALLER_KEY, stream);
            mixed.expect = if stream { Expect::Whole } else { Expect::Stream };
            assert!(run(&mixed, 1, short).await.is_err());
        }
    }
}
