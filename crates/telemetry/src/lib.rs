//! What Portcullis tells about itself: metrics, logs, the audit trail, alerts, health. Invariant: telling never
//! blocks the telling part and never fails it; what is told holds no secret and no clear caller id.

pub mod alerts;
pub mod anomaly;
pub mod audit;
mod batch;
mod health;
mod logs;
mod metrics;
mod traces;

pub use alerts::{
    Alert, AlertReceiver, Alerts, AlertsConfig, Category as AlertCategory, Destination, Failing, Post,
    Status as AlertStatus, deliver as deliver_alerts, prometheus_rules,
};
pub use anomaly::{Anomalies, AnomalyConfig};
pub use audit::{Audit, AuditAnchor, AuditConfig, AuditError, AuditEvent, AuditParts, Redact, WhenFull};
pub use health::{Component, ComponentStatus, Health, HealthState};
pub use logs::{LogConfig, LogFormat, LogGuard, init_logs};
pub use metrics::{
    Gauge, GenAi, Histogram, MetricRow, Metrics, catalogue as metric_catalogue, latency_bucket,
};
pub use traces::{
    About, OtlpConfig, Resource, Ship, Shipped, Span, SpanKind, TelemetryConfig, Traces, TracesConfig,
    Waiting, export_metrics, export_traces,
};
