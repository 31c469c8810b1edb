//! Why there is no page, in sentences that a stranger may read. Invariant: no variant carries an address, a header or
//! a cause inside our network; those go to the log where they are noticed.

use std::time::Duration;

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No address that can be fetched: another scheme, no host.
    #[error("only http and https addresses can be fetched")]
    Address,
    /// The guard refuses it, or somewhere it redirects to.
    #[error("this address is not reachable from here")]
    NotReachable,
    /// No connection: no such name, nobody there, no TLS.
    #[error("the site does not answer")]
    NoAnswer,
    /// The site's robots.txt forbids it, or could not be had.
    #[error("the site asks programs not to fetch this page")]
    Robots,
    /// The site answered something else than a page.
    #[error("the site answered with status {0}")]
    Status(u16),
    /// Larger than allowed, counted after decompression.
    #[error("the page is larger than {0} bytes")]
    TooLarge(usize),
    /// More redirects than allowed, or one to nowhere.
    #[error("the page redirects too often or to nowhere")]
    Redirects,
    /// Not in time.
    #[error("the site did not answer in time")]
    Timeout,
    /// The answer broke off or is no HTTP.
    #[error("the site's answer could not be read")]
    Broken,
    /// Too many fetches wait already, or the wait would be longer than its worth.
    #[error("too many pages are being fetched; try again in {} seconds", .retry_after.as_secs().max(1))]
    Busy {
        /// Estimated wait.
        retry_after: Duration,
    },
    /// The site asks for a pause, which every fetch from it keeps.
    #[error("the site asks for a pause; try again in {} seconds", .retry_after.as_secs().max(1))]
    Later {
        /// How long.
        retry_after: Duration,
    },
}

impl PageError {
    /// The stable word: metric label and log field.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::NotReachable => "refused",
            Self::NoAnswer => "no_answer",
            Self::Robots => "robots",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
            Self::Redirects => "redirects",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Busy { .. } => "busy",
            Self::Later { .. } => "later",
        }
    }

    /// Whether the site says that the page is no more (410).
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Status(410))
    }
}
