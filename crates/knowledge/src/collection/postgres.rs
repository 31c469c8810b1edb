//! A collection whose generations are rows of Postgres, for several processes that answer from the same documents: the
//! lists of words are made from the rows and kept in memory, vectors stay with pgvector. Invariants: what answers was
//! whole and had its sums when it was loaded; another generation becomes active in one transaction; when vectors cannot
//! be asked for, words answer. Source: ask design section 5, last paragraph.

use super::State;
use crate::{
    Chunk, Contents, Damage, Document, Found, Index, IndexError, KnowledgeConfig, Language, Query, Space,
    index,
};
use parking_lot::{Mutex, RwLock};
use portcullis_store::{
    Nearest, PassageDocument, PassageGeneration, PassageRow, Passages, Store, StoreError,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Names of the tables, as damage is told of them.
const DOCUMENTS: &str = "knowledge_documents";
const CHUNKS: &str = "knowledge_chunks";

/// A collection in Postgres. Cheap to clone.
#[derive(Clone)]
pub struct PgCollection(Arc<Inner>);

struct Inner {
    name: String,
    store: Store,
    config: KnowledgeConfig,
    current: RwLock<Option<Arc<Index>>>,
    state: Mutex<State>,
    /// Held while loading, so that there is one load at a time.
    loading: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for PgCollection {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("PgCollection").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// A passage as its row keeps it, beside its position and that of its document.
#[derive(Serialize, Deserialize)]
struct Body {
    ordinal: u32,
    text: String,
    chars: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pages: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heading: Vec<String>,
    #[serde(default)]
    language: Language,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    flagged: bool,
}

impl PgCollection {
    /// Opens the collection of that name and loads its active generation; that there is none is fine.
    ///
    /// # Errors
    /// A store that is no Postgres or lacks pgvector, in words that say what to do; a database that is away. Damage is no
    /// error here: [`PgCollection::state`] tells it.
    pub async fn open(store: Store, name: &str, config: &KnowledgeConfig) -> Result<Self, IndexError> {
        store.passages(name)?.prepare().await?;
        let collection = Self(Arc::new(Inner {
            name: name.to_owned(),
            store,
            config: config.clone(),
            current: RwLock::default(),
            state: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
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
        let _turn = self.0.loading.lock().await;
        let rows = self.rows()?;
        let wanted = rows.active().await?;
        let same = |index: &Arc<Index>| i64::try_from(index.generation()).ok() == wanted;
        if self.current().as_ref().is_some_and(same) || (wanted.is_none() && self.current().is_none()) {
            return Ok(false);
        }
        let mut known = rows.generations().await?;
        known.retain(|row| wanted.is_some_and(|wanted| row.generation <= wanted));
        let (mut found, mut trouble) = (None, None);
        while let Some(row) = known.pop() {
            match self.load(&row).await {
                Ok(index) => {
                    found = Some(index);
                    break;
                }
                Err(IndexError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(collection = self.name(), generation = row.generation, %error, "a generation cannot be used");
                    trouble.get_or_insert_with(|| format!("generation {}: {error}", row.generation));
                }
            }
        }
        let (generation, created_at) =
            found.as_ref().map(|index| (index.generation(), index.created_at())).unzip();
        let wanted = wanted.and_then(|wanted| u64::try_from(wanted).ok());
        *self.0.state.lock() = State { generation, created_at, wanted, trouble, quarantined: Vec::new() };
        let mut answering = self.0.current.write();
        let other = answering.as_ref().map(|index| index.generation()) != generation;
        *answering = found.map(Arc::new);
        Ok(other)
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

    /// Makes a generation of these contents and lets it answer. `now` in Unix seconds.
    ///
    /// # Errors
    /// Contents that contradict themselves or are too large; a database that is away. The old generation still answers.
    pub async fn publish(
        &self,
        contents: &Contents,
        space: Option<&Space>,
        now: i64,
    ) -> Result<Arc<Index>, IndexError> {
        index::check(contents, space)?;
        let space = contents.vectors.as_ref().and(space);
        let dimensions = space.map(|space| space.dimensions);
        let said = space.map(|space| serde_json::to_string(space).unwrap_or_default());
        let rows = self.rows()?;
        let (documents, passages) = written(contents, dimensions)?;
        let number = rows.begin(said.as_deref(), dimensions, now).await?;
        rows.add(number, &documents, &passages).await?;
        let keep = i64::try_from(self.0.config.keep_generations).unwrap_or(i64::MAX);
        rows.publish(number, documents.len() as i64, passages.len() as i64, keep).await?;
        self.refresh().await?;
        self.current().ok_or(IndexError::Missing)
    }

    /// Finds passages: vectors are compared by the database, everything else here. Where the database cannot be asked,
    /// words answer alone.
    pub async fn search(&self, query: &Query<'_>) -> Found {
        let Some(index) = self.current() else { return Found::default() };
        let asked = index.asked(query);
        let Some(question) = asked.vector else { return index.answered(query, &asked, None) };
        let only = asked.allowed.as_ref().map(|allowed| {
            (0..).zip(allowed).filter(|(_, allowed)| **allowed).map(|(n, _)| n).collect::<Vec<i32>>()
        });
        let generation = i64::try_from(index.generation()).unwrap_or_default();
        let nearest = Nearest { generation, question, only: only.as_deref(), most: query.depth };
        let found = match self.rows() {
            Ok(rows) => rows.nearest(nearest).await,
            Err(error) => Err(error),
        };
        let list = found.map(|list| {
            list.into_iter().filter_map(|(n, cosine)| Some((u32::try_from(n).ok()?, cosine))).collect()
        });
        if let Err(error) = &list {
            tracing::warn!(collection = self.name(), %error, "vectors cannot be compared; words answer alone");
        }
        index.answered(query, &asked, list.ok())
    }

    /// Everything the answering generation was made from, vectors included.
    ///
    /// # Errors
    /// [`IndexError::Missing`]; damage; a database that is away.
    pub async fn contents(&self) -> Result<(Contents, Option<Space>), IndexError> {
        let row = self.answering().await?.ok_or(IndexError::Missing)?;
        let (contents, damages) = self.read(&row, true).await?;
        match damages.into_iter().next() {
            Some(damage) => Err(damage.into()),
            None => Ok((contents, space_of(&row)?)),
        }
    }

    async fn answering(&self) -> Result<Option<PassageGeneration>, IndexError> {
        let Some(index) = self.current() else { return Ok(None) };
        let known = self.rows()?.generations().await?;
        Ok(known.into_iter().find(|row| u64::try_from(row.generation).ok() == Some(index.generation())))
    }

    /// Checks counts and the sums of every document of the generation that answers, vectors included. The damages, none
    /// when all is sound.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn verify(&self) -> Result<Vec<Damage>, IndexError> {
        match (self.answering().await?, self.current()) {
            (Some(row), _) => Ok(self.read(&row, true).await?.1),
            (None, Some(_)) => Ok(vec![Damage::of(CHUNKS, "the generation that answers is gone")]),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Numbers of the finished generations, rising.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn generations(&self) -> Result<Vec<u64>, IndexError> {
        let known = self.rows()?.generations().await?;
        Ok(known.into_iter().filter_map(|row| u64::try_from(row.generation).ok()).collect())
    }

    /// Lets an older generation answer: the given one, or the newest before the active one. Its number.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when there is none; a database that is away.
    pub async fn rollback(&self, to: Option<u64>) -> Result<u64, IndexError> {
        let rows = self.rows()?;
        let active = rows.active().await?.and_then(|active| u64::try_from(active).ok());
        let known = self.generations().await?.into_iter().rev();
        let mut fit = known.filter(|number| to.map_or(Some(*number) < active, |to| *number == to));
        let number = fit.next().ok_or(IndexError::Missing)?;
        if !rows.activate(i64::try_from(number).unwrap_or_default()).await? {
            return Err(IndexError::Missing);
        }
        self.refresh().await?;
        Ok(number)
    }
}

fn space_of(row: &PassageGeneration) -> Result<Option<Space>, IndexError> {
    let read = row.space.as_deref().map(serde_json::from_str).transpose();
    read.map_err(|_| Damage::of("knowledge_generations", "the space of the vectors cannot be read").into())
}

/// The sums of a document, as its passages are added in order.
#[derive(Default)]
struct Sums {
    text: blake3::Hasher,
    vectors: blake3::Hasher,
}

fn sums(count: usize) -> Vec<Sums> {
    std::iter::repeat_with(Sums::default).take(count).collect()
}

impl Sums {
    fn add(&mut self, body: &str, vector: Option<&[f32]>) {
        // With its length, so that no two lists of passages have one sum.
        self.text.update(&(body.len() as u64).to_le_bytes()).update(body.as_bytes());
        for number in vector.unwrap_or_default() {
            self.vectors.update(&number.to_le_bytes());
        }
    }

    fn text(&self, document: &str) -> String {
        self.text.clone().update(document.as_bytes()).finalize().to_hex().to_string()
    }

    fn vectors(&self) -> String {
        self.vectors.finalize().to_hex().to_string()
    }
}

/// Contents as rows.
fn written(
    contents: &Contents,
    dimensions: Option<usize>,
) -> Result<(Vec<PassageDocument>, Vec<PassageRow>), IndexError> {
    let many = |_| IndexError::Contents("more passages than an index takes");
    let no_text = |_| IndexError::Contents("a passage or document is no text");
    let mut sums = sums(contents.documents.len());
    let mut vectors = dimensions.zip(contents.vectors.as_ref()).map(|(long, all)| all.chunks_exact(long));
    let mut passages = Vec::with_capacity(contents.chunks.len());
    for (n, chunk) in contents.chunks.iter().enumerate() {
        let body = Body {
            ordinal: chunk.ordinal,
            text: chunk.text.clone(),
            chars: (chunk.chars.start, chunk.chars.end),
            pages: chunk.pages,
            heading: chunk.heading.clone(),
            language: chunk.language,
            flagged: chunk.flagged,
        };
        // Postgres keeps no zero byte in a text; as JSON writes it, it is none.
        let body = serde_json::to_string(&body).map_err(no_text)?;
        let vector = vectors.as_mut().and_then(Iterator::next).map(<[f32]>::to_vec);
        if let Some(sum) = sums.get_mut(chunk.document as usize) {
            sum.add(&body, vector.as_deref());
        }
        let document = i32::try_from(chunk.document).map_err(many)?;
        passages.push(PassageRow { n: i32::try_from(n).map_err(many)?, document, body, vector });
    }
    let mut documents = Vec::with_capacity(contents.documents.len());
    for (n, (document, sum)) in contents.documents.iter().zip(&sums).enumerate() {
        let body = serde_json::to_string(document).map_err(no_text)?;
        let (hash, vectors_hash) = (sum.text(&body), sum.vectors());
        documents.push(PassageDocument { n: i32::try_from(n).map_err(many)?, body, hash, vectors_hash });
    }
    Ok((documents, passages))
}

/// Rows as contents; none where they are not what we write.
fn contents(documents: &[PassageDocument], passages: &[PassageRow]) -> Option<Contents> {
    let documents: Vec<Document> =
        documents.iter().map(|row| serde_json::from_str(&row.body).ok()).collect::<Option<_>>()?;
    let chunk = |row: &PassageRow| {
        let body: Body = serde_json::from_str(&row.body).ok()?;
        Some(Chunk {
            document: u32::try_from(row.document).ok()?,
            ordinal: body.ordinal,
            text: body.text,
            chars: body.chars.0..body.chars.1,
            pages: body.pages,
            heading: body.heading,
            language: body.language,
            flagged: body.flagged,
        })
    };
    let chunks: Vec<Chunk> = passages.iter().map(chunk).collect::<Option<_>>()?;
    let with_vectors = !passages.is_empty() && passages.iter().all(|row| row.vector.is_some());
    let vectors =
        with_vectors.then(|| passages.iter().flat_map(|row| row.vector.iter().flatten()).copied().collect());
    Some(Contents { documents, chunks, vectors })
}

#[cfg(test)]
mod tests;
