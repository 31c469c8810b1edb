//! `[news]`: digests of what sources published. How their pages are fetched stands in `[pages]`, how texts are embedded in
//! `[embed]`. Source: news.md section 1.

use super::people::PlanConfig;
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[news]`: digests of news.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewsConfig {
    /// How far back a digest looks, in hours, where nobody says, 1 to 720. Default 24.
    pub window_hours: u32,
    /// Most stories of a digest where nobody says, 1 to 30. Default 5.
    pub stories: usize,
    /// Newest posts of one source that a digest looks at, 1 to 200. Default 20.
    pub posts_per_source: usize,
    /// Characters under which a post is passed over, 0 to 2000. Default 50.
    pub min_chars: usize,
    /// Most posts of one digest, the newest, 10 to 10000. Default 2000.
    pub max_posts: usize,
    /// Most sources of one digest that names its sources itself, 1 to 1000. Default 100.
    pub max_sources: usize,
    /// Longest time of a digest, in seconds, 5 to 600; then what is there is told. Default 120.
    pub deadline_secs: u64,
    /// Longest time for fetching, in seconds, 1 to 600; of sources that are late, what is known is told. Default 45.
    pub fetch_budget_secs: u64,
    /// Longest time for comparing posts by meaning, in seconds, 1 to 600; then they are compared by words. Default 20.
    pub embed_budget_secs: u64,
    /// Longest time for summing up, in seconds, 1 to 600; then sentences of the posts tell the rest. Default 30.
    pub summary_budget_secs: u64,
    /// Seconds for which what a source published counts as known to everybody, 0 to 86400. Default 120.
    pub fetch_ttl_secs: u64,
    /// Days that posts are kept, 1 to 365; a digest looks no further back. Default 31.
    pub keep_days: u32,
    /// Days that vectors of posts are kept, 1 to 365. Default 7.
    pub vector_days: u32,
    /// Who compares posts by meaning: `builtin`, `builtin-multilingual`, `provider/model`, or `auto`, the first that is
    /// there of Gemini's and OpenAI's embedding models and the builtin ones. A model that nobody measured reads a hundred
    /// labelled posts before it is used. One that groups those badly, or that does not read the posts' languages, is not
    /// used: words decide. Default `auto`.
    pub embedder: String,
    /// What people at chat doors may have, by the name of their plan. Default `free`, `plus`, `pro` and `enterprise`.
    pub plans: BTreeMap<String, PlanConfig>,
    /// The plan of whoever was given none. Default `free`.
    pub plan: String,
    /// Whose midnight begins a new day of a plan: `utc`, or `user` for each person's own time zone. Default `utc`.
    pub quota_day: String,
    /// Whether a digest that is less than it should be, since an AI or embedder failed, costs its place in the plan.
    /// Default false.
    pub charge_degraded: bool,
    /// How digests look at chat doors: `stories` (one message each), `compact` (one message), `auto` (stories for one
    /// person, compact in groups). Default `auto`.
    pub layout: String,
    /// How long the messages of a digest are worth sending, in hours, 1 to 720. Default 6.
    pub expire_hours: u64,
    /// Days for which what was shown to somebody is not shown again, and what was given is known, 1 to 365. Default 31.
    pub shown_days: u32,
    /// Minutes in which something removed can be put back and an unfinished dialog goes on, 1 to 1440. Default 10.
    pub patience_mins: u32,
    /// Largest OPML document that is taken in, in bytes, 1024 to 16777216. Default 262144.
    pub max_opml_bytes: usize,
    /// How sources are read.
    pub scrape: ScrapeConfig,
    /// How stories are summed up.
    pub summary: SummaryConfig,
}

/// `[news.scrape]`: reading sources.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// Where public channels show their posts, at `<base_url>/s/<channel>`. Default `https://t.me`.
    pub base_url: String,
    /// Longest time in which a source that is added must answer, in seconds, 1 to 60. Default 10.
    pub check_secs: u64,
    /// Most pages of one channel in one digest, 1 to 10. Default 3.
    pub channel_pages: usize,
    /// Most articles of one page that are opened in one digest, 0 to 20. Default 5.
    pub articles: usize,
    /// Longest time until a source that failed is asked again, in minutes, 1 to 1440; it begins with one minute and
    /// doubles. Default 360.
    pub retry_mins: u64,
    /// Days without a post after which a source is called quiet, 1 to 365. Default 7.
    pub quiet_days: u32,
}

/// `[news.summary]`: summing up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SummaryConfig {
    /// Route that sums stories up. Default `summarise`.
    pub route: String,
    /// Most tokens of one summary, 50 to 4000. Default 500.
    pub max_tokens: u32,
    /// How freely a summary is worded, 0 to 2. Default 0.3.
    pub temperature: f64,
    /// Hours a summary is kept and given again for the same posts; 0: not. Default 24.
    pub cache_hours: u64,
    /// Posts of a story that are summed up, one of each source, the longest first, 1 to 20. Default 6.
    pub posts: usize,
    /// Characters of one post that are summed up and compared, 200 to 10000. Default 1200.
    pub post_chars: usize,
}

impl Default for NewsConfig {
    fn default() -> Self {
        Self {
            window_hours: 24,
            stories: 5,
            posts_per_source: 20,
            min_chars: 50,
            max_posts: 2000,
            max_sources: 100,
            deadline_secs: 120,
            fetch_budget_secs: 45,
            embed_budget_secs: 20,
            summary_budget_secs: 30,
            fetch_ttl_secs: 120,
            keep_days: 31,
            vector_days: 7,
            embedder: "auto".to_owned(),
            plans: super::people::default_plans(),
            plan: "free".to_owned(),
            quota_day: "utc".to_owned(),
            charge_degraded: false,
            layout: "auto".to_owned(),
            expire_hours: 6,
            shown_days: 31,
            patience_mins: 10,
            max_opml_bytes: 262_144,
            scrape: ScrapeConfig::default(),
            summary: SummaryConfig::default(),
        }
    }
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            base_url: "https://t.me".to_owned(),
            check_secs: 10,
            channel_pages: 3,
            articles: 5,
            retry_mins: 360,
            quiet_days: 7,
        }
    }
}

impl Default for SummaryConfig {
    fn default() -> Self {
        Self {
            route: "summarise".to_owned(),
            max_tokens: 500,
            temperature: 0.3,
            cache_hours: 24,
            posts: 6,
            post_chars: 1200,
        }
    }
}

/// Most stories that a digest may have.
pub const MOST_STORIES: usize = 30;
/// Furthest that a digest may look back, in hours.
pub const LONGEST_WINDOW: u32 = 720;

impl NewsConfig {
    /// Adds plans that name a tier which is not there.
    pub fn tier_problems(&self, prefix: &str, is_tier: impl Fn(&str) -> bool, out: &mut Vec<Problem>) {
        super::people::plan_tier_problems(self, prefix, is_tier, out);
    }

    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        super::people::plan_problems(self, prefix, out);
        let mut range = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let mend = format!("Use a number from {least} to {most}.");
                out.push(Problem::new(format!("{prefix}.{key}"), format!("{value} is out of range."), mend));
            }
        };
        range("window_hours", self.window_hours.into(), 1, LONGEST_WINDOW.into());
        range("stories", self.stories as u64, 1, MOST_STORIES as u64);
        range("expire_hours", self.expire_hours, 1, 720);
        range("shown_days", self.shown_days.into(), 1, 365);
        range("patience_mins", self.patience_mins.into(), 1, 1440);
        range("max_opml_bytes", self.max_opml_bytes as u64, 1024, 16_777_216);
        range("posts_per_source", self.posts_per_source as u64, 1, 200);
        range("min_chars", self.min_chars as u64, 0, 2000);
        range("max_posts", self.max_posts as u64, 10, 10_000);
        range("max_sources", self.max_sources as u64, 1, 1000);
        range("deadline_secs", self.deadline_secs, 5, 600);
        range("fetch_budget_secs", self.fetch_budget_secs, 1, 600);
        range("embed_budget_secs", self.embed_budget_secs, 1, 600);
        range("summary_budget_secs", self.summary_budget_secs, 1, 600);
        range("fetch_ttl_secs", self.fetch_ttl_secs, 0, 86_400);
        range("keep_days", self.keep_days.into(), 1, 365);
        range("vector_days", self.vector_days.into(), 1, 365);
        range("scrape.check_secs", self.scrape.check_secs, 1, 60);
        range("scrape.channel_pages", self.scrape.channel_pages as u64, 1, 10);
        range("scrape.articles", self.scrape.articles as u64, 0, 20);
        range("scrape.retry_mins", self.scrape.retry_mins, 1, 1440);
        range("scrape.quiet_days", self.scrape.quiet_days.into(), 1, 365);
        range("summary.max_tokens", self.summary.max_tokens.into(), 50, 4000);
        range("summary.cache_hours", self.summary.cache_hours, 0, 720);
        range("summary.posts", self.summary.posts as u64, 1, 20);
        range("summary.post_chars", self.summary.post_chars as u64, 200, 10_000);
        if !(0.0..=2.0).contains(&self.summary.temperature) {
            let key = format!("{prefix}.summary.temperature");
            out.push(Problem::new(key, "is out of range.", "Use a number from 0 to 2."));
        }
        let base = portcullis_pages::Url::parse(&self.scrape.base_url);
        if !base.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none()) {
            let key = format!("{prefix}.scrape.base_url");
            out.push(Problem::new(key, "is no address.", "Use one such as \"https://t.me\"."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_absurd_settings_are_each_named() {
        let mut out = vec![];
        NewsConfig::default().problems("news", &mut out);
        assert_eq!(out, []);
        let absurd = NewsConfig {
            stories: 0,
            scrape: ScrapeConfig { base_url: "t.me".into(), ..ScrapeConfig::default() },
            summary: SummaryConfig { temperature: f64::NAN, ..SummaryConfig::default() },
            ..NewsConfig::default()
        };
        absurd.problems("news", &mut out);
        let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["news.stories", "news.summary.temperature", "news.scrape.base_url"]);
    }
}
