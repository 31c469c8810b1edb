//! The alert rules for Prometheus: a text with four thresholds of the settings in it. Invariant: what is written with the
//! shipped settings is `monitoring/alerts.yml`, and names only metrics of the table (`metrics/rules.rs`).
//!
//! Source: S0-19.

use super::AlertsConfig;

const TEMPLATE: &str = include_str!("rules.yml");

/// The rules file for these settings.
#[must_use]
pub fn prometheus_rules(config: &AlertsConfig) -> String {
    let thresholds = [
        ("@ai_failure_ratio@", config.ai_failure_ratio.to_string()),
        ("@queue_depth@", config.queue_depth.to_string()),
        ("@worst_delay_secs@", config.worst_delay_secs.to_string()),
        ("@breaches_per_min@", config.breaches_per_min.to_string()),
    ];
    thresholds.iter().fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S0-19
    #[test]
    fn the_shipped_rules_are_those_of_the_shipped_settings_and_thresholds_come_from_them() {
        let shipped = include_str!("../../../../monitoring/alerts.yml");
        assert_eq!(prometheus_rules(&AlertsConfig::default()), shipped);
        let config = AlertsConfig {
            ai_failure_ratio: 0.125,
            queue_depth: 77,
            worst_delay_secs: 9,
            breaches_per_min: 1234,
            ..AlertsConfig::default()
        };
        let written = prometheus_rules(&config);
        for line in [
            "(rate(ai_requests_total[5m])) > 0.125",
            "(queue_depth) > 77",
            "(queue_oldest_seconds) > 9",
            "* 60 > 1234",
        ] {
            assert!(written.lines().any(|known| known.ends_with(line)), "{line}");
        }
        assert!(!written.contains('@'));
    }
}
