//! The words of the command line. Invariants: no argument is read from the environment (only `runtime` reads it),
//! every command says how it is used and what its exit codes mean, and no secret is ever an argument.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Shown below the help of `portcullis` itself.
const AFTER: &str = "\
Exit codes: 0 done, 1 the thing asked for failed or something is wrong, 2 the command line or a file named on it \
cannot be used.

Settings are looked for in --config F, $PORTCULLIS_CONFIG, ./portcullis.toml, /etc/portcullis/portcullis.toml; none \
is needed. Any key can be given as PORTCULLIS__SECTION__KEY or --set section.key=value.

Examples:
  portcullis check     name everything that is wrong with the settings";

/// One binary that stands between people and AI.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = AFTER, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
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
    /// Name everything that is wrong with settings and secrets, with line and mend.
    #[command(after_help = "\
Examples:
  portcullis check
  portcullis check --config /etc/portcullis/portcullis.toml --json
Exit codes: 0 nothing wrong (there may be warnings), 1 errors, 2 the file cannot be read.")]
    Check,
    /// Print a generated reference document.
    #[command(hide = true)]
    Reference(Reference),
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
    /// Every command, as Markdown.
    Cli,
    /// Every secret with an empty value, as a `.env` template.
    Env,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as key=value, such as http.listen=127.0.0.1:9000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
    fn settings_on_the_command_line_are_key_and_value() {
        assert_eq!(key_value("a.b = c=d"), Ok(("a.b".to_owned(), " c=d".to_owned())));
        assert!(key_value("a.b").is_err() && key_value("=x").is_err());
    }
}
