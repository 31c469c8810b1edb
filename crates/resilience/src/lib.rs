//! Resilience: limits on the way in (`limits`, `connections`), guarded calls on the way out, the shared outbound
//! client (`http`), and the one owner of the Redis connection that all share (`shared`).

pub mod breaker;
pub mod bulkhead;
mod config;
pub mod connections;
pub mod dependency;
pub mod http;
pub mod limits;
pub mod pacing;
mod registry;
pub mod retry;
pub mod shared;
pub mod socket;
pub mod spend;

pub use config::GuardConfig;
pub use dependency::{
    Attempt, CallCtx, CallError, CallPermit, Class, Dependency, DependencyPolicy, DependencyStatus, Guarded,
    Hold,
};
pub use pacing::{Learn, Learned, Told};
pub use registry::Registry;
