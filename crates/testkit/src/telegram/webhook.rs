//! Webhooks: what may be set, and delivery. Invariant: one update of a chat is on its way at a time, the oldest, and it
//! comes again until a 2xx takes it or it expires.

use super::{
    fault, http,
    methods::Work,
    poll,
    state::{Moment, Outcome, Refusal, Shared, State},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Pause after `setWebhook`.
const PAUSE: Duration = Duration::from_secs(1);
const SECRET_BYTES: usize = 256;
const PORTS: [u16; 4] = [443, 80, 88, 8443];
/// The longest wait that an answer may ask for.
const RETRY_AFTER: u64 = 3600;
/// The longest wait of its own.
const LONGEST: Duration = Duration::from_secs(60);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// After 410 for so long it gives up.
const GONE: Duration = Duration::from_secs(23 * 3600);
const ANSWER_BYTES: usize = 1 << 20;

/// Where an update goes, in order.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    on_its_way: bool,
    not_before: Moment,
    fails: u32,
}

#[derive(Debug)]
pub(super) struct Webhook {
    number: u64,
    url: String,
    host: String,
    /// Where it listens without TLS.
    direct: Option<String>,
    path: String,
    secret: String,
    max_connections: usize,
    lanes: BTreeMap<i64, Lane>,
    last_error: Option<(u64, String)>,
    gone_since: Option<Moment>,
    stop: CancellationToken,
}

impl Webhook {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// An empty parcel with its address.
    fn parcel(&self, proxies: &BTreeMap<String, String>) -> Parcel {
        Parcel {
            secret: self.secret.clone(),
            to: self.direct.clone().or_else(|| proxies.get(&self.host).cloned()),
            host: self.host.clone(),
            path: self.path.clone(),
            ..Parcel::default()
        }
    }

    /// Whether a delivery went wrong.
    #[cfg(test)]
    pub(super) const fn failed(&self) -> bool {
        self.last_error.is_some()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The parts of an address: whether it is safe, its host, its port, its path.
fn parts(url: &str) -> Option<(bool, &str, u16, &str)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let safe = match scheme.to_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, if safe { 443 } else { 80 }),
    };
    (!host.is_empty()).then_some((safe, host, port, path))
}

pub(super) fn set(work: &mut Work<'_>) -> Outcome {
    let url = work.text("url").to_owned();
    if url.is_empty() {
        return delete(work);
    }
    if work.now < work.state.next_set_webhook {
        return Err(Refusal::too_many(1));
    }
    work.state.next_set_webhook = work.now + PAUSE;
    let secret = work.text("secret_token").to_owned();
    let (safe, host, port, path) =
        parts(&url).ok_or_else(|| Refusal::bad("invalid webhook URL specified"))?;
    if secret.len() > SECRET_BYTES {
        return Err(Refusal::bad("secret token is too long"));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(Refusal::bad("secret token contains unallowed characters"));
    }
    let loopback = matches!(host, "127.0.0.1" | "localhost") && work.shared.options.loopback_webhooks;
    if !safe && !loopback {
        return Err(Refusal::bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    if !loopback && !PORTS.contains(&port) {
        return Err(Refusal::bad("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443"));
    }
    if secret.is_empty() && !work.rival {
        work.state.violation_once("a webhook without a secret".to_owned());
    }
    drop_pending(work);
    poll::remember(work);
    poll::end(work.state, poll::WEBHOOK_SET);
    let stop = work.shared.stop.child_token();
    let number = work.state.number();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let host = host.to_owned();
    let direct = (loopback && !safe).then(|| format!("{host}:{port}"));
    let most = work.number("max_connections").unwrap_or(40).clamp(1, 100);
    work.state.webhook = Some(Webhook {
        number,
        url,
        host,
        direct,
        path,
        secret,
        max_connections: usize::try_from(most).unwrap_or(1),
        lanes: BTreeMap::new(),
        last_error: None,
        gone_since: None,
        stop,
    });
    Ok(true.into())
}

fn drop_pending(work: &mut Work<'_>) {
    if work.flag("drop_pending_updates") {
        work.state.queue.clear();
    }
}

pub(super) fn delete(work: &mut Work<'_>) -> Outcome {
    drop_pending(work);
    work.state.webhook = None;
    Ok(true.into())
}

pub(super) fn info(work: &mut Work<'_>) -> Value {
    let now = work.now;
    work.state.queue.expire(now);
    let webhook = work.state.webhook.as_ref();
    let mut info = json!({
        "url": webhook.map_or("", |webhook| webhook.url.as_str()), "has_custom_certificate": false,
        "pending_update_count": work.state.queue.len(),
    });
    if let Some(webhook) = webhook {
        info["max_connections"] = json!(webhook.max_connections);
        if let Some((at, what)) = &webhook.last_error {
            info["last_error_date"] = json!(at);
            info["last_error_message"] = json!(what);
        }
    }
    if !work.state.queue.allowed().is_empty() {
        info["allowed_updates"] = json!(work.state.queue.allowed());
    }
    info
}

/// An update on its way.
#[derive(Default)]
struct Parcel {
    update: i64,
    lane: i64,
    number: u64,
    body: String,
    secret: String,
    /// Its address on loopback.
    to: Option<String>,
    host: String,
    path: String,
}

/// Delivers what waits, for as long as the double runs.
pub(super) async fn deliver(shared: Arc<Shared>) {
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let now = shared.now();
        let (parcels, wait) = next(&mut shared.lock(), now);
        for parcel in parcels {
            let shared = Arc::clone(&shared);
            shared.tasks.clone().spawn(async move { carry(&shared, parcel).await });
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(wait) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// What can go now, and how long the rest has to wait.
fn next(state: &mut State, now: Moment) -> (Vec<Parcel>, Duration) {
    let mut wait = LONGEST;
    let State { queue, webhook, proxies, .. } = state;
    let Some(webhook) = webhook else { return (Vec::new(), wait) };
    queue.expire(now);
    let mut under_way = webhook.lanes.values().filter(|lane| lane.on_its_way).count();
    let (mut parcels, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    for queued in queue.iter() {
        if under_way >= webhook.max_connections {
            break;
        }
        // Only the oldest of a chat.
        if !seen.insert(queued.chat) {
            continue;
        }
        let lane = webhook.lanes.entry(queued.chat).or_default();
        if lane.on_its_way {
            continue;
        }
        if lane.not_before > now {
            wait = wait.min(lane.not_before - now);
            continue;
        }
        lane.on_its_way = true;
        under_way += 1;
        parcels.push(Parcel {
            update: queued.id,
            lane: queued.chat,
            number: webhook.number,
            body: queued.body.to_string(),
            ..webhook.parcel(proxies)
        });
    }
    (parcels, wait)
}

/// What a delivery came to.
struct Given {
    status: http::Status,
    retry_after: u64,
    body: Bytes,
}

/// Somebody who is not Telegram posts to the webhook: the status of the answer.
pub(super) async fn knock(shared: &Shared, secret: Option<&str>, body: &str) -> Option<u16> {
    let parcel = shared.change(|state, _now| {
        let State { webhook, proxies, .. } = state;
        webhook.as_ref().map(|webhook| webhook.parcel(proxies))
    })?;
    let parcel = Parcel { body: body.into(), secret: secret.unwrap_or_default().into(), ..parcel };
    let given = tokio::time::timeout(PATIENCE, give(&parcel)).await;
    given.ok()?.ok().map(|given| given.status.as_u16())
}

async fn carry(shared: &Arc<Shared>, parcel: Parcel) {
    let fault =
        shared.change(|state, _now| fault::take(&mut state.rules, fault::DELIVERY, Some(parcel.lane)));
    let fault = fault.unwrap_or_default();
    let giving = async {
        tokio::time::sleep(fault.delay.unwrap_or_default()).await;
        let given = give(&parcel).await;
        // Taken, and Telegram does not know it.
        if fault.reset.is_some() { Err(io::ErrorKind::ConnectionReset.into()) } else { given }
    };
    let given = tokio::select! {
        given = tokio::time::timeout(PATIENCE, giving) => given,
        () = shared.stop.cancelled() => return,
    };
    let (taken, what, retry_after) = match &given {
        Ok(Ok(given)) if given.status.is_success() => (true, String::new(), 0),
        Ok(Ok(given)) => {
            let reason = given.status.canonical_reason().unwrap_or_default();
            let what = format!("Wrong response from the webhook: {} {reason}", given.status.as_u16());
            (false, what, given.retry_after.min(RETRY_AFTER))
        }
        Ok(Err(problem)) if problem.kind() == io::ErrorKind::ConnectionRefused => {
            (false, "Connection refused".to_owned(), 0)
        }
        Ok(Err(problem)) => (false, format!("Connection failed: {problem}"), 0),
        Err(_) => (false, "Read timeout expired".to_owned(), 0),
    };
    let gone = matches!(&given, Ok(Ok(given)) if given.status.as_u16() == 410);
    shared.change(|state, now| {
        let State { queue, webhook: slot, .. } = state;
        let Some(webhook) = slot.as_mut().filter(|webhook| webhook.number == parcel.number) else { return };
        let lane = webhook.lanes.entry(parcel.lane).or_default();
        lane.on_its_way = false;
        webhook.gone_since = if gone { webhook.gone_since.or(Some(now)) } else { None };
        if taken {
            (lane.fails, lane.not_before) = (0, now);
            queue.remove(parcel.update);
            return;
        }
        let own = shared.options.webhook_retry * 2_u32.saturating_pow(lane.fails.min(20));
        lane.fails += 1;
        let wait = if retry_after > 0 { Duration::from_secs(retry_after) } else { own.min(LONGEST) };
        lane.not_before = now + wait;
        webhook.last_error = Some((shared.unix(now), what));
        if webhook.gone_since.is_some_and(|since| now.saturating_sub(since) > GONE) {
            *slot = None;
        }
    });
    if let Ok(Ok(given)) = given
        && taken
    {
        http::answered_by_webhook(shared, &given.body);
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn give(parcel: &Parcel) -> io::Result<Given> {
    let to = parcel.to.as_ref().ok_or_else(|| io::Error::other("the double delivers on loopback only"))?;
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut request = ::http::Request::post(&parcel.path)
        .header("host", &parcel.host)
        .header("content-type", "application/json");
    if !parcel.secret.is_empty() {
        request = request.header("x-telegram-bot-api-secret-token", &parcel.secret);
    }
    let body = Full::new(Bytes::from(parcel.body.clone()));
    let request = request.body(body).map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let later = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = later.and_then(|secs| secs.parse().ok()).unwrap_or(0);
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(io::Error::other)?;
        Ok(Given { status, retry_after, body: body.to_bytes() })
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        given = &mut exchange => given,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(problem) => Err(io::Error::other(problem)),
        },
    }
}
