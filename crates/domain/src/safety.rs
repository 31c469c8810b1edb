//! A provider's own filters: of what, from where on, and what an operator changed for a few hours. Pure words; Gemini's,
//! because it is the one that must be asked to filter (S0-04).
//!
//! `SafetyView` is what those who must obey look at: the list as it is now, and the time.
//!
//! Invariant: an override counts until its end and not a moment longer, whoever looks; of thresholds the stricter of
//! operator's and caller's holds.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::watch, time::Instant};

/// What a provider filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HarmCategory {
    /// Harassment.
    Harassment,
    /// Hate speech.
    HateSpeech,
    /// Sexually explicit content.
    SexuallyExplicit,
    /// Dangerous content.
    DangerousContent,
}

impl HarmCategory {
    /// Every category.
    pub const ALL: [Self; 4] =
        [Self::Harassment, Self::HateSpeech, Self::SexuallyExplicit, Self::DangerousContent];

    /// The stable name, in commands, metrics and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Harassment => "HARASSMENT",
            Self::HateSpeech => "HATE_SPEECH",
            Self::SexuallyExplicit => "SEXUALLY_EXPLICIT",
            Self::DangerousContent => "DANGEROUS_CONTENT",
        }
    }

    /// The one of that name, in capitals or not, with Google's `HARM_CATEGORY_` before it or not.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("HARM_CATEGORY_").unwrap_or(&upper);
        Self::ALL.into_iter().find(|category| category.as_str() == bare)
    }
}

/// From where on something is filtered; a later one is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HarmThreshold {
    /// The filter is off.
    Off,
    /// Nothing is blocked.
    BlockNone,
    /// What is harmful with high probability.
    BlockOnlyHigh,
    /// With medium or high probability.
    BlockMediumAndAbove,
    /// With low probability and above.
    BlockLowAndAbove,
}

impl HarmThreshold {
    /// Every threshold, the loosest first.
    pub const ALL: [Self; 5] =
        [Self::Off, Self::BlockNone, Self::BlockOnlyHigh, Self::BlockMediumAndAbove, Self::BlockLowAndAbove];

    /// Google's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::BlockNone => "BLOCK_NONE",
            Self::BlockOnlyHigh => "BLOCK_ONLY_HIGH",
            Self::BlockMediumAndAbove => "BLOCK_MEDIUM_AND_ABOVE",
            Self::BlockLowAndAbove => "BLOCK_LOW_AND_ABOVE",
        }
    }

    /// The one of that name, in capitals or not.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|threshold| threshold.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether it filters nothing at all.
    #[must_use]
    pub const fn filters_nothing(self) -> bool {
        match self {
            Self::Off | Self::BlockNone => true,
            Self::BlockOnlyHigh | Self::BlockMediumAndAbove | Self::BlockLowAndAbove => false,
        }
    }

    /// With what a caller asks for: callers may tighten, never loosen.
    #[must_use]
    pub fn tightened(self, callers: Option<Self>) -> Self {
        callers.map_or(self, |callers| callers.max(self))
    }
}

/// What an operator changed for a while, over the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyOverride {
    /// At which provider.
    pub provider: String,
    /// Of what.
    pub category: HarmCategory,
    /// From where on, meanwhile.
    pub threshold: HarmThreshold,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

impl SafetyOverride {
    /// Whether it counts at that moment, Unix milliseconds.
    #[must_use]
    pub const fn holds_at(&self, now_ms: i64) -> bool {
        now_ms < self.until_ms
    }
}

/// The threshold that counts at a moment: an override's, else the configured one.
#[must_use]
pub fn effective_threshold(
    overrides: &[SafetyOverride],
    provider: &str,
    category: HarmCategory,
    configured: HarmThreshold,
    now_ms: i64,
) -> HarmThreshold {
    let counts =
        |it: &&SafetyOverride| it.provider == provider && it.category == category && it.holds_at(now_ms);
    overrides.iter().find(counts).map_or(configured, |it| it.threshold)
}

/// The time of day, by the system's clock and by a clock that never goes back since it was made: the later of the two, so
/// that a clock set back prolongs nothing.
#[derive(Clone, Copy, Debug)]
pub struct EndClock {
    began: Instant,
    began_ms: i64,
}

impl EndClock {
    /// From now on.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), began_ms: system_ms() }
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.began_ms.saturating_add(since).max(system_ms())
    }
}

impl Default for EndClock {
    fn default() -> Self {
        Self::new()
    }
}

fn system_ms() -> i64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The overrides that are kept, for those who must obey them. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct SafetyView {
    overrides: watch::Receiver<Arc<[SafetyOverride]>>,
    clock: EndClock,
}

impl SafetyView {
    /// Over a list that somebody else keeps.
    #[must_use]
    pub const fn new(overrides: watch::Receiver<Arc<[SafetyOverride]>>, clock: EndClock) -> Self {
        Self { overrides, clock }
    }

    /// No override, ever.
    #[must_use]
    pub fn none() -> Self {
        let (_, overrides) = watch::channel(Arc::from([]));
        Self::new(overrides, EndClock::new())
    }

    /// The threshold that counts now.
    #[must_use]
    pub fn threshold(
        &self,
        provider: &str,
        category: HarmCategory,
        configured: HarmThreshold,
    ) -> HarmThreshold {
        let overrides = self.overrides.borrow();
        if overrides.is_empty() {
            return configured;
        }
        effective_threshold(&overrides, provider, category, configured, self.clock.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S0-04
    #[test]
    fn callers_tighten_and_never_loosen() {
        for operators in HarmThreshold::ALL {
            assert_eq!(operators.tightened(None), operators);
            for callers in HarmThreshold::ALL {
                let both = operators.tightened(Some(callers));
                assert!(both >= operators && both >= callers && (both == operators || both == callers));
            }
        }
    }

    // req: S0-04
    #[test]
    fn an_override_counts_for_its_provider_and_category_until_its_end() {
        let loose = SafetyOverride {
            provider: "gemini".into(),
            category: HarmCategory::DangerousContent,
            threshold: HarmThreshold::BlockOnlyHigh,
            since_ms: 0,
            until_ms: 100,
            reason: String::new(),
            by: String::new(),
        };
        let strict = HarmThreshold::BlockMediumAndAbove;
        let at = |provider: &str, category, now_ms| {
            effective_threshold(std::slice::from_ref(&loose), provider, category, strict, now_ms)
        };
        assert_eq!(at("gemini", HarmCategory::DangerousContent, 99), HarmThreshold::BlockOnlyHigh);
        assert_eq!(at("gemini", HarmCategory::DangerousContent, 100), strict);
        assert_eq!(at("gemini", HarmCategory::Harassment, 99), strict);
        assert_eq!(at("gemini-openai", HarmCategory::DangerousContent, 99), strict);
    }

    #[test]
    fn names_read_back() {
        for category in HarmCategory::ALL {
            assert_eq!(HarmCategory::parse(&category.as_str().to_lowercase()), Some(category));
            assert_eq!(HarmCategory::parse(&format!("HARM_CATEGORY_{}", category.as_str())), Some(category));
        }
        for threshold in HarmThreshold::ALL {
            assert_eq!(HarmThreshold::parse(threshold.as_str()), Some(threshold));
        }
        assert_eq!((HarmCategory::parse("HARM"), HarmThreshold::parse("BLOCK")), (None, None));
    }
}
