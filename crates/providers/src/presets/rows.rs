//! The rows. Prices are the providers' public list prices for text in micro-dollars per 1,000,000 tokens, each with the
//! day it was published (pricing pages of OpenAI, Google, Anthropic and Z.ai). A model whose price depends on the
//! length of the prompt, or whose name moves on to another model (`…-latest`), has none: a wrong price is worse.

use super::{BUILTIN, Dialect, ModelKind, ModelPreset, Preset, Wire};
use crate::{MULTILINGUAL, config::Capability};
use jiff::civil::{Date, date};
use portcullis_domain::Price;

const fn chat(name: &'static str) -> ModelPreset {
    ModelPreset {
        name,
        kind: ModelKind::Chat,
        fast: false,
        context: None,
        max_output: None,
        dimensions: None,
        lacks: &[],
        price: None,
        batch: None,
    }
}

const fn embed(name: &'static str, dimensions: u32) -> ModelPreset {
    ModelPreset { kind: ModelKind::Embed, dimensions: Some(dimensions), ..chat(name) }
}

/// Words in, words out, nothing else.
const fn plain(name: &'static str) -> ModelPreset {
    ModelPreset { lacks: &Capability::ALL, ..chat(name) }
}

impl ModelPreset {
    const fn fast(self) -> Self {
        Self { fast: true, ..self }
    }

    /// Tokens it reads and writes together, and most it writes.
    const fn holds(self, context: u32, max_output: u32) -> Self {
        Self { context: Some(context), max_output: Some(max_output), ..self }
    }

    /// Tokens of one input, and inputs of one call.
    const fn takes(self, context: u32, batch: u32) -> Self {
        Self { context: Some(context), batch: Some(batch), ..self }
    }

    /// Input, cached input and output, since that day.
    const fn costs(self, input: u64, cached_input: u64, output: u64, since: Date) -> Self {
        Self { price: Some((Price { input, cached_input, output }, since)), ..self }
    }

    const fn lacks(self, lacks: &'static [Capability]) -> Self {
        Self { lacks, ..self }
    }
}

const NO_LOGPROBS: &[Capability] = &[Capability::Logprobs];

/// The template for any server that speaks OpenAI's wire.
pub(super) const TEMPLATE: Preset = Preset {
    name: "openai-compatible",
    wire: Wire::OpenAi,
    responses: false,
    dialect: Dialect::Plain,
    base_url: "",
    key_secret: "",
    concurrency: 8,
    queue: 64,
    rpm: 0,
    tpm: 0,
    embed_rpm: 600,
    breaker_failures: 5,
    breaker_reset_secs: 60,
    otel_name: "openai_compatible",
    models: &[],
    free: false,
    shares: None,
    unsafe_without_word: false,
    known_concurrency: None,
    quota: "Whatever the server says; set `rpm` and `tpm` to it.",
    quota_read: "2026-11-20",
};

const GEMINI: Preset = Preset {
    name: "gemini",
    wire: Wire::Gemini,
    dialect: Dialect::Gemini,
    base_url: "https://generativelanguage.googleapis.com/v1beta",
    key_secret: "gemini_api_key",
    concurrency: 16,
    rpm: 150,
    tpm: 250_000,
    embed_rpm: 3000,
    otel_name: "gcp.gemini",
    models: &[
        chat("gemini-2.5-flash").holds(1_048_576, 65_536).costs(
            300_000,
            30_000,
            2_500_000,
            date(2025, 6, 17),
        ),
        chat("gemini-flash-lite-latest").holds(1_048_576, 65_536).fast(),
        chat("gemini-2.5-flash-lite").holds(1_048_576, 65_536).costs(
            100_000,
            10_000,
            400_000,
            date(2025, 7, 22),
        ),
        chat("gemini-flash-latest").holds(1_048_576, 65_536),
        chat("gemini-2.5-pro").holds(1_048_576, 65_536),
        embed("gemini-embedding-001", 3072).takes(2048, 100).costs(150_000, 150_000, 0, date(2025, 7, 14)),
    ],
    quota: "By project, model and usage tier, a minute and a day; no headers tell it, only the details of a 429.",
    ..TEMPLATE
};

/// Every row. A configured provider of another name takes `openai-compatible`.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "openai",
        responses: true,
        base_url: "https://api.openai.com/v1",
        key_secret: "openai_api_key",
        concurrency: 16,
        rpm: 500,
        tpm: 200_000,
        embed_rpm: 3000,
        otel_name: "openai",
        models: &[
            chat("gpt-4o").holds(128_000, 16_384).costs(2_500_000, 1_250_000, 10_000_000, date(2024, 10, 2)),
            chat("gpt-4o-mini")
                .holds(128_000, 16_384)
                .costs(150_000, 75_000, 600_000, date(2024, 10, 1))
                .fast(),
            chat("gpt-4.1").holds(1_047_576, 32_768).costs(2_000_000, 500_000, 8_000_000, date(2025, 4, 14)),
            chat("gpt-4.1-mini").holds(1_047_576, 32_768).costs(
                400_000,
                100_000,
                1_600_000,
                date(2025, 4, 14),
            ),
            embed("text-embedding-3-small", 1536).takes(8191, 2048).costs(
                20_000,
                20_000,
                0,
                date(2024, 1, 25),
            ),
            embed("text-embedding-3-large", 3072).takes(8191, 2048).costs(
                130_000,
                130_000,
                0,
                date(2024, 1, 25),
            ),
        ],
        quota: "By usage tier and model; told in `x-ratelimit-*` headers. The lowest paid tier starts near 500 RPM.",
        ..TEMPLATE
    },
    GEMINI,
    Preset {
        name: "gemini-openai",
        wire: Wire::OpenAi,
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        shares: Some("gemini"),
        unsafe_without_word: true,
        quota: "That of `gemini`, with which it shares its places and limits. This endpoint takes no safety settings.",
        ..GEMINI
    },
    Preset {
        name: "kimi",
        dialect: Dialect::Kimi,
        base_url: "https://api.moonshot.ai/v1",
        key_secret: "moonshot_api_key",
        concurrency: 6,
        rpm: 200,
        tpm: 2_000_000,
        breaker_failures: 4,
        breaker_reset_secs: 120,
        otel_name: "moonshot_ai",
        models: &[chat("kimi-k2.6").holds(262_144, 262_144)],
        known_concurrency: Some(50),
        quota: "By recharge: the lowest level has 3 RPM and 1 concurrent call, the next 200 RPM and 50.",
        ..TEMPLATE
    },
    Preset {
        name: "glm",
        dialect: Dialect::Glm,
        base_url: "https://api.z.ai/api/paas/v4",
        key_secret: "zai_api_key",
        concurrency: 4,
        rpm: 60,
        tpm: 100_000,
        breaker_failures: 4,
        breaker_reset_secs: 120,
        otel_name: "z_ai",
        models: &[
            chat("glm-4.6").holds(200_000, 131_072).costs(600_000, 110_000, 2_200_000, date(2025, 9, 30)),
            chat("glm-4.5-air")
                .holds(131_072, 98_304)
                .costs(200_000, 30_000, 1_100_000, date(2025, 7, 28))
                .fast(),
        ],
        known_concurrency: Some(1),
        quota: "Concurrent calls per model, often 1; error 1302 says it was exceeded.",
        ..TEMPLATE
    },
    Preset {
        name: "anthropic",
        wire: Wire::Anthropic,
        dialect: Dialect::Anthropic,
        base_url: "https://api.anthropic.com/v1",
        key_secret: "anthropic_api_key",
        concurrency: 8,
        rpm: 50,
        tpm: 40_000,
        otel_name: "anthropic",
        models: &[
            chat("claude-sonnet-4-5").holds(200_000, 64_000).lacks(NO_LOGPROBS).costs(
                3_000_000,
                300_000,
                15_000_000,
                date(2025, 9, 29),
            ),
            chat("claude-haiku-4-5")
                .holds(200_000, 64_000)
                .lacks(NO_LOGPROBS)
                .costs(1_000_000, 100_000, 5_000_000, date(2025, 10, 15))
                .fast(),
            chat("claude-opus-4-5").holds(200_000, 64_000).lacks(NO_LOGPROBS).costs(
                5_000_000,
                500_000,
                25_000_000,
                date(2025, 11, 24),
            ),
        ],
        quota: "By usage tier and model class; told in `anthropic-ratelimit-*` headers. The first tier has 50 RPM.",
        ..TEMPLATE
    },
    Preset {
        name: "ollama",
        base_url: "http://127.0.0.1:11434/v1",
        concurrency: 2,
        queue: 16,
        breaker_failures: 3,
        breaker_reset_secs: 30,
        otel_name: "ollama",
        free: true,
        quota: "None: the machine it runs on is the limit.",
        ..TEMPLATE
    },
    TEMPLATE,
    Preset {
        name: BUILTIN,
        wire: Wire::Builtin,
        concurrency: 0,
        embed_rpm: 0,
        breaker_failures: 0,
        breaker_reset_secs: 0,
        otel_name: "portcullis.builtin",
        models: &[
            plain("extractive"),
            embed("embed", 384),
            // Offered once it was added: `portcullis models add multilingual`.
            embed(MULTILINGUAL, 384),
            plain("echo"),
        ],
        free: true,
        quota: "None: this process is the limit.",
        ..TEMPLATE
    },
];
