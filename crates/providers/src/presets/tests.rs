//! The table is complete, and its figures are those of the design.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_row_is_complete_and_named_once() {
    let names: BTreeSet<_> = PRESETS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), PRESETS.len());
    for row in PRESETS {
        assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", row.name);
        assert!(row.queue > 0 && !row.quota.is_empty() && !row.otel_name.is_empty(), "{}", row.name);
        assert!(row.quota_read.parse::<jiff::civil::Date>().is_ok(), "{}", row.name);
        match row.wire {
            Wire::OpenAi | Wire::Gemini | Wire::Anthropic => {
                assert!(row.breaker_failures > 0 && row.concurrency > 0, "{}", row.name)
            }
            Wire::Builtin => assert_eq!((row.base_url, row.key_secret), ("", "")),
        }
        if !row.base_url.is_empty() {
            let remote = row.base_url.starts_with("https://");
            assert!(remote != row.key_secret.is_empty(), "{}: a remote provider needs a key", row.name);
            assert!(!row.base_url.ends_with('/'), "{}", row.name);
        }
    }
}

// req: S4-BRK
#[test]
fn the_figures_are_those_of_the_design() {
    let figures = |name: &str| {
        let row = find(name).unwrap();
        (row.concurrency, row.queue, row.rpm, row.tpm, row.breaker_failures, row.breaker_reset_secs)
    };
    assert_eq!(figures("openai"), (16, 64, 500, 200_000, 5, 60));
    assert_eq!(figures("gemini"), (16, 64, 150, 250_000, 5, 60));
    assert_eq!(figures("gemini-openai"), figures("gemini"));
    assert_eq!(figures("anthropic"), (8, 64, 50, 40_000, 5, 60));
    assert_eq!(figures("kimi"), (6, 64, 200, 2_000_000, 4, 120));
    assert_eq!(figures("glm"), (4, 64, 60, 100_000, 4, 120));
    assert_eq!(figures("ollama"), (2, 16, 0, 0, 3, 30));
    assert_eq!(figures("openai-compatible"), (8, 64, 0, 0, 5, 60));
    assert_eq!(row_for("my-own-server").name, "openai-compatible");
}

// req: S0-01
#[test]
fn the_document_states_baseline_and_quota_of_every_row() {
    let text = markdown();
    for row in PRESETS {
        assert!(text.contains(&format!("`{}`", row.name)) && text.contains(row.quota), "{}", row.name);
    }
    assert!(text.lines().all(|line| !line.starts_with('|') || line.ends_with('|')));
}

#[test]
fn every_model_is_named_once_in_its_row_and_its_figures_are_possible() {
    for row in PRESETS {
        let names: BTreeSet<_> = row.models.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), row.models.len(), "{}", row.name);
        for model in row.models {
            let (context, output) = (model.context.unwrap_or(u32::MAX), model.max_output.unwrap_or(1));
            assert!((1..=context).contains(&output), "{}", model.name);
            if let Some((price, _)) = model.price {
                assert!(price.cached_input <= price.input, "{}", model.name);
                assert!(!model.name.ends_with("-latest"), "{}: its price moves", model.name);
            }
        }
        if let Some(other) = row.shares {
            assert!(find(other).is_some_and(|other| other.shares.is_none()), "{}", row.name);
        }
    }
}
