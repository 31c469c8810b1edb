//! Commands that need no server: tokens, a look at a text, generated documents.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `token …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Sign a token with the configured secret. It is printed once and kept nowhere.
    #[command(after_help = "Example: portcullis token issue --subject alice --tier premium --minutes 60")]
    Issue(TokenIssue),
    /// Say what a token holds and whether it would be let in. Reads it from standard input, never from the arguments.
    #[command(after_help = "Example: portcullis token inspect < token.txt")]
    Inspect,
    /// Refuse a token id or every token of a subject from now on.
    #[command(
        after_help = "Examples:\n  portcullis token revoke --id 01J…\n  portcullis token revoke --subject alice"
    )]
    Revoke(TokenRevoke),
}

/// `token issue`.
#[derive(Debug, Args)]
pub(crate) struct TokenIssue {
    /// Whom the token is for: at most 128 characters.
    #[arg(long)]
    pub(crate) subject: String,
    /// Tier of the bearer.
    #[arg(long, default_value = "authenticated")]
    pub(crate) tier: String,
    /// What the bearer may do; may be repeated.
    #[arg(long = "scope", default_value = "chat")]
    pub(crate) scopes: Vec<String>,
    /// A guard policy for the bearer, beside that of each route; of each check the stricter wins.
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// How long the token lives, in minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=525_600))]
    pub(crate) minutes: u64,
}

/// `token revoke`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TokenRevoke {
    /// The token's `jti`.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The token's `sub`.
    #[arg(long)]
    pub(crate) subject: Option<String>,
}

/// `inspect`.
#[derive(Debug, Args)]
#[group(id = "inspected", required = true, multiple = false, args = ["text", "jsonl"])]
pub(crate) struct Inspect {
    /// The text; `-` reads standard input.
    pub(crate) text: Option<String>,
    /// Lines of `{"text": …, "channel"?: …}`, `-` for standard input; answers with one line each.
    #[arg(long, value_name = "FILE")]
    pub(crate) jsonl: Option<PathBuf>,
    /// Where the text comes from.
    #[arg(long, value_enum, default_value_t = Channel::User)]
    pub(crate) channel: Channel,
}

/// Where an inspected text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Channel {
    /// A person's message.
    User,
    /// A document, page, diff or tool result.
    Document,
}

/// `reference`.
#[derive(Debug, Args)]
pub(crate) struct Reference {
    /// Which document.
    #[arg(value_enum)]
    pub(crate) document: Document,
}

/// A generated document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// Every setting, as Markdown.
    Config,
    /// Every setting at its default, as TOML.
    Example,
    /// Provider presets with their limits and quotas, as Markdown.
    Providers,
    /// Every metric, as Markdown.
    Metrics,
    /// Every command, as Markdown.
    Cli,
    /// Every secret with an empty value, as a `.env` template.
    Env,
}
