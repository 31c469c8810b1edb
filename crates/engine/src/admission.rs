//! Which limits a message draws from: one table from scope, tier and action to quota. The decision itself is one
//! atomic step of `resilience::Limits`: all scopes are read, then all are charged or none.
//!
//! Invariant: the order of charges is the order of `LimitScope` (the stores' lock order). Figures: tools.md 4.2,
//! S4-RATE, S3-PERF-7, S0-06.

mod config;

pub use config::{ActionConfig, AdmissionConfig, BucketConfig, TierConfig, default_actions, default_tiers};

use crate::{policy::Named, tokens};
use portcullis_domain::{Action, Caller, LimitScope, Tier};
use portcullis_resilience::limits::{Charge, Quota};
use smallvec::SmallVec;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Quotas of one tier, ready to charge.
struct TierRow {
    window: Quota,
    user: Option<Quota>,
    ip: Option<Quota>,
    weight: u32,
    policy: Option<Box<str>>,
}

/// The admission table.
pub struct Admission {
    global: Quota,
    ip: Quota,
    tiers: BTreeMap<String, TierRow>,
    fallback: TierRow,
    actions: [ActionRow; Action::ALL.len()],
    policies: [Option<Box<str>>; Action::ALL.len()],
}

/// One caller's use of an action, in a minute and in an hour.
type ActionRow = [Option<Quota>; 2];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The names a message is charged under; made once per message, so that charge and refund name the same.
pub(crate) struct Subjects {
    /// None: no address stands behind the message.
    ip: Option<String>,
    /// One for each of an [`ActionRow`].
    action: [Option<String>; 2],
}

/// Charges of one message, widest scope first.
pub(crate) type Charges<'a> = SmallVec<[Charge<'a>; 7]>;

impl Admission {
    /// The table of that configuration. Tiers that no row names are treated as `authenticated`.
    #[must_use]
    pub fn new(config: &AdmissionConfig) -> Self {
        let row = |tier: &TierConfig, user: Option<BucketConfig>| TierRow {
            window: Quota::window(tier.per_min, MINUTE),
            user: user.map(BucketConfig::quota),
            ip: tier.ip.map(BucketConfig::quota),
            weight: tier.weight,
            policy: tier.policy.as_deref().map(Into::into),
        };
        let mut actions = [ActionRow::default(); Action::ALL.len()];
        let mut policies = [const { None }; Action::ALL.len()];
        for action in Action::ALL {
            let Some(row) = config.actions.get(action.as_str()) else { continue };
            let window = |limit: Option<u32>, over| {
                limit.filter(|limit| *limit > 0).map(|limit| Quota::window(limit, over))
            };
            actions[action.index()] =
                [window(row.per_user_per_min, MINUTE), window(row.per_user_per_hour, HOUR)];
            policies[action.index()] = row.policy.as_deref().map(Into::into);
        }
        let tiers = config.tiers.iter().map(|(name, tier)| {
            // Anonymous callers have no bucket of their own: their address is all that is known of them.
            let own = if name == "anonymous" { tier.user } else { tier.user.or(Some(config.user)) };
            (name.clone(), row(tier, own))
        });
        let fallback = TierConfig {
            per_min: 100,
            user: Some(config.user),
            ip: None,
            weight: 1,
            daily_tokens: None,
            daily_usd: None,
            policy: None,
        };
        Self {
            global: config.global.quota(),
            ip: config.ip.quota(),
            tiers: tiers.collect(),
            fallback: row(&fallback, fallback.user),
            actions,
            policies,
        }
    }

    /// The guard policies that a caller's key, its tier and what it wants name.
    pub(crate) fn policies<'a>(&'a self, caller: &'a Caller, action: Action) -> Named<'a> {
        Named {
            action: self.policies[action.index()].as_deref(),
            tier: self.row(&caller.tier).policy.as_deref(),
            key: caller.policy.as_deref(),
        }
    }

    fn row(&self, tier: &Tier) -> &TierRow {
        self.tiers.get(tier.as_str()).unwrap_or(&self.fallback)
    }

    /// Queue weight of a tier.
    #[must_use]
    pub fn weight(&self, tier: &Tier) -> u32 {
        self.row(tier).weight
    }

    /// The names under which this caller is charged for this action.
    pub(crate) fn subjects(&self, caller: &Caller, action: Action) -> Subjects {
        let ip = (!caller.address.is_unspecified()).then(|| {
            let mut subject = network(caller.address);
            if self.row(&caller.tier).ip.is_some() {
                subject.extend(["/", caller.tier.as_str()]);
            }
            subject
        });
        let row = &self.actions[action.index()];
        let action = std::array::from_fn(|at| row[at].map(|_| action_subject(action, at, &caller.id)));
        Subjects { ip, action }
    }

    /// The limits of one subject at one level, each with its name, the name it is counted under and its quota.
    pub(crate) fn rows_of(
        &self,
        scope: LimitScope,
        subject: &str,
        tier: &Tier,
        (rpm, tpm): (Option<u32>, Option<u32>),
    ) -> Vec<(String, String, Quota)> {
        let row = self.row(tier);
        let named = |quota| (scope.as_str().to_owned(), subject.to_owned(), quota);
        match scope {
            LimitScope::Global => vec![(scope.as_str().to_owned(), "all".to_owned(), self.global)],
            LimitScope::Ip => match (subject.parse::<IpAddr>(), row.ip) {
                (Ok(address), None) => {
                    vec![(scope.as_str().to_owned(), network(address), self.ip)]
                }
                (Ok(address), Some(quota)) => {
                    vec![(scope.as_str().to_owned(), format!("{}/{tier}", network(address)), quota)]
                }
                (Err(_), _) => Vec::new(),
            },
            LimitScope::User => row.user.map(named).into_iter().collect(),
            LimitScope::Tier => vec![named(row.window)],
            LimitScope::Key => {
                let requests = rpm.map(|rpm| named(Quota::window(rpm, MINUTE)));
                let tokens = |tpm| ("tokens".to_owned(), tokens::subject(subject), tokens::quota(tpm));
                requests.into_iter().chain(tpm.map(tokens)).collect()
            }
            LimitScope::Action => Action::ALL
                .into_iter()
                .flat_map(|action| {
                    let quotas = self.actions[action.index()].into_iter().enumerate();
                    quotas.filter_map(move |(at, quota)| {
                        let counted = action_subject(action, at, subject);
                        quota.map(|quota| (action.as_str().to_owned(), counted, quota))
                    })
                })
                .collect(),
        }
    }

    /// What this message costs where.
    pub(crate) fn charges<'a>(
        &self,
        caller: &'a Caller,
        action: Action,
        subjects: &'a Subjects,
    ) -> Charges<'a> {
        let row = self.row(&caller.tier);
        let charge = |scope, subject, quota| Charge { scope, subject, quota, cost: 1 };
        let mut charges = Charges::new();
        charges.push(charge(LimitScope::Global, "all", self.global));
        if let Some(ip) = &subjects.ip {
            charges.push(charge(LimitScope::Ip, ip, row.ip.unwrap_or(self.ip)));
        }
        if let Some(quota) = row.user {
            charges.push(charge(LimitScope::User, &caller.id, quota));
        }
        charges.push(charge(LimitScope::Tier, &caller.id, row.window));
        if let Some(rpm) = caller.limits.as_ref().and_then(|limits| limits.rpm) {
            charges.push(charge(LimitScope::Key, &caller.id, Quota::window(rpm, MINUTE)));
        }
        for (quota, subject) in self.actions[action.index()].iter().zip(&subjects.action) {
            if let (Some(quota), Some(subject)) = (quota, subject) {
                charges.push(charge(LimitScope::Action, subject, *quota));
            }
        }
        charges
    }
}

/// The name under which a caller's use of an action is counted, in the minute (0) or the hour (1).
fn action_subject(action: Action, at: usize, caller: &str) -> String {
    let over = if at == 0 { "" } else { "/hour" };
    [action.as_str(), over, "/", caller].concat()
}

/// What one sender owns: the address, and of IPv6 the /64 that every home line gets. Every message asks: digits are
/// written without `fmt`.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mut text = String::with_capacity(NETWORK_BYTES);
            for (at, octet) in v4.octets().into_iter().enumerate() {
                text.extend([if at == 0 { "" } else { "." }, itoa::Buffer::new().format(octet)]);
            }
            text
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
    }
}

/// Room for an address and the name of a tier.
const NETWORK_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::Scopes;

    #[test]
    fn an_address_is_counted_as_it_is_written_and_a_line_by_its_network() {
        for (address, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("10.20.203.255", "10.20.203.255"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:a:b:c:d:e:f", "2001:db8:a:b::"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }

    fn caller(tier: Tier, address: &str) -> Caller {
        Caller::new("key:a".into(), tier, Scopes::NONE, address.parse().unwrap())
    }

    fn shown(tier: Tier, action: Action) -> Vec<(LimitScope, String, Quota)> {
        let admission = Admission::new(&AdmissionConfig::default());
        let caller = caller(tier, "10.1.2.3");
        let subjects = admission.subjects(&caller, action);
        let charges = admission.charges(&caller, action, &subjects);
        charges.iter().map(|charge| (charge.scope, charge.subject.to_owned(), charge.quota)).collect()
    }

    // req: S4-RATE
    // req: S3-PERF-7
    #[test]
    fn each_tier_draws_from_the_documented_quotas_in_lock_order() {
        use LimitScope::{Global, Ip, Tier as TierScope, User};
        let global = (Global, "all".to_owned(), Quota::bucket(1000, 100.0));
        let ip = (Ip, "10.1.2.3".to_owned(), Quota::bucket(100, 10.0));
        let window = |limit| (TierScope, "key:a".to_owned(), Quota::window(limit, MINUTE));
        let user = |capacity, refill| (User, "key:a".to_owned(), Quota::bucket(capacity, refill));
        assert_eq!(shown(Tier::Anonymous, Action::Chat), [global.clone(), ip.clone(), window(10)]);
        assert_eq!(
            shown(Tier::Authenticated, Action::Chat),
            [global.clone(), ip, user(50, 5.0), window(100)]
        );
        let premium_ip = (Ip, "10.1.2.3/premium".to_owned(), Quota::bucket(200, 20.0));
        assert_eq!(shown(Tier::Premium, Action::Chat), [global, premium_ip, user(200, 20.0), window(1000)]);
    }

    // req: S0-06
    #[test]
    fn embeddings_have_a_window_of_their_own_per_caller() {
        let charges = shown(Tier::Authenticated, Action::Embed);
        let expected = (LimitScope::Action, "embed/key:a".to_owned(), Quota::window(100, MINUTE));
        assert_eq!(charges.last(), Some(&expected));
        assert_eq!(charges.len(), 5);
    }

    #[test]
    fn a_key_with_a_limit_of_its_own_draws_from_it_too() {
        let admission = Admission::new(&AdmissionConfig::default());
        let limits = portcullis_domain::KeyLimits { rpm: Some(7), ..Default::default() };
        let caller = Caller { limits: Some(limits.into()), ..caller(Tier::Authenticated, "10.1.2.3") };
        let subjects = admission.subjects(&caller, Action::Embed);
        let charges = admission.charges(&caller, Action::Embed, &subjects);
        let scopes: Vec<_> = charges.iter().map(|charge| charge.scope).collect();
        assert_eq!(scopes, LimitScope::ALL, "in lock order");
        assert_eq!(charges[4].quota, Quota::window(7, MINUTE));
    }

    #[test]
    fn an_ipv6_sender_is_its_64_and_a_mapped_one_is_ipv4() {
        assert_eq!(
            network("2001:db8:1:2:3:4:5:6".parse().unwrap()),
            network("2001:db8:1:2:ffff::1".parse().unwrap())
        );
        assert_eq!(network("::ffff:10.1.2.3".parse().unwrap()), "10.1.2.3");
    }

    #[test]
    fn the_default_configuration_has_no_problem_and_a_wrong_one_names_each() {
        let mut out = vec![];
        AdmissionConfig::default().problems(&mut out);
        assert_eq!(out, []);
        let mut config = AdmissionConfig::default();
        config.global.capacity = 0;
        config.ip.refill_per_sec = f64::NAN;
        config.actions.insert("fly".into(), ActionConfig::default());
        config.problems(&mut out);
        let keys: Vec<_> = out.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["limits.global.capacity", "limits.ip.refill_per_sec", "actions.fly"]);
    }
}
