//! What the outcome of an attempt means: one row of gateway.md's table in section 6 for each variant. The table is
//! spread over small exhaustive matches, so a new variant does not compile until every question is answered.

use crate::breaker::Count;
use std::time::Duration;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It worked.
    Ok,
    /// The dependency is at fault: no connection, time-out, 5xx, nonsense.
    HardFailure,
    /// 429, too fast: wait and come back.
    RateLimited {
        /// When, if it said.
        retry_after: Option<Duration>,
    },
    /// It has no room just now; another target first.
    Overloaded {
        /// When, if it said.
        retry_after: Option<Duration>,
    },
    /// Our account has no credit left: waiting a little does not help.
    Exhausted {
        /// When it will have, if it said.
        until: Option<Duration>,
    },
    /// It refuses our key.
    BadKey,
    /// This model does not exist there, or the prompt does not fit it.
    TargetUnfit,
    /// The request is wrong.
    CallerFault,
    /// Its filter refused the content.
    Blocked,
    /// We went away ourselves.
    Cancelled,
}

impl Class {
    /// How the breaker counts it.
    pub(super) const fn count(self) -> Count {
        match self {
            Self::Ok | Self::CallerFault | Self::Blocked => Count::Success,
            Self::HardFailure => Count::Hard,
            Self::RateLimited { .. } | Self::Overloaded { .. } => Count::Soft,
            Self::Exhausted { .. } | Self::BadKey | Self::TargetUnfit | Self::Cancelled => Count::Nothing,
        }
    }

    /// Whether the dependency answered that it will not do this, before it did any of it. What a filter blocked was
    /// read, and of what failed or was left nobody knows.
    pub(super) const fn is_refusal(self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Exhausted { .. }
            | Self::BadKey
            | Self::TargetUnfit
            | Self::CallerFault => true,
            Self::Ok | Self::HardFailure | Self::Blocked | Self::Cancelled => false,
        }
    }

    /// Whether the same call may help later, and the wait the dependency asked for.
    pub(super) const fn again(self) -> Option<Option<Duration>> {
        match self {
            Self::HardFailure => Some(None),
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } => Some(retry_after),
            Self::Ok
            | Self::Exhausted { .. }
            | Self::BadKey
            | Self::TargetUnfit
            | Self::CallerFault
            | Self::Blocked
            | Self::Cancelled => None,
        }
    }

    /// Whether another target may do better.
    #[must_use]
    pub const fn passes_on(self) -> bool {
        match self {
            Self::HardFailure
            | Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Exhausted { .. }
            | Self::BadKey
            | Self::TargetUnfit => true,
            Self::Ok | Self::CallerFault | Self::Blocked | Self::Cancelled => false,
        }
    }
}
