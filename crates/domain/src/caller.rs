//! Who is asking. A `Caller` is made only by `engine::identity`; everything that is counted, limited or audited
//! per person hangs on `Caller::id`, which never holds a secret.

use crate::Vouched;
use std::{fmt, net::IpAddr, sync::Arc};

/// The service level of a caller. Three are built in; operators may configure more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Nobody said who they are (only with `http.anonymous = true`).
    Anonymous,
    /// A key or token without a higher tier.
    Authenticated,
    /// Larger limits and heavier queue weight.
    Premium,
    /// A tier from the configuration (`tiers.<name>`).
    Other(Arc<str>),
}

impl Tier {
    /// The stable name: metric label (configured names only, so bounded), configuration key, audit field.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Authenticated => "authenticated",
            Self::Premium => "premium",
            Self::Other(name) => name,
        }
    }

    /// The tier of that name; unknown names become `Other`, whose limits must then be configured.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "anonymous" => Self::Anonymous,
            "authenticated" => Self::Authenticated,
            "premium" => Self::Premium,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing a key may do beyond asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Use the gateway.
    Chat = 0,
    /// Name a provider's model directly (`provider/model`) instead of a route.
    Pin = 1,
    /// See which target answered.
    Debug = 2,
    /// Read the admin API, `/metrics` and detailed health.
    AdminRead = 3,
    /// Change things through the admin API.
    AdminWrite = 4,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Pin, Self::Debug, Self::AdminRead, Self::AdminWrite];

    /// The stable name used in keys and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Pin => "pin",
            Self::Debug => "debug",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope at all.
    pub const NONE: Self = Self(0);
    /// Every scope, as the first admin key has.
    pub const ALL: Self = Self(0b1_1111);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Whether the set holds that scope.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The scopes in the set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Parses names; `admin:*` means both admin scopes. The first unknown name is the error.
    ///
    /// # Errors
    /// The name that no scope has.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        names.into_iter().try_fold(Self::NONE, |set, name| match (name, Scope::from_name(name)) {
            ("admin:*" | "admin", _) => Ok(set.with(Scope::AdminRead).with(Scope::AdminWrite)),
            (_, Some(scope)) => Ok(set.with(scope)),
            (unknown, None) => Err(unknown),
        })
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

/// The time over which a budget of a key is counted, in the time zone of the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetWindow {
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// The whole life of the key.
    Total,
}

impl BudgetWindow {
    /// Every window.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// The stable name: configuration, admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The window of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == name)
    }
}

/// What a key may spend in a window; beyond it requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    /// Over which time.
    pub window: BudgetWindow,
    /// Most tokens, input and output together.
    pub tokens: Option<u64>,
    /// Most money, in micro-dollars.
    pub micro_usd: Option<u64>,
}

/// Limits that one key has for itself, beside those of its tier. The stricter wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Most requests in any 60 seconds.
    pub rpm: Option<u32>,
    /// Most tokens in any 60 seconds.
    pub tpm: Option<u32>,
    /// What it may spend.
    pub budgets: Vec<KeyBudget>,
}

/// Somebody whom identification has let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Stable identity, at most 160 bytes: `key:<id>`, `jwt:<subject>`, `local`, or `ip:<address>`.
    pub id: Arc<str>,
    /// Service level.
    pub tier: Tier,
    /// What the credential allows.
    pub scopes: Scopes,
    /// Public id of the API key, when one was used. Never the key.
    pub key_id: Option<Arc<str>>,
    /// Where the connection came from.
    pub address: IpAddr,
    /// The team that pays, where the key names one.
    pub team: Option<Arc<str>>,
    /// The person who pays, where the key names one; a token's subject is its `id`.
    pub user: Option<Arc<str>>,
    /// Routes this caller may use; none: all.
    pub routes: Option<Arc<[Box<str>]>>,
    /// The key's own limits, where it has any.
    pub limits: Option<Arc<KeyLimits>>,
    /// The guard policy that the credential names, beside that of the route.
    pub policy: Option<Arc<str>>,
}

impl Caller {
    /// Somebody of that identity, tier and scopes, bound by nothing else.
    #[must_use]
    pub const fn new(id: Arc<str>, tier: Tier, scopes: Scopes, address: IpAddr) -> Self {
        Self {
            id,
            tier,
            scopes,
            key_id: None,
            address,
            team: None,
            user: None,
            routes: None,
            limits: None,
            policy: None,
        }
    }

    /// Whether this caller may use that route.
    #[must_use]
    pub fn may_use(&self, route: &str) -> bool {
        self.routes.as_ref().is_none_or(|routes| routes.iter().any(|name| **name == *route))
    }
}

/// What a caller presented. The text is a secret: `Debug` never shows it and it is never logged.
#[derive(Clone)]
pub enum Credential {
    /// Nothing was presented.
    None,
    /// An API key or a JWT, as sent.
    Token(Box<str>),
    /// Nothing that could be shown: the door itself knows who it is.
    Vouched(Vouched),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::Vouched(_) => "Vouched(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_round_trip_through_their_names_and_the_admin_star_means_both() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
        }
        let parsed = Scopes::parse(["chat", "admin:*"]).unwrap();
        assert!(parsed.has(Scope::AdminRead) && parsed.has(Scope::AdminWrite) && !parsed.has(Scope::Pin));
        assert_eq!(Scopes::parse(["chat", "root"]), Err("root"));
        assert_eq!(Scopes::ALL.iter().count(), Scope::ALL.len());
    }

    #[test]
    fn a_credential_never_shows_itself_when_debugged() {
        assert!(!format!("{:?}", Credential::Token("pcl_secret".into())).contains("secret"));
    }
}
