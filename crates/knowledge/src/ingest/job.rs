//! One ingestion: files and pages into a new generation of a collection. Invariants: nothing is published before
//! everything was read, and then all at once; what did not change is not read into chunks again, and no text is
//! embedded twice; a document goes only when its file is gone and `prune` was said. Source: ask design section 4.

mod candidates;
mod gather;

pub use candidates::{Fetch, Fetched, Fetching, NotFetched, Place};

use super::{
    chunk::{self, Bounds},
    extract::{self, Extracted},
    reader::Reader,
    report::{Flagged, IngestError, Partial, Phase, Progress, Refused, Report},
    vectors::Vectors,
};
use crate::{Chunk, Contents, Document, Embedder, KnowledgeConfig, Shelf, ShelfWriter, Space};
use candidates::{Candidate, Content, Queue};
use gather::{Fresh, Gathered};
use std::{collections::HashMap, sync::Arc};
use tokio::{task::spawn_blocking, time::Instant};
use tokio_util::sync::CancellationToken;

/// Whether a passage looks like instructions.
pub type Suspects = Arc<dyn Fn(&str) -> bool + Send + Sync>;
/// Who is told how far it is.
pub type Watcher = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What an ingestion works with.
pub struct Tools {
    /// Settings.
    pub config: KnowledgeConfig,
    /// Reads files.
    pub reader: Reader,
    /// Who embeds; nobody: the collection is searched by words alone.
    pub embedder: Option<Embedder>,
    /// Calls of the embedding model that are under way at once.
    pub embed_at_once: usize,
    /// Whether a passage looks like instructions.
    pub suspects: Suspects,
    /// Name and version of what suspects: another one looks at everything anew.
    pub screen: String,
    /// Who fetches pages.
    pub fetch: Option<Fetch>,
    /// Who is told how far it is; called often.
    pub progress: Watcher,
    /// Ends it: nothing is published then.
    pub cancel: CancellationToken,
}

/// What is asked of an ingestion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Documents whose files are gone go.
    pub prune: bool,
    /// Even when that is more than half of the collection.
    pub force: bool,
    /// Read everything, embed and publish nothing.
    pub dry_run: bool,
    /// How many links away from a named page are followed, on the same host.
    pub depth: u8,
}

/// Takes in what is at these places. `now` in Unix seconds.
///
/// # Errors
/// [`IngestError`]: nothing was published.
pub async fn run(
    tools: &Tools,
    collection: &Shelf,
    places: &[Place],
    options: Options,
    now: i64,
) -> Result<Report, IngestError> {
    let begun = Instant::now();
    let writer = if options.dry_run { None } else { Some(collection.lock(now).await?) };
    (tools.progress)(&Progress::default());
    let mut queue = Queue::new(places, options.depth, tools).await?;
    let gathered = Gathered::new(collection);
    let mut job = Job::begin(tools, writer, collection, gathered, now)?;
    while let Some(candidate) = queue.next() {
        if tools.cancel.is_cancelled() {
            return job.cancelled();
        }
        if let Some((content, key)) = job.open(candidate, &mut queue).await? {
            job.take(content, key, &mut queue).await?;
        }
        job.progress.files += 1;
        job.progress.of_files = job.progress.files + queue.len();
        job.progress.of_bytes = queue.bytes.max(job.progress.bytes);
        job.tell(Phase::Reading);
    }
    for (key, source, refusal) in std::mem::take(&mut queue.refused) {
        let kept = job.gathered.keep_below(&key);
        job.report.refused.push(Refused::new(source, &refusal, kept));
    }
    job.finish(options, &queue, begun).await
}

/// A running job.
struct Job<'a> {
    tools: &'a Tools,
    writer: Option<ShelfWriter>,
    collection: &'a Shelf,
    gathered: Gathered,
    vectors: Option<Vectors<'a>>,
    /// Passages that wait to be embedded together.
    waiting: Vec<Wanted>,
    bounds: Bounds,
    now: i64,
    progress: Progress,
    report: Report,
}

/// A passage without a vector.
struct Wanted {
    key: String,
    chunk: usize,
    text: String,
}

impl<'a> Job<'a> {
    fn begin(
        tools: &'a Tools,
        writer: Option<ShelfWriter>,
        collection: &'a Shelf,
        gathered: Gathered,
        now: i64,
    ) -> Result<Self, IngestError> {
        let vectors = match (&tools.embedder, &writer) {
            (Some(embedder), Some(writer)) => {
                let cache = writer.vectors(&embedder.space)?;
                Some(Vectors::new(embedder, Some(cache), tools.embed_at_once, &tools.cancel))
            }
            (None, _) | (_, None) => None,
        };
        let report = Report { collection: collection.name().to_owned(), ..Report::default() };
        Ok(Self {
            tools,
            writer,
            collection,
            gathered,
            vectors,
            waiting: Vec::new(),
            bounds: Bounds::from(&tools.config),
            now,
            progress: Progress::default(),
            report,
        })
    }

    fn tell(&mut self, phase: Phase) {
        self.progress.phase = phase;
        (self.tools.progress)(&self.progress);
    }

    fn cancelled<T>(&self) -> Result<T, IngestError> {
        if let Some(vectors) = &self.vectors {
            vectors.sync()?;
        }
        Err(IngestError::Cancelled)
    }

    /// The bytes of a candidate; nothing when it is refused.
    async fn open(
        &mut self,
        candidate: Candidate,
        queue: &mut Queue,
    ) -> Result<Option<(Content, String)>, IngestError> {
        let (key, source) = (candidate.key.clone(), candidate.source.clone());
        let found = candidate.bytes;
        match candidate.open(self.tools).await? {
            Ok(content) => {
                self.progress.bytes += content.bytes.len() as u64;
                // A page may have been redirected to one that was taken already.
                let key = content.key.clone();
                if self.gathered.is_new(&key) {
                    queue.seen(&key);
                    return Ok(Some((content, key)));
                }
            }
            Err((refusal, gone)) => {
                self.progress.bytes += found;
                let kept = !gone && self.gathered.keep_old(&key);
                self.report.refused.push(Refused::new(source, &refusal, kept));
            }
        }
        Ok(None)
    }

    /// Takes one document in.
    async fn take(&mut self, content: Content, key: String, queue: &mut Queue) -> Result<(), IngestError> {
        let by_text = content.page;
        let bytes = content.bytes.len() as u64;
        let mut hash = (!by_text).then(|| self.hash(&content, &content.bytes));
        if hash.as_ref().is_some_and(|hash| self.gathered.is_unchanged(&key, hash)) {
            self.gathered.keep_old(&key);
            self.report.unchanged += 1;
            return Ok(());
        }
        let about = content.about();
        let read = tokio::select! {
            biased;
            () = self.tools.cancel.cancelled() => return self.cancelled(),
            read = self.tools.reader.read(content.bytes, &content.hint) => read?,
        };
        let extracted = match read {
            Ok(extracted) => extracted,
            Err(refusal) => {
                let kept = self.gathered.keep_old(&key);
                self.report.refused.push(Refused::new(about.source, &refusal, kept));
                return Ok(());
            }
        };
        queue.follow(&extracted.links, &about);
        let (cut, suspects, bounds) = (extracted, Arc::clone(&self.tools.suspects), self.bounds);
        let cut = spawn_blocking(move || cut_up(cut, bounds, &suspects))
            .await
            .map_err(|error| IngestError::Broken(error.to_string()))?;
        self.report.invisible_characters += cut.invisible;
        if cut.chunks.is_empty() {
            let kept = self.gathered.keep_old(&key);
            self.report.refused.push(Refused::new(about.source, &extract::Refusal::Empty, kept));
            return Ok(());
        }
        let hash =
            hash.take().unwrap_or_else(|| self.hash_of(&about.hashed, cut.extracted.text().as_bytes()));
        if by_text && self.gathered.is_unchanged(&key, &hash) {
            self.gathered.keep_old(&key);
            self.report.unchanged += 1;
            return Ok(());
        }
        let flagged = cut.chunks.iter().filter(|chunk| chunk.flagged).count();
        if flagged > 0 {
            self.report.flagged.push(Flagged { source: about.source.clone(), chunks: flagged });
        }
        if !cut.extracted.lost_pages.is_empty() {
            let pages = cut.extracted.lost_pages.clone();
            self.report.partial.push(Partial { source: about.source.clone(), pages });
        }
        if self.gathered.is_known(&key) {
            self.report.updated += 1;
        } else {
            self.report.added += 1;
        }
        self.progress.chunks += cut.chunks.len();
        let document = Document {
            id: id(self.collection.name(), &key),
            title: cut.extracted.title.unwrap_or(about.title),
            url: cut.extracted.url.or(about.url),
            category: cut.extracted.category,
            source: about.source,
            root: about.root,
            language: cut.language,
            hash,
            bytes,
            ingested_at: self.now,
        };
        self.want(&key, &document.title, &cut.chunks);
        self.gathered.put(key, Fresh::new(document, cut.chunks));
        self.embed_waiting(false).await
    }

    /// Notes the passages that need a vector.
    fn want(&mut self, key: &str, title: &str, chunks: &[Chunk]) {
        if self.vectors.is_some() {
            self.waiting.extend(chunks.iter().enumerate().map(|(chunk, it)| Wanted {
                key: key.to_owned(),
                chunk,
                text: it.indexed(title),
            }));
        }
    }

    /// Embeds what waits, when it is enough or has to be.
    async fn embed_waiting(&mut self, all: bool) -> Result<(), IngestError> {
        let Some(vectors) = &mut self.vectors else { return Ok(()) };
        let mut unknown = Vec::new();
        for wanted in self.waiting.drain(..) {
            match vectors.known(&wanted.text) {
                Some(vector) => self.gathered.vector(&wanted.key, wanted.chunk, vector),
                None => unknown.push(wanted),
            }
        }
        self.waiting = unknown;
        if self.waiting.is_empty() || (!all && self.waiting.len() < vectors.worth()) {
            return Ok(());
        }
        let now =
            if all { self.waiting.len() } else { self.waiting.len() / vectors.worth() * vectors.worth() };
        let batch: Vec<Wanted> = self.waiting.drain(..now).collect();
        let (progress, watcher) = (self.progress, &self.tools.progress);
        let waits = move |waiting| {
            let phase = if waiting { Phase::Waiting } else { Phase::Reading };
            watcher(&Progress { phase, ..progress });
        };
        // Two documents may hold the same passage.
        let mut texts: Vec<String> = Vec::with_capacity(batch.len());
        let mut places: HashMap<&str, usize> = HashMap::new();
        for wanted in &batch {
            places.entry(&wanted.text).or_insert_with(|| {
                texts.push(wanted.text.clone());
                texts.len() - 1
            });
        }
        let made = vectors.embed(texts, &waits).await;
        let made = match made {
            Ok(made) => made,
            Err(IngestError::Cancelled) => return self.cancelled(),
            Err(error) => return Err(error),
        };
        for wanted in &batch {
            if let Some(vector) = places.get(wanted.text.as_str()).and_then(|at| made.get(*at)) {
                self.gathered.vector(&wanted.key, wanted.chunk, vector.clone());
            }
        }
        Ok(())
    }

    async fn finish(
        mut self,
        options: Options,
        queue: &Queue,
        begun: Instant,
    ) -> Result<Report, IngestError> {
        let of = self.gathered.known();
        let gone = self.gathered.gone(|document_key, root| queue.covers(document_key, root));
        if options.prune {
            if gone.len() * 2 > of && !options.force {
                return Err(IngestError::TooManyGone { gone: gone.len(), of });
            }
            self.report.removed = gone.len();
        } else {
            self.report.gone = gone.len();
            for key in gone {
                self.gathered.keep_old(&key);
            }
        }
        self.gathered.keep_others(|key, root| queue.covers(key, root));
        self.report.bytes = self.progress.bytes;
        let changed = self.report.added + self.report.updated + self.report.removed > 0 || self.other_space();
        if changed && self.writer.is_some() {
            self.publish().await?;
        } else {
            (self.report.documents, self.report.chunks) = self.gathered.counts()?;
        }
        if let Some(vectors) = &self.vectors {
            vectors.sync()?;
            self.report.embedded = vectors.embedded;
            self.report.embedding_calls = vectors.calls;
            self.report.embedded_characters = vectors.characters;
        }
        self.report.generation = self.collection.current().map(|index| index.generation());
        self.report.seconds = begun.elapsed().as_secs_f64();
        Ok(self.report)
    }

    /// Whether the vectors in use are of another model than the one at hand.
    fn other_space(&self) -> bool {
        self.gathered.known() > 0 && self.gathered.space() != self.space()
    }

    fn space(&self) -> Option<&Space> {
        self.tools.embedder.as_ref().map(|embedder| &embedder.space)
    }

    async fn publish(&mut self) -> Result<(), IngestError> {
        let space = self.space().cloned();
        if let Some(old) = self.gathered.old() {
            let old_space = old.space().cloned();
            let contents = self.collection.contents(&old).await?;
            for (key, title, chunks) in self.gathered.load(contents, old_space.as_ref(), space.as_ref()) {
                self.want(&key, &title, &chunks);
            }
        }
        self.embed_waiting(true).await?;
        self.tell(Phase::Publishing);
        if self.tools.cancel.is_cancelled() {
            return self.cancelled();
        }
        let contents: Contents = std::mem::take(&mut self.gathered).contents(space.as_ref())?;
        (self.report.documents, self.report.chunks) = (contents.documents.len(), contents.chunks.len());
        if let Some(writer) = &self.writer {
            writer.publish(contents, space.as_ref(), self.now).await?;
        }
        self.report.published = true;
        Ok(())
    }

    fn hash(&self, content: &Content, bytes: &[u8]) -> String {
        self.hash_of(&content.hashed(), bytes)
    }

    /// The sum that tells whether a document must be taken in anew.
    fn hash_of(&self, about: &str, bytes: &[u8]) -> String {
        let mut sum = blake3::Hasher::new();
        let Bounds { chunk, block, overlap } = self.bounds;
        let versions = (extract::VERSION, chunk::VERSION, chunk, block, overlap);
        sum.update(format!("{versions:?}\0{:?}\0{}\0{about}\0", self.space(), self.tools.screen).as_bytes());
        sum.update(bytes);
        sum.finalize().to_hex().to_string()
    }
}

/// `d_` and 16 hex digits.
fn id(collection: &str, key: &str) -> String {
    let sum = blake3::hash(format!("{collection}\0{key}").as_bytes()).to_hex();
    format!("d_{}", &sum[..16])
}

/// A document that was read, in passages.
struct CutUp {
    extracted: Extracted,
    chunks: Vec<Chunk>,
    language: crate::Language,
    invisible: u64,
}

fn cut_up(mut extracted: Extracted, bounds: Bounds, suspects: &Suspects) -> CutUp {
    let invisible = super::clean::clean(&mut extracted);
    let (mut chunks, language) = chunk::chunk(&extracted, bounds);
    let title = extracted.title.clone().unwrap_or_default();
    for chunk in &mut chunks {
        chunk.flagged = suspects(&chunk.indexed(&title));
    }
    CutUp { extracted, chunks, language, invisible }
}

#[cfg(test)]
mod tests;
