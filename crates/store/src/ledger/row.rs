//! What the ledger is made of: rows, and the ids that hold a reservation and its row together.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr, sync::Arc};

/// Names one reservation, in this process and after it: the process's own number and a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerId {
    pub(super) process: u64,
    pub(super) number: u64,
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.process, self.number)
    }
}

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no id of a reservation")]
pub struct NoLedgerId;

impl FromStr for LedgerId {
    type Err = NoLedgerId;

    fn from_str(text: &str) -> Result<Self, NoLedgerId> {
        let (process, number) = text.split_once('-').ok_or(NoLedgerId)?;
        let hex = |text| u64::from_str_radix(text, 16).map_err(|_| NoLedgerId);
        Ok(Self { process: hex(process)?, number: hex(number)? })
    }
}

impl Serialize for LedgerId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LedgerId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// One call to a provider and what it cost. In the journal it is a list in the order of its fields: every request writes
/// one, and names would be half of it. Read it may be with names too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LedgerRow {
    /// When its budget was reserved, in Unix milliseconds: the windows it counts in are those of that moment.
    pub at: i64,
    /// The request.
    pub request: Box<str>,
    /// `Caller::id`.
    pub caller: Arc<str>,
    /// Who pays: the user a key names, else the caller.
    pub person: Arc<str>,
    /// Public id of the key, when one was used.
    pub key: Option<Arc<str>>,
    /// The team that pays.
    pub team: Option<Arc<str>>,
    /// The caller's tier.
    pub tier: Arc<str>,
    /// The route asked for, from the configuration.
    pub route: Arc<str>,
    /// Who answered.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Arc<str>,
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Tokens read from the provider's cache.
    pub cached: u64,
    /// Tokens written.
    pub output: u64,
    /// Micro-dollars.
    pub micros: u64,
    /// The price it was computed with; none: the target has no price.
    pub price: Option<LedgerPrice>,
    /// Counted by us, because the provider did not say.
    pub estimated: bool,
}

impl Serialize for LedgerRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { at, request, caller, person, key, team, tier, route, provider, model, .. } = self;
        let Self { input, cached, output, micros, price, estimated, .. } = self;
        (
            at, request, caller, person, key, team, tier, route, provider, model, input, cached, output,
            micros, price, estimated,
        )
            .serialize(to)
    }
}

impl LedgerRow {
    /// What a budget counts: input and output together.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// A price as the ledger names it: micro-dollars for a million tokens of input, cached input and output, written
/// `150000:75000:600000`. It says all that is needed to compute the money again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPrice {
    /// Of input that was not cached.
    pub input: u64,
    /// Of cached input.
    pub cached: u64,
    /// Of output.
    pub output: u64,
}

impl LedgerPrice {
    /// Micro-dollars of so many tokens, rounded up; `cached` is a part of `input`.
    #[must_use]
    pub fn cost(self, input: u64, cached: u64, output: u64) -> u64 {
        const MILLION: u128 = 1_000_000;
        let cached = cached.min(input);
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = part(input - cached, self.input)
            .saturating_add(part(cached, self.cached))
            .saturating_add(part(output, self.output));
        u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for LedgerPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.input, self.cached, self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_rounded_up_and_never_overflows() {
        let price = LedgerPrice { input: 150_000, cached: 75_000, output: 600_000 };
        assert_eq!(price.cost(0, 0, 0), 0);
        assert_eq!(price.cost(1, 0, 0), 1, "0.15 micro-dollars are one");
        assert_eq!(price.cost(1_000_000, 400_000, 10), 90_000 + 30_000 + 6);
        assert_eq!(price.cost(5, 9, 0), 1, "cached is never more than input");
        let huge = LedgerPrice { input: u64::MAX, cached: u64::MAX, output: u64::MAX };
        assert_eq!(huge.cost(u64::MAX, 0, u64::MAX), u64::MAX);
        assert_eq!(price.to_string(), "150000:75000:600000");
    }

    #[test]
    fn a_row_is_read_back_as_it_was_written_with_and_without_names() {
        let row = LedgerRow {
            at: 1_700_000_000_000,
            request: "req_1".into(),
            caller: "key:a".into(),
            person: "anna \"a\"".into(),
            key: Some("a".into()),
            team: None,
            tier: "premium".into(),
            route: "default".into(),
            provider: "openai".into(),
            model: "m".into(),
            input: 5,
            cached: 1,
            output: 7,
            micros: 9,
            price: Some(LedgerPrice { input: 1, cached: 2, output: 3 }),
            estimated: true,
        };
        let text = serde_json::to_string(&row).unwrap();
        assert!(text.starts_with('[') && !text.contains("micros"), "{text}");
        assert_eq!(serde_json::from_str::<LedgerRow>(&text).unwrap(), row);
        let named = r#"{"at":1700000000000,"request":"req_1","caller":"key:a","person":"anna \"a\"","key":"a","team":null,
            "tier":"premium","route":"default","provider":"openai","model":"m","input":5,"cached":1,"output":7,"micros":9,
            "price":{"input":1,"cached":2,"output":3},"estimated":true}"#;
        assert_eq!(serde_json::from_str::<LedgerRow>(named).unwrap(), row);
    }

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        let id = LedgerId { process: 0xabc, number: 77 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("x".parse::<LedgerId>(), Err(NoLedgerId));
    }
}
