//! Calls to signal-cli: JSON-RPC over POST or over a line of JSON, answers in any order. Invariant: a call either
//! never left (`NotSent`), or was answered, or nobody knows (`Unknown`); the three are never mixed up, because only the
//! first may be repeated without a thought.
//!
//! Source: signal-cli's `man/signal-cli-jsonrpc.5`; ask.md section 2.

use super::config::Transport;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use parking_lot::Mutex;
use portcullis_domain::Deadline;
use portcullis_resilience::{
    http::{AnswerBody, Client, HttpError, collect},
    socket::{self, Place, ReadHalf, WriteHalf},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Most bytes of an answer.
const ANSWER_BYTES: usize = 16 << 20;
/// Calls that may wait for their turn on one socket.
const BACKLOG: usize = 256;

/// Where the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Address without a slash at its end.
    Http(String),
    /// A line of JSON each way.
    Socket(Place),
}

impl Target {
    pub(crate) fn parse(transport: Transport, url: &str) -> Option<Self> {
        let rest = |scheme: &str| url.strip_prefix(scheme).filter(|rest| !rest.is_empty());
        match transport {
            Transport::Http => {
                let whole = url.trim_end_matches('/');
                let uri: http::Uri = whole.parse().ok()?;
                let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
                known.then(|| Self::Http(whole.into()))
            }
            Transport::Tcp => {
                let address = rest("tcp://")?.trim_end_matches('/');
                let (host, port) = address.rsplit_once(':')?;
                (!host.is_empty() && port.parse::<u16>().is_ok())
                    .then(|| Self::Socket(Place::Tcp(address.into())))
            }
            Transport::Unix => rest("unix://")
                .filter(|path| path.starts_with('/'))
                .map(|path| Self::Socket(Place::Unix(path.into()))),
        }
    }
}

/// Why a call brought no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum RpcError {
    /// It never left.
    #[error("signal-cli is not reached: {0}")]
    NotSent(String),
    /// It left; whether it was done nobody knows.
    #[error("signal-cli did not answer")]
    Unknown,
    /// The daemon refused.
    #[error("signal-cli refused: {message} ({code})")]
    Daemon {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
        /// What it adds.
        data: Value,
    },
}

type Pending = Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>;

/// One socket: calls go in here, answers come back by their id.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    out: mpsc::Sender<String>,
    pending: Pending,
    /// Files that are on their way: their lines are longer than others.
    files: Arc<AtomicUsize>,
    pub(crate) closed: CancellationToken,
}

impl Socket {
    /// Whether answers are still to come.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// How long a line may be, while a file is on its way.
    pub(crate) fn awaits_a_file(&self) -> Option<usize> {
        (self.files.load(Ordering::Relaxed) > 0).then_some(ANSWER_BYTES)
    }

    /// An answer that came; false when nobody waits for it.
    pub(crate) fn answered(&self, answer: Value) -> bool {
        let id = answer["id"].as_str().unwrap_or_default();
        let waiting = self.pending.lock().remove(id);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }
}

/// Calls to the daemon. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inner>);

struct Inner {
    target: Target,
    account: String,
    client: Client,
    patience: Duration,
    tasks: TaskTracker,
    ids: AtomicU64,
    socket: Mutex<Option<Socket>>,
}

impl Wire {
    pub(crate) fn new(
        target: Target,
        account: String,
        client: Client,
        patience: Duration,
        tasks: TaskTracker,
    ) -> Self {
        let socket = Mutex::new(None);
        Self(Arc::new(Inner { target, account, client, patience, tasks, ids: AtomicU64::new(1), socket }))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0.target
    }

    pub(crate) fn account(&self) -> &str {
        &self.0.account
    }

    /// Does something that nobody waits for, other than the end of the door.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    /// Opens a socket; calls go through it from now on.
    pub(crate) async fn open_socket(&self, place: &Place) -> Result<(Socket, ReadHalf), RpcError> {
        let opened = socket::connect(place, self.0.patience).await;
        let (read, write) = opened.map_err(|error| RpcError::NotSent(error.kind().to_string()))?;
        let (out, lines) = mpsc::channel(BACKLOG);
        let socket = Socket {
            out,
            pending: Pending::default(),
            files: Arc::default(),
            closed: CancellationToken::new(),
        };
        self.0.tasks.spawn(write_lines(write, lines, socket.closed.clone()));
        *self.0.socket.lock() = Some(socket.clone());
        Ok((socket, read))
    }

    /// Opens the stream of events.
    pub(crate) async fn open_events(&self, base: &str) -> Result<AnswerBody, RpcError> {
        let account = self.0.account.replace('+', "%2B");
        let request = Request::get(format!("{base}/api/v1/events?account={account}"))
            .header(header::ACCEPT, "text/event-stream")
            .body(Full::default())
            .map_err(|_| RpcError::NotSent("the address is none".into()))?;
        let answer =
            self.0.client.send(request).await.map_err(|error| RpcError::NotSent(error.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let what = match status.as_u16() {
            400 => "it does not know the account".into(),
            421 => "it does not take the host name of signal.url".into(),
            code => format!("it answered {code}"),
        };
        Err(RpcError::NotSent(what))
    }

    /// Whether the daemon lives.
    pub(crate) async fn check(&self) -> Result<(), RpcError> {
        let Target::Http(base) = &self.0.target else {
            return self.call("version", json!({})).await.map(drop);
        };
        let request = Request::get(format!("{base}/api/v1/check"))
            .body(Full::default())
            .map_err(|_| RpcError::NotSent("the address is none".into()))?;
        let answer = timeout(self.0.patience, self.0.client.send(request)).await;
        match answer {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(RpcError::NotSent(format!("it answered {}", answer.status().as_u16()))),
            Ok(Err(error)) => Err(RpcError::NotSent(error.to_string())),
            Err(_) => Err(RpcError::Unknown),
        }
    }

    /// Calls a method with the account among its parameters.
    pub(crate) async fn call_for_account(&self, method: &str, mut params: Value) -> Result<Value, RpcError> {
        params["account"] = json!(self.0.account);
        self.call(method, params).await
    }

    /// A file that came with a message to that chat.
    pub(crate) async fn file(&self, id: &str, chat: Value) -> Result<Vec<u8>, RpcError> {
        struct OnItsWay(Option<Arc<AtomicUsize>>);
        impl Drop for OnItsWay {
            fn drop(&mut self) {
                if let Some(files) = &self.0 {
                    files.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        let files = self.0.socket.lock().as_ref().map(|socket| socket.files.clone());
        if let Some(files) = &files {
            files.fetch_add(1, Ordering::Relaxed);
        }
        let _on_its_way = OnItsWay(files);
        let mut params = chat;
        params["id"] = json!(id);
        let answer = self.call_for_account("getAttachment", params).await?;
        let text = answer["data"].as_str().or_else(|| answer.as_str()).ok_or(RpcError::Unknown)?;
        STANDARD.decode(text).map_err(|_| RpcError::Unknown)
    }

    /// Calls a method.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed).to_string();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = match &self.0.target {
            Target::Http(base) => self.post(base, &request).await?,
            Target::Socket(_) => self.line(&id, &request).await?,
        };
        match answer.get("error") {
            Some(error) if !error.is_null() => Err(RpcError::Daemon {
                code: error["code"].as_i64().unwrap_or(0),
                message: error["message"].as_str().unwrap_or_default().into(),
                data: error["data"].clone(),
            }),
            _ => Ok(answer["result"].clone()),
        }
    }

    async fn post(&self, base: &str, request: &Value) -> Result<Value, RpcError> {
        let request = Request::post(format!("{base}/api/v1/rpc"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(request.to_string())))
            .map_err(|_| RpcError::NotSent("the address is none".into()))?;
        let deadline = Deadline::after(self.0.patience);
        let answer = match tokio::time::timeout_at(deadline.instant(), self.0.client.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(HttpError::Connect(why))) => return Err(RpcError::NotSent(why)),
            Ok(Err(HttpError::Refused(_))) => {
                return Err(RpcError::NotSent("the address is not allowed".into()));
            }
            Ok(Err(HttpError::Broken(_) | HttpError::TooLarge(_) | HttpError::Timeout)) | Err(_) => {
                return Err(RpcError::Unknown);
            }
        };
        if !answer.status().is_success() {
            return Err(RpcError::NotSent(format!("it answered {}", answer.status().as_u16())));
        }
        let body =
            collect(answer.into_body(), ANSWER_BYTES, deadline).await.map_err(|_| RpcError::Unknown)?;
        serde_json::from_slice(&body).map_err(|_| RpcError::Unknown)
    }

    async fn line(&self, id: &str, request: &Value) -> Result<Value, RpcError> {
        let away = || RpcError::NotSent("no socket is open".into());
        let socket =
            self.0.socket.lock().clone().filter(|socket| !socket.closed.is_cancelled()).ok_or_else(away)?;
        let (answer, waiting) = oneshot::channel();
        socket.pending.lock().insert(id.to_owned(), answer);
        let sent = socket.out.try_send(format!("{request}\n"));
        if sent.is_err() {
            socket.pending.lock().remove(id);
            return Err(away());
        }
        let answered = tokio::select! {
            answered = timeout(self.0.patience, waiting) => answered.ok().and_then(Result::ok),
            () = socket.closed.cancelled() => None,
        };
        socket.pending.lock().remove(id);
        answered.ok_or(RpcError::Unknown)
    }
}

async fn write_lines(mut write: WriteHalf, mut lines: mpsc::Receiver<String>, closed: CancellationToken) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = closed.cancelled() => return,
        };
        let Some(line) = line else { return };
        if write.write_all(line.as_bytes()).await.is_err() || write.flush().await.is_err() {
            closed.cancel();
            return;
        }
    }
}
