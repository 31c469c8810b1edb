//! `[pages]`: how pages of the web are fetched. Source: news.md section 1, `news.scrape.*`.

use portcullis_domain::Problem;
use portcullis_resilience::http::Guard;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[pages]`: fetching pages of the web.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PagesConfig {
    /// Fetches at once, of all users together, 1 to 100. Default 5.
    pub concurrency: usize,
    /// Fetches in any 60 seconds, 1 to 6000. More are delayed, not refused. Default 60.
    pub per_min: u32,
    /// Fetches that may wait for their turn, 1 to 100000; beyond it a fetch is refused as busy. Default 500.
    pub queue: usize,
    /// Waiting fetches from which a warning is logged, at most one in 10 seconds. Default 20.
    pub warn_depth: usize,
    /// Longest wait from which a warning is logged, in seconds, 1 to 3600. Default 10.
    pub warn_wait_secs: u64,
    /// Shortest time between two requests to one host, in milliseconds, 0 to 600000. Default 1000.
    pub host_interval_ms: u64,
    /// The same for hosts of public channels, which serve many channels at one name and are made for it, in milliseconds, 0
    /// to 600000. Default 200.
    pub open_interval_ms: u64,
    /// Requests at once to one host, 1 to 100. Default 2.
    pub host_concurrency: usize,
    /// Hosts whose pace and rules are remembered at once, 10 to 1000000. Default 10000.
    pub max_hosts: usize,
    /// Longest time to open a connection, in seconds, 1 to 60. Default 5.
    pub connect_secs: u64,
    /// Longest time of one fetch, its redirects included and its waiting not, in seconds, 1 to 600. Default 30.
    pub total_secs: u64,
    /// Largest page, in bytes after decompression; a larger one is refused. Default 2097152 (2 MiB).
    pub max_page_bytes: usize,
    /// Largest feed, in bytes after decompression; a larger one is refused. Default 5242880 (5 MiB).
    pub max_feed_bytes: usize,
    /// Most redirects of one fetch, 0 to 20. Default 5.
    pub redirects: u32,
    /// What a site's robots.txt is asked for: `pages` of the web, `all` (feeds too), `off`. Default `pages`.
    pub robots: RobotsFor,
    /// Hours for which a robots.txt is remembered, 1 to 168. Default 24.
    pub robots_hours: u64,
    /// Seconds after which a robots.txt that could not be had is asked for again, 10 to 86400; until then nothing of
    /// that site is fetched. Default 300.
    pub robots_retry_secs: u64,
    /// Bytes of a robots.txt that are read; what follows does not count. Default 512000 (500 KiB).
    pub max_robots_bytes: usize,
    /// Most memory of all remembered robots.txt, in bytes; the oldest are forgotten. Default 8388608 (8 MiB).
    pub max_robots_memory_bytes: usize,
    /// Longest pause between two requests that a robots.txt may ask for, in seconds, 0 to 600. Default 30.
    pub crawl_delay_secs: u64,
    /// Longest pause that a site may ask for with Retry-After, in seconds, 1 to 86400. Default 900.
    pub max_pause_secs: u64,
    /// For how long a site that answered 429 or 503 without naming a time gets half the pace, in seconds, 0 to 86400.
    /// Default 600.
    pub slow_secs: u64,
    /// Exceptions to the rule that only public addresses on ports 80 and 443 are reached: `host:port`, exactly as in
    /// the URL. Whoever may name a URL reaches them. Default none.
    pub allow_private: Vec<String>,
    /// Where the owner of a site finds who fetches; shown in the User-Agent. Default none.
    pub contact_url: Option<String>,
}

/// What robots.txt is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RobotsFor {
    /// Pages of the web.
    #[default]
    Pages,
    /// Pages and feeds.
    All,
    /// Nothing.
    Off,
}

impl Default for PagesConfig {
    fn default() -> Self {
        Self {
            concurrency: 5,
            per_min: 60,
            queue: 500,
            warn_depth: 20,
            warn_wait_secs: 10,
            host_interval_ms: 1000,
            open_interval_ms: 200,
            host_concurrency: 2,
            max_hosts: 10_000,
            connect_secs: 5,
            total_secs: 30,
            max_page_bytes: 2 << 20,
            max_feed_bytes: 5 << 20,
            redirects: 5,
            robots: RobotsFor::Pages,
            robots_hours: 24,
            robots_retry_secs: 300,
            max_robots_bytes: 500 << 10,
            max_robots_memory_bytes: 8 << 20,
            crawl_delay_secs: 30,
            max_pause_secs: 900,
            slow_secs: 600,
            allow_private: Vec::new(),
            contact_url: None,
        }
    }
}

impl PagesConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let mend = format!("Use a number from {least} to {most}.");
                out.push(Problem::new(format!("{prefix}.{key}"), format!("{value} is out of range."), mend));
            }
        };
        range("concurrency", self.concurrency as u64, 1, 100);
        range("per_min", u64::from(self.per_min), 1, 6_000);
        range("queue", self.queue as u64, 1, 100_000);
        range("warn_depth", self.warn_depth as u64, 1, 100_000);
        range("warn_wait_secs", self.warn_wait_secs, 1, 3_600);
        range("host_interval_ms", self.host_interval_ms, 0, 600_000);
        range("open_interval_ms", self.open_interval_ms, 0, 600_000);
        range("host_concurrency", self.host_concurrency as u64, 1, 100);
        range("max_hosts", self.max_hosts as u64, 10, 1_000_000);
        range("connect_secs", self.connect_secs, 1, 60);
        range("total_secs", self.total_secs, 1, 600);
        range("max_page_bytes", self.max_page_bytes as u64, 1024, 1 << 30);
        range("max_feed_bytes", self.max_feed_bytes as u64, 1024, 1 << 30);
        range("redirects", u64::from(self.redirects), 0, 20);
        range("robots_hours", self.robots_hours, 1, 168);
        range("robots_retry_secs", self.robots_retry_secs, 10, 86_400);
        range("max_robots_bytes", self.max_robots_bytes as u64, 1024, 16 << 20);
        range("max_robots_memory_bytes", self.max_robots_memory_bytes as u64, 1 << 20, 1 << 30);
        range("crawl_delay_secs", self.crawl_delay_secs, 0, 600);
        range("max_pause_secs", self.max_pause_secs, 1, 86_400);
        range("slow_secs", self.slow_secs, 0, 86_400);
        for (at, text) in self.allow_private.iter().enumerate() {
            if Guard::exception(text).is_none() {
                let key = format!("{prefix}.allow_private[{at}]");
                out.push(Problem::new(key, "is no host and port", "write it as \"intranet.example:8080\""));
            }
        }
        let shown = |url: &str| url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b')');
        if self.contact_url.as_deref().is_some_and(|url| {
            !(url.starts_with("https://") || url.starts_with("http://") || url.starts_with("mailto:"))
                || !shown(url)
        }) {
            let key = format!("{prefix}.contact_url");
            out.push(Problem::new(key, "is no address", "use a URL, such as \"https://example.org/bot\""));
        }
    }

    /// Who we say that we are.
    pub(crate) fn user_agent(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match &self.contact_url {
            Some(url) => format!("Portcullis/{version} (+{url})"),
            None => format!("Portcullis/{version}"),
        }
    }

    pub(crate) const fn total(&self) -> Duration {
        Duration::from_secs(self.total_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_absurd_settings_are_each_named() {
        let mut out = vec![];
        PagesConfig::default().problems("pages", &mut out);
        assert_eq!(out, []);
        let absurd = PagesConfig {
            concurrency: 0,
            per_min: 0,
            total_secs: 0,
            allow_private: vec!["127.0.0.1:80".into(), "127.0.0.1".into()],
            contact_url: Some("example.org) Mozilla/5.0 (".into()),
            ..PagesConfig::default()
        };
        absurd.problems("pages", &mut out);
        let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
        let expected = [
            "pages.concurrency",
            "pages.per_min",
            "pages.total_secs",
            "pages.allow_private[1]",
            "pages.contact_url",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_site_is_told_who_fetches_and_where_to_complain() {
        let contact_url = Some("https://example.org/bot".to_owned());
        let told = PagesConfig { contact_url, ..PagesConfig::default() }.user_agent();
        assert_eq!(told, format!("Portcullis/{} (+https://example.org/bot)", env!("CARGO_PKG_VERSION")));
    }
}
