//! A request's way past the kept answers.

use super::{
    super::{ChatApp, config::CacheMode, routes::Route},
    entry::{Entry, now},
    flights::{Lead, Turn},
    key::{self, Key},
    replay::{self, Keep, Keeping, worth_keeping},
};
use bytes::Bytes;
use portcullis_domain::{CacheNote, CacheWish, Failure, Format, Payload, Reply, ReplyBody, Role};
use portcullis_engine::Inspected;
use portcullis_providers::BUILTIN;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// When somebody who waits for too popular an answer may come again.
const CROWDED: Duration = Duration::from_secs(1);

/// A question, for the semantic cache.
struct Question {
    around: Key,
    text: String,
    vector: Vec<f32>,
}

impl ChatApp {
    /// An answer that is kept, or a fresh one, kept if it may be.
    pub(crate) async fn cached(&self, request: &Inspected, route: &Arc<Route>) -> Result<Reply, Failure> {
        let config = &self.answers.config;
        if !may_be_kept(route, &request.payload) {
            return self.fresh(request, route).await;
        }
        if request.hints.cache == CacheWish::NoStore {
            self.metrics.cache(&route.label, "bypass");
            let reply = self.fresh(request, route).await?;
            return Ok(Reply { cache: Some(CacheNote::Bypass), ..reply });
        }
        let (payload, strict) = (&request.payload, request.hints.strict);
        let Some(key) = key::exact(config.scope, &request.caller, route, payload, strict) else {
            return self.fresh(request, route).await;
        };
        if request.hints.cache == CacheWish::Fresh {
            self.metrics.cache(&route.label, "bypass");
            let reply = self.fresh(request, route).await?;
            return Ok(Reply {
                cache: Some(CacheNote::Bypass),
                ..self.keep(reply, key, None, None, request)
            });
        }
        let lead = match Box::pin(self.look(request, route, &key)).await {
            Look::Found(reply) => return Ok(reply),
            Look::Failed(failure) => return Err(failure),
            Look::Missing(lead) => lead,
        };
        let question = Box::pin(self.question(request, route)).await;
        if let Some(reply) = question.as_ref().and_then(|question| self.alike(question, request, route)) {
            return Ok(reply);
        }
        self.metrics.cache(&route.label, "miss");
        match self.fresh(request, route).await {
            Ok(reply) => {
                let reply = self.keep(reply, key, lead, question, request);
                Ok(Reply { cache: Some(CacheNote::Miss), ..reply })
            }
            Err(failure) => Err(told(lead, failure)),
        }
    }

    /// What is kept under that key, or what somebody else is just getting.
    async fn look(&self, request: &Inspected, route: &Route, key: &Key) -> Look {
        let (config, kept) = (&self.answers.config, &self.answers.kept);
        let life = Duration::from_secs(config.ttl_secs);
        let whole = !is_stream(&request.payload);
        loop {
            if let Some(entry) = kept.store.get(key, life).await
                && let Some(reply) = self.again(&entry, request, route, "hit")
            {
                return Look::Found(reply);
            }
            if !whole {
                return Look::Missing(None);
            }
            match kept.exact.enter(*key, *key, config.max_waiters) {
                Turn::Lead(lead) => {
                    // Somebody may have finished between the look and now.
                    let entry = kept.store.here(key);
                    let reply = entry.and_then(|entry| self.again(&entry, request, route, "hit"));
                    return reply.map_or(Look::Missing(Some(lead)), Look::Found);
                }
                Turn::Join(join) => match join.outcome().await {
                    Some(Ok(entry)) => match self.again(&entry, request, route, "joined") {
                        Some(reply) => return Look::Found(reply),
                        None => return Look::Missing(None),
                    },
                    Some(Err(failure)) => return Look::Failed(failure),
                    None => {}
                },
                Turn::Full | Turn::Other => return Look::Missing(None),
            }
        }
    }

    /// A request with an `Idempotency-Key`: answered once, whoever asks how often. A whole answer is got to its end
    /// even when its caller hangs up, so that a retry finds it.
    pub(crate) async fn once(
        &self,
        name: &str,
        request: Inspected,
        route: Arc<Route>,
    ) -> Result<Reply, Failure> {
        let (config, kept) = (&self.answers.config, &self.answers.kept);
        let Some(print) = key::print(&request.payload) else { return self.cached(&request, &route).await };
        let key = key::once(&request.caller, name);
        let life = Duration::from_secs(config.idempotency_secs);
        let lead = loop {
            if let Some(entry) = kept.store.get(&key, life).await {
                return self.same(&entry, &print, &request, &route);
            }
            match kept.once.enter(key, print, config.max_waiters) {
                Turn::Lead(lead) => match kept.store.here(&key) {
                    Some(entry) => return self.same(&entry, &print, &request, &route),
                    None => break lead,
                },
                Turn::Join(join) => match join.outcome().await {
                    Some(Ok(entry)) => return self.same(&entry, &print, &request, &route),
                    Some(Err(failure)) => return Err(failure),
                    None => {}
                },
                Turn::Full => return Err(Failure::Overloaded { retry_after: CROWDED }),
                Turn::Other => return Err(self.mismatch()),
            }
        };
        if is_stream(&request.payload) {
            return self.lead_once(&request, &route, key, print, lead).await;
        }
        let app = self.clone();
        let going = async move { Box::pin(app.lead_once(&request, &route, key, print, lead)).await };
        match kept.tasks.spawn(going).await {
            Ok(result) => result,
            // A panic is caught where all are, above.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Failure::Unavailable { retry_after: CROWDED, rate_limited: false }),
        }
    }

    async fn lead_once(
        &self,
        request: &Inspected,
        route: &Arc<Route>,
        key: Key,
        print: Key,
        lead: Lead,
    ) -> Result<Reply, Failure> {
        let reply = match self.cached(request, route).await {
            Ok(reply) => reply,
            Err(failure) => return Err(told(Some(lead), failure)),
        };
        let (answers, store) = (self.answers.clone(), request.hints.cache != CacheWish::NoStore);
        let life = Duration::from_secs(answers.config.idempotency_secs);
        let mut blank = blank(&reply);
        blank.print = Some(print.hex());
        let max_bytes = answers.config.max_entry_bytes;
        let keep = move |body: Bytes| {
            let entry = Arc::new(Entry { body, ..blank });
            if store && entry.body.len() <= max_bytes {
                answers.kept.store.put(key, entry.clone(), life);
            }
            lead.tell(Ok(entry));
        };
        Ok(passing(reply, max_bytes, Box::new(keep)))
    }

    /// The answer to the same request again; another request is refused.
    fn same(&self, entry: &Entry, print: &Key, request: &Inspected, route: &Route) -> Result<Reply, Failure> {
        if !entry.is_of(print) {
            return Err(self.mismatch());
        }
        self.again(entry, request, route, "replayed").ok_or_else(|| self.mismatch())
    }

    fn mismatch(&self) -> Failure {
        let seconds = self.answers.config.idempotency_secs;
        let message = format!(
            "This Idempotency-Key came with another request within the last {seconds} s. Nothing was done; use a new key."
        );
        Failure::Conflict(message.into())
    }

    /// A kept answer in the shape that is asked for; none when it cannot be brought into it.
    fn again(&self, entry: &Entry, request: &Inspected, route: &Route, how: &'static str) -> Option<Reply> {
        let age_secs = entry.age_secs();
        let note =
            if how == "semantic" { CacheNote::Semantic { age_secs } } else { CacheNote::Hit { age_secs } };
        let reply = match &request.payload {
            Payload::Chat(chat) => replay::chat(entry, chat, request.id, note)?,
            Payload::Embed(_) => replay::whole(entry, note),
            Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => return None,
        };
        self.metrics.cache(&route.label, how);
        Some(reply)
    }

    /// Keeps an answer if it may be, and tells those who wait for it.
    fn keep(
        &self,
        reply: Reply,
        key: Key,
        lead: Option<Lead>,
        question: Option<Question>,
        request: &Inspected,
    ) -> Reply {
        let format = format(&request.payload);
        let (answers, blank) = (self.answers.clone(), blank(&reply));
        let (flagged, degraded) = (request.flagged, reply.degraded.is_some());
        let max_bytes = answers.config.max_entry_bytes;
        let keep = move |body: Bytes| {
            let good = body.len() <= max_bytes
                && !degraded
                && format.is_none_or(|format| worth_keeping(format, blank.stream, &body, flagged));
            let entry = Arc::new(Entry { body, ..blank });
            if good {
                let life = Duration::from_secs(answers.config.ttl_secs);
                answers.kept.store.put(key, entry.clone(), life);
                if let (Some(Question { around, text, vector }), Some(until)) =
                    (question, Instant::now().checked_add(life))
                {
                    let most = answers.config.semantic.max_entries;
                    answers.kept.meanings.add(around, &text, vector, key, until, most);
                }
            }
            if let Some(lead) = lead {
                lead.tell(Ok(entry));
            }
        };
        passing(reply, max_bytes, Box::new(keep))
    }

    /// The question of a request, where such are compared.
    async fn question(&self, request: &Inspected, route: &Route) -> Option<Question> {
        let config = &self.answers.config;
        let Payload::Chat(chat) = &request.payload else { return None };
        if !config.semantic.enabled || request.flagged {
            return None;
        }
        let last = chat.parts.last().filter(|part| part.role == Role::User)?;
        let text = last.read(&chat.body).into_owned();
        if text.trim().is_empty() || text.chars().count() > config.semantic.max_chars {
            return None;
        }
        let strict = request.hints.strict;
        let around = key::around_question(config.scope, &request.caller, route, &request.payload, strict)?;
        let builtin = self.providers.get(BUILTIN)?;
        // Without a vector the model is asked: the cache is a convenience.
        let vector = builtin.vector(&super::super::call(request, route), &text).await.ok()?;
        Some(Question { around, text, vector })
    }

    /// The answer to a question that means the same.
    fn alike(&self, question: &Question, request: &Inspected, route: &Route) -> Option<Reply> {
        let kept = &self.answers.kept;
        let least = self.answers.config.semantic.similarity;
        let key =
            kept.meanings.find(&question.around, &question.text, &question.vector, least, Instant::now())?;
        self.again(&*kept.store.here(&key)?, request, route, "semantic")
    }
}

/// What a look brought.
enum Look {
    Found(Reply),
    Failed(Failure),
    /// Not there; whoever leads tells others.
    Missing(Option<Lead>),
}

/// Whether answers of this route to this request may be kept. A stand-in is degraded, and such never are.
const fn may_be_kept(route: &Route, payload: &Payload) -> bool {
    let deterministic = match payload {
        Payload::Chat(chat) => chat.deterministic,
        Payload::Embed(_) => false,
        Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => return false,
    };
    match route.cache {
        CacheMode::Off => false,
        CacheMode::Deterministic => deterministic && !route.stand_in,
        CacheMode::All => !route.stand_in,
    }
}

const fn is_stream(payload: &Payload) -> bool {
    match payload {
        Payload::Chat(chat) => chat.stream,
        Payload::Count(_)
        | Payload::Embed(_)
        | Payload::Models(_)
        | Payload::Library(_)
        | Payload::News(_) => false,
    }
}

/// In which format an answer is read to judge it; vectors are whole or nothing.
const fn format(payload: &Payload) -> Option<Format> {
    match payload {
        Payload::Chat(chat) => Some(chat.format),
        Payload::Count(_)
        | Payload::Embed(_)
        | Payload::Models(_)
        | Payload::Library(_)
        | Payload::News(_) => None,
    }
}

/// What is known of an answer before its last byte.
fn blank(reply: &Reply) -> Entry {
    Entry {
        stream: matches!(reply.body, ReplyBody::Stream(_)),
        body: Bytes::new(),
        made: now(),
        target: reply.target.clone(),
        degraded: reply.degraded,
        dropped: reply.dropped.clone(),
        print: None,
    }
}

/// The answer on its way; `keep` is told all of it.
fn passing(reply: Reply, max_bytes: usize, keep: Keep) -> Reply {
    let body = match reply.body {
        ReplyBody::Whole(bytes) => {
            keep(bytes.clone());
            ReplyBody::Whole(bytes)
        }
        ReplyBody::Stream(source) => ReplyBody::Stream(Box::pin(Keeping::new(source, max_bytes, keep))),
        // Words for a chat door are never asked of a provider.
        message @ ReplyBody::Message(_) => message,
    };
    Reply { body, ..reply }
}

/// Tells those who wait of a failure that would be theirs too; of any other they try for themselves.
fn told(lead: Option<Lead>, failure: Failure) -> Failure {
    let theirs = match failure {
        Failure::InvalidInput { .. }
        | Failure::NotFound(_)
        | Failure::Blocked { .. }
        | Failure::Overloaded { .. }
        | Failure::Unavailable { .. } => true,
        Failure::Unauthenticated(_)
        | Failure::Forbidden(_)
        | Failure::ModelNotAllowed(_)
        | Failure::Conflict(_)
        | Failure::RateLimited { .. }
        | Failure::BudgetExceeded { .. }
        | Failure::Unconfirmed { .. }
        | Failure::DeadlineExceeded
        | Failure::UpstreamInterrupted
        | Failure::Internal { .. } => false,
    };
    if let (true, Some(lead)) = (theirs, lead) {
        lead.tell(Err(failure.clone()));
    }
    failure
}
