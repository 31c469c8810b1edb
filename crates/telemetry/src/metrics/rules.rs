//! The committed alert rules name only metrics that exist, and only labels that those have: a rule on a name that
//! nobody exports never fires, and nobody notices until it should have. // req: S0-16

use super::catalogue;
use std::{collections::BTreeSet, process::Command};

const RULES: &str = include_str!("../../../../monitoring/alerts.yml");

/// What PromQL's own words are; everything else that is no function is a metric. Aggregations may have their labels
/// before their parentheses.
const WORDS: [&str; 24] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "count",
    "topk",
    "bottomk",
    "quantile",
    "stddev",
    "stdvar",
    "count_values",
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
];
/// Metrics and labels that Prometheus adds.
const OUTSIDE: [&str; 1] = ["up"];
const OUTSIDE_LABELS: [&str; 3] = ["job", "instance", "le"];

/// What an expression names.
#[derive(Debug, Default)]
struct Named {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

fn named(expr: &str) -> Named {
    let mut out = Named::default();
    let chars: Vec<char> = expr.chars().collect();
    let (mut at, mut in_braces, mut list) = (0, false, false);
    while at < chars.len() {
        let c = chars[at];
        if c == '"' {
            at += 1 + chars[at + 1..].iter().position(|c| *c == '"').expect("a text ends");
        } else if c == '[' {
            at += chars[at..].iter().position(|c| *c == ']').expect("a range ends");
        } else if c == '{' || c == '}' {
            in_braces = c == '{';
        } else if c == ')' {
            list = false;
        } else if c.is_ascii_alphabetic() || c == '_' {
            let part = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == ':';
            let word: String = chars[at..].iter().take_while(|c| part(c)).collect();
            let after = chars[at + word.len()..].iter().find(|c| !c.is_whitespace());
            at += word.len() - 1;
            if in_braces || list {
                out.labels.insert(word);
            } else if ["by", "without", "on", "ignoring", "group_left", "group_right"]
                .contains(&word.as_str())
            {
                list = after == Some(&'(');
            } else if !WORDS.contains(&word.as_str()) && after != Some(&'(') {
                out.metrics.insert(word);
            }
        } else if c.is_ascii_digit() {
            // Numbers and durations hold letters of their own.
            at += chars[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '.').count() - 1;
        }
        at += 1;
    }
    out
}

/// The table's row of an exported name.
fn row(name: &str) -> Option<super::MetricRow> {
    let all = catalogue();
    let of = |name: &str, kind: Option<&str>| {
        all.iter().find(|row| row.name == name && kind.is_none_or(|kind| row.kind == kind)).copied()
    };
    let parts = ["_bucket", "_sum", "_count"].into_iter().filter_map(|part| name.strip_suffix(part));
    // A histogram is exported by its parts only.
    let plain = of(name, None).filter(|row| row.kind != "histogram");
    plain.or_else(|| parts.into_iter().find_map(|base| of(base, Some("histogram"))))
}

fn unknown(expr: &str) -> Vec<String> {
    let named = named(expr);
    let metrics = named.metrics.iter().filter(|name| !OUTSIDE.contains(&name.as_str()));
    let (known, strange): (Vec<_>, Vec<_>) = metrics.partition(|name| row(name).is_some());
    let labels: Vec<&str> =
        known.iter().filter_map(|name| row(name)).flat_map(|row| row.labels).copied().collect();
    let odd = named
        .labels
        .iter()
        .filter(|label| !labels.contains(&label.as_str()) && !OUTSIDE_LABELS.contains(&label.as_str()));
    strange.into_iter().chain(odd).cloned().collect()
}

#[test]
fn every_rule_names_metrics_and_labels_that_exist() {
    let exprs: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let alerts = RULES.lines().filter(|line| line.trim().starts_with("- alert: ")).count();
    assert_eq!(exprs.len(), alerts, "every rule has its expression on one line");
    assert!(alerts >= 15, "{alerts}");
    for expr in exprs {
        let named = named(expr);
        assert!(!named.metrics.is_empty(), "{expr}");
        assert_eq!(unknown(expr), Vec::<String>::new(), "{expr}");
    }
}

#[test]
fn a_rule_on_a_name_that_nobody_exports_is_found() {
    for (expr, strange) in [
        ("rate(ai_failure_total{provider=\"a\"}[5m]) > 5e3", "ai_failure_total"),
        ("sum by (model) (rate(ai_failures[5m]))", "model"),
        ("queue_depth{name=~\"x|y\"} > 5 and on (queue) queue_age > 1m", "name"),
        ("request_duration > 3", "request_duration"),
        ("queue_depth_count > 1", "queue_depth_count"),
    ] {
        assert!(unknown(expr).contains(&strange.to_owned()), "{expr}: {:?}", named(expr));
    }
    assert!(
        unknown("histogram_quantile(0.9, sum by (le) (rate(request_duration_bucket[1h30m] offset 5m))) > 1")
            .is_empty()
    );
}

// req: S0-11
#[test]
fn whoever_is_woken_finds_each_alert_in_the_manual_with_commands_that_exist() {
    let manual = include_str!("../../../../docs/manual/on-call.md");
    let commands = include_str!("../../../../docs/reference/cli.md");
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: Vec<&str> = manual.lines().filter_map(|line| line.strip_prefix("## Portcullis")).collect();
    assert!(alerts.len() > 10);
    let named: Vec<String> = sections.iter().map(|name| format!("Portcullis{name}")).collect();
    assert_eq!(named, alerts, "the sections of docs/manual/on-call.md");
    for quoted in manual.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("portcullis ")) {
        let words: Vec<&str> =
            quoted.split(' ').take_while(|word| word.bytes().all(|c| c.is_ascii_lowercase())).collect();
        assert!(commands.contains(&format!("## `{}`\n", words.join(" "))), "{quoted}");
    }
}

#[test]
fn promtool_takes_the_rules() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../monitoring/alerts.yml");
    let Ok(said) = Command::new("promtool").args(["check", "rules", folder]).output() else {
        portcullis_testkit::skip("promtool", "is not installed");
        return;
    };
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}
