//! Answers from documents: the question is looked up, an AI words an answer from the passages, the answer is held
//! against them; where a step is missing, the next best thing is given and said to be that.
//!
//! Invariants: a caller never learns of a collection it may not read; an answer is never invented to hide a step that
//! failed; nothing of one conversation reaches another; whatever the AI does, an answer or a clear word comes before the
//! deadline. Source: ask.md sections 3, 6, 7, 8.

mod answer;
mod cache;
mod check;
mod commands;
mod config;
mod desk;
mod extract;
mod jobs;
mod keeper;
pub(crate) mod ladder;
mod memory;
mod passages;
pub(crate) mod prompt;
mod words;

pub use config::{AskConfig, CollectionAccess, is_name};
pub use desk::Desk;
pub use jobs::{Ingesting, Jobs, Progress, Refusal, Report, Taking};
pub use keeper::keep;

use crate::chat::ChatApp;
use answer::Answered;
use bytes::Bytes;
use cache::Cache;
use futures_util::stream;
use memory::{Bounds, Memory};
use portcullis_domain::{
    Action, AskRequest, Caller, Failure, InputCode, LibraryRequest, Meter, Payload, Reply, ReplyBody,
    SearchRequest,
};
use portcullis_engine::{App, Inspected, Run};
use portcullis_knowledge::Language;
use portcullis_telemetry::Metrics;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use unicode_normalization::UnicodeNormalization as _;

/// What stays while settings change. Cheap to clone.
#[derive(Clone)]
pub struct AskState {
    /// The collections.
    pub desk: Desk,
    /// Ingestions.
    pub jobs: Jobs,
    memory: Arc<Memory>,
    cache: Arc<Cache>,
}

impl AskState {
    /// Nothing said yet.
    #[must_use]
    pub fn new(desk: Desk, jobs: Jobs) -> Self {
        Self { desk, jobs, memory: Arc::default(), cache: Arc::default() }
    }
}

/// The app. Cheap to clone.
#[derive(Clone)]
pub struct AskApp {
    chat: ChatApp,
    state: AskState,
    config: Arc<AskConfig>,
    metrics: Metrics,
}

/// A question, whichever door it came through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    question: String,
    collection: String,
    /// Unique over all callers.
    conversation: Option<String>,
    language: Option<Language>,
    extractive: bool,
    passages: Option<usize>,
    long: bool,
    /// Nothing may be remembered longer than this.
    disappears: Option<Duration>,
    /// Hears what was found before it is worded.
    progress: portcullis_domain::Progress,
}

impl AskApp {
    /// What this app answers.
    pub const ACTIONS: [Action; 4] = [Action::Ask, Action::Message, Action::Search, Action::Ingest];

    /// Over these collections; answers are worded through the routes of `chat`.
    #[must_use]
    pub fn new(chat: ChatApp, state: AskState, config: &AskConfig, metrics: Metrics) -> Self {
        let (words, route) = (chat.clone(), config.route.clone());
        state.desk.worded_by(Arc::new(move || words.outlook(&route)));
        Self { chat, state, config: Arc::new(config.clone()), metrics }
    }

    fn bounds(&self, disappears: Option<Duration>) -> Bounds {
        let idle = Duration::from_secs(self.config.memory_idle_mins * 60);
        Bounds {
            messages: self.config.memory_messages,
            chars: self.config.memory_chars,
            idle: disappears.map_or(idle, |most| idle.min(most)),
            conversations: self.config.memory_conversations,
        }
    }

    /// The collection that is meant, if this caller may read it.
    ///
    /// # Errors
    /// `NotFound`, the same for one that is not there and one that is not for this caller.
    fn readable(&self, named: Option<&str>, caller: &Caller) -> Result<String, Failure> {
        let name = named.unwrap_or(&self.config.collection);
        let open = self.config.collections.get(name).is_none_or(|access| access.admits(caller));
        if is_name(name) && open { Ok(name.to_owned()) } else { Err(no_collection()) }
    }

    /// A question within bounds.
    fn question(&self, text: &str) -> Result<String, Failure> {
        let text: String = text.trim().nfc().collect();
        let most = self.config.max_question_chars;
        if text.chars().count() > most {
            return Err(Failure::InvalidInput {
                code: InputCode::InvalidValue,
                message: format!(
                    "A question may have at most {most} characters; shorten it, or ask in parts."
                )
                .into(),
                param: Some("question".into()),
            });
        }
        if text.is_empty() {
            return Err(Failure::invalid("question", "question must be a text that is not empty."));
        }
        Ok(text)
    }

    async fn ask(&self, request: &Inspected, ask: &AskRequest) -> Result<Reply, Failure> {
        let began = Instant::now();
        let asked = Asked {
            question: self.question(&ask.question)?,
            collection: self.readable(ask.collection.as_deref(), &request.caller)?,
            conversation: ask.conversation.as_ref().map(|name| format!("{}/{name}", request.caller.id)),
            language: ask.language.as_deref().map(Language::from_code),
            extractive: ask.extractive,
            passages: ask.passages,
            long: false,
            disappears: None,
            progress: portcullis_domain::Progress::default(),
        };
        let answered = self.answer(request, &asked).await?;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let body = if ask.stream {
            let events = answered.events(&request.id, took);
            ReplyBody::Stream(Box::pin(stream::iter(events.into_iter().map(Ok))))
        } else {
            ReplyBody::Whole(answered.json(&request.id, took, true).to_string().into())
        };
        Ok(reply(body, &answered))
    }

    async fn search(&self, request: &Inspected, search: &SearchRequest) -> Result<Reply, Failure> {
        let query = self.question(&search.query)?;
        let name = self.readable(search.collection.as_deref(), &request.caller)?;
        let refresh = Duration::from_secs(self.config.refresh_secs);
        let nothing = |nothing| match nothing {
            desk::Nothing::Unknown => no_collection(),
            desk::Nothing::Empty => Failure::NotFound("This collection has no documents yet.".into()),
            desk::Nothing::Unreadable => unreadable(),
        };
        let collection = self.state.desk.collection(&name, refresh).await.map_err(nothing)?;
        let k = search.passages.unwrap_or(10);
        let asked = desk::Search {
            text: &query,
            language: Language::UNKNOWN,
            k,
            per_document: 0,
            join: false,
            patience: Duration::from_millis(self.config.search_ms),
        };
        let room = passages::Room { chars: usize::MAX, passages: k, flagged: true };
        let (_, found) = self.state.desk.passages(&collection, &asked, room).await.map_err(nothing)?;
        let mut results = Vec::with_capacity(found.sources.len());
        for mut source in found.sources {
            source.text = request.filter.text(source.text)?;
            results.push(source.json(true));
        }
        Ok(whole(&json!({ "results": results })))
    }

    /// The collections this caller may read.
    async fn collections(&self, request: &Inspected) -> Reply {
        let refresh = Duration::from_secs(self.config.refresh_secs);
        let mut all = Vec::new();
        for name in self.state.desk.names().await {
            if self.readable(Some(&name), &request.caller).is_err() {
                continue;
            }
            let Ok(collection) = self.state.desk.collection(&name, refresh).await else { continue };
            let index = collection.current();
            let languages = index.as_ref().map_or_else(Vec::new, |index| {
                index.languages().iter().map(|language| language.code().to_owned()).collect()
            });
            all.push(json!({
                "name": name,
                "documents": index.as_ref().map_or(0, |index| index.documents().len()),
                "passages": index.as_ref().map_or(0, |index| index.len()),
                "generation": index.as_ref().map(|index| index.generation()),
                "created_at": index.as_ref().map(|index| index.created_at()),
                "languages": languages,
                "default": name == self.config.collection,
            }));
        }
        whole(&json!({ "collections": all }))
    }
}

impl App for AskApp {
    fn name(&self) -> &'static str {
        "ask"
    }

    fn run(&self, request: Inspected) -> Run<'_> {
        Box::pin(async move {
            let Payload::Library(library) = &request.payload else {
                return Err(Failure::NotFound("This is not offered here.".into()));
            };
            match library {
                LibraryRequest::Ask(ask) => self.ask(&request, ask).await,
                LibraryRequest::Message(message) => self.message(&request, message).await,
                LibraryRequest::Search(search) => self.search(&request, search).await,
                LibraryRequest::Collections => Ok(self.collections(&request).await),
                LibraryRequest::Documents(documents) => self.documents(&request, documents).await,
                LibraryRequest::Remove { document } => self.remove(&request, document).await,
                LibraryRequest::Ingest(ingest) => self.ingest(&request, ingest),
                LibraryRequest::Job { id, cancel } => self.job(&request, id, *cancel),
            }
        })
    }
}

/// An answer with what the doors must say of it.
fn reply(body: ReplyBody, answered: &Answered) -> Reply {
    let meter = Meter::default();
    meter.set(answered.usage);
    Reply { degraded: answered.degraded, ..Reply::new(body, meter) }
}

fn whole(value: &Value) -> Reply {
    Reply::new(ReplyBody::Whole(Bytes::from(value.to_string())), Meter::default())
}

const fn no_collection() -> Failure {
    Failure::NotFound(std::borrow::Cow::Borrowed("There is no such collection."))
}

/// When an index that cannot be read may be rebuilt.
const REBUILT: Duration = Duration::from_secs(60);

const fn unreadable() -> Failure {
    Failure::Unavailable { retry_after: REBUILT, rate_limited: false }
}

impl CollectionAccess {
    /// Whether this caller may read the collection.
    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        self.allow.is_empty()
            || self.allow.iter().any(|name| **name == *caller.tier.as_str() || **name == *caller.id)
    }
}

#[cfg(test)]
pub(crate) mod tests;
