//! The collections of a running process: opened when first asked for, followed when another process publishes, searched
//! off the async workers. Invariants: a name is a folder's name and nothing else (checked before anything is opened);
//! whoever searches keeps the generation it began with; a query's vector that is late or fails leaves a search by words.
//! Source: ask.md sections 5, 6 and 8.

use super::{
    config::is_name,
    passages::{self, Passages, Room},
};
use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use portcullis_knowledge::{
    Embedder, Found, Index, KnowledgeConfig, Language, Library, Purpose, Question, Shelf, State,
};
use portcullis_telemetry::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// See [`Desk::worded_by`].
pub(crate) type Outlook = Arc<dyn Fn() -> (usize, usize) + Send + Sync>;

/// The collections. Cheap to clone; one for the life of the process.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    library: Library,
    metrics: Metrics,
    embedder: RwLock<Option<Embedder>>,
    /// How many could word answers, and how many of them would be called now.
    outlook: RwLock<Option<Outlook>>,
    open: Mutex<AHashMap<String, Opened>>,
}

#[derive(Clone)]
struct Opened {
    collection: Shelf,
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
    /// Over those collections.
    #[must_use]
    pub fn new(library: Library, embedder: Option<Embedder>, metrics: Metrics) -> Self {
        let (embedder, open) = (RwLock::new(embedder), Mutex::default());
        Self(Arc::new(Inner { library, metrics, embedder, outlook: RwLock::default(), open }))
    }

    /// From now on this one embeds questions.
    pub fn embed_with(&self, embedder: Option<Embedder>) {
        *self.0.embedder.write() = embedder;
    }

    /// From now on these word answers: how many there are, and how many would be called now.
    pub(crate) fn worded_by(&self, outlook: Outlook) {
        *self.0.outlook.write() = Some(outlook);
    }

    /// How many could word answers, and how many of them would be called now.
    pub(crate) fn outlook(&self) -> (usize, usize) {
        let outlook = self.0.outlook.read().clone();
        outlook.map_or((0, 0), |outlook| outlook())
    }

    /// Who embeds.
    #[must_use]
    pub fn embedder(&self) -> Option<Embedder> {
        self.0.embedder.read().clone()
    }

    /// The settings of collections.
    #[must_use]
    pub fn config(&self) -> &KnowledgeConfig {
        self.0.library.config()
    }

    /// Names of the collections that are there, in order.
    pub async fn names(&self) -> Vec<String> {
        self.0.library.names(is_name).await
    }

    /// The collection of that name, following what other processes published at most every `refresh`.
    pub(crate) async fn collection(&self, name: &str, refresh: Duration) -> Result<Shelf, Nothing> {
        self.look(name, false, refresh).await
    }

    async fn look(&self, name: &str, make: bool, refresh: Duration) -> Result<Shelf, Nothing> {
        if !is_name(name) {
            return Err(Nothing::Unknown);
        }
        let now = Instant::now();
        let known = self.0.open.lock().get(name).cloned();
        if let Some(opened) = &known
            && now.saturating_duration_since(opened.looked) < refresh
        {
            return Ok(opened.collection.clone());
        }
        self.0.look(name, make, known, now).await
    }

    /// The collection of that name for taking documents in, made where there is none: what is published through it
    /// answers at once. None when it may not be called so or cannot be opened.
    pub async fn for_writing(&self, name: &str) -> Option<Shelf> {
        self.look(name, true, Duration::ZERO).await.ok()
    }

    /// How a collection is, where it is open.
    pub(crate) fn state(&self, name: &str) -> Option<State> {
        self.0.open.lock().get(name).map(|opened| opened.collection.state())
    }

    /// Looks for passages.
    async fn search(&self, collection: &Shelf, asked: &Search<'_>) -> Result<Searched, Nothing> {
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
        let (space, vector) = meaning.clone().unzip();
        let question = Question {
            text: asked.text.to_owned(),
            language: asked.language,
            meaning,
            k: asked.k,
            per_document: asked.per_document,
            join: asked.join,
        };
        let found = collection.search(&index, question).await.ok_or(Nothing::Unreadable)?;
        // A database that could not be asked for what is near, though the question's language is understood.
        let compared = found.by_meaning || space.is_none_or(|space| !space.understands(found.language));
        let without_vector = without_vector.or_else(|| (!compared).then_some("store"));
        self.0.metrics.searched(if found.by_meaning { "hybrid" } else { "lexical" }, began.elapsed());
        Ok(Searched { index, found, vector, without_vector })
    }

    /// Looks for passages and takes what fits. A generation of which passages cannot be read any more is put aside, and the
    /// newest sound one before it is asked instead.
    pub(crate) async fn passages(
        &self,
        collection: &Shelf,
        asked: &Search<'_>,
        room: Room,
    ) -> Result<(Searched, Passages), Nothing> {
        let searched = self.search(collection, asked).await?;
        let taken = passages::take(&searched.index, &searched.found.hits, room);
        if taken.unreadable == 0 {
            return Ok((searched, taken));
        }
        let (name, generation) = (collection.name(), searched.index.generation());
        tracing::error!(collection = name, generation, "passages of an index cannot be read any more");
        if let Err(error) = collection.condemn(generation).await {
            tracing::error!(collection = name, %error, "no other generation can be loaded");
        }
        let searched = self.search(collection, asked).await?;
        let taken = passages::take(&searched.index, &searched.found.hits, room);
        if taken.unreadable > 0 && taken.sources.is_empty() {
            return Err(Nothing::Unreadable);
        }
        Ok((searched, taken))
    }

    /// The embedder whose vectors this index has, where it understands the language.
    fn usable(&self, index: &Index, language: Language) -> Option<Embedder> {
        let embedder = self.embedder()?;
        let same = index.space() == Some(&embedder.space);
        (same && (language == Language::UNKNOWN || embedder.space.understands(language))).then_some(embedder)
    }
}

impl Inner {
    /// Opens or follows a collection.
    async fn look(
        &self,
        name: &str,
        make: bool,
        known: Option<Opened>,
        now: Instant,
    ) -> Result<Shelf, Nothing> {
        let (collection, other) = match known {
            Some(opened) => {
                let other = opened.collection.refresh().await.unwrap_or_else(|error| {
                    tracing::warn!(collection = name, %error, "the collection cannot be followed; what is loaded goes on answering");
                    false
                });
                (opened.collection, other)
            }
            None => match self.library.collection(name, make).await {
                Ok(Some(collection)) => (collection, true),
                Ok(None) => return Err(Nothing::Unknown),
                Err(error) => {
                    tracing::error!(collection = name, %error, "the collection cannot be opened");
                    self.metrics.index_load("failed");
                    return Err(Nothing::Unreadable);
                }
            },
        };
        if let Some(outcome) = loaded(&collection.state()).filter(|_| other) {
            self.metrics.index_load(outcome);
        }
        if let Some(index) = collection.current() {
            self.metrics.index(name, index.len(), index.bytes(), index.generation());
        }
        let opened = Opened { collection: collection.clone(), looked: now };
        self.open.lock().insert(name.to_owned(), opened);
        Ok(collection)
    }
}

/// How a load ended; none: there was nothing to load.
fn loaded(state: &State) -> Option<&'static str> {
    match (state.generation, state.is_behind(), &state.trouble) {
        (Some(_), false, _) => Some("ok"),
        (Some(_), true, _) => Some("older"),
        (None, _, Some(_)) => Some("failed"),
        (None, _, None) => None,
    }
}
