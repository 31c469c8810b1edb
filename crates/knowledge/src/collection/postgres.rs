//! A collection whose generations are rows of Postgres, for several processes that answer from the same documents: the
//! lists of words are made from the rows and kept in memory, vectors stay with pgvector. Invariants: what answers was
//! whole and had its sums when it was loaded; another generation becomes active in one transaction, and only in the place
//! of the one it was made from; when vectors cannot be asked for, words answer. Source: ask design section 5, last paragraph.

mod rows;
mod writer;

pub use writer::PgWriter;

use super::{Generation, Held, State};
use crate::{Contents, Damage, Index, IndexError, KnowledgeConfig, Query, index, search::List};
use parking_lot::{Mutex, RwLock};
use portcullis_store::{Nearest, PassageGeneration, PassageRow, Passages, Store, StoreError};
use rows::{contents, space_of, sums};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names of the tables, as damage is told of them.
const DOCUMENTS: &str = "knowledge_documents";
const CHUNKS: &str = "knowledge_chunks";
/// How often a generation is looked for that others replace while it is read.
const TRIES: usize = 3;

/// A collection in Postgres. Cheap to clone.
#[derive(Clone)]
pub struct PgCollection(Arc<Inner>);

struct Inner {
    name: String,
    store: Store,
    /// What only this machine needs: vectors that were paid for, and the lock among its processes.
    folder: PathBuf,
    config: KnowledgeConfig,
    current: RwLock<Option<Arc<Index>>>,
    state: Mutex<State>,
    /// Which generation was active when it was last followed; held while loading, so that there is one load at a time.
    followed: tokio::sync::Mutex<Option<i64>>,
    /// Generations that were found damaged, and how: they are passed over.
    given_up: Mutex<BTreeMap<i64, String>>,
}

impl std::fmt::Debug for PgCollection {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("PgCollection").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl PgCollection {
    /// Opens the collection of that name and loads its active generation; that there is none is fine. What this machine
    /// keeps of it lies in that folder.
    ///
    /// # Errors
    /// A store that is no Postgres or lacks pgvector, in words that say what to do; a database that is away. Damage is no
    /// error here: [`PgCollection::state`] tells it.
    pub async fn open(
        store: Store,
        folder: &Path,
        name: &str,
        config: &KnowledgeConfig,
    ) -> Result<Self, IndexError> {
        store.passages(name)?.prepare().await?;
        let collection = Self(Arc::new(Inner {
            name: name.to_owned(),
            store,
            folder: folder.to_owned(),
            config: config.clone(),
            current: RwLock::default(),
            state: Mutex::default(),
            followed: tokio::sync::Mutex::default(),
            given_up: Mutex::default(),
        }));
        collection.refresh().await?;
        Ok(collection)
    }

    fn rows(&self) -> Result<Passages<'_>, StoreError> {
        self.0.store.passages(&self.0.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The generation that answers.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Index>> {
        self.0.current.read().clone()
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.state.lock().clone()
    }

    /// Looks which generation is active, as another process may have published one, and loads it; searches go on
    /// meanwhile. A damaged one is passed over for the newest sound one before it. Says whether another answers now.
    ///
    /// # Errors
    /// A database that is away; then the generation in memory answers on.
    pub async fn refresh(&self) -> Result<bool, IndexError> {
        let mut followed = self.0.followed.lock().await;
        let rows = self.rows()?;
        let mut wanted = rows.active().await?;
        if *followed == wanted && (wanted.is_none() || self.current().is_some()) {
            return Ok(false);
        }
        let mut tries = 0;
        let (found, trouble) = loop {
            let (found, trouble) = self.newest(wanted).await?;
            // Somebody published meanwhile and removed what was being read.
            let now = if trouble.is_some() { rows.active().await? } else { wanted };
            tries += 1;
            if now == wanted || tries == TRIES {
                break (found, trouble);
            }
            wanted = now;
        };
        *followed = wanted;
        let (generation, created_at) =
            found.as_ref().map(|index| (index.generation(), index.created_at())).unzip();
        let wanted = wanted.and_then(|wanted| u64::try_from(wanted).ok());
        let quarantined = self.0.given_up.lock().keys().map(|number| format!("gen-{number}")).collect();
        *self.0.state.lock() = State { generation, created_at, wanted, trouble, quarantined };
        let mut answering = self.0.current.write();
        let other = answering.as_ref().map(|index| index.generation()) != generation;
        *answering = found.map(Arc::new);
        Ok(other)
    }

    /// The wanted generation, or the newest sound one before it and what is wrong.
    async fn newest(&self, wanted: Option<i64>) -> Result<(Option<Index>, Option<String>), IndexError> {
        let mut known = self.rows()?.generations().await?;
        known.retain(|row| wanted.is_some_and(|wanted| row.generation <= wanted));
        let mut trouble = None;
        while let Some(row) = known.pop() {
            let given_up = self.0.given_up.lock().get(&row.generation).cloned();
            let said = match given_up {
                Some(said) => said,
                None => match self.load(&row).await {
                    Ok(index) => return Ok((Some(index), trouble)),
                    Err(IndexError::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        tracing::error!(collection = self.name(), generation = row.generation, %error, "a generation cannot be used");
                        error.to_string()
                    }
                },
            };
            trouble.get_or_insert_with(|| format!("generation {}: {said}", row.generation));
        }
        Ok((None, trouble))
    }

    /// The lists of a generation, made from its rows.
    async fn load(&self, row: &PassageGeneration) -> Result<Index, IndexError> {
        let (contents, damages) = self.read(row, false).await?;
        if let Some(damage) = damages.into_iter().next() {
            return Err(damage.into());
        }
        let space = space_of(row)?;
        let (grams, limit) = (self.0.config.grams, self.0.config.max_index_bytes);
        let (number, created_at) = (u64::try_from(row.generation).unwrap_or_default(), row.created_at);
        let made = tokio::task::spawn_blocking(move || {
            let built = index::build(&contents, space.as_ref(), grams, number, created_at)?;
            let bytes = built.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            if bytes > limit {
                return Err(IndexError::TooLarge { bytes, limit });
            }
            index::in_memory(built).map(|index| index.with_space(space))
        });
        made.await.unwrap_or(Err(IndexError::Contents("the lists could not be made")))
    }

    /// Everything of a generation, and what is wrong with it.
    async fn read(
        &self,
        row: &PassageGeneration,
        with_vectors: bool,
    ) -> Result<(Contents, Vec<Damage>), IndexError> {
        let rows = self.rows()?;
        let (documents, mut passages) = (rows.documents(row.generation).await?, Vec::new());
        loop {
            let after = passages.last().map_or(-1, |last: &PassageRow| last.n);
            let page = rows.rows(row.generation, after, with_vectors).await?;
            if page.is_empty() {
                break;
            }
            passages.extend(page);
        }
        let mut damages = Vec::new();
        if (documents.len() as i64, passages.len() as i64) != (row.documents, row.passages) {
            damages.push(Damage::of(CHUNKS, "the rows are not as many as were written"));
        }
        let mut sums = sums(documents.len());
        for passage in &passages {
            match usize::try_from(passage.document).ok().and_then(|document| sums.get_mut(document)) {
                Some(sum) => sum.add(&passage.body, passage.vector.as_deref()),
                None => damages.push(Damage::of(CHUNKS, "a passage is of no document")),
            }
        }
        for (document, sum) in documents.iter().zip(&sums) {
            if sum.text(&document.body) != document.hash {
                damages.push(Damage::of(DOCUMENTS, "a document and its passages have not the sum recorded"));
            } else if with_vectors && sum.vectors() != document.vectors_hash {
                damages.push(Damage::of(CHUNKS, "vectors of a document have not the sum recorded"));
            }
        }
        match contents(&documents, &passages) {
            Some(contents) => Ok((contents, damages)),
            None => {
                damages.push(Damage::of(CHUNKS, "a row cannot be read"));
                Ok((Contents::default(), damages))
            }
        }
    }

    /// The passages nearest to the question in that generation, compared by the database; none where vectors may not be
    /// compared or the database cannot be asked: then words answer alone.
    pub(crate) async fn nearest(&self, index: &Index, query: &Query<'_>) -> Option<List> {
        let asked = index.asked(query);
        let question = asked.vector?;
        let only = asked.allowed.as_ref().map(|allowed| {
            (0..).zip(allowed).filter(|(_, allowed)| **allowed).map(|(n, _)| n).collect::<Vec<i32>>()
        });
        let generation = i64::try_from(index.generation()).unwrap_or_default();
        let nearest = Nearest { generation, question, only: only.as_deref(), most: query.depth };
        let found = match self.rows() {
            Ok(rows) => rows.nearest(nearest).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(list) => Some(
                list.into_iter().filter_map(|(n, cosine)| Some((u32::try_from(n).ok()?, cosine))).collect(),
            ),
            Err(error) => {
                tracing::warn!(collection = self.name(), %error, "vectors cannot be compared; words answer alone");
                None
            }
        }
    }

    /// Everything that generation was made from, vectors included.
    ///
    /// # Errors
    /// [`IndexError::Missing`]; damage; a database that is away.
    pub async fn contents(&self, index: &Index) -> Result<Contents, IndexError> {
        let row = self.row_of(index).await?.ok_or(IndexError::Missing)?;
        let (contents, damages) = self.read(&row, true).await?;
        damages.into_iter().next().map_or(Ok(contents), |damage| Err(damage.into()))
    }

    async fn row_of(&self, index: &Index) -> Result<Option<PassageGeneration>, IndexError> {
        let known = self.rows()?.generations().await?;
        Ok(known.into_iter().find(|row| u64::try_from(row.generation).ok() == Some(index.generation())))
    }

    /// Checks counts and the sums of every document of the generation that answers, vectors included; when something is
    /// damaged, the newest sound one before it answers. The damages, none when all is sound.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn scrub(&self) -> Result<Vec<Damage>, IndexError> {
        let Some(index) = self.current() else { return Ok(Vec::new()) };
        let damages = match self.row_of(&index).await? {
            Some(row) => self.read(&row, true).await?.1,
            None => vec![Damage::of(CHUNKS, "the generation that answers is gone")],
        };
        if let Some(first) = damages.first() {
            self.0.given_up.lock().insert(
                i64::try_from(index.generation()).unwrap_or_default(),
                IndexError::from(first.clone()).to_string(),
            );
            *self.0.followed.lock().await = None;
            self.refresh().await?;
        }
        Ok(damages)
    }

    /// Checks every finished generation, vectors included, without changing anything; rising.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn generations(&self) -> Result<Vec<Generation>, IndexError> {
        let rows = self.rows()?;
        let (active, known) = (rows.active().await?, rows.generations().await?);
        let mut out = Vec::with_capacity(known.len());
        for row in known {
            let (_, damaged) = self.read(&row, true).await?;
            let generation = u64::try_from(row.generation).unwrap_or_default();
            out.push(Generation {
                generation,
                current: active == Some(row.generation),
                damaged,
                unread: None,
            });
        }
        Ok(out)
    }

    /// Takes the collection for writing, among all processes of this database.
    ///
    /// # Errors
    /// [`Held`] says by whom it is held.
    pub async fn lock(&self, now: i64) -> Result<PgWriter, Held> {
        PgWriter::take(self, now).await
    }
}

#[cfg(test)]
mod tests;
