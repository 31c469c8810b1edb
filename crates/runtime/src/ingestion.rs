//! What an ingestion works with, from the settings: who reads, who embeds, who screens, who fetches pages. Invariant:
//! files are read by this same binary in a process of its own, never by the process that holds keys and settings.

use crate::{Settings, pages};
use portcullis_inspect::{Channel, Inspector, VerdictKind};
use portcullis_knowledge::{
    Collection, EmbedFailure, Embedder, IndexError, Language, Space,
    embedder::Embedding,
    ingest::{
        job::{Fetch, Fetched, NotFetched, Tools, Watcher},
        reader::Reader,
    },
};
use portcullis_providers::minilm;
use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};
use tokio_util::sync::CancellationToken;

/// The hidden command that reads files: see [`serve_reader`].
pub const READER_COMMAND: &str = "extract";
/// This binary, also when its file was replaced meanwhile.
const OWN_BINARY: &str = "/proc/self/exe";
/// Texts in one call of the builtin embedder.
const BATCH: usize = 32;

/// The reading process: what the hidden command runs.
///
/// # Errors
/// The pipes, or a limit that the system does not grant.
pub fn serve_reader() -> std::io::Result<()> {
    portcullis_knowledge::ingest::reader::serve()
}

/// Why nothing can be taken in with these settings.
#[derive(Debug, thiserror::Error)]
pub enum IngestionError {
    /// The embedder of the settings is not to be had here.
    #[error("knowledge.embedder `{0}` is not available to a command that runs alone")]
    Embedder(String),
    /// The model of the screen.
    #[error("documents cannot be screened: {0}")]
    Screen(String),
    /// This binary cannot be found.
    #[error("the process that reads files cannot be found: {0}")]
    Binary(std::io::Error),
}

/// The collection of that name in the data folder of these settings.
///
/// # Errors
/// Its folder cannot be used.
pub fn collection(settings: &Settings, name: &str) -> Result<Collection, IndexError> {
    let folder = settings.knowledge.folder(&settings.data_dir).join(name);
    Collection::open(&folder, name, &settings.knowledge)
}

/// What an ingestion of these settings works with. Pages can be fetched only where `with_pages` is set.
///
/// # Errors
/// An embedder that is not to be had; a broken installation.
pub fn tools(
    settings: &Settings,
    with_pages: bool,
    progress: Watcher,
    cancel: CancellationToken,
) -> Result<Tools, IngestionError> {
    let inspector =
        Inspector::new(&settings.inspect).map_err(|error| IngestionError::Screen(error.to_string()))?;
    let screen = format!("{} {} {}", inspector.model(), settings.inspect.flag, settings.inspect.block);
    Ok(Tools {
        reader: Reader::new(&own_binary()?, &[READER_COMMAND], &settings.knowledge),
        config: settings.knowledge.clone(),
        embedder: Some(embedder(settings)?),
        suspects: Arc::new(move |text| {
            inspector.inspect(text, Channel::Document).verdict != VerdictKind::Allow
        }),
        screen,
        fetch: with_pages.then(|| fetch(pages::fetch(pages::alone(settings)))),
        progress,
        cancel,
    })
}

fn own_binary() -> Result<PathBuf, IngestionError> {
    let own = Path::new(OWN_BINARY);
    if own.exists() {
        return Ok(own.to_owned());
    }
    std::env::current_exe().map_err(IngestionError::Binary)
}

/// Pages in the words of an ingestion.
fn fetch(pages: pages::Fetch) -> Fetch {
    Arc::new(move |address| {
        let fetched = pages(address);
        Box::pin(async move {
            match fetched.await {
                Ok(page) => Ok(Fetched {
                    final_url: page.final_url.to_string(),
                    content_type: page.content_type,
                    charset: page.charset,
                    bytes: page.bytes.to_vec(),
                }),
                Err(error) => Err(NotFetched { why: error.to_string(), gone: error.is_gone() }),
            }
        })
    })
}

fn embedder(settings: &Settings) -> Result<Embedder, IngestionError> {
    match settings.knowledge.embedder.as_str() {
        "builtin" => Ok(builtin()),
        other => Err(IngestionError::Embedder(other.to_owned())),
    }
}

/// The English embedder of the binary.
fn builtin() -> Embedder {
    let model = Arc::new(minilm::MiniLm::default());
    let space = Space {
        id: "builtin/minilm-l6-v2".to_owned(),
        version: 1,
        dimensions: minilm::DIMENSIONS,
        languages: vec![Language::EN],
    };
    Embedder::new(space, BATCH, move |texts, _| {
        let model = Arc::clone(&model);
        let work = move || {
            let threads = available_parallelism().map_or(1, NonZero::get);
            model.embed_many(&texts, threads, &false.into())
        };
        let made: Embedding = Box::pin(async move {
            let refused = |why: String| EmbedFailure::Refused(why);
            let made = tokio::task::spawn_blocking(work).await.map_err(|error| refused(error.to_string()))?;
            let made = made.map_err(|error| refused(error.to_string()))?;
            made.ok_or_else(|| refused("interrupted".to_owned()))
        });
        made
    })
}
