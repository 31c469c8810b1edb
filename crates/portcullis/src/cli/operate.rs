//! The words of the commands that talk to the admin API of a running server.

use clap::{Args, Subcommand};

/// Exit codes of every command here, for their help.
pub(crate) const EXITS: &str = "Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.";

/// `keys …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key. It is printed once; the server keeps only a keyed hash.
    #[command(after_help = "\
Examples:
  portcullis keys create --name laptop --tier premium --scope chat --scope pin --days 90
  portcullis keys create --name bot --team news --route fast --rpm 60 --address 10.0.0.0/8
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Create(KeyCreate),
    /// List keys: id, name, tier, scopes, state. Never a key itself.
    List,
    /// Change a key: what is named replaces, the rest stays.
    #[command(after_help = "\
Examples:
  portcullis keys update example00001 --tier premium --rpm 600
  portcullis keys update example00001 --take-away rpm --take-away routes
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Update(KeyUpdate),
    /// Give a key a new text, printed once; the old one stays good for a while.
    #[command(after_help = "\
Example: portcullis keys rotate example00001 --overlap-hours 24
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Rotate {
        /// The public id, the middle part of `pcl_<id>_…`.
        id: String,
        /// Hours for which the old text stays good; 0: not at all.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(0..=2160))]
        overlap_hours: u64,
    },
    /// Refuse a key from now on: within a second on all servers that share Redis, else within ten.
    #[command(after_help = "Example: portcullis keys revoke example00001")]
    Revoke {
        /// The public id, the middle part of `pcl_<id>_…`.
        id: String,
    },
}

/// `keys create`.
#[derive(Debug, Args)]
pub(crate) struct KeyCreate {
    /// What the key is for.
    #[arg(long)]
    pub(crate) name: String,
    /// Tier of the bearer.
    #[arg(long, default_value = "authenticated")]
    pub(crate) tier: String,
    /// What the bearer may do; may be repeated.
    #[arg(long = "scope", default_value = "chat")]
    pub(crate) scopes: Vec<String>,
    #[command(flatten)]
    pub(crate) bounds: KeyBounds,
}

/// `keys update`.
#[derive(Debug, Args)]
pub(crate) struct KeyUpdate {
    /// The public id, the middle part of `pcl_<id>_…`.
    pub(crate) id: String,
    /// What the key is for.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Tier of the bearer.
    #[arg(long)]
    pub(crate) tier: Option<String>,
    /// What the bearer may do; may be repeated, and replaces all.
    #[arg(long = "scope")]
    pub(crate) scopes: Vec<String>,
    #[command(flatten)]
    pub(crate) bounds: KeyBounds,
    /// What no longer binds it; may be repeated.
    #[arg(long, value_parser = ["routes", "team", "user", "policy", "rpm", "tpm", "budgets", "addresses", "labels", "expires_at"])]
    pub(crate) take_away: Vec<String>,
}

/// What binds a key.
#[derive(Debug, Args)]
pub(crate) struct KeyBounds {
    /// Days until it expires; never when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: Option<u32>,
    /// A route or model it may use; may be repeated; all when absent.
    #[arg(long = "route")]
    pub(crate) routes: Vec<String>,
    /// The team that pays.
    #[arg(long)]
    pub(crate) team: Option<String>,
    /// The person who pays.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// A guard policy for it, beside that of each route; of each check the stricter wins.
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Most requests a minute.
    #[arg(long)]
    pub(crate) rpm: Option<u32>,
    /// Most tokens a minute.
    #[arg(long)]
    pub(crate) tpm: Option<u32>,
    /// Most dollars in a window, such as `day=5`; may be repeated.
    #[arg(long = "budget", value_name = "WINDOW=USD", value_parser = super::key_value)]
    pub(crate) budgets: Vec<(String, String)>,
    /// An address or network it may be used from; may be repeated; all when absent.
    #[arg(long = "address")]
    pub(crate) addresses: Vec<String>,
    /// A word of your own; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = super::key_value)]
    pub(crate) labels: Vec<(String, String)>,
}

/// `limits …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Limits {
    /// What one caller or address has left.
    #[command(after_help = "\
Examples:
  portcullis limits show key:example00001
  portcullis limits show 203.0.113.9 --scope ip
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Show(LimitsOf),
    /// Forget what one caller or address has used.
    #[command(after_help = EXITS)]
    Clear(LimitsOf),
}

/// `limits show`, `limits clear`.
#[derive(Debug, Args)]
pub(crate) struct LimitsOf {
    /// `key:<id>`, `jwt:<subject>`, or an address.
    pub(crate) subject: String,
    /// At which level.
    #[arg(long, default_value = "tier", value_parser = ["global", "ip", "user", "tier", "key", "action"])]
    pub(crate) scope: String,
}

/// `breaker …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Breaker {
    /// Make no calls to a provider, until told otherwise.
    #[command(after_help = "Example: portcullis breaker open openai")]
    Open(Provider),
    /// Make calls however many fail, until told otherwise.
    #[command(after_help = EXITS)]
    Close(Provider),
    /// Let the breaker decide by itself again.
    #[command(after_help = EXITS)]
    Auto(Provider),
    /// Make calls again to an account that is held: it was paid, or its key was mended.
    #[command(after_help = EXITS)]
    Release(Provider),
}

/// Which provider.
#[derive(Debug, Args)]
pub(crate) struct Provider {
    /// Its name, as `portcullis providers` shows it.
    pub(crate) name: String,
}

/// `budgets …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Budgets {
    /// What may still be spent, the most used first.
    #[command(after_help = EXITS)]
    List,
    /// Redefine a budget of the settings, on every server, until it is reset. What was spent stays spent.
    #[command(after_help = "\
Examples:
  portcullis budgets set team-day --scope team --window day --usd 50
  portcullis budgets set house --scope global --window month --tokens 5000000 --action alert
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Set {
        /// The budget's name.
        name: String,
        /// Whose spending counts together: key, user, team, `tier:<name>` or global.
        #[arg(long)]
        scope: String,
        /// Over which time.
        #[arg(long, default_value = "day", value_parser = ["day", "week", "month", "total"])]
        window: String,
        /// Most tokens; not bounded when absent.
        #[arg(long)]
        tokens: Option<u64>,
        /// Most dollars; not bounded when absent.
        #[arg(long)]
        usd: Option<f64>,
        /// What happens beyond it.
        #[arg(long, default_value = "refuse", value_parser = ["refuse", "alert"])]
        action: String,
    },
    /// Let the settings' own budget hold again.
    #[command(after_help = "\
Example: portcullis budgets reset team-day
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Reset {
        /// The budget's name.
        name: String,
    },
    /// Raise a budget of one subject for the rest of its window.
    #[command(after_help = "\
Example: portcullis budgets raise team-day --subject blue --usd 20
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Raise {
        /// The budget's name.
        name: String,
        /// Whose; leave it out where all together are meant.
        #[arg(long, default_value = "")]
        subject: String,
        /// By how many tokens.
        #[arg(long, default_value_t = 0)]
        tokens: u64,
        /// By how many dollars.
        #[arg(long, default_value_t = 0.0)]
        usd: f64,
    },
    /// Compute the money of a model's calls again with the right price.
    #[command(after_help = "\
Example: portcullis budgets reprice openai/gpt-4o-mini --from 2026-01-01 --to 2026-02-01 --input 0.15 --output 0.6
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Reprice {
        /// `provider/model`.
        target: String,
        /// First day, UTC.
        #[arg(long)]
        from: String,
        /// First day after it.
        #[arg(long)]
        to: String,
        /// Dollars for 1,000,000 tokens read.
        #[arg(long)]
        input: f64,
        /// The same for tokens the provider had cached; as `--input` when absent.
        #[arg(long)]
        cached_input: Option<f64>,
        /// Dollars for 1,000,000 tokens written.
        #[arg(long)]
        output: f64,
    },
}

/// `usage`.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// By what: day, key, caller, user, team, tier, route, provider, model.
    #[arg(long, default_value = "key,model,day")]
    pub(crate) by: String,
    /// First day, UTC; a month ago when absent.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// First day after it; now when absent.
    #[arg(long)]
    pub(crate) to: Option<String>,
}

/// `exceptions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Exceptions {
    /// Grant one.
    #[command(after_help = "\
Examples:
  portcullis exceptions grant --caller key:5f1c2a9b4d3e --for 7d --reason \"a red team's week\"
  portcullis exceptions grant --text - --for 30d --reason \"our own course text\" < course.txt
The text is hashed and not kept. Each use is in the audit trail.
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Grant(ExceptionGrant),
    /// Those that count now.
    #[command(after_help = EXITS)]
    List,
    /// End one before its time.
    #[command(after_help = EXITS)]
    End {
        /// Its id, as the list shows it.
        id: String,
    },
}

/// `exceptions grant`.
#[derive(Debug, Args)]
pub(crate) struct ExceptionGrant {
    /// Whose messages: the caller's id as logs tell it.
    #[arg(long, required_unless_present_any = ["text", "sha256"])]
    pub(crate) caller: Option<String>,
    /// Which text, word for word; `-` reads it from standard input.
    #[arg(long, conflicts_with = "sha256")]
    pub(crate) text: Option<String>,
    /// The same as SHA-256 of its bytes.
    #[arg(long)]
    pub(crate) sha256: Option<String>,
    /// For how long: `2h`, `7d`.
    #[arg(long = "for", value_name = "TIME", value_parser = super::time)]
    pub(crate) time: u64,
    /// Why; it is in the audit trail.
    #[arg(long)]
    pub(crate) reason: String,
}

/// `safety …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Safety {
    /// Change a safety setting of a provider for some hours.
    #[command(after_help = "\
Example: portcullis safety override --provider gemini --category DANGEROUS_CONTENT --threshold BLOCK_ONLY_HIGH \
--for 2h --reason \"incident 42\"
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Override(SafetyOverride),
    /// Overrides that count now.
    #[command(after_help = EXITS)]
    List,
    /// End an override before its time.
    #[command(after_help = EXITS)]
    End {
        /// At which provider.
        #[arg(long)]
        provider: String,
        /// Of what.
        #[arg(long)]
        category: String,
    },
}

/// `safety override`.
#[derive(Debug, Args)]
pub(crate) struct SafetyOverride {
    /// At which provider.
    #[arg(long)]
    pub(crate) provider: String,
    /// Of what, such as `DANGEROUS_CONTENT`.
    #[arg(long)]
    pub(crate) category: String,
    /// From where on it filters, such as `BLOCK_ONLY_HIGH`.
    #[arg(long)]
    pub(crate) threshold: String,
    /// For how long, at most a day: `30m`, `2h`.
    #[arg(long = "for", value_name = "TIME", value_parser = super::time)]
    pub(crate) time: u64,
    /// Why; it is in the audit trail.
    #[arg(long)]
    pub(crate) reason: String,
    /// Needed for thresholds that filter nothing.
    #[arg(long)]
    pub(crate) i_understand: bool,
}
