//! What a provider tells of its own limits: in the headers of every answer (`x-ratelimit-*` as OpenAI and its likes write
//! them, with or without the kind at the end; `anthropic-ratelimit-*`), and in the details of Google's refusals. Pure,
//! but for `Learner`, which hands it to the guards.
//!
//! Invariants: a value that makes no sense (negative, a limit of zero, more than a day away, no number) is counted and
//! changes nothing; no header is believed for longer than the guards keep it. Source: gateway design section 6,
//! "Learning"; OpenAI "Rate limits", Anthropic "Rate limits", RFC 9110 section 10.2.3.

use crate::wire::classify::{Said, span};
use http::HeaderMap;
use portcullis_resilience::{Dependency, Learned, Told};
use portcullis_telemetry::Metrics;
use std::time::Duration;

/// Hands what was told in answer to one attempt to the guards of its lane.
pub(crate) struct Learner<'a> {
    pub(crate) dependency: &'a Dependency,
    pub(crate) lane: usize,
    pub(crate) provider: &'a str,
    pub(crate) metrics: &'a Metrics,
}

impl Learner<'_> {
    /// Any answer's headers.
    pub(crate) fn headers(&self, headers: &HeaderMap) {
        let heard = headers_say(headers, || jiff::Timestamp::now().as_millisecond());
        self.hear(&heard);
    }

    /// The details of a refusal.
    pub(crate) fn details(&self, said: &Said) {
        self.hear(&said.quotas);
    }

    fn hear(&self, heard: &Heard) {
        for _ in 0..heard.rejected {
            self.metrics.learned_header_rejected(self.provider);
        }
        self.dependency.learn(self.lane, &heard.learned);
    }
}

/// What was told, and how much of it made no sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) learned: Learned,
    pub(crate) rejected: u32,
}

impl Heard {
    /// One of Google's quota violations: `quotaId` such as `GenerateRequestsPerMinutePerProjectPerModel-FreeTier`, and
    /// its `quotaValue`. Only limits a minute are of use here.
    pub(crate) fn violation(&mut self, quota_id: &str, value: &str) {
        if !quota_id.contains("PerMinute") {
            return;
        }
        let told = if quota_id.contains("Token") {
            &mut self.learned.tokens
        } else if quota_id.contains("Request") {
            &mut self.learned.requests
        } else {
            return;
        };
        match limit(value) {
            Some(limit) => told.limit = Some(told.limit.map_or(limit, |known| known.min(limit))),
            None => self.rejected += 1,
        }
    }
}

/// Which of a limit's three figures.
#[derive(Clone, Copy)]
enum Figure {
    Limit,
    Remaining,
    Reset,
}

impl Figure {
    fn named(name: &str) -> Option<Self> {
        match name {
            "limit" => Some(Self::Limit),
            "remaining" => Some(Self::Remaining),
            "reset" => Some(Self::Reset),
            _ => None,
        }
    }
}

/// Of what.
#[derive(Clone, Copy)]
enum Kind {
    Requests,
    Tokens,
    /// Anthropic counts these apart beside all tokens; they only pause.
    Part(usize),
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "requests" => Some(Self::Requests),
            "tokens" => Some(Self::Tokens),
            "input-tokens" => Some(Self::Part(0)),
            "output-tokens" => Some(Self::Part(1)),
            _ => None,
        }
    }
}

/// The figure that a header tells, if it tells one.
fn meaning(name: &str) -> Option<(Kind, Figure)> {
    if let Some(rest) = name.strip_prefix("x-ratelimit-") {
        return match rest.split_once('-') {
            Some((figure, kind)) => Kind::named(kind).zip(Figure::named(figure)),
            None => Some((Kind::Requests, Figure::named(rest)?)),
        };
    }
    let (kind, figure) = name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
    Kind::named(kind).zip(Figure::named(figure))
}

/// What these headers tell; `unix_ms` says what time it is.
pub(crate) fn headers_say(headers: &HeaderMap, unix_ms: impl Fn() -> i64) -> Heard {
    let mut heard = Heard::default();
    let mut parts = [Told::default(); 2];
    for (name, value) in headers {
        // What is no text at all is as senseless as a word where a number belongs.
        let text = || value.to_str().unwrap_or("?").trim();
        let day = match name.as_str() {
            "retry-after" => Some(DAY_SECS),
            "retry-after-ms" => Some(DAY_SECS * 1_000.0),
            _ => None,
        };
        if let Some(day) = day {
            // Of words it may be a date, which whoever waits reads.
            let wait = text().parse::<f64>().ok();
            heard.rejected += u32::from(wait.is_some_and(|wait| !(0.0..=day).contains(&wait)));
            continue;
        }
        let Some((kind, figure)) = meaning(name.as_str()) else { continue };
        let text = text();
        let told = match kind {
            Kind::Requests => &mut heard.learned.requests,
            Kind::Tokens => &mut heard.learned.tokens,
            Kind::Part(part) => &mut parts[part],
        };
        let sensible = match figure {
            Figure::Limit => limit(text).map(|limit| told.limit = Some(limit)),
            Figure::Remaining => text.parse().ok().map(|left| told.remaining = Some(left)),
            Figure::Reset => reset(text, &unix_ms).map(|wait| told.resets_in = Some(wait)),
        };
        heard.rejected += u32::from(sensible.is_none());
    }
    // Nothing left of one part is nothing left.
    for part in parts.iter().filter(|part| part.remaining == Some(0) && part.resets_in.is_some()) {
        let tokens = &mut heard.learned.tokens;
        let until =
            if tokens.remaining == Some(0) { tokens.resets_in.max(part.resets_in) } else { part.resets_in };
        (tokens.remaining, tokens.resets_in) = (Some(0), until);
    }
    heard
}

const DAY_SECS: f64 = 86_400.0;
/// Numbers above these are moments, not waits: seconds and milliseconds since 1970.
const EPOCH_SECS: f64 = 1e9;
const EPOCH_MILLIS: f64 = 1e12;

fn limit(text: &str) -> Option<u32> {
    text.parse().ok().filter(|limit| *limit > 0)
}

/// A wait: `12ms`, `6m0s`, seconds, or a moment in RFC 3339 or since 1970. One that is just past is over.
fn reset(text: &str, unix_ms: &impl Fn() -> i64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
    let from_now = |moment_ms: f64| {
        let secs = (moment_ms - unix_ms() as f64) / 1_000.0;
        if (-DAY_SECS..0.0).contains(&secs) { 0.0 } else { secs }
    };
    let secs = match text.parse::<f64>() {
        Ok(number) if number >= EPOCH_MILLIS => Some(from_now(number)),
        Ok(number) if number >= EPOCH_SECS => Some(from_now(number * 1_000.0)),
        Ok(number) => Some(number),
        Err(_) => match span(text) {
            Some(wait) => Some(wait.as_secs_f64()),
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
            None => text.parse::<jiff::Timestamp>().ok().map(|at| from_now(at.as_millisecond() as f64)),
        },
    };
    secs.filter(|secs| (0.0..=DAY_SECS).contains(secs)).map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2023-11-14T22:13:20Z.
    const NOW_MS: i64 = 1_700_000_000_000;

    fn say(pairs: &[(&'static str, &str)]) -> Heard {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers_say(&headers, || NOW_MS)
    }

    const fn told(limit: u32, remaining: u64, millis: u64) -> Told {
        Told {
            limit: Some(limit),
            remaining: Some(remaining),
            resets_in: Some(Duration::from_millis(millis)),
        }
    }

    // req: S0-03
    #[test]
    fn the_headers_of_every_family_are_read() {
        let openai = say(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("content-type", "application/json"),
        ]);
        let learned = Learned { requests: told(500, 499, 120), tokens: told(200_000, 0, 360_000) };
        assert_eq!(openai, Heard { learned, rejected: 0 });
        let anthropic = say(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2023-11-14T22:13:21Z"),
            ("anthropic-ratelimit-tokens-limit", "40000"),
            ("anthropic-ratelimit-tokens-remaining", "9000"),
            ("anthropic-ratelimit-tokens-reset", "2023-11-14T22:13:25Z"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2023-11-14T22:13:50Z"),
        ]);
        let learned = Learned { requests: told(50, 49, 1_000), tokens: told(40_000, 0, 30_000) };
        assert_eq!(anthropic, Heard { learned, rejected: 0 });
        for (reset, secs) in [("7", 7), ("1700000012", 12), ("1700000015000", 15), ("1699999999", 0)] {
            let plain = say(&[
                ("x-ratelimit-limit", "60"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", reset),
            ]);
            assert_eq!(plain.learned.requests, told(60, 0, secs * 1_000), "{reset}");
        }
    }

    // req: S0-03
    #[test]
    fn absurd_values_are_counted_and_change_nothing() {
        for (name, value) in [
            ("x-ratelimit-limit-requests", "0"),
            ("x-ratelimit-limit-requests", "-5"),
            ("x-ratelimit-limit-requests", "99999999999"),
            ("x-ratelimit-limit-tokens", "many"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "-3s"),
            ("x-ratelimit-reset-requests", "25h"),
            ("x-ratelimit-reset-requests", "NaN"),
            ("x-ratelimit-reset-tokens", "86401"),
            ("x-ratelimit-reset", "1800000000"),
            ("anthropic-ratelimit-requests-reset", "2033-11-14T22:13:21Z"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T00:00:00Z"),
            ("retry-after", "-1"),
            ("retry-after", "1e9"),
            ("retry-after-ms", "1e300"),
            ("x-ratelimit-limit-requests", "f\u{fc}nf"),
            ("anthropic-ratelimit-tokens-reset", "\u{663c}"),
        ] {
            let heard = say(&[(name, value)]);
            assert_eq!(heard, Heard { learned: Learned::default(), rejected: 1 }, "{name}: {value}");
        }
        for (name, value) in
            [("x-ratelimit-limit-requests-day", "7"), ("x-ratelimit-policy", "x"), ("retry-after", "30")]
        {
            assert_eq!(say(&[(name, value)]), Heard::default(), "{name}: {value}");
        }
    }

    // req: S0-03
    #[test]
    fn googles_violations_tell_limits_a_minute() {
        let mut heard = Heard::default();
        for (id, value) in [
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "15"),
            ("GenerateRequestsPerMinutePerProjectPerModel", "10"),
            ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000"),
            ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "50"),
            ("GenerateRequestsPerMinutePerProjectPerModel", "0"),
        ] {
            heard.violation(id, value);
        }
        assert_eq!((heard.learned.requests.limit, heard.learned.tokens.limit), (Some(10), Some(250_000)));
        assert_eq!(heard.rejected, 1);
    }

    proptest! {
        #[test]
        fn whatever_the_headers_say_no_wait_is_over_a_day_and_no_limit_is_zero(
            values in prop::collection::vec("[ -~]{0,24}", 9),
        ) {
            let names = [
                "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
                "x-ratelimit-limit", "x-ratelimit-reset", "anthropic-ratelimit-tokens-limit",
                "anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-tokens-reset", "retry-after",
            ];
            let pairs: Vec<(&'static str, &str)> =
                names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let Heard { learned, .. } = say(&pairs);
            for told in [learned.requests, learned.tokens] {
                prop_assert!(told.limit != Some(0));
                prop_assert!(told.resets_in.is_none_or(|wait| wait <= Duration::from_secs(86_400)));
            }
        }
    }
}
