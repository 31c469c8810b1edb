//! The gateway: conversations, embeddings and the model list over every configured provider.
//!
//! Invariants: after the first byte nothing is tried again; a target is tried at most once a request; an answer that
//! is not the first choice's says so; dropping the reply cancels the provider's work. Source: gateway design
//! sections 2, 4 and 6.

mod config;
mod list;
mod routes;
#[cfg(test)]
mod tests;

pub use config::{RouteConfig, RoutesConfig, TargetConfig, problems};

use portcullis_domain::{
    Action, ChatRequest, Degraded, EmbedRequest, Failure, Needs, Payload, Reply, ReplyBody,
};
use portcullis_engine::{App, Inspected, Run};
use portcullis_providers::{Call, ModelKind, Providers, Refusal};
use portcullis_telemetry::Metrics;
use routes::{Route, Routes, Target};
use std::{future::Future, time::Duration};

/// The app.
pub struct ChatApp {
    providers: Providers,
    routes: Routes,
    metrics: Metrics,
}

impl ChatApp {
    /// Over these providers, with these routes beside the shipped ones.
    #[must_use]
    pub fn new(providers: Providers, routes: &RoutesConfig, metrics: Metrics) -> Self {
        let routes = Routes::new(routes, &providers);
        Self { providers, routes, metrics }
    }

    async fn chat(&self, call: Call, request: &Inspected, chat: &ChatRequest) -> Result<Reply, Failure> {
        let route = self.routes.resolve(&chat.model, &request.caller, &self.providers)?;
        let targets = route.fitting(ModelKind::Chat, chat.needs)?.collect::<Vec<_>>();
        let answer = |call: Call, target: &'_ Target| {
            let (provider, model) = (target.provider.clone(), target.model.clone());
            async move { provider.chat(&call, chat, &model).await }
        };
        self.over(&route, &targets, call, answer).await
    }

    async fn embed(&self, call: Call, request: &Inspected, embed: &EmbedRequest) -> Result<Reply, Failure> {
        let route = self.routes.resolve(&embed.model, &request.caller, &self.providers)?;
        let targets = route.fitting(ModelKind::Embed, Needs::default())?.collect::<Vec<_>>();
        let answer = |call: Call, target: &'_ Target| {
            let (provider, model) = (target.provider.clone(), target.model.clone());
            async move { provider.embed(&call, embed, &model).await }
        };
        self.over(&route, &targets, call, answer).await
    }

    /// Tries the targets in turn until one answers or the failure is one that nobody else can mend.
    async fn over<'a, F, Fut>(
        &self,
        route: &Route,
        targets: &[&'a Target],
        call: Call,
        answer: F,
    ) -> Result<Reply, Failure>
    where
        F: Fn(Call, &'a Target) -> Fut,
        Fut: Future<Output = Result<Reply, Refusal>>,
    {
        let mut refusals: Vec<Refusal> = Vec::new();
        for (hop, target) in targets.iter().enumerate() {
            // Another target is better than the same again; the last one gets the attempts that are left.
            let tried = u32::try_from(refusals.len()).unwrap_or(u32::MAX);
            let call = Call { tried, others: hop + 1 < targets.len(), ..call.clone() };
            match Box::pin(answer(call, target)).await {
                Ok(reply) => {
                    let degraded = match refusals.last() {
                        Some(refusal) => {
                            self.metrics.ai_fallback(refusal.reason);
                            Some(Degraded::Fallback)
                        }
                        None => route.stand_in.then_some(Degraded::NoProvider),
                    };
                    return Ok(Reply { degraded, target: Some(target.name.clone()), ..reply });
                }
                Err(refusal) => {
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
}

impl App for ChatApp {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn run(&self, request: Inspected) -> Run<'_> {
        Box::pin(async move {
            let call = Call {
                id: request.id,
                caller: request.caller.id.clone(),
                weight: request.weight,
                deadline: request.deadline,
                tried: 0,
                others: false,
            };
            match &request.payload {
                Payload::Chat(chat) => self.chat(call, &request, chat).await,
                Payload::Embed(embed) => self.embed(call, &request, embed).await,
                Payload::Models(models) => {
                    let body = list::models(&self.routes, &request.caller, models.id.as_deref())?;
                    Ok(Reply::new(ReplyBody::Whole(body), portcullis_domain::Meter::default()))
                }
            }
        })
    }
}

impl ChatApp {
    /// What this app answers.
    pub const ACTIONS: [Action; 3] = [Action::Chat, Action::Embed, Action::Models];
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
        | Failure::NotFound(_)
        | Failure::Conflict(_)
        | Failure::RateLimited { .. }
        | Failure::BudgetExceeded { .. }
        | Failure::Blocked { .. }
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
