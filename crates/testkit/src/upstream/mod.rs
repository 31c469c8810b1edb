//! A strict double of a provider on loopback, in OpenAI's format or another. It refuses what the real endpoint refuses, answers in
//! the real shapes, misbehaves on request, and records everything. Invariant: a request it refused is a violation
//! that tests can assert the absence of; nothing it answers depends on time or chance.

mod answer;
mod anthropic;
mod behaviour;
mod body;
mod gemini;
mod record;
mod responses;
pub mod schema;
mod serve;
#[cfg(test)]
mod tests;

pub use behaviour::{Behaviour, Pace, Reply};
pub use record::{HangUp, Received};

use parking_lot::Mutex;
use portcullis_domain::Format;
use record::Record;
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How a double is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which format it speaks.
    pub format: Format,
    /// The only bearer key it accepts; none: no `Authorization` is expected, and one is a violation.
    pub key: Option<String>,
    /// The models it has. Another model is 404.
    pub models: Vec<String>,
    /// Whether unknown members of a request are refused, as OpenAI does; most compatible servers ignore them.
    pub reject_unknown: bool,
    /// Length of embeddings when the request names none.
    pub dimensions: usize,
    /// Headers on every right answer.
    pub headers: Vec<(String, String)>,
    /// What the model says.
    pub reply: Reply,
    /// How fast.
    pub pace: Pace,
    /// Path before `/chat/completions`.
    pub base_path: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        let headers = [
            ("openai-organization", "double-org"),
            ("openai-processing-ms", "12"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-tokens", "1999900"),
            ("x-ratelimit-reset-tokens", "3ms"),
        ];
        Self {
            format: Format::OpenAi,
            key: Some("sk-double-key".into()),
            models: ["gpt-double", "gpt-double-mini", "embed-double"].map(str::to_owned).into(),
            reject_unknown: false,
            dimensions: 16,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            reply: Reply::Text("The gate is open and the guard is awake.".into()),
            pace: Pace::default(),
            base_path: "/v1",
        }
    }
}

impl Options {
    /// A double of Anthropic.
    #[must_use]
    pub fn anthropic() -> Self {
        let headers = [
            ("request-id", "req_double"),
            ("anthropic-organization-id", "double-org"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2030-01-01T00:00:00Z"),
        ];
        Self {
            format: Format::Anthropic,
            models: vec!["claude-double".into()],
            reject_unknown: true,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Self::default()
        }
    }

    /// A double of Google.
    #[must_use]
    pub fn gemini() -> Self {
        Self {
            format: Format::Gemini,
            key: Some("double-google-key".into()),
            models: ["gemini-2.5-double", "gemini-3-double", "embed-double"].map(str::to_owned).into(),
            headers: vec![("server-timing".into(), "gfet4t7; dur=12".into())],
            base_path: "/v1beta",
            ..Self::default()
        }
    }
}

/// How much went on at the double.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests received whole.
    pub requests: usize,
    /// Connections ever accepted.
    pub connections: usize,
    /// Connections open now.
    pub open_connections: usize,
    /// Requests being answered now.
    pub in_flight: usize,
    /// The most that were being answered at once.
    pub max_in_flight: usize,
}

/// The running double; it stops and breaks its connections on `Drop`.
#[derive(Debug)]
pub struct OpenAi {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What connections see.
#[derive(Debug)]
struct Shared {
    options: Mutex<Options>,
    script: Mutex<Script>,
    record: Arc<Record>,
    released: CancellationToken,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Behaviour>,
    otherwise: Behaviour,
}

impl OpenAi {
    /// Starts a double with the default options.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a double with these options.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn with(options: Options) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            options: Mutex::new(options),
            script: Mutex::new(Script { next: VecDeque::new(), otherwise: Behaviour::Answer }),
            record: Arc::default(),
            released: CancellationToken::new(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve::accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        Self { address, shared, stop, tasks }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT/v1`, what an OpenAI client takes as its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.base_url_at(self.address)
    }

    /// The base URL as seen through a proxy at `address`.
    #[must_use]
    pub fn base_url_at(&self, address: SocketAddr) -> String {
        format!("http://{address}{}", self.shared.options.lock().base_path)
    }

    /// The key it accepts; empty when it takes none.
    #[must_use]
    pub fn key(&self) -> String {
        self.shared.options.lock().key.clone().unwrap_or_default()
    }

    /// Changes options while it runs; requests from now on see them.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.shared.options.lock());
    }

    /// What happens to the next valid request without an earlier entry of its own.
    pub fn next(&self, behaviour: Behaviour) {
        self.shared.script.lock().next.push_back(behaviour);
    }

    /// The same for the next `times` requests.
    pub fn next_times(&self, times: usize, behaviour: &Behaviour) {
        let repeated = std::iter::repeat_n(behaviour.clone(), times);
        self.shared.script.lock().next.extend(repeated);
    }

    /// What happens to every valid request that [`OpenAi::next`] says nothing of.
    pub fn always(&self, behaviour: Behaviour) {
        self.shared.script.lock().otherwise = behaviour;
    }

    /// Lets go of every request that is held, and of all that will be.
    pub fn release(&self) {
        self.shared.released.cancel();
    }

    /// Every request received, in order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.record.all_received()
    }

    /// Every client that went away early.
    #[must_use]
    pub fn hang_ups(&self) -> Vec<HangUp> {
        self.shared.record.hang_ups()
    }

    /// Every request it refused as malformed, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.record.violations()
    }

    /// Counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.record.counts()
    }

    /// Forgets requests, hang-ups, violations and the peak; open ones go on.
    pub fn forget(&self) {
        self.shared.record.forget();
    }

    /// Waits until so many requests have been received in all, and returns them.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        let enough = |record: &Record| Some(record.all_received()).filter(|all| all.len() >= count);
        self.shared.record.until(enough).await
    }

    /// Waits until so many clients have gone away early in all, and returns the latest.
    pub async fn wait_for_hang_ups(&self, count: usize) -> HangUp {
        let enough = |record: &Record| {
            let all = record.hang_ups();
            if all.len() < count { None } else { all.last().cloned() }
        };
        self.shared.record.until(enough).await
    }

    /// Waits until no request is being answered.
    pub async fn wait_idle(&self) {
        self.shared.record.until(|record| (record.counts().in_flight == 0).then_some(())).await;
    }

    /// Stops listening and breaks every connection.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for OpenAi {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
