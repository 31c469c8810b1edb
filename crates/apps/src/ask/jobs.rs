//! Documents taken in and out through a running process: ingestions as jobs that can be looked at and ended, the list of
//! documents, one document taken out. Invariants: at most so many jobs run, wait and are remembered; a job that ends in
//! any way leaves the collection as it was or with a whole new generation; only operators see where a document came
//! from. Source: ask.md sections 4 and 11.

use super::{AskApp, AskConfig, no_collection, unreadable, whole};
use parking_lot::Mutex;
use portcullis_domain::{Caller, DocumentsRequest, Failure, IngestRequest, IngestSource, Reply, Scope};
use portcullis_engine::Inspected;
use portcullis_knowledge::{
    Document, Shelf,
    ingest::{remove::remove, report::IngestError},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Most jobs that wait or run at once.
const MOST_OPEN: usize = 32;
/// Most jobs that are remembered, the open ones included.
const MOST_KNOWN: usize = 200;
/// Most refusals that are told of one job.
const MOST_REFUSALS: usize = 1000;
/// Most documents on a page where the caller does not say.
const PAGE: usize = 100;
/// When a full list of jobs may have room again.
const FULL_RETRY: Duration = Duration::from_secs(30);

/// How far an ingestion is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<(AtomicU64, AtomicU64)>);

impl Progress {
    /// So many of so many.
    pub fn set(&self, done: u64, total: u64) {
        self.0.0.store(done, Ordering::Relaxed);
        self.0.1.store(total, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }
}

/// A source that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub source: String,
    /// Why, in words for people.
    pub reason: String,
}

/// What an ingestion came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Documents that are new.
    pub added: u64,
    /// Documents that changed.
    pub updated: u64,
    /// Documents that are as they were.
    pub unchanged: u64,
    /// What was not taken in.
    pub refused: Vec<Refusal>,
}

/// The future of an ingestion; the error is a sentence for people.
pub type Taking = Pin<Box<dyn Future<Output = Result<Report, String>> + Send>>;

/// Who takes documents in: collection, source, how far it is, when to end.
pub type Ingesting = Arc<dyn Fn(String, IngestSource, Progress, CancellationToken) -> Taking + Send + Sync>;

#[derive(Debug)]
enum Stage {
    Queued,
    Running,
    Done(Report),
    Failed(String),
}

struct Job {
    id: String,
    collection: String,
    stage: Stage,
    progress: Progress,
    cancel: CancellationToken,
    /// Of the files that were sent with it.
    bytes: usize,
}

/// The ingestions of a process. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    ingesting: Ingesting,
    running: Arc<Semaphore>,
    most_bytes: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
    all: Mutex<VecDeque<Job>>,
}

impl Jobs {
    /// None yet. `ingest_jobs` run, the others wait; `stop` ends all.
    #[must_use]
    pub fn new(
        ingesting: Ingesting,
        config: &AskConfig,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let running = Arc::new(Semaphore::new(config.ingest_jobs.max(1)));
        let most_bytes = config.ingest_upload_bytes;
        Self(Arc::new(Inner { ingesting, running, most_bytes, tasks, stop, all: Mutex::default() }))
    }

    /// Begins one; its id.
    ///
    /// # Errors
    /// `Overloaded` when too many wait, or their files take too much.
    pub(crate) fn begin(&self, collection: &str, source: IngestSource) -> Result<String, Failure> {
        let id = format!("j_{:016x}", rand::random::<u64>());
        let (progress, cancel) = (Progress::default(), self.0.stop.child_token());
        let bytes = match &source {
            IngestSource::Url { .. } => 0,
            IngestSource::Files(files) => files.iter().map(|(_, bytes)| bytes.len()).sum(),
        };
        {
            let mut all = self.0.all.lock();
            let open = || all.iter().filter(|job| matches!(job.stage, Stage::Queued | Stage::Running));
            let held = bytes + open().map(|job| job.bytes).sum::<usize>();
            if open().count() >= MOST_OPEN || (bytes > 0 && held > self.0.most_bytes) {
                return Err(Failure::Overloaded { retry_after: FULL_RETRY });
            }
            all.push_back(Job {
                id: id.clone(),
                collection: collection.to_owned(),
                stage: Stage::Queued,
                progress: progress.clone(),
                cancel: cancel.clone(),
                bytes,
            });
            let over = all.len().saturating_sub(MOST_KNOWN);
            for _ in 0..over {
                let ended = |job: &Job| !matches!(job.stage, Stage::Queued | Stage::Running);
                if let Some(at) = all.iter().position(ended) {
                    all.remove(at);
                }
            }
        }
        let (jobs, collection, job) = (self.clone(), collection.to_owned(), id.clone());
        self.0.tasks.spawn(async move {
            let stage = jobs.work(&job, collection, source, progress, cancel).await;
            jobs.become_(&job, stage);
        });
        Ok(id)
    }

    async fn work(
        &self,
        id: &str,
        collection: String,
        source: IngestSource,
        progress: Progress,
        cancel: CancellationToken,
    ) -> Stage {
        const ENDED: &str = "It was ended before it was done; nothing was changed.";
        let place = tokio::select! {
            () = cancel.cancelled() => None,
            place = self.0.running.acquire() => place.ok(),
        };
        let Some(_place) = place else { return Stage::Failed(ENDED.to_owned()) };
        self.become_(id, Stage::Running);
        let taking = (self.0.ingesting)(collection, source, progress, cancel.clone());
        match taking.await {
            Ok(report) => Stage::Done(report),
            Err(_) if cancel.is_cancelled() => Stage::Failed(ENDED.to_owned()),
            Err(why) => Stage::Failed(why),
        }
    }

    fn become_(&self, id: &str, stage: Stage) {
        if let Some(job) = self.0.all.lock().iter_mut().find(|job| job.id == id) {
            job.stage = stage;
        }
    }

    /// A job as JSON, and the collection it is for.
    fn view(&self, id: &str, cancel: bool) -> Option<(String, Value)> {
        let all = self.0.all.lock();
        let job = all.iter().find(|job| job.id == id)?;
        if cancel {
            job.cancel.cancel();
        }
        let (done, total) = job.progress.get();
        let mut out = json!({ "job": job.id, "collection": job.collection, "done": done, "total": total, "refused": [] });
        out["state"] = match &job.stage {
            Stage::Queued => "queued",
            Stage::Running => "running",
            Stage::Done(_) => "done",
            Stage::Failed(_) => "failed",
        }
        .into();
        match &job.stage {
            Stage::Queued | Stage::Running => {}
            Stage::Done(report) => {
                let refusal =
                    |refusal: &Refusal| json!({ "source": refusal.source, "reason": refusal.reason });
                out["refused"] = report.refused.iter().take(MOST_REFUSALS).map(refusal).collect();
                out["added"] = report.added.into();
                out["updated"] = report.updated.into();
                out["unchanged"] = report.unchanged.into();
            }
            Stage::Failed(why) => out["message"] = why.as_str().into(),
        }
        Some((job.collection.clone(), out))
    }
}

impl AskApp {
    /// Begins an ingestion.
    pub(super) fn ingest(&self, request: &Inspected, ingest: &IngestRequest) -> Result<Reply, Failure> {
        let collection = self.readable(ingest.collection.as_deref(), &request.caller)?;
        let id = self.state.jobs.begin(&collection, ingest.source.clone())?;
        let (_, view) = self.state.jobs.view(&id, false).ok_or_else(no_job)?;
        Ok(whole(&view))
    }

    /// How a job goes.
    pub(super) fn job(&self, request: &Inspected, id: &str, cancel: bool) -> Result<Reply, Failure> {
        let (collection, view) = self.state.jobs.view(id, cancel).ok_or_else(no_job)?;
        self.readable(Some(&collection), &request.caller).map_err(|_| no_job())?;
        Ok(whole(&view))
    }

    /// A page of documents, by id.
    pub(super) async fn documents(
        &self,
        request: &Inspected,
        asked: &DocumentsRequest,
    ) -> Result<Reply, Failure> {
        let name = self.readable(asked.collection.as_deref(), &request.caller)?;
        let collection = self.opened(&name).await?;
        let Some(index) = collection.current() else { return Ok(whole(&json!({ "documents": [] }))) };
        let operator = request.caller.scopes.has(Scope::AdminRead);
        let mut all: Vec<&Document> = index.documents().iter().collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let after = all
            .partition_point(|document| asked.cursor.as_ref().is_some_and(|cursor| document.id <= *cursor));
        let limit = asked.limit.unwrap_or(PAGE);
        let page = &all[after..(after + limit).min(all.len())];
        let shown: Vec<Value> = page.iter().map(|document| shown(document, operator)).collect();
        let mut out = json!({ "collection": name, "generation": index.generation(), "total": all.len(), "documents": shown });
        if let Some(last) = page.last().filter(|_| after + limit < all.len()) {
            out["next"] = last.id.as_str().into();
        }
        Ok(whole(&out))
    }

    /// Takes a document out: a new generation without it.
    pub(super) async fn remove(&self, request: &Inspected, document: &str) -> Result<Reply, Failure> {
        for name in self.state.desk.names().await {
            if self.readable(Some(&name), &request.caller).is_err() {
                continue;
            }
            let Ok(collection) = self.opened(&name).await else { continue };
            let index = collection.current();
            if !index.is_some_and(|index| index.documents().iter().any(|known| known.id == document)) {
                continue;
            }
            let generation = without(&collection, document).await?;
            return Ok(whole(&json!({ "removed": document, "collection": name, "generation": generation })));
        }
        Err(Failure::NotFound("There is no such document.".into()))
    }

    async fn opened(&self, name: &str) -> Result<Shelf, Failure> {
        let refresh = Duration::from_secs(self.config.refresh_secs);
        self.state.desk.collection(name, refresh).await.map_err(|_| no_collection())
    }

    /// Whether this person may change what is asked.
    pub(super) fn is_admin(caller: &Caller) -> bool {
        caller.scopes.has(Scope::AdminWrite)
    }
}

fn shown(document: &Document, operator: bool) -> Value {
    let mut out = json!({
        "id": document.id,
        "title": document.title,
        "url": document.url,
        "category": document.category,
        "language": document.language,
        "bytes": document.bytes,
        "ingested_at": document.ingested_at,
    });
    if operator {
        out["source"] = document.source.as_str().into();
    }
    out
}

/// Publishes the collection without a document; the generation that answers then.
async fn without(collection: &Shelf, id: &str) -> Result<u64, Failure> {
    let now = jiff::Timestamp::now().as_second();
    remove(collection, &[id.to_owned()], now).await.map_err(|error| {
        if let IngestError::Held(_) = error {
            let words = "The collection is being changed by somebody else; try again when that is done.";
            return Failure::Conflict(words.into());
        }
        tracing::error!(collection = collection.name(), %error, "the collection could not be published without a document");
        unreadable()
    })?;
    collection.current().map(|index| index.generation()).ok_or_else(unreadable)
}

const fn no_job() -> Failure {
    Failure::NotFound(std::borrow::Cow::Borrowed("There is no such ingestion."))
}
