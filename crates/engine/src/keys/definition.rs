//! What an operator says about a key, as the admin API takes and shows it, and what of it is kept and enforced.
//! Invariant: every text and list has a bound here, so that a row can always be read back and shown.
//!
//! Source: gateway.md section 13, `/keys`.

use jiff::Timestamp;
use portcullis_domain::{BudgetWindow, Failure, KeyBudget, KeyLimits, Scope, Scopes, Tier};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Longest name, team, user, route or label, in characters.
const MAX_WORD: usize = 64;
/// Most routes, addresses, labels or budgets of one key.
const MAX_LISTED: usize = 64;
const MICROS: f64 = 1_000_000.0;

/// A key as somebody wants it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What people call it, 1 to 64 characters.
    pub name: String,
    /// Service level; must be configured.
    #[serde(default = "authenticated")]
    pub tier: String,
    /// What it allows.
    #[serde(default = "chat")]
    pub scopes: Vec<String>,
    /// Routes and models it may use; empty means all.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Free words of the operator.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// From when on it is refused, RFC 3339.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// What else binds it.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// What binds a key beside tier and scopes; kept as JSON in one column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// The team that pays.
    pub team: Option<String>,
    /// The person who pays.
    pub user: Option<String>,
    /// Most requests in any 60 seconds.
    pub rpm: Option<u32>,
    /// Most tokens in any 60 seconds.
    pub tpm: Option<u32>,
    /// What it may spend.
    pub budgets: Vec<Budget>,
    /// The guard policy it is under, beside that of the route; of each check the stricter wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Addresses and networks it may be used from, such as `10.0.0.0/8`; empty means all.
    pub addresses: Vec<String>,
}

/// What a key may spend in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// `day`, `week`, `month` or `total`.
    pub window: String,
    /// Most tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Most money, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money_usd: Option<f64>,
}

fn authenticated() -> String {
    Tier::Authenticated.to_string()
}

fn chat() -> Vec<String> {
    vec![Scope::Chat.as_str().into()]
}

/// A definition whose every part was found good.
pub(super) struct Sound {
    pub(super) tier: Tier,
    pub(super) scopes: Scopes,
}

impl Definition {
    /// Looks at every part.
    ///
    /// # Errors
    /// `InvalidInput` naming the first part that is wrong.
    pub(super) fn sound(&self, has_tier: impl Fn(&str) -> bool) -> Result<Sound, Failure> {
        word("name", &self.name)?;
        if !has_tier(&self.tier) {
            return Err(Failure::invalid("tier", "tier must be one of the configured tiers."));
        }
        let scopes = Scopes::parse(self.scopes.iter().map(String::as_str)).map_err(|_| {
            Failure::invalid("scopes", "scopes are chat, pin, debug, admin:read, admin:write.")
        })?;
        let bounds = &self.bounds;
        for (part, count) in [
            ("routes", self.routes.len()),
            ("labels", self.labels.len()),
            ("addresses", bounds.addresses.len()),
            ("budgets", bounds.budgets.len()),
        ] {
            if count > MAX_LISTED {
                return Err(Failure::invalid(part, format!("{part} may have at most {MAX_LISTED} entries.")));
            }
        }
        for route in &self.routes {
            if route.is_empty() || route.chars().count() > 2 * MAX_WORD || route.chars().any(char::is_control)
            {
                return Err(Failure::invalid("routes", "A route or model has 1 to 128 visible characters."));
            }
        }
        for text in self.labels.iter().flat_map(|(name, value)| [name, value]) {
            word("labels", text)?;
        }
        for (part, text) in [("team", &bounds.team), ("user", &bounds.user), ("policy", &bounds.policy)] {
            text.as_ref().map_or(Ok(()), |text| word(part, text))?;
        }
        for (part, limit) in [("rpm", bounds.rpm), ("tpm", bounds.tpm)] {
            if limit == Some(0) {
                return Err(Failure::invalid(
                    part,
                    format!("{part} must be at least 1; leave it out for none."),
                ));
            }
        }
        for address in &bounds.addresses {
            if Network::parse(address).is_none() {
                let message = "An address is written as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32.";
                return Err(Failure::invalid("addresses", message));
            }
        }
        bounds.budgets.iter().try_for_each(|budget| budget.ready().map(drop))?;
        Ok(Sound { tier: Tier::from_name(&self.tier), scopes })
    }
}

fn word(part: &'static str, text: &str) -> Result<(), Failure> {
    let length = text.trim().chars().count();
    if (1..=MAX_WORD).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Failure::invalid(part, format!("{part} must have 1 to {MAX_WORD} visible characters.")))
}

impl Budget {
    fn ready(&self) -> Result<KeyBudget, Failure> {
        let wrong = |message: &'static str| Failure::invalid("budgets", message);
        let window = BudgetWindow::from_name(&self.window)
            .ok_or_else(|| wrong("A budget's window is day, week, month or total."))?;
        let micro_usd = match self.money_usd {
            None => None,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range: from 0 to a thousand million dollars in millionths"
            )]
            Some(usd) if (0.0..=1e9).contains(&usd) => Some((usd * MICROS).round() as u64),
            Some(_) => return Err(wrong("money_usd is from 0 to 1000000000.")),
        };
        if self.tokens.is_none() && micro_usd.is_none() {
            return Err(wrong("A budget names tokens, money_usd or both."));
        }
        Ok(KeyBudget { window, tokens: self.tokens, micro_usd })
    }
}

impl Bounds {
    /// From the column; what cannot be read binds nothing and is told.
    pub(super) fn read(id: &str, kept: &serde_json::Value) -> Self {
        serde_json::from_value(kept.clone()).unwrap_or_else(|error| {
            tracing::warn!(id, %error, "what binds a key is not understood; the key is used without it");
            Self::default()
        })
    }

    /// The limits to charge.
    pub(super) fn limits(&self) -> Option<Arc<KeyLimits>> {
        let budgets: Vec<KeyBudget> = self.budgets.iter().filter_map(|budget| budget.ready().ok()).collect();
        let limits = KeyLimits { rpm: self.rpm, tpm: self.tpm, budgets };
        (limits != KeyLimits::default()).then(|| Arc::new(limits))
    }

    pub(super) fn networks(&self) -> Box<[Network]> {
        self.addresses.iter().filter_map(|text| Network::parse(text)).collect()
    }
}

/// An address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    bits: u32,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { base, bits })
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        let holds =
            |network: &str, address: &str| Network::parse(network).unwrap().holds(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7"), "a mapped address is the address it maps");
        assert!(holds("2001:db8::/32", "2001:db8:1::9") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0", "a/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_part_is_named_and_a_sound_definition_passes() {
        let parse = |text: &str| serde_json::from_str::<Definition>(text).unwrap();
        let known = |tier: &str| tier == "authenticated" || tier == "premium";
        let sound = parse(
            r#"{"name":"robot","tier":"premium","scopes":["chat","pin"],"routes":["fast"],"team":"blue","rpm":5,
                "budgets":[{"window":"day","money_usd":0.5}],"addresses":["10.0.0.0/8"],"labels":{"a":"b"}}"#,
        );
        assert!(sound.sound(known).is_ok());
        let limits = sound.bounds.limits().unwrap();
        assert_eq!(
            limits.budgets,
            [KeyBudget { window: BudgetWindow::Day, tokens: None, micro_usd: Some(500_000) }]
        );
        for (text, part) in [
            (r#"{"name":" "}"#, "name"),
            (r#"{"name":"a","tier":"gold"}"#, "tier"),
            (r#"{"name":"a","scopes":["root"]}"#, "scopes"),
            (r#"{"name":"a","addresses":["somewhere"]}"#, "addresses"),
            (r#"{"name":"a","rpm":0}"#, "rpm"),
            (r#"{"name":"a","budgets":[{"window":"year","tokens":1}]}"#, "budgets"),
            (r#"{"name":"a","budgets":[{"window":"day"}]}"#, "budgets"),
            (r#"{"name":"a","routes":[""]}"#, "routes"),
            (r#"{"name":"a","team":""}"#, "team"),
            (r#"{"name":"a","policy":""}"#, "policy"),
        ] {
            match parse(text).sound(known) {
                Err(Failure::InvalidInput { param: Some(named), .. }) => assert_eq!(named, part),
                _ => panic!("{text} passed"),
            }
        }
        assert!(serde_json::from_str::<Definition>(r#"{"name":"a","colour":"red"}"#).is_err());
    }
}
