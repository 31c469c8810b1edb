//! One fetch: guard, robots.txt, line, dependency, answer; and the same again for each redirect. Read `Pages::fetch`
//! from top to bottom.
//!
//! Invariant: a site's trouble is that site's alone. A dead host, a 500 or a pause holds back this host in the line,
//! and never counts against the dependency `pages`, whose breaker would stop the fetches of all others.

use crate::{
    PageError, PagesConfig, Robots, RobotsFor,
    body::{self, Excess},
    gate::Gate,
    head,
    line::LinePolicy,
    manners::Manners,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use portcullis_domain::{Action, Deadline};
use portcullis_resilience::{
    CallCtx, CallError, Class, Dependency, DependencyPolicy, GuardConfig, Learn, Registry,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    http::{AnswerBody, Client, Guard, HttpConfig, HttpError, Network},
    pacing::PacePolicy,
};
use portcullis_telemetry::{Alerts, Metrics};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use url::Url;

/// What is expected at an address: which limit of size holds, and whether robots.txt is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A page of the web.
    #[default]
    Page,
    /// A feed.
    Feed,
    /// A page that is made for programs as much as for people, such as the posts of a public channel: bounded like a page,
    /// and robots.txt is asked where it is asked for feeds.
    Open,
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is expected.
    pub kind: Kind,
    /// The validator of an earlier answer.
    pub etag: Option<String>,
    /// The date of an earlier answer, as it was said.
    pub last_modified: Option<String>,
    /// Whether redirects must stay at the same host.
    pub stay: bool,
    /// Whether somebody waits for it: such fetches stand before all others.
    pub urgent: bool,
    /// Until when the page is worth anything, the wait for a turn included.
    pub deadline: Deadline,
}

impl Options {
    /// A page, not urgent, without conditions.
    #[must_use]
    pub const fn until(deadline: Deadline) -> Self {
        Self { kind: Kind::Page, etag: None, last_modified: None, stay: false, urgent: false, deadline }
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it was found, redirects followed.
    pub final_url: Url,
    /// Media type in lower case, without parameters.
    pub content_type: Option<String>,
    /// Charset that the site declares, in lower case.
    pub charset: Option<String>,
    /// The content, unpacked; empty when it is not modified.
    pub bytes: Bytes,
    /// Validator, to send back next time.
    pub etag: Option<String>,
    /// Date, to send back next time.
    pub last_modified: Option<String>,
    /// Nothing is new since the validator or date that was sent.
    pub not_modified: bool,
    /// Where the site says that the address has moved for good.
    pub permanent_redirect: Option<Url>,
}

/// What fetching needs.
pub struct Parts<'a> {
    /// `[pages]`.
    pub config: &'a PagesConfig,
    /// `[outbound]`: the bounds of connections that `[pages]` does not name.
    pub outbound: &'a HttpConfig,
    /// Names and sockets.
    pub network: Network,
    /// Metrics.
    pub metrics: &'a Metrics,
    /// Alerts.
    pub alerts: &'a Alerts,
    /// Where the dependency `pages` is registered.
    pub registry: &'a Registry,
}

struct Inner {
    config: PagesConfig,
    user_agent: String,
    client: Client,
    dependency: Dependency,
    gate: Arc<Gate>,
    manners: Manners,
    metrics: Metrics,
}

/// The fetcher. Cheap to clone; clones share one line.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

impl fmt::Debug for Pages {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Pages")
    }
}

/// What one request came to.
enum Answer {
    Content(Response<()>, Bytes),
    Moved { to: String, for_good: bool },
}

/// One request.
#[derive(Clone, Copy)]
struct Ask<'a> {
    url: &'a Url,
    options: &'a Options,
    conditional: bool,
    limit: usize,
    excess: Excess,
    deadline: Deadline,
}

/// The time of one fetch that is left: waiting for a turn costs none of it.
struct Purse {
    left: Duration,
}

impl Pages {
    /// A fetcher; registers the dependency `pages`.
    #[must_use]
    pub fn new(parts: &Parts<'_>) -> Self {
        let config = parts.config;
        let http = HttpConfig {
            connect_timeout_secs: config.connect_secs,
            max_idle_per_host: config.host_concurrency,
            ..parts.outbound.clone()
        };
        let guard = Guard::new(&config.allow_private, parts.network.clone());
        let dependency = Dependency::new(policy(config), parts.metrics, parts.alerts);
        parts.registry.add(dependency.clone());
        Self(Arc::new(Inner {
            user_agent: config.user_agent(),
            client: Client::guarded(&http, guard),
            dependency,
            gate: Gate::new(LinePolicy::from(config), parts.metrics),
            manners: Manners::new(config),
            metrics: parts.metrics.clone(),
            config: config.clone(),
        }))
    }

    /// Fetches a page, following its redirects.
    ///
    /// # Errors
    /// See [`PageError`]. Its words may be shown to whoever named the address; the reason of a refusal is logged here.
    pub async fn fetch(&self, url: &Url, options: Options) -> Result<Page, PageError> {
        let begun = Instant::now();
        // Somebody else may be asking the same robots.txt with more patience than this caller has.
        let told = tokio::time::timeout_at(options.deadline.instant(), Box::pin(self.follow(url, &options)));
        let told = told.await.unwrap_or(Err(PageError::Timeout));
        let outcome = match &told {
            Ok(page) if page.not_modified => "not_modified",
            Ok(_) => "ok",
            Err(error) => error.kind(),
        };
        self.0.metrics.page_fetched(outcome);
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            event = "page_fetched",
            host = url.host_str(),
            outcome,
            took_ms,
            "a page was fetched"
        );
        told
    }

    async fn follow(&self, url: &Url, options: &Options) -> Result<Page, PageError> {
        let config = &self.0.config;
        let (mut url, mut permanent, mut still_permanent) = (url.clone(), None, true);
        let mut purse = Purse { left: config.total() };
        let limit = match options.kind {
            Kind::Page | Kind::Open => config.max_page_bytes,
            Kind::Feed => config.max_feed_bytes,
        };
        for _ in 0..=config.redirects {
            url.set_fragment(None);
            self.check(&url)?;
            if self.asks_robots(options.kind) {
                self.mind(&url, options).await?;
            }
            let ask = Ask {
                url: &url,
                options,
                conditional: true,
                limit,
                excess: Excess::Refuse,
                deadline: options.deadline,
            };
            match self.turn(ask, &mut purse).await? {
                Answer::Content(head, bytes) => return Ok(page(url, &head, bytes, permanent)),
                Answer::Moved { to, for_good } => {
                    let next = url.join(&to).map_err(|_| PageError::Redirects)?;
                    if options.stay && next.origin() != url.origin() {
                        return Err(refused(&url, "it redirects to another host"));
                    }
                    url = next;
                    still_permanent &= for_good;
                    if still_permanent {
                        permanent = Some(url.clone());
                    }
                }
            }
        }
        Err(PageError::Redirects)
    }

    /// What can be told without the network: nothing that will be refused waits in line for it.
    fn check(&self, url: &Url) -> Result<(), PageError> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(PageError::Address);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(url, "the URL holds credentials"));
        }
        let uri: Uri = url.as_str().parse().map_err(|_| PageError::Address)?;
        self.0.client.check(&uri).map_err(|why| refused(url, &why.to_string()))
    }

    fn asks_robots(&self, kind: Kind) -> bool {
        match (self.0.config.robots, kind) {
            (RobotsFor::Off, _) | (RobotsFor::Pages, Kind::Feed | Kind::Open) => false,
            (RobotsFor::All, _) | (RobotsFor::Pages, Kind::Page) => true,
        }
    }

    /// Asks the site's robots.txt, fetching it if need be.
    async fn mind(&self, url: &Url, options: &Options) -> Result<(), PageError> {
        let origin = url.origin().ascii_serialization();
        let robots = self.0.manners.of(&origin, Box::pin(self.robots(url, options))).await?;
        self.0.gate.delay(&place(url), robots.delay().unwrap_or_default());
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        if robots.allows(path) { Ok(()) } else { Err(PageError::Robots) }
    }

    /// Fetches a robots.txt. Outside: our own trouble, which says nothing of the site. Inside: what it came to.
    async fn robots(
        &self,
        url: &Url,
        options: &Options,
    ) -> Result<Result<Arc<Robots>, PageError>, PageError> {
        let mut url = url.join("/robots.txt").map_err(|_| PageError::Address)?;
        let config = &self.0.config;
        let mut purse = Purse { left: config.total() };
        for _ in 0..=config.redirects {
            self.check(&url)?;
            let ask = Ask {
                url: &url,
                options,
                conditional: false,
                limit: config.max_robots_bytes,
                excess: Excess::Cut,
                deadline: options.deadline,
            };
            match self.turn(ask, &mut purse).await {
                Ok(Answer::Content(_, bytes)) => return Ok(Ok(Arc::new(Robots::parse(&bytes)))),
                Ok(Answer::Moved { to, .. }) => match url.join(&to) {
                    Ok(next) => url = next,
                    Err(_) => return Ok(Ok(Arc::new(Robots::allowing()))),
                },
                // There is none.
                Err(PageError::Status(400..500)) => return Ok(Ok(Arc::new(Robots::allowing()))),
                // It could not be had, so everything is forbidden until it can.
                Err(PageError::Status(_)) => return Ok(Err(PageError::Robots)),
                Err(late) if options.deadline.passed() => return Err(late),
                Err(ours @ (PageError::Busy { .. } | PageError::Later { .. } | PageError::NotReachable)) => {
                    return Err(ours);
                }
                Err(theirs) => return Ok(Err(theirs)),
            }
        }
        // RFC 9309 section 2.3.1.2: after five redirects it counts as if there were none.
        Ok(Ok(Arc::new(Robots::allowing())))
    }

    /// Waits for the host's turn and makes one request.
    async fn turn(&self, ask: Ask<'_>, purse: &mut Purse) -> Result<Answer, PageError> {
        let host = place(ask.url);
        let pass = self
            .0
            .gate
            .enter(&host, (ask.options.urgent, ask.options.kind == Kind::Open), ask.deadline)
            .await?;
        let begun = Instant::now();
        let ask = Ask { deadline: ask.deadline.within(purse.left), ..ask };
        let context = CallCtx {
            deadline: ask.deadline,
            caller: "pages".into(),
            weight: 1,
            action: Action::Ingest,
            tokens: 0,
            tried: 0,
            others: false,
        };
        let called = self.0.dependency.call(&context, |_| Box::pin(self.once(ask, &host))).await;
        drop(pass);
        purse.left = purse.left.saturating_sub(begun.elapsed());
        match called {
            Ok(guarded) => {
                guarded.permit.finish(Class::Ok);
                Ok(guarded.value)
            }
            Err(CallError::Failed { error: Some(error), .. }) => Err(error),
            Err(CallError::Failed { error: None, .. } | CallError::DeadlineExceeded) => {
                Err(PageError::Timeout)
            }
            Err(
                CallError::Open { retry_after }
                | CallError::Full { retry_after }
                | CallError::Paced { retry_after },
            ) => Err(PageError::Busy { retry_after }),
        }
    }

    async fn once(&self, ask: Ask<'_>, host: &Arc<str>) -> Result<Answer, (Class, PageError)> {
        // See the invariant above: nothing a site does is the dependency's failure.
        self.request(ask, host).await.map_err(|error| (Class::TargetUnfit, error))
    }

    async fn request(&self, ask: Ask<'_>, host: &Arc<str>) -> Result<Answer, PageError> {
        let sent = self.0.client.send(self.written(ask)?).await;
        let response = sent.map_err(|error| match error {
            HttpError::Refused(why) => refused(ask.url, &why.to_string()),
            HttpError::Connect(_) => PageError::NoAnswer,
            HttpError::Broken(_) | HttpError::TooLarge(_) => PageError::Broken,
            HttpError::Timeout => PageError::Timeout,
        })?;
        self.judged(response, ask, host).await
    }

    fn written(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, PageError> {
        let accept = match ask.options.kind {
            Kind::Page | Kind::Open => "text/html, application/xhtml+xml, text/plain;q=0.9, */*;q=0.5",
            Kind::Feed => "application/rss+xml, application/atom+xml, application/feed+json, */*;q=0.5",
        };
        let mut request = Request::get(ask.url.as_str())
            .header(header::USER_AGENT, &self.0.user_agent)
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, body::ACCEPTED);
        if ask.conditional {
            let conditions = [
                (header::IF_NONE_MATCH, &ask.options.etag),
                (header::IF_MODIFIED_SINCE, &ask.options.last_modified),
            ];
            for (name, value) in conditions {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
        }
        request.body(Full::default()).map_err(|_| PageError::Address)
    }

    async fn judged(
        &self,
        response: Response<AnswerBody>,
        ask: Ask<'_>,
        host: &Arc<str>,
    ) -> Result<Answer, PageError> {
        let (head, content) = response.into_parts();
        let status = head.status;
        let conditional = ask.options.etag.is_some() || ask.options.last_modified.is_some();
        match status {
            StatusCode::NOT_MODIFIED if conditional && ask.conditional => {
                Ok(Answer::Content(Response::from_parts(head, ()), Bytes::new()))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(self.held_back(status, &head.headers, host))
            }
            _ if status.is_success() => {
                let bytes = body::read(&head.headers, content, ask.limit, ask.excess).await?;
                Ok(Answer::Content(Response::from_parts(head, ()), bytes))
            }
            _ => match (status.as_u16(), head::field(&head.headers, &header::LOCATION)) {
                (code @ (301 | 302 | 303 | 307 | 308), Some(to)) => {
                    Ok(Answer::Moved { to, for_good: matches!(code, 301 | 308) })
                }
                (code, _) => Err(PageError::Status(code)),
            },
        }
    }

    /// A host that asks for a pause gets it, from everybody; one that names no time gets half the pace.
    fn held_back(&self, status: StatusCode, headers: &HeaderMap, host: &Arc<str>) -> PageError {
        let asked = head::retry_after(headers, jiff::Timestamp::now().as_second());
        let Some(asked) = asked.filter(|asked| !asked.is_zero()) else {
            self.0.gate.slow(host);
            return PageError::Status(status.as_u16());
        };
        let retry_after = asked.min(Duration::from_secs(self.0.config.max_pause_secs));
        self.0.gate.pause(host, retry_after);
        PageError::Later { retry_after }
    }
}

/// The reason goes to the log, with the host that was asked for; whoever asked hears one sentence for all of them.
fn refused(url: &Url, reason: &str) -> PageError {
    tracing::warn!(event = "page_refused", host = url.host_str(), reason, "an address is not fetched");
    PageError::NotReachable
}

/// What the line knows a host by: both usual ports are one site.
fn place(url: &Url) -> Arc<str> {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        None | Some(80 | 443) => host.into(),
        Some(port) => format!("{host}:{port}").into(),
    }
}

fn page(final_url: Url, head: &Response<()>, bytes: Bytes, permanent_redirect: Option<Url>) -> Page {
    let (content_type, charset) = head::content_type(head.headers());
    Page {
        final_url,
        content_type,
        charset,
        bytes,
        etag: head::field(head.headers(), &header::ETAG),
        last_modified: head::field(head.headers(), &header::LAST_MODIFIED),
        not_modified: head.status() == StatusCode::NOT_MODIFIED,
        permanent_redirect,
    }
}

/// The line grants places and keeps the pace; a request that failed is not made again, because the host's next turn is
/// the line's to give.
fn policy(config: &PagesConfig) -> DependencyPolicy {
    DependencyPolicy {
        name: "pages".to_owned(),
        breaker: BreakerPolicy { failures: 20, reset: Duration::from_secs(30) },
        bulkhead: BulkheadPolicy { concurrency: config.concurrency, queue: config.concurrency },
        pace: PacePolicy::default(),
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: config.total(),
        hold: Duration::from_secs(60),
        guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
    }
}

#[cfg(test)]
mod tests;
