//! One provider behind its guards: breaker, pacing, bounded fair queue, retries within a budget. Every call to it, of
//! whichever wire, goes through here.
//!
//! Invariants: a place is held until the last byte of a stream; while another target is left a call is tried once
//! only; what fails before an answer began leaves nothing behind.

use crate::{
    builtin::{Builtin, Spoken},
    learn::Learner,
    model::Model,
    presets::{ModelKind, Preset},
    refusal::{Refusal, incident},
    report::Report,
    wire::{
        Dropped, Translator, head,
        remote::{Exchange, Failed, Remote, unsaid},
        strictly,
    },
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_domain::{
    Action, ChatRequest, Deadline, EmbedInput, EmbedRequest, Failure, Format, Meter, Price, Reply, ReplyBody,
    RequestId, Usage,
};
use portcullis_resilience::{Attempt, CallCtx, CallError, Class, Dependency, Guarded};
use portcullis_telemetry::{GenAi, Metrics, Span};
use portcullis_wire::look::tokens_of;
use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Who calls, for which request, until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request, for logs.
    pub id: RequestId,
    /// The span of the conversation turn or the embedding it is for, where that is traced.
    pub span: Option<Span>,
    /// The route it came by, as metric label: a configured name, `pinned` or `bare`.
    pub route: Arc<str>,
    /// Whose turn it is in a queue.
    pub caller: Arc<str>,
    /// Places this caller gets for each one of weight 1.
    pub weight: u32,
    /// Until when the answer is worth anything.
    pub deadline: Deadline,
    /// Attempts already made at other targets.
    pub tried: u32,
    /// Whether another target is left, which is better than trying the same again.
    pub others: bool,
    /// Whether members that the target cannot honour are refused instead of dropped.
    pub strict: bool,
    /// Under which action's limit a minute a conversation counts, where not under its own.
    pub purpose: Option<Action>,
}

/// Tokens expected of an answer whose length the caller does not bound: for pacing only.
const OUTPUT_GUESS: u32 = 1024;

/// How it is spoken to.
pub(crate) enum Voice {
    Remote(Box<Remote>),
    Builtin(Builtin),
}

/// The provider. Shared by `Arc`.
pub struct Provider {
    pub(crate) name: Arc<str>,
    pub(crate) row: &'static Preset,
    pub(crate) models: Vec<Model>,
    pub(crate) voice: Voice,
    pub(crate) chat: Dependency,
    pub(crate) embed: Dependency,
    pub(crate) embed_gate: Dependency,
    /// Limits a minute by action, shared by all providers.
    pub(crate) paces: [Option<Dependency>; Action::ALL.len()],
    pub(crate) metrics: Metrics,
    /// Chat, then embeddings.
    pub(crate) gen_ai: [GenAi; 2],
}

impl Provider {
    /// Its name in settings, metrics and before the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, shared.
    #[must_use]
    pub const fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// What a model's tokens cost here; nothing where they are made on machines of our own.
    #[must_use]
    pub fn price(&self, model: &Model) -> Option<Price> {
        let free = matches!(self.row.name, crate::BUILTIN | "ollama");
        model.price.or_else(|| free.then(Price::default))
    }

    /// What it calls the most tokens that an answer may have: OpenAI's newer models know no `max_tokens`, others no
    /// other name.
    #[must_use]
    pub fn max_tokens_member(&self) -> &'static str {
        if self.row.name == "openai" { "max_completion_tokens" } else { "max_tokens" }
    }

    /// What the OpenTelemetry conventions call it.
    #[must_use]
    pub const fn otel_name(&self) -> &'static str {
        self.row.otel_name
    }

    /// The models it lists.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Whether a model that is not listed may be asked for: only the provider knows all it has.
    #[must_use]
    pub fn takes_any_model(&self) -> bool {
        match &self.voice {
            Voice::Remote(remote) => remote.takes_any_model(),
            Voice::Builtin(_) => false,
        }
    }

    /// The model of that name, listed or not.
    #[must_use]
    pub fn model(&self, name: &str) -> Model {
        self.models
            .iter()
            .find(|model| &*model.name == name)
            .cloned()
            .unwrap_or_else(|| Model::unlisted(name, self.row))
    }

    /// How long calls of this kind will be refused at least; zero when one may be made now. One short lock.
    #[must_use]
    pub fn readiness(&self, kind: ModelKind, now: Instant) -> Duration {
        match kind {
            ModelKind::Chat => self.chat.readiness(now),
            ModelKind::Embed => self.embed.readiness(now),
        }
    }

    /// A conversation turn.
    ///
    /// # Errors
    /// `Refusal`, before the first byte. A stream that breaks later ends with `Failure::UpstreamInterrupted`.
    pub async fn chat(&self, call: &Call, request: &ChatRequest, model: &Model) -> Result<Reply, Refusal> {
        let input_estimate = tokens_of(request.parts.iter().map(|part| part.span.len() as u64).sum());
        let output = u64::from(request.max_tokens.unwrap_or(OUTPUT_GUESS)) * u64::from(request.n.max(1));
        let ctx = context(call, call.purpose.unwrap_or(Action::Chat), input_estimate.saturating_add(output));
        match &self.voice {
            Voice::Builtin(builtin) => self.builtin_chat(builtin, call, &ctx, request, model).await,
            Voice::Remote(remote) => {
                let outgoing = &remote.chat(call.id, request, &model.name, call.strict)?;
                self.paced(&ctx, call).await?;
                if request.stream {
                    let attempt = |attempt: Attempt| async move {
                        let report = self.report(call, ModelKind::Chat).of(attempt.number);
                        let learner = self.learner(&self.chat, attempt);
                        let exchange = exchange(attempt, model, &learner, &report, input_estimate);
                        remote.open(outgoing, exchange).await
                    };
                    let Guarded { value, permit } = self.guarded(&self.chat, &ctx, call, attempt).await?;
                    let (stream, meter) = value.into_stream(permit);
                    return Ok(reply(ReplyBody::Stream(stream), meter, &outgoing.dropped));
                }
                let attempt = |attempt: Attempt| async move {
                    let report = self.report(call, ModelKind::Chat).of(attempt.number);
                    let learner = self.learner(&self.chat, attempt);
                    let exchange = exchange(attempt, model, &learner, &report, input_estimate);
                    let answer = remote.whole(outgoing, exchange).await?;
                    report.answered(answer.1);
                    Ok(answer)
                };
                let Guarded { value: (bytes, usage), mut permit } =
                    self.guarded(&self.chat, &ctx, call, attempt).await?;
                permit.settle(u32::try_from(usage.input + usage.output).unwrap_or(u32::MAX));
                permit.finish(Class::Ok);
                let meter = Meter::default();
                meter.set(usage);
                Ok(reply(ReplyBody::Whole(bytes), meter, &outgoing.dropped))
            }
        }
    }

    /// Texts as vectors.
    ///
    /// # Errors
    /// `Refusal`.
    pub async fn embed(&self, call: &Call, request: &EmbedRequest, model: &Model) -> Result<Reply, Refusal> {
        let bytes = match &request.input {
            EmbedInput::Texts(parts) => parts.iter().map(|part| part.span.len() as u64).sum(),
            EmbedInput::Tokens { .. } => request.body.len() as u64,
        };
        let input_estimate = tokens_of(bytes);
        let ctx = context(call, Action::Embed, input_estimate);
        let dropped = match &self.voice {
            Voice::Builtin(_) => unsaid(request),
            Voice::Remote(remote) => remote.unsaid(request),
        };
        if let Some(failure) = strictly(&dropped).filter(|_| call.strict) {
            return Err(Refusal::passed_on(failure, "unfit"));
        }
        // S0-07: one gate for the whole process, whoever computes.
        self.gated(&ctx, call, async {
            let (bytes, usage) = match &self.voice {
                Voice::Builtin(builtin) => {
                    let attempt = |_| async move {
                        let result = builtin.embed(call, &model.name, request).await;
                        let result = result.and_then(|(body, usage)| Ok((vectors(request, body)?, usage)));
                        self.inside(ModelKind::Embed, call, result)
                    };
                    self.finished(self.guarded(&self.embed, &ctx, call, attempt).await?)
                }
                Voice::Remote(remote) => {
                    let texts = &remote.embed(request, &model.name)?;
                    self.paced(&ctx, call).await?;
                    let attempt = |attempt: Attempt| async move {
                        let report = self.report(call, ModelKind::Embed).of(attempt.number);
                        let learner = self.learner(&self.embed, attempt);
                        let exchange = exchange(attempt, model, &learner, &report, input_estimate);
                        let answer = remote.vectors(texts, exchange).await?;
                        report.answered(answer.1);
                        Ok(answer)
                    };
                    self.finished(self.guarded(&self.embed, &ctx, call, attempt).await?)
                }
            };
            Ok(Reply { dropped, ..whole(bytes, usage) })
        })
        .await
    }

    /// The vector of one text, for work of our own: only the builtin provider makes them. Unit length.
    ///
    /// # Errors
    /// `Refusal`; of any other provider always.
    pub async fn vector(&self, call: &Call, text: &str) -> Result<Vec<f32>, Refusal> {
        let Voice::Builtin(builtin) = &self.voice else {
            return Err(Refusal::last(
                Failure::NotFound("Only the builtin model does this.".into()),
                "no_model",
            ));
        };
        let ctx = context(call, Action::Embed, tokens_of(text.len() as u64));
        self.gated(&ctx, call, builtin.vector(call, text)).await
    }

    async fn builtin_chat(
        &self,
        builtin: &Builtin,
        call: &Call,
        ctx: &CallCtx,
        request: &ChatRequest,
        model: &Model,
    ) -> Result<Reply, Refusal> {
        let attempt = |_| async move {
            let answer = async { builtin.chat(&model.name, call, request).await };
            let result =
                if &*model.name == "echo" { answer.await } else { self.gated(ctx, call, answer).await };
            self.inside(ModelKind::Chat, call, result)
        };
        let (spoken, usage) = self.finished(self.guarded(&self.chat, ctx, call, attempt).await?);
        let meter = Meter::default();
        meter.set(usage);
        Ok(Reply::new(rendered(call.id, request, spoken)?, meter))
    }

    /// Ends a call whose value is whole.
    fn finished<T>(&self, Guarded { value, permit }: Guarded<T>) -> T {
        permit.finish(Class::Ok);
        value
    }

    /// Work inside the process, as an attempt: it fails by its own fault or the caller's, never by the network's.
    fn inside<T>(
        &self,
        kind: ModelKind,
        call: &Call,
        result: Result<(T, Usage), Refusal>,
    ) -> Result<(T, Usage), Failed> {
        let report = self.report(call, kind);
        match result {
            Ok(answer) => {
                report.answered(answer.1);
                Ok(answer)
            }
            Err(refusal) => {
                let class = match refusal.failure {
                    Failure::Internal { .. } => {
                        report.failed("internal", "the builtin model failed");
                        Class::HardFailure
                    }
                    Failure::DeadlineExceeded => Class::Cancelled,
                    Failure::InvalidInput { .. }
                    | Failure::Unauthenticated(_)
                    | Failure::Forbidden(_)
                    | Failure::ModelNotAllowed(_)
                    | Failure::NotFound(_)
                    | Failure::Conflict(_)
                    | Failure::RateLimited { .. }
                    | Failure::BudgetExceeded { .. }
                    | Failure::Blocked { .. }
                    | Failure::Unconfirmed { .. }
                    | Failure::Overloaded { .. }
                    | Failure::Unavailable { .. }
                    | Failure::UpstreamInterrupted => Class::CallerFault,
                };
                Err((class, refusal))
            }
        }
    }

    /// Runs something that embeds behind the process's one gate.
    pub(crate) async fn gated<T>(
        &self,
        ctx: &CallCtx,
        call: &Call,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let mut work = Some(work);
        let attempt = |_| {
            let work = work.take();
            async {
                match work {
                    Some(work) => Ok(Box::pin(work).await),
                    None => Err((Class::Cancelled, deadline())),
                }
            }
        };
        let Guarded { value, permit } = self.guarded(&self.embed_gate, ctx, call, attempt).await?;
        permit.finish(Class::Ok);
        value
    }

    /// Waits until the action's own limit a minute allows one more call.
    async fn paced(&self, ctx: &CallCtx, call: &Call) -> Result<(), Refusal> {
        let Some(pace) = &self.paces[ctx.action.index()] else { return Ok(()) };
        let passed = self.guarded(pace, ctx, call, |_| async { Ok(()) }).await?;
        self.finished(passed);
        Ok(())
    }

    async fn guarded<T, F>(
        &self,
        dependency: &Dependency,
        ctx: &CallCtx,
        call: &Call,
        attempt: impl FnMut(Attempt) -> F,
    ) -> Result<Guarded<T>, Refusal>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let kind = if std::ptr::eq(dependency, &self.embed) { ModelKind::Embed } else { ModelKind::Chat };
        dependency.call(ctx, attempt).await.map_err(|error| self.refusal(kind, call, error))
    }

    /// What stood before the call, or its last failure.
    fn refusal(&self, kind: ModelKind, call: &Call, error: CallError<Refusal>) -> Refusal {
        match error {
            CallError::Open { retry_after } => Refusal::unavailable(retry_after, "breaker_open"),
            CallError::Full { retry_after } => {
                Refusal::passed_on(Failure::Overloaded { retry_after }, "queue_full")
            }
            CallError::Paced { retry_after } => {
                Refusal::passed_on(Failure::Unavailable { retry_after, rate_limited: true }, "paced")
            }
            CallError::DeadlineExceeded => deadline(),
            CallError::Failed { error: Some(refusal), .. } => refusal,
            CallError::Failed { error: None, .. } => {
                self.report(call, kind).failed("timeout", "the attempt took too long");
                Refusal::unavailable(crate::refusal::SOON, "failure")
            }
        }
    }

    fn learner<'a>(&'a self, dependency: &'a Dependency, attempt: Attempt) -> Learner<'a> {
        Learner { dependency, lane: attempt.lane, provider: &self.name, metrics: &self.metrics }
    }

    fn report(&self, call: &Call, kind: ModelKind) -> Report {
        let [chat, embed] = &self.gen_ai;
        let gen_ai = match kind {
            ModelKind::Chat => chat.clone(),
            ModelKind::Embed => embed.clone(),
        };
        Report {
            gen_ai,
            provider: self.name.clone(),
            route: call.route.clone(),
            metrics: self.metrics.clone(),
            request: call.id,
            operation: call.span.clone(),
            attempt: None,
            started: Instant::now(),
        }
    }
}

fn exchange<'a>(
    attempt: Attempt,
    model: &Model,
    learner: &'a Learner<'a>,
    report: &'a Report,
    input_estimate: u64,
) -> Exchange<'a> {
    let Attempt { lane, deadline, .. } = attempt;
    Exchange { lane, learner, patience: model.timeout_factor, deadline, report, input_estimate }
}

fn reply(body: ReplyBody, meter: Meter, dropped: &Dropped) -> Reply {
    Reply { dropped: dropped.clone(), ..Reply::new(body, meter) }
}

/// The builtin models speak OpenAI's format; other callers get it translated.
fn rendered(id: RequestId, request: &ChatRequest, spoken: Spoken) -> Result<ReplyBody, Refusal> {
    let broken = || Refusal::last(Failure::Internal { incident: incident() }, "internal");
    let same = request.format == Format::OpenAi;
    Ok(match spoken {
        Spoken::Whole(bytes) if same => ReplyBody::Whole(bytes),
        Spoken::Whole(bytes) => {
            let answer = portcullis_wire::read_answer(Format::OpenAi, &bytes).ok_or_else(broken)?;
            let head = head(id, request.include_usage, &request.body);
            ReplyBody::Whole(portcullis_wire::write_answer(request.format, &answer, &head))
        }
        Spoken::Events(events) => {
            let mut out = VecDeque::from(events);
            if !same {
                let head = head(id, request.include_usage, &request.body);
                let mut back = Translator::new(Format::OpenAi, request.format, head);
                for events in std::mem::take(&mut out) {
                    back.events(&events, &mut out).map_err(|_| broken())?;
                }
                back.finish(&mut out);
            }
            ReplyBody::Stream(Box::pin(stream::iter(out.into_iter().map(Ok))))
        }
    })
}

/// The same for vectors.
fn vectors(request: &EmbedRequest, body: Bytes) -> Result<Bytes, Refusal> {
    if request.format == Format::OpenAi {
        return Ok(body);
    }
    let read = portcullis_wire::read_vectors(Format::OpenAi, &body)
        .ok_or_else(|| Refusal::last(Failure::Internal { incident: incident() }, "internal"))?;
    Ok(portcullis_wire::write_vectors(request.format, &read, request.encoding))
}

fn deadline() -> Refusal {
    Refusal::last(Failure::DeadlineExceeded, "deadline")
}

pub(crate) fn context(call: &Call, action: Action, tokens: u64) -> CallCtx {
    CallCtx {
        deadline: call.deadline,
        caller: call.caller.clone(),
        weight: call.weight,
        action,
        tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
        tried: call.tried,
        others: call.others,
    }
}

fn whole(bytes: Bytes, usage: Usage) -> Reply {
    let meter = Meter::default();
    meter.set(usage);
    Reply::new(ReplyBody::Whole(bytes), meter)
}
