//! What the engine knows of an app: its name and one function. Apps live above; the engine never names one.

use crate::{Filter, Quotas, Shape};
use portcullis_domain::{Caller, Deadline, Failure, Hints, Payload, Reply, RequestId};
use portcullis_telemetry::Span;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// How the engine in force is found: reloads replace it.
pub type FindEngine = Arc<dyn Fn() -> crate::Engine + Send + Sync>;

/// The future of one answer.
pub type Run<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// Something that answers people.
pub trait App: Send + Sync + 'static {
    /// Stable lower-case name, for logs.
    fn name(&self) -> &'static str;

    /// Headers of a request that the app wants to see as `Hints::affinity`, in lower case.
    fn affinity_headers(&self) -> &[Box<str>] {
        &[]
    }

    /// Its routes as operators see them, one object each with `name` and `targets`.
    fn routes(&self) -> Vec<serde_json::Value> {
        Vec::new()
    }

    /// Changes the weight of a route's target, or gives it the configured one back. False when there is none such, or it
    /// cannot have that weight.
    fn set_target_weight(&self, _route: &str, _number: usize, _weight: Option<u32>) -> bool {
        false
    }

    /// Switches a route's target off for so long, or on. False when there is none such.
    fn switch_target_off(&self, _route: &str, _number: usize, _time: Option<Duration>) -> bool {
        false
    }

    /// Answers one message. Runs under the message's deadline; a panic is caught and becomes `Failure::Internal`.
    /// Dropping the future, or the stream in the reply, must cancel the work behind it.
    fn run(&self, request: Inspected) -> Run<'_>;
}

/// A message that has passed identification, admission and inspection: the only thing an app can be given. Only
/// `Admitted::run` makes one.
#[derive(Debug)]
pub struct Inspected {
    /// Our id for the message.
    pub id: RequestId,
    /// Its span, where it is traced.
    pub span: Option<Span>,
    /// Who asks.
    pub caller: Caller,
    /// Queue weight of the caller's tier: places it gets for each one of weight 1.
    pub weight: u32,
    /// Until when the caller waits.
    pub deadline: Deadline,
    /// What the caller wishes beside.
    pub hints: Hints,
    /// What is asked.
    pub payload: Payload,
    /// Highest threat score over the untrusted parts, 0 to 1.
    pub score: f32,
    /// What a whole answer must look like, where somebody looks: one for which it asks again is asked for once more.
    pub shape: Option<Arc<Shape>>,
    /// Whether inspection asked for caution: apps then keep tools that act outside switched off.
    pub flagged: bool,
    /// What its words must pass before they leave, where the app itself says them.
    pub filter: Filter,
    /// Limits of what the app does for it beside: a message may be a digest, which has a limit of its own.
    pub quotas: Quotas,
}
