//! Questions to documents: the wiring of the app for the server, and the same app for one process of the command line,
//! without doors. Invariant: both answer from the same folder in the same way; only the server limits and records.
//! Source: ask.md section 11.

use crate::{Secrets, Settings, StartError, embedding, ingestion, pages};
use bytes::Bytes;
use portcullis_apps::{
    ask::{AskApp, AskState, Desk, Ingesting, Jobs, Progress, Refusal, Report},
    chat::{
        ChatApp,
        cache::{Answers, CacheConfig},
    },
};
use portcullis_domain::{
    Caller, Deadline, Hints, IngestSource, LibraryRequest, MessageRequest, Payload, ReplyBody, RequestId,
    Scope, Scopes, Tier,
};
use portcullis_engine::{App as _, Filter, Inspected, Quotas};
use portcullis_knowledge::{
    Embedder, Library,
    ingest::{
        job::{self, Options, Place},
        report::{IngestError, Progress as IngestProgress, Refused},
    },
};
use portcullis_pages::Pages;
use portcullis_providers::{Providers, ProvidersConfig};
use portcullis_store::{Store, StoreError};
use portcullis_telemetry::Metrics;
use serde_json::Value;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use portcullis_domain::{AskRequest, Failure, MessageReply};

/// What the app keeps while settings change: collections, conversations, ingestions.
pub(crate) fn state(
    settings: &Settings,
    library: Library,
    pages: &Pages,
    metrics: &Metrics,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> AskState {
    let desk = Desk::new(library, None, metrics.clone());
    let (taker, knowledge, pages) = (desk.clone(), Arc::new(settings.clone()), pages.clone());
    let ingesting: Ingesting = Arc::new(move |collection, source, progress, cancel| {
        let (desk, settings, pages) = (taker.clone(), knowledge.clone(), pages.clone());
        Box::pin(async move { take(&desk, &settings, pages, (collection, source), progress, cancel).await })
    });
    let jobs = Jobs::new(ingesting, &settings.ask, tasks.clone(), stop.clone());
    AskState::new(desk, jobs)
}

/// Who embeds questions and passages, as the settings say; nobody where that is not to be had: search then goes by words.
pub(crate) fn embedder(settings: &Settings, providers: &Providers) -> Option<Embedder> {
    let name = &settings.knowledge.embedder;
    match embedding::embedder(name, &settings.embed, providers) {
        Ok(embedder) => Some(embedder),
        Err(error) => {
            tracing::warn!(embedder = name, %error, "documents are searched by words alone");
            None
        }
    }
}

/// Takes documents into a collection of the running server.
async fn take(
    desk: &Desk,
    settings: &Settings,
    pages: Pages,
    (name, source): (String, IngestSource),
    progress: Progress,
    cancel: CancellationToken,
) -> Result<Report, String> {
    let collection =
        desk.for_writing(&name).await.ok_or("The collection cannot be opened; nothing was changed.")?;
    let (places, depth) = match source {
        IngestSource::Url { url, depth } => (vec![Place::Page(url)], depth),
        IngestSource::Files(files) => {
            let upload = |(name, bytes): (String, Bytes)| Place::Upload { name, bytes: bytes.to_vec() };
            (files.into_iter().map(upload).collect(), 0)
        }
    };
    let watcher = Arc::new(move |now: &IngestProgress| progress.set(now.files as u64, now.of_files as u64));
    let embedder =
        desk.embedder().ok_or("Nobody embeds documents here; nothing was changed. The log says why.")?;
    let fetch = ingestion::fetch(pages::fetch(pages));
    let tools = ingestion::tools(settings, embedder, Some(fetch), watcher, cancel)
        .map_err(|error| told("prepare", &error))?;
    let options = Options { depth: u8::try_from(depth).unwrap_or(u8::MAX), ..Options::default() };
    let now = jiff::Timestamp::now().as_second();
    let report = Box::pin(job::run(&tools, &collection, &places, options, now)).await.map_err(|error| {
        if let IngestError::Held(_) = error {
            return "Somebody else is changing the collection; nothing was changed.".to_owned();
        }
        told("publish", &error)
    })?;
    let refusal =
        |refused: &Refused| Refusal { source: refused.source.clone(), reason: refused.detail.clone() };
    Ok(Report {
        added: report.added as u64,
        updated: report.updated as u64,
        unchanged: report.unchanged as u64,
        refused: report.refused.iter().map(refusal).collect(),
    })
}

/// The words outside; the cause goes to the log.
fn told(step: &'static str, error: &dyn std::error::Error) -> String {
    tracing::error!(step, %error, "an ingestion failed; the collection is as it was");
    "Nothing was changed; the log says why.".to_owned()
}

/// A refusal in words for people at the keyboard.
#[must_use]
pub fn sentence(failure: &Failure) -> String {
    match failure {
        Failure::InvalidInput { message, .. } => message.to_string(),
        Failure::NotFound(words)
        | Failure::Forbidden(words)
        | Failure::ModelNotAllowed(words)
        | Failure::Conflict(words) => words.to_string(),
        Failure::Unavailable { .. } => "The documents are not available at the moment.".to_owned(),
        Failure::Internal { incident }
        | Failure::Blocked { incident }
        | Failure::Unconfirmed { incident, .. } => {
            format!("The answer was thrown away [{incident}].")
        }
        Failure::DeadlineExceeded => "No answer came in time.".to_owned(),
        Failure::Unauthenticated(_)
        | Failure::RateLimited { .. }
        | Failure::BudgetExceeded { .. }
        | Failure::Overloaded { .. }
        | Failure::UpstreamInterrupted => "There is no answer.".to_owned(),
    }
}

/// The collections of these settings, over the store that is open.
pub(crate) async fn library(settings: &Settings, store: &Store) -> Result<Library, StoreError> {
    let folder = settings.knowledge.folder(&settings.data_dir);
    Library::open(folder, settings.knowledge.clone(), Some(store)).await
}

/// The app in a process of its own: for the command line while no server runs.
pub struct Alone {
    app: AskApp,
    caller: Caller,
    deadline: Duration,
}

impl Alone {
    /// Opens the collections. `offline` uses nothing but this machine: no provider is called.
    ///
    /// # Errors
    /// Providers that cannot be set up as they are configured.
    pub async fn open(settings: &Settings, secrets: &Secrets, offline: bool) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let none = ProvidersConfig::new();
        let named = if offline { &none } else { &settings.providers };
        let secret = |name: &str| if offline { None } else { secrets.get(name) };
        let providers = embedding::providers_alone(settings, named, metrics.clone(), secret)?;
        let embedder = embedder(settings, &providers);
        let tasks = TaskTracker::new();
        let answers = Answers::new(&CacheConfig::default(), None, tasks.clone());
        let chat = ChatApp::new(providers, &settings.routes, metrics.clone(), answers);
        let refuse = Arc::new(|_, _, _, _| -> portcullis_apps::ask::Taking {
            Box::pin(async { Err("Use `portcullis ingest`.".to_owned()) })
        });
        let jobs = Jobs::new(refuse, &settings.ask, tasks, CancellationToken::new());
        let library = ingestion::library(settings, secrets).await?;
        let state = AskState::new(Desk::new(library, embedder, metrics.clone()), jobs);
        let app = AskApp::new(chat, state, &settings.ask, metrics);
        // Whoever runs the command owns the folder.
        let scopes = Scopes::NONE.with(Scope::Chat).with(Scope::Pin).with(Scope::AdminRead);
        let caller = Caller::new("local".into(), Tier::Premium, scopes, Ipv4Addr::LOCALHOST.into());
        Ok(Self { app, caller, deadline: Duration::from_secs(settings.ask.deadline_secs) })
    }

    async fn run(&self, library: LibraryRequest) -> Result<ReplyBody, Failure> {
        let request = Inspected {
            id: RequestId::from_parts(now_ms(), rand::random()),
            caller: self.caller.clone(),
            weight: 1,
            deadline: Deadline::after(self.deadline),
            hints: Hints::default(),
            payload: Payload::Library(library),
            score: 0.0,
            span: None,
            shape: None,
            flagged: false,
            filter: Filter::OPEN,
            quotas: Quotas::OPEN,
        };
        Ok(self.app.run(request).await?.body)
    }

    /// Answers a question, as the server does in JSON.
    ///
    /// # Errors
    /// As the app.
    pub async fn ask(&self, ask: AskRequest) -> Result<Value, Failure> {
        match self.run(LibraryRequest::Ask(AskRequest { stream: false, ..ask })).await? {
            ReplyBody::Whole(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            ReplyBody::Stream(_) | ReplyBody::Message(_) => Ok(Value::Null),
        }
    }

    /// Answers what was typed, a question or a command.
    ///
    /// # Errors
    /// As the app.
    pub async fn message(&self, text: String, language: Option<String>) -> Result<MessageReply, Failure> {
        let message =
            MessageRequest { text, conversation: "local".into(), language, ..MessageRequest::default() };
        match self.run(LibraryRequest::Message(message)).await? {
            ReplyBody::Message(message) => Ok(*message),
            ReplyBody::Whole(_) | ReplyBody::Stream(_) => Ok(MessageReply::default()),
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}
