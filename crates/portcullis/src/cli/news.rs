//! The words of `portcullis news`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `news …`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct News {
    /// What to do instead of a digest.
    #[command(subcommand)]
    pub(crate) tool: Option<NewsTool>,
    #[command(flatten)]
    pub(crate) digest: Digest,
}

/// What a digest is made with, each alone. Nothing is fetched.
#[derive(Debug, Subcommand)]
pub(crate) enum NewsTool {
    /// Print the readable text of a page, with its title and date.
    #[command(after_help = "\
No settings, no server and no network are needed. Of a file over 8 MiB the beginning is read.

Examples:
  portcullis news extract --html page.html
  curl -s https://example.org/a | portcullis news extract --html - --url https://example.org/a --json
With --json: {\"title\": …, \"text\": …, \"published_at\": \"2026-01-31T12:00:00Z\"}; null where the page does not say.
Exit codes: 0 read, 1 the page has no text, 2 wrong use or the file cannot be read.")]
    Extract(NewsExtract),
    /// Print which texts of a file say the same in about the same words.
    #[command(after_help = "\
Each line of the file is {\"id\": …, \"text\": …}; without an id the line's number is it, and body, content, articleBody, \
article or description stand for text. A line that is no object is an id, a space and the text. Earlier lines are \
taken for earlier posts.

Examples:
  portcullis news duplicates --jsonl posts.jsonl
  portcullis news duplicates --jsonl - --json < posts.jsonl
Prints a pair of ids a line, the earlier first, with a tab between; with --json {\"texts\": 1000, \"pairs\": [[\"a\", \"b\"]]}.
Exit codes: 0 compared (also when there is no pair), 2 wrong use or a line cannot be read.")]
    Duplicates(NewsDuplicates),
}

/// `news extract`.
#[derive(Debug, Args)]
pub(crate) struct NewsExtract {
    /// The page; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
    /// Where the page is from; its date may stand in it.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// `news duplicates`.
#[derive(Debug, Args)]
pub(crate) struct NewsDuplicates {
    /// The texts, one a line; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) jsonl: PathBuf,
}

/// `news --source …`.
#[derive(Debug, Args)]
pub(crate) struct Digest {
    /// A public channel such as @example, or the address of a feed or page; may be repeated.
    #[arg(long = "source", value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    /// How far back, in hours. Default: `news.window_hours`.
    #[arg(long, value_name = "N")]
    pub(crate) hours: Option<u32>,
    /// Most stories. Default: `news.stories`.
    #[arg(long, value_name = "N")]
    pub(crate) stories: Option<usize>,
    /// Language of the stories, two letters. Default: that of most posts.
    #[arg(long, value_name = "CODE")]
    pub(crate) lang: Option<String>,
    /// Only posts with this word or phrase, or another one given so; may be repeated.
    #[arg(long, value_name = "WORDS")]
    pub(crate) include: Vec<String>,
    /// No posts with this word or phrase; may be repeated.
    #[arg(long, value_name = "WORDS")]
    pub(crate) exclude: Vec<String>,
}
