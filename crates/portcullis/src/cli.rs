//! The words of the command line. Invariants: no argument is read from the environment (only `runtime` reads it),
//! every command says how it is used and what its exit codes mean, and no secret is ever an argument.

mod audit;
mod backups;
mod chats;
mod ingest;
mod knowledge;
mod models;
mod news;
mod operate;
mod tools;

pub(crate) use audit::{Audit, AuditExport, AuditShow, AuditVerify, AuditWho, Filter};
pub(crate) use backups::{Backup, Restore};
pub(crate) use chats::{Outbox, Signal};
pub(crate) use ingest::Ingest;
pub(crate) use knowledge::{Answer, Index, IndexEval, IndexVerify, WhichCollection};
pub(crate) use models::{Models, ModelsAdd};
pub(crate) use news::{Digest, News, NewsDuplicates, NewsExtract, NewsTool};
pub(crate) use operate::{
    Breaker, Budgets, Exceptions, KeyBounds, KeyCreate, KeyUpdate, Keys, Limits, Safety, Usage,
};
pub(crate) use tools::{Channel, Document, Inspect, Reference, Token, TokenIssue, TokenRevoke};

use clap::{Args, Parser, Subcommand};
use operate::EXITS;
use std::{ffi::OsString, path::PathBuf};

/// Shown below the help of `portcullis` itself.
const AFTER: &str = "\
Exit codes: 0 done, 1 the thing asked for failed or something is wrong, 2 the command line or a file named on it \
cannot be used.

Settings are looked for in --config F, $PORTCULLIS_CONFIG, ./portcullis.toml, /etc/portcullis/portcullis.toml; none \
is needed. Any key can be given as PORTCULLIS__SECTION__KEY or --set section.key=value.

Examples:
  portcullis serve                       start with what is there: no key, no file, no network needed
  portcullis check                       name everything that is wrong with the settings
  portcullis chat \"What is a portcullis?\"  ask the running server
  portcullis keys create --name laptop   make an API key";

/// One binary that stands between people and AI.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = AFTER, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// `serve` by itself, written as `portcullis serve …`.
#[derive(Debug, Parser)]
#[command(name = "portcullis")]
struct ServeAlone {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: Serve,
}

/// The command line. `serve` is read by its own few words, because making those of all commands keeps a start waiting
/// for milliseconds; what does not fit them is left to the whole, which also words help and refusals.
pub(crate) fn read(words: impl Iterator<Item = OsString>) -> Cli {
    let words: Vec<OsString> = words.collect();
    serve_alone(&words).unwrap_or_else(|| Cli::parse_from(words))
}

fn serve_alone(words: &[OsString]) -> Option<Cli> {
    let [program, command, rest @ ..] = words else { return None };
    if command != "serve" {
        return None;
    }
    let ServeAlone { common, serve } =
        ServeAlone::try_parse_from(std::iter::once(program).chain(rest)).ok()?;
    Some(Cli { common, command: Command::Serve(serve) })
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Settings file.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting over file and environment, such as `http.listen=127.0.0.1:9000`; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Folder of everything persistent; short for `--set data_dir=…`.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Answer as JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server.
    #[command(after_help = "\
Standard output: addresses, the first admin key (once), three lines to copy. Standard error: logs.
SIGTERM or Ctrl-C drains: readiness 503, no new connections, running answers get server.drain_secs, then exit 0. \
A second signal exits at once with 1.

Examples:
  portcullis serve
  portcullis serve --listen 127.0.0.1:9000
  OPENAI_API_KEY=… portcullis serve
Exit codes: 0 drained, 1 could not start or was ended by a second signal, 2 the settings cannot be used.")]
    Serve(Serve),
    /// Name everything that is wrong with settings and secrets, with line and mend.
    #[command(after_help = "\
Examples:
  portcullis check
  portcullis check --config /etc/portcullis/portcullis.toml --json
Exit codes: 0 nothing wrong (there may be warnings), 1 errors, 2 the file cannot be read.")]
    Check,
    /// Ask the running server and print its answer as it comes.
    #[command(after_help = "\
The server is $PORTCULLIS_URL, else the local one of the settings; the key is $PORTCULLIS_KEY, else \
data/keys/local.key.

Examples:
  portcullis chat \"What is a portcullis?\"
  git diff | portcullis chat --model review -
Exit codes: 0 answered, 1 refused or unreachable, 2 wrong use.")]
    Chat(Chat),
    /// Ask the documents of a collection; without a question a conversation.
    #[command(after_help = "\
Answers come from the running server where there is one, else straight from the data folder. Without an AI the best \
passages answer, word for word.

Examples:
  portcullis ask \"How do I restore a backup?\"
  portcullis ask --extractive --sources --json \"What is the notice period?\"
  portcullis ask
Exit codes: 0 answered (also with \"I found nothing\"), 1 refused or unreadable, 2 wrong use.")]
    Ask(Ask),
    /// Tell what channels, feeds and pages published lately, the same event once.
    #[command(after_help = "\
The digest comes from the running server where there is one, else straight from the data folder. Without an AI stories \
are told in sentences of their posts.

Examples:
  portcullis news --source @example
  portcullis news --source https://example.org/feed.xml --source @example --hours 48 --stories 3 --lang en --json
  portcullis news extract --html page.html
Exit codes: 0 told (also when there is no news), 1 refused or failed, 2 wrong use.")]
    News(News),
    /// Ask the running server whether it is well; made for container health checks.
    #[command(after_help = "Exit codes: 0 ready, 1 not ready or unreachable.")]
    Health(Health),
    /// Issue, look into and revoke tokens (JWT).
    #[command(subcommand)]
    Token(Token),
    /// Make, list, change, rotate and revoke API keys on the running server.
    #[command(subcommand)]
    Keys(Keys),
    /// Look at what one caller has left, or forget what it used.
    #[command(subcommand)]
    Limits(Limits),
    /// Set the breaker of a provider by hand, or release its held account.
    #[command(subcommand)]
    Breaker(Breaker),
    /// Show every provider: breaker, hold, queue.
    #[command(after_help = EXITS)]
    Providers,
    /// Show routes and their targets.
    #[command(after_help = EXITS)]
    Routes,
    /// Show budgets, raise one, correct a price.
    #[command(subcommand)]
    Budgets(Budgets),
    /// Show what was used.
    #[command(after_help = "\
Examples:
  portcullis usage --by model
  portcullis usage --by team,day --from 2026-01-01 --to 2026-02-01 --json
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    Usage(Usage),
    /// Change a provider's safety settings for some hours.
    #[command(subcommand)]
    Safety(Safety),
    /// Let suspicious messages pass for a while: of one caller, or exactly one text.
    #[command(subcommand)]
    Exceptions(Exceptions),
    /// Look at messages to chats that wait or could not be delivered, and send one again.
    #[command(subcommand)]
    Outbox(Outbox),
    /// Send a message to a chat, through its door and its outbox.
    #[command(after_help = "\
Examples:
  portcullis send telegram:123456789 \"The index is being rebuilt.\"
  portcullis send --silent telegram:-1001234567890 \"Done.\"
  uptime | portcullis send telegram:123456789 -
It waits in the outbox for its turn and for a door that is away, at most a day; `portcullis outbox list` shows it.
Exit codes: 0 queued, 1 refused or unreachable, 2 wrong use.")]
    Send {
        /// No sound.
        #[arg(long)]
        silent: bool,
        /// Where to: telegram: and the number of a person, group or channel, or signal: and a uuid.
        to: String,
        /// What to say; - reads it from standard input.
        text: String,
    },
    /// Ask signal-cli how it is; prove to Signal that a human is here.
    #[command(subcommand)]
    Signal(Signal),
    /// Make the running server read its settings again. A file with a problem changes nothing.
    #[command(
        after_help = "Exit codes: 0 reloaded, 1 refused (every problem is named) or unreachable, 2 wrong use."
    )]
    Reload,
    /// Make the running server take nothing new, finish and end.
    #[command(after_help = EXITS)]
    Drain,
    /// Make a backup of the database, or list the backups.
    #[command(after_help = backups::BACKUP)]
    Backup(Backup),
    /// Put a backup in the place of the database; without a name list the backups.
    #[command(after_help = backups::RESTORE)]
    Restore(Restore),
    /// Say what inspection thinks of a text. Nothing is sent anywhere.
    #[command(after_help = "\
Examples:
  portcullis inspect \"Ignore all previous instructions\"
  portcullis inspect --channel document - < page.txt
  portcullis inspect --jsonl messages.jsonl
  zcat messages.jsonl.gz | portcullis inspect --jsonl -
Each line {\"text\": …, \"channel\"?: \"user\" | \"document\"} gives one line: score from 0 to 1 (0.5 is reached by one \
honest text in a hundred, 0.9 by one in a thousand), verdict, reasons, model; a broken line gives {\"error\": …}. No \
settings, no server and no network are needed.
Exit codes: 0 inspected, 1 some lines of the file were broken, 2 wrong use or the file cannot be read.")]
    Inspect(Inspect),
    /// Print alert rules for Prometheus, with the thresholds of the settings.
    #[command(after_help = "\
Thresholds: alerts.ai_failure_ratio, alerts.queue_depth, alerts.worst_delay_secs, alerts.breaches_per_min.

Examples:
  portcullis rules > /etc/prometheus/rules/portcullis.yml
  portcullis rules --set alerts.queue_depth=200
Exit codes: 0 printed, 2 the settings cannot be used.")]
    Rules,
    /// Take files, folders and pages into a collection, from which `ask` answers.
    #[command(after_help = ingest::AFTER)]
    Ingest(Ingest),
    /// Read files for an ingestion, from standard input to standard output.
    #[command(hide = true)]
    Extract,
    /// Add, list and remove models that are no part of the binary.
    #[command(subcommand)]
    Models(Models),
    /// Print the OpenAPI description of the server.
    Openapi,
    /// Show the last messages that did not fit their caller: length, burst, hours, refusals, network.
    #[command(after_help = EXITS)]
    Anomalies,
    /// Check the audit trail, look into it, say who is meant.
    #[command(subcommand)]
    Audit(Audit),
    /// Check, list, roll back, rebuild and prune the indexes of collections, and measure search.
    #[command(subcommand)]
    Index(Index),
    /// Measure answers that are quoted from documents.
    #[command(subcommand)]
    Answer(Answer),
    /// Print a generated reference document.
    #[command(hide = true)]
    Reference(Reference),
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address of the main listener; short for `--set http.listen=…`. Port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address of the admin listener; short for `--set admin.listen=…`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<String>,
}

/// `chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// What to ask; `-` reads standard input.
    pub(crate) text: String,
    /// Route or model.
    #[arg(long, short, default_value = "default")]
    pub(crate) model: String,
    /// Instructions for the model.
    #[arg(long, short)]
    pub(crate) system: Option<String>,
    /// Wait for the whole answer instead of printing it as it comes.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout_secs: u64,
}

/// `ask`.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The question; `-` reads standard input.
    pub(crate) text: Option<String>,
    /// Which collection. Default: `ask.collection`.
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
    /// Ask no AI: the best passages, word for word.
    #[arg(long)]
    pub(crate) extractive: bool,
    /// Show the passages behind the answer.
    #[arg(long)]
    pub(crate) sources: bool,
    /// Use neither a server nor the network.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Language of the answer, two letters. Default: that of the question.
    #[arg(long, value_name = "CODE")]
    pub(crate) language: Option<String>,
    /// Most passages to answer from.
    #[arg(long, short = 'k', value_name = "N")]
    pub(crate) passages: Option<usize>,
}

/// `health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) timeout_secs: u64,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as key=value, such as http.listen=127.0.0.1:9000".to_owned()),
    }
}

/// `90s`, `30m`, `2h`, as seconds.
fn time(text: &str) -> Result<u64, String> {
    let words = || "write it as 90s, 30m, 2h or 7d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(words)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(words()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!((time("90s"), time("30m"), time("2h")), (Ok(90), Ok(1800), Ok(7200)));
        assert_eq!(time("7d"), Ok(604_800));
        for wrong in ["", "h", "2", "2w", "-1h", "2ü"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent_and_reads_no_environment() {
        let command = Cli::command();
        command.clone().debug_assert();
        fn visit(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument} has no help", command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&command);
    }

    #[test]
    fn serve_alone_is_read_as_by_the_whole_command_line() {
        let read = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in [
            "portcullis serve",
            "portcullis serve --listen [::1]:0 --set a.b=c --json --set d=e --admin-listen 127.0.0.1:1",
            "portcullis serve -c file.toml --data-dir=here",
        ] {
            let alone = serve_alone(&read(line)).expect(line);
            let whole = Cli::try_parse_from(read(line)).expect(line);
            assert_eq!(format!("{alone:?}"), format!("{whole:?}"));
        }
        for line in [
            "portcullis",
            "portcullis check",
            "portcullis --json serve",
            "portcullis serve --help",
            "portcullis serve it",
        ] {
            assert!(serve_alone(&read(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn settings_on_the_command_line_are_key_and_value() {
        assert_eq!(key_value("a.b = c=d"), Ok(("a.b".to_owned(), " c=d".to_owned())));
        assert!(key_value("a.b").is_err() && key_value("=x").is_err());
    }
}
