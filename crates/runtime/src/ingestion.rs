//! What an ingestion works with, from the settings: who reads, who embeds, who screens, who fetches pages. Invariant:
//! files are read by this same binary in a process of its own, never by the process that holds keys and settings.

use crate::{
    Secrets, Settings, StartError,
    embedding::{NoEmbedder, standalone},
    kept, pages,
};
use portcullis_inspect::{Channel, Inspector, VerdictKind};
use portcullis_knowledge::{
    Backend, Embedder, Library,
    ingest::{
        job::{Fetch, Fetched, NotFetched, Tools, Watcher},
        reader::Reader,
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// The hidden command that reads files: see [`serve_reader`].
pub const READER_COMMAND: &str = "extract";
/// This binary, also when its file was replaced meanwhile.
const OWN_BINARY: &str = "/proc/self/exe";

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
    #[error("knowledge.embedder: {0}")]
    Embedder(#[from] NoEmbedder),
    /// The model of the screen.
    #[error("documents cannot be screened: {0}")]
    Screen(String),
    /// This binary cannot be found.
    #[error("the process that reads files cannot be found: {0}")]
    Binary(std::io::Error),
}

/// The collections of these settings, for a command that runs alone: in the data folder, or in the database, which is
/// opened for it.
///
/// # Errors
/// A database that is away or keeps no vectors.
pub async fn library(settings: &Settings, secrets: &Secrets) -> Result<Library, StartError> {
    let (folder, config) = (settings.knowledge.folder(&settings.data_dir), settings.knowledge.clone());
    match config.backend {
        Backend::Files => Ok(Library::files(folder, config)),
        Backend::Postgres => {
            let store = kept::alone(settings, secrets).await?;
            Ok(Library::open(folder, config, Some(&store)).await?)
        }
    }
}

/// What an ingestion works with in a command that runs alone. Pages can be fetched only where `with_pages` is set.
///
/// # Errors
/// An embedder that is not to be had; a broken installation.
pub fn alone(
    settings: &Settings,
    secrets: &Secrets,
    with_pages: bool,
    progress: Watcher,
    cancel: CancellationToken,
) -> Result<Tools, IngestionError> {
    let embedder = standalone(&settings.knowledge.embedder, settings, secrets)?;
    let fetch = with_pages.then(|| fetch(pages::fetch(pages::alone(settings))));
    tools(settings, embedder, fetch, progress, cancel)
}

/// What an ingestion works with, with an embedder and a fetcher that are there.
///
/// # Errors
/// A broken installation.
pub fn tools(
    settings: &Settings,
    embedder: Embedder,
    fetch: Option<Fetch>,
    progress: Watcher,
    cancel: CancellationToken,
) -> Result<Tools, IngestionError> {
    let inspector =
        Inspector::new(&settings.inspect).map_err(|error| IngestionError::Screen(error.to_string()))?;
    let screen = format!("{} {}", inspector.model(), settings.inspect.block);
    Ok(Tools {
        reader: Reader::new(&own_binary()?, &[READER_COMMAND], &settings.knowledge),
        config: settings.knowledge.clone(),
        embedder: Some(embedder),
        embed_at_once: settings.embed.ingest_concurrency as usize,
        // Not what is merely flagged: that is one honest passage in a hundred, and a flagged passage answers nothing.
        suspects: Arc::new(move |text| {
            inspector.inspect(text, Channel::Document).verdict == VerdictKind::Block
        }),
        screen,
        fetch,
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
#[must_use]
pub fn fetch(pages: pages::Fetch) -> Fetch {
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
