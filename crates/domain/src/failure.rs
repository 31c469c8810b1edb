//! What may go wrong, in the words a stranger may see. Invariant: no variant carries a path, a key, an upstream
//! body or a cause; those are logged where they are handled. Each door renders this enum in one exhaustive match,
//! so a new variant stops every door from compiling until it has words.

use crate::{Incident, LimitScope};
use std::{borrow::Cow, time::Duration};

/// Everything a door can be asked to say instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request itself is wrong; sending it again unchanged cannot help.
    #[error("invalid input: {message}")]
    InvalidInput {
        /// What kind of wrong.
        code: InputCode,
        /// One sentence: what is wrong and what is allowed.
        message: Cow<'static, str>,
        /// The member at fault, as a path in the caller's own terms.
        param: Option<Cow<'static, str>>,
    },
    /// Nobody we know.
    #[error("unauthenticated: {0:?}")]
    Unauthenticated(AuthProblem),
    /// Known, but not allowed to do this.
    #[error("forbidden: {0}")]
    Forbidden(Cow<'static, str>),
    /// The named model or route exists, but this key may not use it.
    #[error("model not allowed: {0}")]
    ModelNotAllowed(Cow<'static, str>),
    /// The named model, route or resource does not exist (or not for this caller).
    #[error("not found: {0}")]
    NotFound(Cow<'static, str>),
    /// The resource is in another state than the request assumes.
    #[error("conflict: {0}")]
    Conflict(Cow<'static, str>),
    /// A limit of ours refused; nothing was charged.
    #[error("rate limited by {scope:?}, retry after {retry_after:?}")]
    RateLimited {
        /// The refusing level with the longest wait.
        scope: LimitScope,
        /// When the same request can succeed.
        retry_after: Duration,
    },
    /// A budget has not enough left for the request; nothing was charged.
    #[error("budget {budget} exceeded, renewed in {resets_in:?}")]
    BudgetExceeded {
        /// The operator's name for it.
        budget: Cow<'static, str>,
        /// When it begins anew; none for a total.
        resets_in: Option<Duration>,
    },
    /// Inspection refused the message. The quota is spent.
    #[error("blocked, incident {incident}")]
    Blocked {
        /// What the operator finds the reasons under.
        incident: Incident,
    },
    /// Inspection wants the sender to say that the message is meant. The quota is spent; the same message with the proof
    /// passes once.
    #[error("unconfirmed, incident {incident}")]
    Unconfirmed {
        /// What the operator finds the reasons under.
        incident: Incident,
        /// What goes with the message when it is sent again: for its sender only, never for log or audit.
        proof: Box<str>,
        /// How long it is good.
        expires_in: Duration,
    },
    /// We have no room: queue full, too many connections, draining. What admission charged was given back.
    #[error("overloaded, retry after {retry_after:?}")]
    Overloaded {
        /// Estimated wait.
        retry_after: Duration,
    },
    /// Nothing that could answer is healthy.
    #[error("unavailable, retry after {retry_after:?}")]
    Unavailable {
        /// Soonest recovery known.
        retry_after: Duration,
        /// Every target refused with its own rate limit: the caller is told 429, not 503.
        rate_limited: bool,
    },
    /// The answer did not come in time.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The upstream broke off after the first byte was delivered. Only ever seen inside a stream.
    #[error("upstream interrupted")]
    UpstreamInterrupted,
    /// Our own mistake. Logged in full under the incident, where it was handled.
    #[error("internal, incident {incident}")]
    Internal {
        /// What the log is searched for.
        incident: Incident,
    },
}

impl Failure {
    /// A wrong value, with the member at fault.
    #[must_use]
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidInput {
            code: InputCode::InvalidValue,
            message: message.into(),
            param: Some(param.into()),
        }
    }

    /// The stable name: metric label `outcome`, log and audit field.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InvalidInput { .. } => "invalid_input",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden(_) | Self::ModelNotAllowed(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::RateLimited { .. } => "rate_limited",
            Self::BudgetExceeded { .. } => "budget_exceeded",
            Self::Blocked { .. } => "blocked",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::UpstreamInterrupted => "upstream_interrupted",
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether admission gives back what it charged: a refusal that is not the caller's doing.
    #[must_use]
    pub const fn refunds(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Unavailable { .. })
    }
}

/// What is wrong with an input: decides status and `code` at the doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputCode {
    /// A member has a value of the wrong type, form or range.
    InvalidValue,
    /// A required member is absent.
    MissingParameter,
    /// The prompt does not fit the model.
    ContextTooLong,
    /// The member is understood but cannot be honoured here.
    UnsupportedParameter,
    /// The body is over the size limit (413).
    TooLarge,
    /// The content type or encoding is not understood (415).
    UnsupportedMedia,
    /// The body or the headers came too slowly (408).
    TooSlow,
    /// The method is not offered on this path (405).
    MethodNotAllowed,
}

/// Why identification refused. Outside, only `Missing` and `Expired` are told apart; the rest is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthProblem {
    /// No credential on a protected route.
    Missing,
    /// Not a key and not a token of three parts, over 8 KiB, or not base64 or JSON.
    Malformed,
    /// The algorithm is not the one configured for that key, unknown `kid`, any `crit`.
    Algorithm,
    /// Wrong signature.
    Signature,
    /// `exp` missing or not a number.
    NoExpiry,
    /// `exp` passed, or the key's own expiry.
    Expired,
    /// `iat` missing or in the future, or `nbf` in the future.
    NotYet,
    /// Life longer than allowed.
    TooLong,
    /// `iss` differs.
    Issuer,
    /// `aud` differs.
    Audience,
    /// `sub` missing or too long.
    Subject,
    /// On the revocation list, or the key was revoked.
    Revoked,
    /// A key nobody has.
    UnknownKey,
    /// Too many failures from this address; refused unseen.
    AddressBlocked,
    /// A good key, from an address it may not be used from.
    Address,
    /// The check itself failed; refused to be safe.
    CheckFailed,
}

impl AuthProblem {
    /// Every problem, for metric tables.
    pub const ALL: [Self; 16] = [
        Self::Missing,
        Self::Malformed,
        Self::Algorithm,
        Self::Signature,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYet,
        Self::TooLong,
        Self::Issuer,
        Self::Audience,
        Self::Subject,
        Self::Revoked,
        Self::UnknownKey,
        Self::AddressBlocked,
        Self::Address,
        Self::CheckFailed,
    ];

    /// The logged reason and metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::TooLong => "too_long",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Subject => "subject",
            Self::Revoked => "revoked",
            Self::UnknownKey => "unknown_key",
            Self::AddressBlocked => "address_blocked",
            Self::Address => "address",
            Self::CheckFailed => "check_failed",
        }
    }
}
