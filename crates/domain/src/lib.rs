//! The shared words of Portcullis: who asks (`Caller`, `Tier`), what for (`Action`, `Inbound`), until when
//! (`Deadline`), what comes back (`Reply`) and what may go wrong (`Failure`).
//!
//! Invariant: no I/O and no async work happens here; every other crate may know this one and it knows none.
//! `Failure` is the only error that ever reaches a door, and every variant is safe to show to a stranger.

mod action;
mod caller;
mod deadline;
mod failure;
mod ids;
mod inbound;
mod limit;
mod problem;
mod reply;
mod request;

pub use action::{Action, Door};
pub use caller::{BudgetWindow, Caller, Credential, KeyBudget, KeyLimits, Scope, Scopes, Tier};
pub use deadline::Deadline;
pub use failure::{AuthProblem, Failure, InputCode};
pub use ids::{Incident, RequestId};
pub use inbound::{Inbound, Payload};
pub use limit::{LimitScope, LimitView};
pub use problem::Problem;
pub use reply::{ByteStream, Degraded, Meter, Reply, ReplyBody, Usage};
pub use request::{ChatRequest, EmbedInput, EmbedRequest, Encoding, ModelsRequest, Needs, Role, TextPart};
