//! The document `docs/providers.md`, written from the rows.

use super::{ModelPreset, PRESETS};
use std::fmt::Write as _;

/// The document `docs/providers.md`: each row's baseline beside the provider's published quota (S0-01).
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(concat!(
        "# Providers\n\n",
        "What Portcullis knows of each AI provider, and the baseline it is run at. Every figure is the default of a key in ",
        "`[providers.<name>]`; `portcullis check` warns where a configured limit exceeds the known quota. A provider becomes ",
        "active when the secret with its key is there (`ollama` and others without a key: when the section is there). Any ",
        "other server that speaks OpenAI's wire is a section of its own name with a `base_url`; it starts from the row ",
        "`openai-compatible`.\n\n",
        "| name | wire | base URL | key secret | concurrent | queue | RPM | TPM | embeddings RPM | breaker: failures / reset |\n",
        "|---|---|---|---|---|---|---|---|---|---|\n",
    ));
    for row in PRESETS {
        let breaker = match row.breaker_failures {
            0 => "none".to_owned(),
            failures => format!("{failures} / {} s", row.breaker_reset_secs),
        };
        let concurrency =
            if row.concurrency == 0 { "one a processor".to_owned() } else { row.concurrency.to_string() };
        line(
            &mut out,
            &[
                &code(row.name),
                row.wire.as_str(),
                &if row.base_url.is_empty() && row.wire.is_remote() {
                    "required".into()
                } else {
                    code(row.base_url)
                },
                &code(row.key_secret),
                &concurrency,
                &row.queue.to_string(),
                &figure(row.rpm),
                &figure(row.tpm),
                &figure(row.embed_rpm),
                &breaker,
            ],
        );
    }
    out.push_str("\n## What they publish\n\n| name | quota | read on |\n|---|---|---|\n");
    for row in PRESETS {
        line(&mut out, &[&code(row.name), row.quota, row.quota_read]);
    }
    models(&mut out);
    out
}

fn models(out: &mut String) {
    out.push_str(concat!(
        "\n## Models listed without configuration\n\n",
        "Names and prices are data and go stale: `[models.\"provider/model\"]` corrects a row. Prices are in dollars a ",
        "million tokens: input / cached input / output, as published on that day for text. A model without one counts ",
        "tokens but no money.\n\n",
        "| model | kind | context | longest answer | inputs a call | price | since |\n|---|---|---|---|---|---|---|\n",
    ));
    for row in PRESETS {
        for model in row.models {
            let tokens = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let (price, since) = price(model, row.free);
            line(
                out,
                &[
                    &format!("`{}/{}`", row.name, model.name),
                    model.kind.as_str(),
                    &tokens(model.context),
                    &tokens(model.max_output),
                    &tokens(model.batch),
                    &price,
                    &since,
                ],
            );
        }
    }
}

fn price(model: &ModelPreset, free: bool) -> (String, String) {
    match model.price {
        Some((price, since)) => {
            let parts = [price.input, price.cached_input, price.output].map(dollars);
            (parts.join(" / "), since.to_string())
        }
        None if free => ("free".into(), "-".into()),
        None => ("-".into(), "-".into()),
    }
}

/// Micro-dollars in dollars, with cents at least.
fn dollars(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let shortest = text.len() - 4;
    let end = text.trim_end_matches('0').len().max(shortest);
    text[..end].to_owned()
}

fn line(out: &mut String, cells: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn code(text: &str) -> String {
    if text.is_empty() { "-".into() } else { format!("`{text}`") }
}

fn figure(value: u32) -> String {
    if value == 0 { "none".into() } else { value.to_string() }
}
