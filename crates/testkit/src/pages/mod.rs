//! A small web on one loopback port: sites by their Host header, with robots.txt, redirects, pauses, bombs and slow
//! bodies. An opponent: it notes every request that a polite and careful fetcher would not make.
//!
//! Invariant: it shares no code with the product; what it calls a violation stands, whatever the fetcher makes of the
//! answer. Source: telegram-double.md section 4.

mod answer;
mod channel;
mod serve;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use channel::{Channel, Post, feed_atom, feed_json, feed_rss, own_words};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// When.
    pub at: Instant,
}

impl Seen {
    /// A header's text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What a site is, and what was seen of it.
#[derive(Debug, Default)]
struct SiteState {
    pages: BTreeMap<String, Vec<Answer>>,
    robots: Option<Answer>,
    forbidden: Vec<String>,
    interval: Duration,
    latency: Duration,
    most_at_once: Option<usize>,
    under_way: usize,
    closed_until: Option<Instant>,
    seen: Vec<Seen>,
}

#[derive(Debug, Default)]
struct State {
    sites: HashMap<String, SiteState>,
    connections: usize,
    violations: Vec<String>,
}

type Shared = Arc<Mutex<State>>;

/// The web. Stops when dropped.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    state: Shared,
    stop: CancellationToken,
}

impl Web {
    /// Starts without any site: a request to a host that is none is a violation.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        Self::on(0).await
    }

    /// The same on that port.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("loopback has the port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (state, stop) = (Shared::default(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(serve::accept(listener, Arc::clone(&state), stop.clone(), tasks.clone()));
        Self { address, state, stop }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The site of a host (with its port, when that is not a usual one), made if there is none. No robots.txt at first.
    #[must_use]
    pub fn site(&self, host: &str) -> Site {
        self.state.lock().sites.entry(host.to_owned()).or_default();
        Site { host: host.to_owned(), state: Arc::clone(&self.state) }
    }

    /// A site at the loopback address itself.
    #[must_use]
    pub fn here(&self) -> Site {
        self.site(&self.address.to_string())
    }

    /// Connections that were made, to all sites together.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// What a polite and careful fetcher would not have done.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One site. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Site {
    host: String,
    state: Shared,
}

impl Site {
    fn with(self, change: impl FnOnce(&mut SiteState)) -> Self {
        change(self.state.lock().sites.entry(self.host.clone()).or_default());
        self
    }

    /// What a path answers; given more than once, one answer after the other, the last one for ever.
    #[must_use]
    pub fn page(self, path: &str, answer: Answer) -> Self {
        self.with(|site| site.pages.entry(path.to_owned()).or_default().push(answer))
    }

    /// A chain of redirects from `/chain/1` to `/chain/N`, which is a page.
    #[must_use]
    pub fn chain(self, length: usize, status: u16) -> Self {
        let redirects = 1..=length;
        redirects
            .fold(self, |site, n| {
                site.page(&format!("/chain/{n}"), Answer::redirect(status, &format!("/chain/{}", n + 1)))
            })
            .page(&format!("/chain/{}", length + 1), Answer::html("<p>the end</p>"))
    }

    /// A robots.txt of this text.
    #[must_use]
    pub fn robots(self, text: &str) -> Self {
        let answer = Answer::text("text/plain", text);
        self.with(|site| site.robots = Some(answer))
    }

    /// `/robots.txt` answers this.
    #[must_use]
    pub fn robots_answer(self, answer: Answer) -> Self {
        self.with(|site| site.robots = Some(answer))
    }

    /// Paths that begin so may not be fetched; a request for one is a violation. Says so in no robots.txt by itself.
    #[must_use]
    pub fn forbid(self, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        self.with(|site| site.forbidden.push(prefix))
    }

    /// Two requests closer than this are a violation.
    #[must_use]
    pub fn pace(self, interval: Duration) -> Self {
        self.with(|site| site.interval = interval)
    }

    /// Every answer takes that long.
    #[must_use]
    pub fn after(self, latency: Duration) -> Self {
        self.with(|site| site.latency = latency)
    }

    /// More requests under way at once are a violation.
    #[must_use]
    pub fn at_once(self, most: usize) -> Self {
        self.with(|site| site.most_at_once = Some(most))
    }

    /// What was asked, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().sites.get(&self.host).map(|site| site.seen.clone()).unwrap_or_default()
    }

    /// The paths that were asked, in order.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }
}

impl State {
    /// Notes a request and finds its answer.
    fn request(&mut self, host: &str, seen: Seen) -> Answer {
        let Some(site) = self.sites.get_mut(host) else {
            self.violations.push(format!("{host}{}: nobody is allowed to ask this host", seen.target));
            return Answer::status(421);
        };
        let mut wrong = Vec::new();
        if site.forbidden.iter().any(|prefix| seen.target.starts_with(prefix.as_str())) {
            wrong.push("robots.txt forbids it".to_owned());
        }
        if let Some(last) = site.seen.last()
            && seen.at - last.at < site.interval
        {
            wrong.push(format!("{:?} after the request before it", seen.at - last.at));
        }
        if site.closed_until.is_some_and(|until| seen.at < until) {
            wrong.push("before the end of the pause that was asked for".to_owned());
        }
        site.under_way += 1;
        if site.most_at_once.is_some_and(|most| site.under_way > most) {
            wrong.push(format!("{} requests at once", site.under_way));
        }
        if !seen.header("user-agent").starts_with("Portcullis/") {
            wrong.push("it does not say who asks".to_owned());
        }
        for private in [header::COOKIE, header::AUTHORIZATION, header::REFERER, header::FROM] {
            if seen.headers.contains_key(&private) {
                wrong.push(format!("the header {private} has no business here"));
            }
        }
        let path = seen.target.split('?').next().unwrap_or_default();
        let answers = site.pages.get_mut(&seen.target).or(None);
        let answer = match (path, answers) {
            ("/robots.txt", _) => site.robots.clone().unwrap_or_else(|| Answer::status(404)),
            (_, Some(answers)) if answers.len() > 1 => answers.remove(0),
            (_, Some(answers)) => answers[0].clone(),
            (_, None) => Answer::status(404),
        };
        if let Some(pause) = answer.pause() {
            site.closed_until = Some(seen.at + pause);
        }
        self.violations.extend(wrong.into_iter().map(|why| format!("{host}{}: {why}", seen.target)));
        site.seen.push(seen);
        answer
    }

    fn latency(&self, host: &str) -> Duration {
        self.sites.get(host).map(|site| site.latency).unwrap_or_default()
    }

    fn ended(&mut self, host: &str) {
        if let Some(site) = self.sites.get_mut(host) {
            site.under_way = site.under_way.saturating_sub(1);
        }
    }
}
