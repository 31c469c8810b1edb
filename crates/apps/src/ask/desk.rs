//! The collections of a running process: opened when first asked for, followed when another process publishes, searched
//! off the async workers. Invariants: a name is a folder's name and nothing else (checked before anything is opened);
//! whoever searches keeps the generation it began with; a query's vector that is late or fails leaves a search by words.
//! Source: ask.md sections 5, 6 and 8.

use super::config::is_name;
use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use portcullis_knowledge::{
    Collection, Embedder, Found, Index, KnowledgeConfig, Language, Purpose, Query, State,
};
use portcullis_telemetry::Metrics;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The collections. Cheap to clone; one for the life of the process.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    config: KnowledgeConfig,
    metrics: Metrics,
    embedder: RwLock<Option<Embedder>>,
    open: Mutex<AHashMap<String, Opened>>,
}

#[derive(Clone)]
struct Opened {
    collection: Collection,
    looked: Instant,
}

/// What is asked of a collection.
pub(crate) struct Search<'a> {
    pub(crate) text: &'a str,
    pub(crate) language: Language,
    pub(crate) k: usize,
    pub(crate) per_document: usize,
    /// Whether neighbours become one passage.
    pub(crate) join: bool,
    /// Most time for the question's vector.
    pub(crate) patience: Duration,
}

/// What a search came to.
pub(crate) struct Searched {
    pub(crate) index: Arc<Index>,
    pub(crate) found: Found,
    /// The question's vector, for comparing sentences with it.
    pub(crate) vector: Option<Vec<f32>>,
    /// Why there was no vector although there could have been.
    pub(crate) without_vector: Option<&'static str>,
}

/// Why there is nothing to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// No such collection.
    Unknown,
    /// Nothing was taken in yet.
    Empty,
    /// What was taken in cannot be read.
    Unreadable,
}

impl Desk {
    /// Over the collections below that folder.
    #[must_use]
    pub fn new(
        folder: PathBuf,
        config: KnowledgeConfig,
        embedder: Option<Embedder>,
        metrics: Metrics,
    ) -> Self {
        let (embedder, open) = (RwLock::new(embedder), Mutex::default());
        Self(Arc::new(Inner { folder, config, metrics, embedder, open }))
    }

    /// From now on this one embeds questions.
    pub fn embed_with(&self, embedder: Option<Embedder>) {
        *self.0.embedder.write() = embedder;
    }

    /// Who embeds.
    #[must_use]
    pub fn embedder(&self) -> Option<Embedder> {
        self.0.embedder.read().clone()
    }

    /// The settings of collections.
    #[must_use]
    pub fn config(&self) -> &KnowledgeConfig {
        &self.0.config
    }

    /// Where a collection of that name lies; none when it may not be called so.
    #[must_use]
    pub fn folder(&self, name: &str) -> Option<PathBuf> {
        is_name(name).then(|| self.0.folder.join(name))
    }

    /// Names of the collections that are there, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        names(&self.0.folder)
    }

    /// The collection of that name, following what other processes published at most every `refresh`.
    pub(crate) async fn collection(&self, name: &str, refresh: Duration) -> Result<Collection, Nothing> {
        self.look(name, false, refresh).await
    }

    async fn look(&self, name: &str, make: bool, refresh: Duration) -> Result<Collection, Nothing> {
        let folder = self.folder(name).ok_or(Nothing::Unknown)?;
        let now = Instant::now();
        let known = self.0.open.lock().get(name).cloned();
        if let Some(opened) = &known
            && now.saturating_duration_since(opened.looked) < refresh
        {
            return Ok(opened.collection.clone());
        }
        let (inner, name) = (self.0.clone(), name.to_owned());
        let opening = tokio::task::spawn_blocking(move || inner.look((&folder, &name), make, known, now));
        opening.await.unwrap_or(Err(Nothing::Unreadable))
    }

    /// The collection of that name for taking documents in, made where there is none: what is published through it
    /// answers at once. None when it may not be called so or cannot be opened.
    pub async fn for_writing(&self, name: &str) -> Option<Collection> {
        self.look(name, true, Duration::ZERO).await.ok()
    }

    /// How a collection is, where it is open.
    pub(crate) fn state(&self, name: &str) -> Option<State> {
        self.0.open.lock().get(name).map(|opened| opened.collection.state())
    }

    /// Looks for passages.
    pub(crate) async fn search(
        &self,
        collection: &Collection,
        asked: &Search<'_>,
    ) -> Result<Searched, Nothing> {
        let began = Instant::now();
        let index = collection.current().ok_or_else(|| match collection.state().trouble {
            Some(_) => Nothing::Unreadable,
            None => Nothing::Empty,
        })?;
        let (meaning, without_vector) = match self.usable(&index, asked.language) {
            None => (None, None),
            Some(embedder) => {
                let asking = embedder.embed(vec![asked.text.to_owned()], Purpose::Question);
                match tokio::time::timeout(asked.patience, asking).await {
                    Ok(Ok(mut vectors)) if vectors.len() == 1 => {
                        self.0.metrics.embedded(1);
                        (vectors.pop().map(|vector| (embedder.space, vector)), None)
                    }
                    Ok(Ok(_) | Err(_)) => (None, Some("embedder")),
                    Err(_) => (None, Some("late")),
                }
            }
        };
        let (text, language, searched) = (asked.text.to_owned(), asked.language, index.clone());
        let (k, per_document, join) = (asked.k, asked.per_document, asked.join);
        let vector = meaning.as_ref().map(|(_, vector)| vector.clone());
        let searching = tokio::task::spawn_blocking(move || {
            let meaning = meaning.as_ref().map(|(space, vector)| (space, vector.as_slice()));
            searched.search(&Query {
                text: &text,
                language,
                meaning,
                k,
                per_document,
                join,
                ..Query::default()
            })
        });
        let found = searching.await.map_err(|_| Nothing::Unreadable)?;
        self.0.metrics.searched(if found.by_meaning { "hybrid" } else { "lexical" }, began.elapsed());
        Ok(Searched { index, found, vector, without_vector })
    }

    /// The embedder whose vectors this index has, where it understands the language.
    fn usable(&self, index: &Index, language: Language) -> Option<Embedder> {
        let embedder = self.embedder()?;
        let same = index.space() == Some(&embedder.space);
        (same && (language == Language::UNKNOWN || embedder.space.understands(language))).then_some(embedder)
    }
}

impl Inner {
    /// Opens or follows a collection. Blocking.
    fn look(
        &self,
        (folder, name): (&Path, &str),
        make: bool,
        known: Option<Opened>,
        now: Instant,
    ) -> Result<Collection, Nothing> {
        let collection = match known {
            Some(opened) => {
                if let Err(error) = opened.collection.refresh() {
                    tracing::warn!(collection = name, %error, "the collection cannot be followed; what is loaded goes on answering");
                }
                opened.collection
            }
            None if !make && !folder.is_dir() => return Err(Nothing::Unknown),
            None => Collection::open(folder, name, &self.config).map_err(|error| {
                tracing::error!(collection = name, %error, "the collection cannot be opened");
                Nothing::Unreadable
            })?,
        };
        if let Some(index) = collection.current() {
            self.metrics.index(name, index.len(), index.bytes(), index.generation());
        }
        let opened = Opened { collection: collection.clone(), looked: now };
        self.open.lock().insert(name.to_owned(), opened);
        Ok(collection)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_name(name) && folder.join(name).is_dir())
        .collect();
    names.sort_unstable();
    names
}
