//! Metrics, logs, audit trail, alerts and health of Portcullis.
