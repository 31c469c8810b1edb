//! The gateway: conversations, embeddings and the model list over every configured provider.
//!
//! Invariants: after the first byte nothing is tried again; a target is tried at most once a request; an answer that
//! is not the first choice's says so; dropping the reply cancels the provider's work. Source: gateway design
//! sections 2, 4 and 6.

mod affinity;
mod batch;
pub mod cache;
mod choose;
mod config;
mod list;
mod manage;
mod routes;
mod spending;
#[cfg(test)]
pub(crate) mod tests;

pub use config::{CacheMode, RouteConfig, RoutesConfig, Sticky, TargetConfig, problems};
pub use manage::{ByHand, RouteView, TargetView};
pub use spending::Spending;

use cache::Answers;
use choose::Set;
use portcullis_domain::{
    Action, ChatRequest, Degraded, EmbedRequest, Failure, Format, Meter, ModelsRequest, Payload, Reply,
    ReplyBody,
};
use portcullis_engine::{App, Inspected, Run};
use portcullis_providers::{BUILTIN, Call, ModelKind, Providers, Refusal};
use portcullis_telemetry::{Metrics, Span, SpanKind};
use routes::{Route, Routes, Target, Wanted};
use spending::Cost;
use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The app. Cheap to clone.
#[derive(Clone)]
pub struct ChatApp {
    providers: Providers,
    routes: Arc<Routes>,
    metrics: Metrics,
    answers: Answers,
    spending: Option<Spending>,
    by_hand: ByHand,
}

impl ChatApp {
    /// Over these providers, with these routes beside the shipped ones.
    #[must_use]
    pub fn new(providers: Providers, routes: &RoutesConfig, metrics: Metrics, answers: Answers) -> Self {
        let routes = Arc::new(Routes::new(routes, &providers));
        Self { providers, routes, metrics, answers, spending: None, by_hand: ByHand::default() }
    }

    /// The same app, whose every call is reserved in its caller's budgets first and in the ledger afterwards.
    #[must_use]
    pub fn under(self, spending: Spending) -> Self {
        Self { spending: Some(spending), ..self }
    }

    /// Whether somebody beside the builtin model answers to that route.
    #[must_use]
    pub fn has_ai(&self, route: &str) -> bool {
        let remote = |target: &Target| target.provider.name() != BUILTIN;
        self.routes.get(route).is_some_and(|route| route.targets.iter().any(remote))
    }

    /// How many beside the builtin model answer to that route, and how many of them would be called now.
    #[must_use]
    pub fn outlook(&self, route: &str) -> (usize, usize) {
        let Some(route) = self.routes.get(route) else { return (0, 0) };
        let now = Instant::now();
        let remote =
            |index: &usize| route.targets.get(*index).is_some_and(|target| target.provider.name() != BUILTIN);
        let all: Vec<usize> = (0..route.targets.len()).filter(remote).collect();
        let ready = all.iter().filter(|index| route.readiness(**index, now).is_zero()).count();
        (all.len(), ready)
    }

    /// An answer that nobody has kept.
    async fn fresh(&self, request: &Inspected, route: &Arc<Route>) -> Result<Reply, Failure> {
        match &request.payload {
            Payload::Chat(chat) => {
                let reply = self.chat(request, chat, route).await?;
                match &request.shape {
                    // Below the caches: what they keep is the second answer, and a repeated request pays for none.
                    Some(shape) if shape.asks_again(&reply.body) => self.chat(request, chat, route).await,
                    Some(_) | None => Ok(reply),
                }
            }
            Payload::Embed(embed) => self.embed(request, embed, route).await,
            Payload::Count(chat) => self.count(request, chat),
            Payload::Models(models) => self.models(request, models),
            Payload::Library(_) | Payload::News(_) => Err(elsewhere()),
        }
    }

    fn models(&self, request: &Inspected, models: &ModelsRequest) -> Result<Reply, Failure> {
        let body = list::models(&self.routes, &request.caller, models)?;
        Ok(Reply::new(ReplyBody::Whole(body), Meter::default()))
    }

    async fn chat(&self, request: &Inspected, chat: &ChatRequest, route: &Route) -> Result<Reply, Failure> {
        let fits = route.fitting(ModelKind::Chat, wanted(chat))?;
        let cost = Cost::of_chat(self.spending.as_ref(), &request.caller, chat);
        let affinity = affinity::affinity(&route.sticky, chat, &request.hints.affinity);
        let answer = |call: Call, target: &'_ Target| {
            let (provider, model) = (target.provider.clone(), target.model.clone());
            let bound = cost.bound.map(|most| chat.with_max_tokens(most, provider.max_tokens_member()));
            async move { provider.chat(&call, bound.as_ref().unwrap_or(chat), &model).await }
        };
        self.over(route, fits, affinity, request, &cost, answer).await
    }

    async fn embed(
        &self,
        request: &Inspected,
        embed: &EmbedRequest,
        route: &Route,
    ) -> Result<Reply, Failure> {
        let fits = route.fitting(ModelKind::Embed, Wanted::default())?;
        let answer = |call: Call, target: &'_ Target| {
            let (provider, model) = (target.provider.clone(), target.model.clone());
            async move { batch::embed(&provider, &call, embed, &model).await }
        };
        self.over(route, fits, None, request, &Cost::of_embed(embed), answer).await
    }

    /// What a conversation would be to read, for those who ask before they send. Nobody is called, nothing is charged.
    fn count(&self, request: &Inspected, chat: &ChatRequest) -> Result<Reply, Failure> {
        self.routes.resolve(&chat.model, &request.caller, &self.providers)?;
        let name = match chat.format {
            Format::OpenAi | Format::Responses | Format::Anthropic => "input_tokens",
            Format::Gemini => "totalTokens",
        };
        let body = format!("{{\"{name}\":{}}}", input_tokens(chat));
        Ok(Reply::new(ReplyBody::Whole(body.into()), Meter::default()))
    }

    /// Asks one target after the other until one answers or the failure is one that nobody else can mend. A target is
    /// asked once; one that could not even be asked costs no hop.
    async fn over<'a, F, Fut>(
        &self,
        route: &'a Route,
        fits: Set,
        affinity: Option<u64>,
        request: &Inspected,
        cost: &Cost,
        answer: F,
    ) -> Result<Reply, Failure>
    where
        F: Fn(Call, &'a Target) -> Fut,
        Fut: Future<Output = Result<Reply, Refusal>>,
    {
        let call = call(request, route);
        let mut left = route.chooser.on(fits, Instant::now());
        let (first, mut refusals, mut asked) = (left, Vec::<Refusal>::new(), 0);
        while asked < route.max_hops {
            let Some((index, ready)) = route.choose(left, affinity, Instant::now()) else { break };
            let Some(target) = route.targets.get(index) else { break };
            left = left.without(index);
            // Another target is better than the same again; the last one gets the attempts that are left.
            let tried = u32::try_from(asked).unwrap_or(u32::MAX);
            let mut call = Call { tried, others: ready && asked + 1 < route.max_hops, ..call.clone() };
            let reserved = match &self.spending {
                Some(spending) => Some(match spending.reserve(request, route, target, cost).await {
                    Ok(reserved) => reserved,
                    Err(refused) => {
                        refusals.push(Refusal::unaffordable(refused));
                        continue;
                    }
                }),
                None => None,
            };
            call.span = operation(request, route, target);
            let span = call.span.clone();
            match Box::pin(answer(call, target)).await {
                Ok(reply) => {
                    let reply = match reserved {
                        Some(reserved) => reserved.carry(reply),
                        None => reply,
                    };
                    let degraded = self.degraded(route, index, first, refusals.last());
                    return Ok(Reply { degraded, target: Some(target.name.clone()), ..reply });
                }
                Err(refusal) => {
                    if let Some(span) = span {
                        span.failed(refusal.reason, true);
                    }
                    if let Some(reserved) = reserved {
                        reserved.release();
                    }
                    asked += usize::from(refusal.was_asked());
                    let last = !refusal.pass_on;
                    refusals.push(refusal);
                    if last {
                        break;
                    }
                }
            }
        }
        Err(conclude(refusals))
    }

    /// In which way an answer of this target is less than what was asked for; counts a fallback.
    fn degraded(
        &self,
        route: &Route,
        index: usize,
        first: Set,
        refusal: Option<&Refusal>,
    ) -> Option<Degraded> {
        // Better targets that were not well are passed by unasked.
        let second = route.is_second_choice(index, first);
        let reason = refusal.map(|refusal| refusal.reason).or(second.then_some("not_ready"));
        let Some(reason) = reason else { return route.stand_in.then_some(Degraded::NoProvider) };
        self.metrics.ai_fallback(&route.label, reason);
        Some(if route.is_other_space(index) { Degraded::EmbeddingSpace } else { Degraded::Fallback })
    }
}

/// Tokens to read, by estimate: four bytes make about one.
fn input_tokens(chat: &ChatRequest) -> u64 {
    let bytes: usize = chat.parts.iter().map(|part| part.span.len()).sum();
    (bytes as u64).div_ceil(4)
}

/// What a conversation needs of its target.
fn wanted(chat: &ChatRequest) -> Wanted {
    let tokens = input_tokens(chat) + u64::from(chat.max_tokens.unwrap_or(0));
    Wanted { needs: chat.needs, tokens }
}

fn call(request: &Inspected, route: &Route) -> Call {
    Call {
        strict: request.hints.strict,
        purpose: request.hints.purpose,
        id: request.id,
        span: None,
        route: route.label.clone(),
        caller: request.caller.id.clone(),
        weight: request.weight,
        deadline: request.deadline,
        tried: 0,
        others: false,
    }
}

/// The span of what one target is asked, under the conventions' names.
fn operation(request: &Inspected, route: &Route, target: &Target) -> Option<Span> {
    let (name, chat) = match &request.payload {
        Payload::Chat(chat) => ("chat", Some(chat)),
        Payload::Embed(_) => ("embeddings", None),
        Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => return None,
    };
    let model = &*target.model.name;
    let span = request.span.as_ref()?.child(SpanKind::Client, || format!("{name} {model}").into());
    span.tell(|about| {
        about.text("gen_ai.operation.name", name);
        about.text("gen_ai.provider.name", target.provider.otel_name());
        about.text("gen_ai.request.model", model.to_owned());
        about.text("portcullis.provider", target.provider.name().to_owned());
        about.text("portcullis.route", route.label.to_string());
        if let Some(chat) = chat {
            about.flag("gen_ai.request.stream", chat.stream);
            if let Some(most) = chat.max_tokens {
                about.count("gen_ai.request.max_tokens", u64::from(most));
            }
        }
    });
    Some(span)
}

impl App for ChatApp {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn affinity_headers(&self) -> &[Box<str>] {
        self.routes.affinity_headers()
    }

    fn routes(&self) -> Vec<serde_json::Value> {
        Self::routes(self).iter().map(|route| serde_json::to_value(route).unwrap_or_default()).collect()
    }

    fn set_target_weight(&self, route: &str, number: usize, weight: Option<u32>) -> bool {
        self.set_weight(route, number, weight)
    }

    fn switch_target_off(&self, route: &str, number: usize, time: Option<Duration>) -> bool {
        self.switch_off(route, number, time)
    }

    fn run(&self, mut request: Inspected) -> Run<'_> {
        Box::pin(async move {
            let model = match &request.payload {
                Payload::Chat(chat) => &chat.model,
                Payload::Count(chat) => return self.count(&request, chat),
                Payload::Embed(embed) => &embed.model,
                Payload::Models(models) => return self.models(&request, models),
                Payload::Library(_) | Payload::News(_) => return Err(elsewhere()),
            };
            let route = self.routes.resolve(model, &request.caller, &self.providers)?;
            match request.hints.idempotency_key.take() {
                None => self.cached(&request, &route).await,
                Some(key) => Box::pin(self.once(&key, request, route)).await,
            }
        })
    }
}

impl ChatApp {
    /// What this app answers.
    pub const ACTIONS: [Action; 3] = [Action::Chat, Action::Embed, Action::Models];
}

/// What is no conversation is answered by other apps; the wiring sends it there.
const fn elsewhere() -> Failure {
    Failure::NotFound(Cow::Borrowed("This is not offered here."))
}

/// What the caller is told when nobody answered: the final refusal if there was one; 429 only if every target said so;
/// the soonest recovery of all.
fn conclude(mut refusals: Vec<Refusal>) -> Failure {
    if refusals.len() == 1 || refusals.last().is_some_and(|last| !last.pass_on) {
        return refusals.pop().map_or_else(nobody, |last| last.failure);
    }
    let waits = refusals.iter().filter_map(|refusal| match refusal.failure {
        Failure::Unavailable { retry_after, .. } | Failure::Overloaded { retry_after } => Some(retry_after),
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
        | Failure::DeadlineExceeded
        | Failure::UpstreamInterrupted
        | Failure::Internal { .. } => None,
    });
    let Some(retry_after) = waits.min() else {
        // Nobody is unwell, all refused the request itself: the first choice's words.
        return refusals.into_iter().next().map_or_else(nobody, |first| first.failure);
    };
    let limited =
        |refusal: &Refusal| matches!(refusal.failure, Failure::Unavailable { rate_limited: true, .. });
    let full = |refusal: &Refusal| matches!(refusal.failure, Failure::Overloaded { .. });
    if refusals.iter().all(full) {
        return Failure::Overloaded { retry_after };
    }
    Failure::Unavailable { retry_after, rate_limited: refusals.iter().all(limited) }
}

const fn nobody() -> Failure {
    Failure::Unavailable { retry_after: Duration::from_secs(5), rate_limited: false }
}
