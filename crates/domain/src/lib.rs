//! The shared words of Portcullis: who asks (`Caller`, `Tier`), what for (`Action`, `Inbound`), until when
//! (`Deadline`), what comes back (`Reply`) and what may go wrong (`Failure`).
//!
//! Invariant: no I/O and no async work happens here; every other crate may know this one and it knows none.
//! `Failure` is the only error that ever reaches a door, and every variant is safe to show to a stranger.

mod action;
mod caller;
mod conversation;
mod deadline;
mod failure;
mod ids;
mod inbound;
mod library;
mod limit;
mod message;
mod news;
mod problem;
mod reply;
mod request;
mod safety;
mod trace;

pub use action::{Action, Door};
pub use caller::{BudgetWindow, Caller, Credential, KeyBudget, KeyLimits, Scope, Scopes, Tier};
pub use conversation::{
    Choice, Completion, Conversation, Finish, Image, Member, Part, Sampling, Shape, Step, Tool, ToolCall,
    ToolChoice, ToolResult, Turn, Vectors,
};
pub use deadline::Deadline;
pub use failure::{AuthProblem, Failure, InputCode};
pub use ids::{Incident, RequestId};
pub use inbound::{Inbound, Payload};
pub use library::{AskRequest, DocumentsRequest, IngestRequest, IngestSource, LibraryRequest, SearchRequest};
pub use limit::{LimitScope, LimitView};
pub use message::{Button, File, Look, MessageReply, MessageRequest, Post, Progress, Style, Vouched};
pub use news::{DigestRequest, NewsRequest};
pub use problem::Problem;
pub use reply::{ByteStream, CacheNote, Degraded, Meter, Price, Reply, ReplyBody, Usage};
pub use request::{
    CacheWish, ChatRequest, EmbedInput, EmbedRequest, Encoding, Format, Hints, ModelsRequest, Needs, Role,
    Spliced, TextPart, utf16_unit,
};
pub use safety::{EndClock, HarmCategory, HarmThreshold, SafetyOverride, SafetyView, effective_threshold};
pub use trace::{SpanId, TraceId, TraceParent};
