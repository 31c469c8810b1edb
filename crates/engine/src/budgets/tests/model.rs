//! The book of counters against a list of everything that ever happened.

use super::super::{
    book::{Amount, Book, Entries},
    rules::{Charge, Kind, Limit, Rule},
    window::{span, zone},
};
use jiff::tz::TimeZone;
use portcullis_domain::BudgetWindow::{self, Day, Month, Total, Week};
use portcullis_telemetry::Metrics;
use proptest::{collection::vec, prelude::*};
use std::sync::Arc;

const HOUR: i64 = 3_600_000;
/// A day before clocks change in Amsterdam, so that the cases run over it.
const BEGIN: i64 = 1_774_652_400_000;

fn amount(tokens: u64, micros: u64) -> Amount {
    Amount { tokens, micros }
}

fn rule(id: u32, window: BudgetWindow, tokens: Option<u64>, micros: Option<u64>, refuse: bool) -> Rule {
    let left = Metrics::new().budget_remaining("x");
    let limit = Limit { tokens, micros };
    Rule { id, name: format!("rule{id}").into(), kind: Kind::User, window, limit, refuse, strict: true, left }
}

/// Overlapping budgets of which each is the tightest at times; one only counts.
fn rules() -> Vec<Rule> {
    vec![
        rule(0, Day, Some(400), None, true),
        rule(1, Week, Some(1_500), Some(900), true),
        rule(2, Month, None, Some(3_000), true),
        rule(3, Total, Some(9_000), Some(12_000), true),
        rule(4, Day, Some(1), Some(1), false),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { subject: usize, shared: bool, ask: Amount, after: i64 },
    Settle { which: usize, spent: Amount },
    Release { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amounts = || (0_u64..200, 0_u64..150).prop_map(|(tokens, micros)| amount(tokens, micros));
    let after = prop_oneof![3 => Just(0), 3 => 0..HOUR, 1 => 0..80 * HOUR];
    let reserve = (0_usize..3, any::<bool>(), amounts(), after)
        .prop_map(|(subject, shared, ask, after)| Step::Reserve { subject, shared, ask, after });
    let settle = (0_usize..8, amounts()).prop_map(|(which, spent)| Step::Settle { which, spent });
    let release = (0_usize..8).prop_map(|which| Step::Release { which });
    vec(prop_oneof![4 => reserve, 3 => settle, 1 => release], 1..200)
}

/// One thing that was ever reserved.
struct Happened {
    at: i64,
    charged: Vec<(u32, Arc<str>)>,
    asked: Amount,
    /// What it came to, once it has ended.
    ended: Option<Amount>,
    entries: Entries,
}

/// Spent and reserved of one budget of one subject in the window of `now`.
fn naive(all: &[Happened], zone: &TimeZone, rule: &Rule, subject: &str, now: i64) -> (Amount, Amount) {
    let window = span(rule.window, zone, now);
    let counts = |it: &&Happened| {
        (window.start..window.end).contains(&it.at)
            && it.charged.iter().any(|(id, whose)| *id == rule.id && **whose == *subject)
    };
    all.iter().filter(counts).fold((Amount::NOTHING, Amount::NOTHING), |(spent, reserved), it| {
        match it.ended {
            Some(ended) => (spent.plus(ended), reserved),
            None => (spent, reserved.plus(it.asked)),
        }
    })
}

fn fits(limit: Limit, used: Amount, ask: Amount) -> bool {
    limit.tokens.is_none_or(|most| used.tokens + ask.tokens <= most)
        && limit.micros.is_none_or(|most| used.micros + ask.micros <= most)
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (zone, rules) = (zone("Europe/Amsterdam").unwrap(), rules());
    let subjects: [Arc<str>; 3] = ["a", "b", "c"].map(Into::into);
    let everybody: Arc<str> = "".into();
    let mut book = Book::new(zone.clone(), 100_000, BEGIN);
    let (mut now, mut all) = (BEGIN, Vec::<Happened>::new());
    for step in steps {
        match step {
            Step::Reserve { subject, shared, ask, after } => {
                now += after;
                // The week and the total are everybody's together.
                let whose =
                    |rule: &Rule| if matches!(rule.id, 1 | 3) { &everybody } else { &subjects[subject] };
                let counted = rules.iter().filter(|rule| shared || rule.id != 2);
                let charges: Vec<Charge<'_>> =
                    counted.map(|rule| Charge { rule, subject: whose(rule), limit: rule.limit }).collect();
                let refusing = charges.iter().position(|charge| {
                    let (spent, reserved) = naive(&all, &zone, charge.rule, charge.subject, now);
                    charge.rule.refuse && !fits(charge.limit, spent.plus(reserved), ask)
                });
                let before = book.shown(now);
                match book.reserve(&charges, ask, None, now) {
                    Ok((at, entries)) => {
                        prop_assert_eq!(refusing, None);
                        prop_assert_eq!(at, now);
                        let charged = charges.iter().map(|it| (it.rule.id, it.subject.clone())).collect();
                        all.push(Happened { at, charged, asked: ask, ended: None, entries });
                    }
                    Err((place, window)) => {
                        prop_assert_eq!(refusing, Some(place));
                        prop_assert_eq!(window, span(charges[place].rule.window, &zone, now));
                        let mut after = book.shown(now);
                        after.retain(|row| before.contains(row));
                        prop_assert_eq!(after.len(), before.len(), "a refusal changes nothing");
                    }
                }
            }
            Step::Settle { which, spent } => end(&mut book, &mut all, which, spent),
            Step::Release { which } => end(&mut book, &mut all, which, Amount::NOTHING),
        }
        for row in book.shown(now) {
            let rule = rules.iter().find(|rule| rule.id == row.rule).unwrap();
            let (spent, reserved) = naive(&all, &zone, rule, &row.subject, now);
            prop_assert_eq!(
                (row.spent, row.reserved),
                (spent, reserved),
                "rule {} of {:?}",
                row.rule,
                row.subject
            );
            let used = row.spent.plus(row.reserved);
            prop_assert!(!rule.refuse || fits(row.limit, used, Amount::NOTHING), "never over: {row:?}");
        }
    }
    Ok(())
}

/// Ends one that is still open, never with more than it reserved.
fn end(book: &mut Book, all: &mut [Happened], which: usize, spent: Amount) {
    let mut open: Vec<&mut Happened> = all.iter_mut().filter(|it| it.ended.is_none()).collect();
    let count = open.len();
    let Some(it) = open.get_mut(which % count.max(1)) else { return };
    let spent = amount(spent.tokens.min(it.asked.tokens), spent.micros.min(it.asked.micros));
    it.ended = Some(spent);
    book.settle(&it.entries, it.asked, spent, &[]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    // req: S4-RATE
    #[test]
    fn the_book_equals_a_naive_model_and_never_goes_over_whatever_happens_in_whatever_order(steps in steps()) {
        run(steps)?;
    }
}

#[test]
fn a_replica_alone_spends_its_share_of_what_it_last_saw_and_then_refuses() {
    let rule = rule(0, Day, Some(1_000), None, true);
    let subject: Arc<str> = "a".into();
    let charge = [Charge { rule: &rule, subject: &subject, limit: rule.limit }];
    let mut book = Book::new(TimeZone::UTC, 1_000, BEGIN);
    let (_, entries) = book.entries(&charge, BEGIN);
    book.seen(&entries[0], Some(rule.limit), (amount(500, 0), amount(100, 0)), &[]);
    // Others have 600: 400 are left, of which half is ours.
    assert!(book.reserve(&charge, amount(150, 0), Some(0.5), BEGIN).is_ok());
    assert!(book.reserve(&charge, amount(51, 0), Some(0.5), BEGIN).is_err());
    assert!(book.reserve(&charge, amount(50, 0), Some(0.5), BEGIN).is_ok());
    assert!(book.reserve(&charge, amount(1, 0), Some(0.5), BEGIN).is_err());
    book.seen(&entries[0], None, (amount(700, 0), Amount::NOTHING), &[]);
    assert!(book.reserve(&charge, amount(150, 0), Some(0.5), BEGIN).is_ok());
}

#[test]
fn thresholds_are_passed_once_in_a_window_and_again_in_the_next() {
    let rule = rule(0, Day, Some(100), Some(1_000), false);
    let subject: Arc<str> = "a".into();
    let charge = [Charge { rule: &rule, subject: &subject, limit: rule.limit }];
    let alert_at = [500_000, 800_000, 1_000_000];
    let mut book = Book::new(TimeZone::UTC, 1_000, BEGIN);
    let mut spend = |tokens, micros, now| {
        let (_, entries) = book.reserve(&charge, amount(tokens, micros), None, now).unwrap();
        let crossed = book.settle(&entries, amount(tokens, micros), amount(tokens, micros), &alert_at);
        crossed.into_iter().map(|crossing| crossing.at).collect::<Vec<_>>()
    };
    assert_eq!(spend(49, 0, BEGIN), [0_u64; 0]);
    assert_eq!(spend(1, 0, BEGIN), [500_000]);
    assert_eq!(spend(1, 0, BEGIN), [0_u64; 0]);
    assert_eq!(spend(0, 1_000, BEGIN), [1_000_000], "money passes two at once: the higher is told");
    assert_eq!(spend(500, 0, BEGIN), [0_u64; 0]);
    assert_eq!(spend(50, 0, BEGIN + 24 * HOUR), [500_000]);
}

#[test]
fn what_ends_after_its_window_counts_in_none_and_a_raise_holds_for_one_window_only() {
    let rule = rule(0, Day, Some(100), None, true);
    let subject: Arc<str> = "a".into();
    let charge = [Charge { rule: &rule, subject: &subject, limit: rule.limit }];
    let mut book = Book::new(TimeZone::UTC, 1_000, BEGIN);
    let (_, late) = book.reserve(&charge, amount(90, 0), None, BEGIN).unwrap();
    assert!(book.reserve(&charge, amount(20, 0), None, BEGIN).is_err());
    let today = book.span(Day, BEGIN);
    book.raise((0, Day, rule.limit), &subject, today.start, amount(10, 0));
    assert!(book.reserve(&charge, amount(20, 0), None, BEGIN).is_ok());
    let tomorrow = today.end;
    assert!(book.reserve(&charge, amount(101, 0), None, tomorrow).is_err(), "the raise is over");
    assert!(book.reserve(&charge, amount(100, 0), None, tomorrow).is_ok());
    book.settle(&late, amount(90, 0), amount(90, 0), &[]);
    let shown = book.shown(tomorrow);
    assert_eq!((shown[0].spent, shown[0].reserved), (Amount::NOTHING, amount(100, 0)));
}

#[test]
fn memory_is_bounded_and_the_tightest_counters_stay() {
    let rule = rule(0, Day, Some(100), None, true);
    let mut book = Book::new(TimeZone::UTC, 1_000, BEGIN);
    let spend = |book: &mut Book, subject: &str, tokens| {
        let subject: Arc<str> = subject.into();
        let charge = [Charge { rule: &rule, subject: &subject, limit: rule.limit }];
        let (_, entries) = book.reserve(&charge, amount(tokens, 0), None, BEGIN).unwrap();
        book.settle(&entries, amount(tokens, 0), amount(tokens, 0), &[]);
    };
    spend(&mut book, "thrifty", 100);
    for stranger in 0..5_000 {
        spend(&mut book, &format!("stranger {stranger}"), 1);
        assert!(book.len() <= 1_000);
    }
    let shown = book.shown(BEGIN);
    let kept = shown.iter().find(|counter| &*counter.subject == "thrifty").unwrap();
    assert_eq!(kept.spent, amount(100, 0));
}
