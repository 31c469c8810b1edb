//! Resilience: limits on the way in (`limits`, `connections`), guarded calls on the way out, and the one owner of the
//! Redis connection that both share (`shared`).

pub mod connections;
pub mod limits;
pub mod shared;
