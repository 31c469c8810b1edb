//! Safety settings in every request to a provider that filters only when asked (S0-04): Gemini.
//!
//! Invariants: every request carries a threshold for every category, whoever wrote the request; it is never looser than
//! what the operator's settings, or an override that counts now, say; the rest of the request stays byte for byte.
//! Source: gateway design section 10; Google "Safety settings".

use bytes::Bytes;
use portcullis_domain::{HarmCategory, HarmThreshold, SafetyView};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Range, sync::Arc};

/// `[providers.gemini.safety]`: from where on the provider filters. An override (`portcullis safety override`) changes it
/// for some hours; callers may only tighten it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SafetyConfig {
    /// Harassment. Default `BLOCK_MEDIUM_AND_ABOVE`.
    pub harassment: SafetyLevel,
    /// Hate speech. Default `BLOCK_MEDIUM_AND_ABOVE`.
    pub hate_speech: SafetyLevel,
    /// Sexually explicit content. Default `BLOCK_MEDIUM_AND_ABOVE`.
    pub sexually_explicit: SafetyLevel,
    /// Dangerous content. Default `BLOCK_MEDIUM_AND_ABOVE`.
    pub dangerous_content: SafetyLevel,
}

/// From where on something is filtered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SafetyLevel {
    /// The filter is off. Needs `allow_without_safety = true`.
    Off,
    /// Nothing is blocked. Needs `allow_without_safety = true`.
    BlockNone,
    /// What is harmful with high probability.
    BlockOnlyHigh,
    /// With medium or high probability.
    #[default]
    BlockMediumAndAbove,
    /// With low probability and above.
    BlockLowAndAbove,
}

impl SafetyLevel {
    const fn threshold(self) -> HarmThreshold {
        match self {
            Self::Off => HarmThreshold::Off,
            Self::BlockNone => HarmThreshold::BlockNone,
            Self::BlockOnlyHigh => HarmThreshold::BlockOnlyHigh,
            Self::BlockMediumAndAbove => HarmThreshold::BlockMediumAndAbove,
            Self::BlockLowAndAbove => HarmThreshold::BlockLowAndAbove,
        }
    }
}

impl SafetyConfig {
    /// The threshold of a category.
    #[must_use]
    pub const fn threshold(&self, category: HarmCategory) -> HarmThreshold {
        match category {
            HarmCategory::Harassment => self.harassment.threshold(),
            HarmCategory::HateSpeech => self.hate_speech.threshold(),
            HarmCategory::SexuallyExplicit => self.sexually_explicit.threshold(),
            HarmCategory::DangerousContent => self.dangerous_content.threshold(),
        }
    }

    /// Whether it is looser than what is shipped, in any category.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        HarmCategory::ALL.iter().any(|it| self.threshold(*it) < HarmThreshold::BlockMediumAndAbove)
    }

    /// Whether it filters nothing at all in some category.
    #[must_use]
    pub fn filters_nothing(&self) -> bool {
        HarmCategory::ALL.iter().any(|it| self.threshold(*it).filters_nothing())
    }
}

/// The settings of one provider, as they count now. Cheap to ask.
pub(crate) struct Safety {
    provider: Arc<str>,
    configured: SafetyConfig,
    view: SafetyView,
}

/// Both spellings are understood by the provider.
const MEMBERS: [&str; 2] = ["safetySettings", "safety_settings"];
/// Most categories beside the known ones that a caller may name, and the longest name of one.
const MAX_OTHERS: usize = 8;
const MAX_NAME: usize = 64;

impl Safety {
    pub(crate) fn new(provider: &str, configured: SafetyConfig, view: SafetyView) -> Self {
        Self { provider: provider.into(), configured, view }
    }

    /// The threshold of a category now; a caller may have asked for another.
    pub(crate) fn effective(&self, category: HarmCategory, callers: Option<HarmThreshold>) -> HarmThreshold {
        self.view.threshold(&self.provider, category, self.configured.threshold(category)).tightened(callers)
    }

    /// The request with the settings that count in place of the caller's. None when it is no JSON object.
    pub(crate) fn guard(&self, body: &Bytes) -> Option<Bytes> {
        let found = Found::read(body)?;
        let mut asked = BTreeMap::new();
        for span in &found.spans {
            callers(&body[span.clone()], &mut asked);
        }
        let settings = self.render(&asked);
        let mut out = Vec::with_capacity(body.len() + settings.len() + 32);
        let mut at = 0;
        if found.spans.is_empty() {
            let open = body.iter().position(|byte| *byte == b'{')? + 1;
            out.extend_from_slice(&body[..open]);
            out.extend_from_slice(format!("\"safetySettings\":{settings}").as_bytes());
            if !found.empty {
                out.push(b',');
            }
            at = open;
        }
        // Whichever of several members the provider takes, it is ours.
        for span in found.spans {
            out.extend_from_slice(&body[at..span.start]);
            out.extend_from_slice(settings.as_bytes());
            at = span.end;
        }
        out.extend_from_slice(&body[at..]);
        Some(out.into())
    }

    fn render(&self, asked: &BTreeMap<String, HarmThreshold>) -> String {
        let known = HarmCategory::ALL.map(|category| {
            let name = format!("HARM_CATEGORY_{}", category.as_str());
            let threshold = self.effective(category, asked.get(&name).copied());
            (name, threshold)
        });
        let others = asked
            .iter()
            .filter(|(name, threshold)| HarmCategory::parse(name).is_none() && !threshold.filters_nothing());
        let others = others.take(MAX_OTHERS).map(|(name, threshold)| (name.clone(), *threshold));
        let one = |(name, threshold): (String, HarmThreshold)| {
            format!("{{\"category\":\"{name}\",\"threshold\":\"{}\"}}", threshold.as_str())
        };
        let all: Vec<String> = known.into_iter().chain(others).map(one).collect();
        format!("[{}]", all.join(","))
    }
}

/// What a caller asks for, by category; of several words on one the strictest. What is not understood asks for nothing.
fn callers(value: &[u8], asked: &mut BTreeMap<String, HarmThreshold>) {
    #[derive(Deserialize)]
    struct Setting {
        category: String,
        threshold: String,
    }
    let settings: Vec<serde_json::Value> = serde_json::from_slice(value).unwrap_or_default();
    for setting in settings {
        let Ok(Setting { category, threshold }) = serde_json::from_value(setting) else { continue };
        let plain =
            category.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && category.len() <= MAX_NAME;
        if let Some(threshold) = HarmThreshold::parse(&threshold).filter(|_| plain) {
            asked.entry(category).and_modify(|known| *known = threshold.max(*known)).or_insert(threshold);
        }
    }
}

/// Where the settings stand in a request.
#[derive(Default)]
struct Found {
    spans: Vec<Range<usize>>,
    empty: bool,
}

impl Found {
    fn read(body: &[u8]) -> Option<Self> {
        struct Members<'de>(Vec<&'de RawValue>, bool);
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let (mut found, mut empty) = (Vec::new(), true);
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    let value: &RawValue = map.next_value()?;
                    empty = false;
                    if MEMBERS.contains(&&*key.0) {
                        found.push(value);
                    }
                }
                Ok(Members(found, empty))
            }
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let Members(values, empty) = reader.deserialize_map(Look).ok()?;
        reader.end().ok()?;
        let base = body.as_ptr() as usize;
        let span = |value: &RawValue| {
            let start = value.get().as_ptr() as usize - base;
            start..start + value.get().len()
        };
        Some(Self { spans: values.into_iter().map(span).collect(), empty })
    }
}

/// A member's name, borrowed where it holds no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|key| Self(key.0))
    }
}

#[cfg(test)]
mod tests;
