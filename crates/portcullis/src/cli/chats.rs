//! Commands around chat doors.

use super::operate::EXITS;
use clap::Subcommand;

/// `outbox …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Outbox {
    /// Messages to chats without their words, newest first.
    #[command(after_help = "\
Examples:
  portcullis outbox list
  portcullis outbox list --state dead --json
Exit codes: 0 done, 1 refused or unreachable, 2 wrong use.")]
    List {
        /// Only these: queued, sending, sent, dead or expired.
        #[arg(long)]
        state: Option<String>,
    },
    /// Queue a message again that is dead or expired; it is worth sending for a day.
    #[command(after_help = EXITS)]
    Retry {
        /// Its id, as `outbox list` shows it.
        id: i64,
    },
}

/// `signal …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Signal {
    /// Version of signal-cli, and whether it has our account.
    #[command(after_help = "\
Works over signal.transport = \"http\" only: on a socket signal-cli would hand waiting messages to this command.
Example: portcullis signal status --json
Exit codes: 0 linked, 1 not linked or unreachable, 2 the settings or secrets cannot be used.")]
    Status,
    /// Prove to Signal that a human is here, so that messages are sent again.
    #[command(after_help = "\
The token is in the alert; the captcha is what the button of https://signalcaptchas.org/challenge/generate links to.
Example: portcullis signal challenge TOKEN signalcaptcha://signal-hcaptcha...
Exit codes: 0 taken, 1 rejected or unreachable, 2 the settings or secrets cannot be used.")]
    Challenge {
        /// Of the alert.
        token: String,
        /// The whole link, with signalcaptcha://
        captcha: String,
    },
}
