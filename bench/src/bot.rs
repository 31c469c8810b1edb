//! What benchmarks of the Telegram door share: the product as a process of its own in front of the strict double, the
//! admin API that fills its outbox, and figures of what arrived. Invariant: what a careful bot would not have done ends
//! the run.

use crate::options::Options;
use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use portcullis_testkit::{
    process::{Options as Start, Server},
    telegram::{Sent, Telegram},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::Instant};

/// Limits high enough never to matter.
pub(crate) const WIDE: &str = "
[admin]
changes_per_min = 100000
[limits.global]
capacity = 1000000
refill_per_sec = 1000000
[limits.ip]
capacity = 1000000
refill_per_sec = 1000000
[tiers.premium]
per_min = 1000000
daily_tokens = 0
user = { capacity = 1000000, refill_per_sec = 1000000 }
ip = { capacity = 1000000, refill_per_sec = 1000000 }
[tiers.authenticated]
per_min = 1000000
daily_tokens = 0
user = { capacity = 1000000, refill_per_sec = 1000000 }
";

/// The product with that double as its Telegram.
pub(crate) async fn serve(options: &Options, double: &Telegram, more: &str) -> Result<Server> {
    let api = double.base_url();
    let text = format!("[telegram]\nenabled = true\napi_base = \"{api}\"\n{more}{WIDE}");
    let start = Start::config(text).env("TELEGRAM_BOT_TOKEN", double.token());
    let binary = options.portcullis.to_str().context("the path of the product is no text")?;
    Server::start(binary, start).await.map_err(|refused| anyhow!("it did not start: {}", refused.stderr))
}

/// A connection to the admin API.
pub(crate) struct Admin {
    sender: SendRequest<Full<Bytes>>,
    key: String,
}

impl Admin {
    pub(crate) async fn open(address: SocketAddr, key: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        #[expect(clippy::disallowed_methods, reason = "the connection ends with its sender")]
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, key: key.to_owned() })
    }

    /// Puts a message into the outbox.
    pub(crate) async fn send(&mut self, chat: i64, text: &str) -> Result<()> {
        let body = serde_json::json!({"to": format!("telegram:{chat}"), "text": text}).to_string();
        let request = Request::post("/admin/v1/outbox")
            .header(header::HOST, "admin")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        // The body is read, so that the connection can be used again.
        let mut body = answer.into_body();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            frame?;
        }
        ensure!(status == 202, "the outbox answered {status}");
        Ok(())
    }
}

/// Fills the outbox, on some connections at once.
pub(crate) async fn fill(server: &Server, messages: &[(i64, String)]) -> Result<Duration> {
    let (address, key) = (server.admin().context("no admin listener")?, server.key().context("no key")?);
    let began = Instant::now();
    // Messages of one chat go over one connection, so that they stay in order.
    let lanes = (0..8_i64).map(|lane| {
        let key = key.clone();
        async move {
            let mut admin = Admin::open(address, &key).await?;
            for (chat, text) in messages.iter().filter(|(chat, _)| chat.rem_euclid(8) == lane) {
                admin.send(*chat, text).await?;
            }
            Ok::<_, anyhow::Error>(())
        }
    });
    futures_util::future::try_join_all(lanes).await?;
    Ok(began.elapsed())
}

/// Waits until so many messages arrived, at most that long.
pub(crate) async fn arrived(double: &Telegram, count: usize, most: Duration) -> Result<()> {
    let began = Instant::now();
    while double.sent_so_far() < count {
        let so_far = double.sent_so_far();
        ensure!(began.elapsed() < most, "{so_far} of {count} arrived within {most:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// How messages arrived.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// In milliseconds since the first.
    at: Vec<u64>,
}

impl Arrivals {
    pub(crate) fn of<'a>(sent: impl Iterator<Item = &'a Sent>) -> Self {
        let mut at: Vec<Instant> = sent.map(|sent| sent.at).collect();
        at.sort_unstable();
        let first = at.first().copied();
        let since = |at: Instant| first.map_or(0, |first| (at - first).as_millis() as u64);
        Self { at: at.into_iter().map(since).collect() }
    }

    /// Most of them in any span of so many milliseconds.
    pub(crate) fn most_within(&self, millis: u64) -> usize {
        let end = |from: usize| self.at.partition_point(|at| *at < self.at[from] + millis);
        (0..self.at.len()).map(|from| end(from) - from).max().unwrap_or(0)
    }

    /// Least time between two, in milliseconds.
    pub(crate) fn least_gap(&self) -> Option<u64> {
        self.at.windows(2).map(|two| two[1] - two[0]).min()
    }

    /// How many in each whole second.
    pub(crate) fn by_second(&self) -> Vec<usize> {
        let last = self.at.last().copied().unwrap_or_default() / 1000;
        (0..last).map(|second| self.at.iter().filter(|at| **at / 1000 == second).count()).collect()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.at.last().copied().unwrap_or_default() as f64 / 1000.0
    }
}

/// Mean and relative spread (standard deviation over mean).
pub(crate) fn spread(values: &[usize]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<usize>() as f64 / count;
    let variance = values.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>() / count;
    (mean, if mean > 0.0 { variance.sqrt() / mean } else { 0.0 })
}

/// That share of them is at most this.
pub(crate) fn share(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_counted_by_any_second_and_by_each() {
        let arrivals = Arrivals { at: vec![0, 500, 900, 1400, 1450, 2000] };
        assert_eq!((arrivals.most_within(1000), arrivals.least_gap()), (4, Some(50)));
        assert_eq!(arrivals.by_second(), [3, 2]);
    }

    #[test]
    fn the_spread_of_equals_is_none_and_shares_are_of_the_sorted() {
        assert_eq!(spread(&[30, 30]), (30.0, 0.0));
        assert_eq!(spread(&[20, 40]).1, 1.0 / 3.0);
        assert_eq!(share(&mut [3.0, 1.0, 2.0, 4.0], 0.95), 4.0);
        assert_eq!(share(&mut [3.0, 1.0, 2.0, 4.0], 0.5), 2.0);
    }
}
