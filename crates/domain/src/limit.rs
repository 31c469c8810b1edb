//! Names of the levels at which admission limits, and what a caller may be told about one of them.

/// A level of admission, widest first. The order is the lock order of the limit stores and the order of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitScope {
    /// Everybody together. Never advertised in headers.
    Global,
    /// One address.
    Ip,
    /// One caller.
    User,
    /// One caller's requests per minute, by tier.
    Tier,
    /// One key's own requests or tokens per minute.
    Key,
    /// One caller's use of one action.
    Action,
}

impl LimitScope {
    /// Every scope, in lock order.
    pub const ALL: [Self; 6] = [Self::Global, Self::Ip, Self::User, Self::Tier, Self::Key, Self::Action];

    /// The stable name: metric label, header item, configuration key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Ip => "ip",
            Self::User => "user",
            Self::Tier => "tier",
            Self::Key => "key",
            Self::Action => "action",
        }
    }
}

/// The state of one limit after a decision, as the rate headers tell it (IETF draft: `q`, `w`, `r`, `t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitView {
    /// Which level.
    pub scope: LimitScope,
    /// Most requests a full window or bucket holds (`q`).
    pub quota: u32,
    /// Seconds of the window; for a bucket, capacity / refill (`w`).
    pub window_secs: u32,
    /// Requests left now (`r`).
    pub remaining: u32,
    /// Whole seconds, rounded up, until more becomes available; 0 when nothing is used (`t`).
    pub reset_secs: u32,
}
