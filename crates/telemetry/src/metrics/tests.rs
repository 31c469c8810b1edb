//! Names, text format and speed-relevant behaviour of the metrics.

use super::*;
use portcullis_domain::Failure;
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Moves every metric once.
fn moved() -> Metrics {
    let metrics = Metrics::new();
    metrics.news_request("ok");
    metrics.rate_limit_breach(LimitScope::Tier, &Tier::Premium, Action::Chat);
    metrics.ai_failure("openai", "500", Duration::from_secs(7));
    metrics.request_done(Door::Http, Action::Chat, "ok", Duration::from_millis(3));
    metrics.queue_depth("openai").set(4);
    metrics.queue_oldest_seconds("openai").set(2);
    metrics.ai_request("openai", "fast", "ok");
    metrics.ai_fallback("fast", "rate_limited");
    metrics.ai_tokens("openai", "fast", Usage { input: 12, output: 30, ..Usage::default() });
    let told = metrics.gen_ai("chat", "gcp.gemini");
    told.ended(Duration::from_millis(30), Usage { input: 12, output: 30, ..Usage::default() });
    told.failed(Duration::from_secs(2), "500");
    told.first_chunk(Duration::from_millis(300));
    told.later_chunk(Duration::from_millis(15));
    metrics.cache("fast", "hit");
    metrics.gate_in_use("openai").inc();
    metrics.gate_wait("openai").observe(Duration::from_millis(5));
    metrics.ai_cost("openai", "fast", 7);
    metrics.budget_remaining("all").set(250_000);
    metrics.learned_rpm("openai").set(60);
    metrics.breaker_state("redis").set(2);
    metrics.breaker_transition("redis", "open");
    metrics.retry_budget_exhausted("openai");
    metrics.provider_held("openai", "quota").set(1);
    metrics.learned_header_rejected("openai");
    metrics.limits_fallback().set(1);
    metrics.auth_failure(Door::Http, AuthProblem::Signature);
    metrics.sanitised("bidi", 3);
    metrics.guard("default", "injection", "flag");
    metrics.stream_opened();
    metrics.overhead(Duration::from_micros(80));
    metrics.connection_refused("global");
    metrics.connections().inc();
    metrics.error_redacted();
    metrics.panic_caught();
    metrics.log_dropped(2);
    metrics.audit_written("key_created");
    metrics.audit_failed();
    metrics.audit_pending().set(1);
    metrics.alert("key_invalid");
    metrics.alert_undelivered("webhook");
    metrics.stalled(Duration::from_millis(300));
    metrics.usage_pending().set(9);
    metrics.backup(true);
    metrics.prompts_remembered().set(1);
    metrics.anomaly("volume");
    metrics.spans("exported", 1);
    metrics.safety_overrides(portcullis_domain::HarmCategory::ALL[0]).set(1);
    metrics.answer("full", false);
    metrics.answer_support(0.5);
    metrics.degraded("ask", "lexical", "late");
    metrics.searched("hybrid", Duration::from_millis(3));
    metrics.index("default", 7, 4096, 2);
    metrics.index_load("ok");
    metrics.embedded(3);
    metrics.page_fetched("ok");
    metrics.messages_waiting(Door::Signal, "outbox").set(1);
    metrics.messages_delayed(Door::Signal, 3, 2);
    metrics.message_received(Door::Signal);
    metrics.message_processed(Door::Signal);
    metrics.message_failed(Door::Signal, "internal");
    metrics.active_sessions(Door::Signal).set(1);
    metrics.outbox_sent(Door::Signal, 0);
    metrics.outbox_dead(Door::Signal, "unreachable");
    metrics.outbox_uncertain(Door::Signal, 1);
    metrics.signal_reconnect("idle");
    metrics.signal_event("data");
    metrics.telegram_update("message");
    metrics.telegram_backoff();
    metrics.telegram_pending().set(1);
    metrics.scraped("channel", "ok");
    metrics.news_stage("fetch", Duration::from_millis(3));
    metrics.summary_cache(true);
    metrics.cache("fast", "hit");
    metrics.ai_cost("openai", "fast", 120);
    metrics.budget_remaining("team").set(500_000);
    metrics
}

// req: S0-16
// req: S0-05
#[test]
fn the_five_required_names_are_exported_exactly_and_move() {
    let text = moved().render();
    for line in [
        "news_requests_total{outcome=\"ok\"} 1",
        "rate_limit_breaches{scope=\"tier\",tier=\"premium\",action=\"chat\"} 1",
        "ai_failures{provider=\"openai\",code=\"500\",latency_bucket=\"5_15s\"} 1",
        "request_duration_bucket{door=\"http\",action=\"chat\",outcome=\"ok\",le=\"0.0025\"} 0",
        "request_duration_bucket{door=\"http\",action=\"chat\",outcome=\"ok\",le=\"0.005\"} 1",
        "request_duration_sum{door=\"http\",action=\"chat\",outcome=\"ok\"} 0.003",
        "request_duration_count{door=\"http\",action=\"chat\",outcome=\"ok\"} 1",
        "queue_depth{queue=\"openai\"} 4",
        "gen_ai_client_operation_duration_seconds_bucket{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.gemini\",error_type=\"\",le=\"0.04\"} 1",
        "gen_ai_client_operation_time_to_first_chunk_seconds_bucket{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.gemini\",le=\"0.32\"} 1",
        "gen_ai_client_operation_time_per_output_chunk_seconds_bucket{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.gemini\",le=\"0.02\"} 1",
        "gen_ai_client_token_usage_bucket{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.gemini\",gen_ai_token_type=\"output\",le=\"16\"} 0",
        "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.gemini\",gen_ai_token_type=\"output\"} 30",
        "# TYPE rate_limit_breaches untyped",
        "# TYPE ai_failures untyped",
        "# TYPE request_duration histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

// req: S0-16
#[test]
fn every_metric_is_named_in_the_first_scrape_of_a_fresh_process() {
    let text = Metrics::new().render();
    for row in catalogue() {
        let known = row.name.starts_with("process_") && !cfg!(target_os = "linux");
        assert!(known || text.contains(&format!("# TYPE {} {}\n", row.name, row.kind)), "{}", row.name);
    }
}

// req: S0-17
// req: S2-3.5
#[test]
fn every_metric_of_the_table_moves() {
    let text = moved().render();
    for row in catalogue() {
        let samples: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter(|line| {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                name == row.name || (row.kind == "histogram" && name == format!("{}_count", row.name))
            })
            .collect();
        let process = row.name.starts_with("process_") && !cfg!(target_os = "linux");
        let moves = samples.iter().any(|line| !line.ends_with(" 0"));
        assert!(process || row.name == "process_cpu_seconds_total" || moves, "{} never moves", row.name);
    }
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new();
    metrics.queue_depth("a\"b\\c\nd").set(1);
    assert!(metrics.render().contains(r#"queue_depth{queue="a\"b\\c\nd"} 1"#));
}

#[test]
fn every_metric_has_help_that_ends_like_a_sentence() {
    for row in catalogue() {
        assert!(row.help.ends_with('.') && row.help.len() > 10, "{}: {}", row.name, row.help);
    }
}

#[test]
fn every_failure_has_its_own_place_among_the_outcomes() {
    let incident = portcullis_domain::Incident::from_parts(1, 1);
    let wait = Duration::from_secs(1);
    let all = [
        Failure::invalid("a", "b"),
        Failure::Unauthenticated(AuthProblem::Missing),
        Failure::Forbidden("".into()),
        Failure::NotFound("".into()),
        Failure::Conflict("".into()),
        Failure::RateLimited { scope: LimitScope::User, retry_after: wait },
        Failure::Blocked { incident },
        Failure::Overloaded { retry_after: wait },
        Failure::Unavailable { retry_after: wait, rate_limited: false },
        Failure::DeadlineExceeded,
        Failure::UpstreamInterrupted,
        Failure::Internal { incident },
    ];
    assert_eq!(all.each_ref().map(Failure::kind), OUTCOMES[2..]);
}

#[test]
fn an_outcome_nobody_listed_is_counted_all_the_same() {
    let metrics = Metrics::new();
    metrics.request_done(Door::Admin, Action::Admin, "new_kind", Duration::ZERO);
    let line = "request_duration_count{door=\"admin\",action=\"admin\",outcome=\"new_kind\"} 1";
    assert!(metrics.render().contains(line));
}

// req: S0-16
#[test]
fn promtool_finds_nothing_to_criticise() {
    let Ok(mut tool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        portcullis_testkit::skip("promtool", "is not installed");
        return;
    };
    tool.stdin.take().unwrap().write_all(moved().render().as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(said.status.success() && words.trim().is_empty(), "{words}");
}
