//! Resilience: limits on the way in (`limits`, `connections`), guarded calls on the way out, the shared outbound
//! client (`http`), and the one owner of the Redis connection that all share (`shared`).

pub mod connections;
pub mod http;
pub mod limits;
pub mod shared;
