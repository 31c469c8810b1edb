//! The words of `portcullis news`.

use clap::Args;

/// `news …`.
#[derive(Debug, Args)]
pub(crate) struct News {
    #[command(flatten)]
    pub(crate) digest: Digest,
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
