//! Every request carries the settings, and no caller loosens them.

use super::*;
use portcullis_domain::{EndClock, SafetyOverride};
use proptest::prelude::*;
use serde_json::{Value, json};

fn safety() -> Safety {
    Safety::new("gemini", SafetyConfig::default(), SafetyView::none())
}

fn guarded(safety: &Safety, body: &str) -> Value {
    serde_json::from_slice(&safety.guard(&Bytes::copy_from_slice(body.as_bytes())).unwrap()).unwrap()
}

/// The threshold of each category in a request.
fn thresholds(request: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let settings = request["safetySettings"].as_array().unwrap();
    settings.iter().map(|setting| (text(&setting["category"]), text(&setting["threshold"]))).collect()
}

const FOUR: [&str; 4] = [
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
];

// req: S0-04
#[test]
fn a_request_without_settings_gets_all_four_and_stays_otherwise_byte_for_byte() {
    let body = r#" {"contents":[{"parts":[{"text":"{\"safetySettings\":1}"}]}] , "x":1}"#;
    let out = safety().guard(&Bytes::from_static(body.as_bytes())).unwrap();
    let out = std::str::from_utf8(&out).unwrap();
    assert!(out.starts_with(" {\"safetySettings\":[") && out.ends_with(&body[2..]), "{out}");
    let request: Value = serde_json::from_str(out).unwrap();
    let wanted = FOUR.map(|name| (name.to_owned(), "BLOCK_MEDIUM_AND_ABOVE".to_owned()));
    assert_eq!(thresholds(&request), wanted.into());
    assert_eq!(thresholds(&guarded(&safety(), "{}")).len(), 4);
}

// req: S0-04
#[test]
fn callers_may_tighten_but_never_loosen_in_whatever_spelling() {
    let asked = json!({ "contents": [], "safetySettings": [
        { "category": FOUR[0], "threshold": "BLOCK_LOW_AND_ABOVE" },
        { "category": FOUR[1], "threshold": "BLOCK_NONE" },
        { "category": FOUR[2], "threshold": "OFF" },
        { "category": FOUR[2], "threshold": "BLOCK_ONLY_HIGH" },
        { "category": "HARM_CATEGORY_CIVIC_INTEGRITY", "threshold": "BLOCK_ONLY_HIGH" },
        { "category": "HARM_CATEGORY_NEW", "threshold": "OFF" },
        { "category": "x\",\"", "threshold": "BLOCK_ONLY_HIGH" },
        7, { "category": 7, "threshold": 4 },
    ]});
    let got = thresholds(&guarded(&safety(), &asked.to_string()));
    assert_eq!(got[FOUR[0]], "BLOCK_LOW_AND_ABOVE");
    for category in &FOUR[1..] {
        assert_eq!(got[*category], "BLOCK_MEDIUM_AND_ABOVE");
    }
    assert_eq!(got["HARM_CATEGORY_CIVIC_INTEGRITY"], "BLOCK_ONLY_HIGH");
    assert_eq!(got.len(), 5);
}

// req: S0-04
#[test]
fn settings_said_twice_escaped_or_senseless_are_all_replaced() {
    let off = "[{\"category\":\"HARM_CATEGORY_HARASSMENT\",\"threshold\":\"OFF\"}]";
    for body in [
        format!("{{\"safety_settings\":{off},\"safetySettings\":{off}}}"),
        format!("{{\"safetySettings\":{off},\"a\":1,\"safetySettings\":{off}}}"),
        format!("{{\"\\u0073afetySettings\":{off}}}"),
        "{\"safetySettings\":null}".to_owned(),
        "{\"safetySettings\":{\"a\":[]},\"b\":2}".to_owned(),
    ] {
        let out = safety().guard(&Bytes::from(body.clone())).unwrap();
        let out = std::str::from_utf8(&out).unwrap();
        assert!(!out.contains("OFF") && out.contains("BLOCK_MEDIUM_AND_ABOVE"), "{body} -> {out}");
        assert!(serde_json::from_str::<Value>(out).is_ok(), "{out}");
    }
    for nonsense in ["", "[]", "7", "{", "{} {}", "null"] {
        assert!(safety().guard(&Bytes::from_static(nonsense.as_bytes())).is_none(), "{nonsense}");
    }
}

// req: S0-04
#[test]
fn settings_and_an_override_that_counts_change_what_is_sent_until_it_ends() {
    let clock = EndClock::new();
    let until = |until_ms: i64| SafetyOverride {
        provider: "gemini".into(),
        category: HarmCategory::DangerousContent,
        threshold: HarmThreshold::BlockOnlyHigh,
        since_ms: 0,
        until_ms,
        reason: String::new(),
        by: String::new(),
    };
    let (list, seen) = tokio::sync::watch::channel(Arc::from([until(clock.now_ms() + 60_000)]));
    let configured = SafetyConfig { harassment: SafetyLevel::BlockLowAndAbove, ..SafetyConfig::default() };
    let safety = Safety::new("gemini", configured, SafetyView::new(seen, clock));
    let now = || thresholds(&guarded(&safety, "{}"));
    assert_eq!(now()[FOUR[3]], "BLOCK_ONLY_HIGH");
    assert_eq!(now()[FOUR[0]], "BLOCK_LOW_AND_ABOVE");
    list.send_replace(Arc::from([until(clock.now_ms())]));
    assert_eq!(now()[FOUR[3]], "BLOCK_MEDIUM_AND_ABOVE");
    assert!(!configured.is_loose());
    let off = SafetyConfig { hate_speech: SafetyLevel::Off, ..configured };
    assert!(off.is_loose() && off.filters_nothing());
}

proptest! {
    // req: S0-04
    #[test]
    fn whatever_a_caller_sends_the_four_are_there_and_none_is_looser(
        asked in prop::collection::vec((0_usize..6, 0_usize..8), 0..12),
        text in "[ -~]{0,40}",
    ) {
        let names = [FOUR[0], FOUR[1], FOUR[2], FOUR[3], "HARM_CATEGORY_X", ""];
        let levels = ["OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE", "off", "", "X"];
        let settings: Vec<Value> = asked
            .iter()
            .map(|(name, level)| json!({ "category": names[*name], "threshold": levels[*level] }))
            .collect();
        let body = json!({ "contents": [{ "text": text }], "safetySettings": settings });
        let out = guarded(&safety(), &body.to_string());
        prop_assert_eq!(&out["contents"], &body["contents"]);
        let got = thresholds(&out);
        for name in FOUR {
            let level = HarmThreshold::parse(&got[name]).unwrap();
            prop_assert!(level >= HarmThreshold::BlockMediumAndAbove, "{} {:?}", name, level);
        }
    }
}
