//! Settings of the HTTP listeners and of the gateway, with every bound named.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};

/// `[http]`: the main listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address of the main listener: `/v1/*`, `/health/*`, `/metrics`, `/openapi.json`. Off loopback it needs a key,
    /// a JWT issuer or the secret `admin_key`. Default `127.0.0.1:8700`.
    pub listen: String,
    /// TLS for the main listener. Default: none, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Cross-origin access for browsers. Default: none.
    pub cors: CorsConfig,
    /// Whether callers without a credential are let in, at tier anonymous. Default false.
    pub anonymous: bool,
    /// Longest time from the start of a request to the end of its headers, in seconds. Slower clients get 408 or are
    /// cut. Default 10.
    pub header_timeout_secs: u64,
    /// Longest time a request body may take to come in, in seconds. Slower clients get 408. Default 30.
    pub body_timeout_secs: u64,
    /// Longest time a client may take nothing of its answer, in seconds, before it is cut. Default 30.
    pub write_timeout_secs: u64,
    /// Most bytes that are read and thrown away after a request was refused before its body had come, so that a client
    /// that is still sending hears why. Default 67108864.
    pub linger_bytes: usize,
    /// Longest time that is done, in seconds. Default 5.
    pub linger_secs: u64,
    /// Most bytes of the request line and headers together. Default 32768.
    pub max_header_bytes: usize,
    /// Most header lines of a request. Default 100.
    pub max_headers: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8700".into(),
            tls: None,
            cors: CorsConfig::default(),
            anonymous: false,
            header_timeout_secs: 10,
            body_timeout_secs: 30,
            write_timeout_secs: 30,
            linger_bytes: 67_108_864,
            linger_secs: 5,
            max_header_bytes: 32_768,
            max_headers: 100,
        }
    }
}

/// `[http.tls]`, `[admin.tls]`: certificate and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain; read again when it changes.
    pub cert: PathBuf,
    /// PEM file with the private key; read again when it changes.
    pub key: PathBuf,
}

/// `[http.cors]`: which web pages may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Exact origins, such as `https://app.example.org`. Default: none.
    pub origins: Vec<String>,
}

/// `[admin]`: the admin listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address of the admin listener (`/admin/v1/*`). Default `127.0.0.1:8090`.
    pub listen: String,
    /// TLS for the admin listener. Default: none, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Changes that one caller may make through the admin API in any 60 seconds. Default 60.
    pub changes_per_min: u32,
    /// Reloads and validations of the settings likewise. Default 10.
    pub config_per_min: u32,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8090".into(), tls: None, changes_per_min: 60, config_per_min: 10 }
    }
}

/// `[gateway]`: bounds of one AI request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Largest request body in bytes, counted after inflating. Larger ones get 413. Default 33554432.
    pub max_body_bytes: usize,
    /// Largest form of files to `POST /v1/ingest`, in bytes. Larger ones get 413. Default 54525952 (52 MiB: a file of 50 and
    /// its form).
    pub max_upload_bytes: usize,
    /// Longest time from a chat request to its whole answer, or to the first chunk of a streamed one, in seconds.
    /// Default 120.
    pub timeout_secs: u64,
    /// The same for embeddings, in seconds. Default 60.
    pub embed_timeout_secs: u64,
    /// Tokens that an answer is taken to have at most where the request does not say: reserved in the caller's budgets,
    /// and sent to the provider where a budget of `[budgets]` or of the key refuses beyond it. Default 4096.
    pub default_max_tokens: u32,
    /// Silence in a stream after which a comment keeps proxies from closing it, in seconds. Default 15.
    pub comment_secs: u64,
    /// Whether every caller is told which target answered (`x-portcullis-target`); those with scope `debug` always
    /// are. Default false.
    pub expose_target: bool,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 33_554_432,
            max_upload_bytes: 52 << 20,
            timeout_secs: 120,
            embed_timeout_secs: 60,
            default_max_tokens: 4096,
            comment_secs: 15,
            expose_target: false,
        }
    }
}

/// `[metrics]`: who may read `/metrics`. Anybody else is told 404.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Addresses that need no token. Default: loopback.
    pub allow: Vec<IpAddr>,
    /// Name of the secret whose value, as bearer token, opens `/metrics`. Default `metrics_token`.
    pub token_secret: String,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            allow: vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            token_secret: "metrics_token".into(),
        }
    }
}

fn at_least_one(prefix: &str, rows: &[(&str, u64)], out: &mut Vec<Problem>) {
    for (key, value) in rows {
        if *value == 0 {
            out.push(Problem::new(
                format!("{prefix}.{key}"),
                "must be at least 1",
                "leave the key out for its default",
            ));
        }
    }
}

fn address(key: String, text: &str, out: &mut Vec<Problem>) {
    if text.parse::<std::net::SocketAddr>().is_err() {
        out.push(Problem::new(
            key,
            "is not an address with a port",
            "write it as 127.0.0.1:8700 or [::1]:8700",
        ));
    }
}

impl HttpConfig {
    /// Range checks; `prefix` is the section's name.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        address(format!("{prefix}.listen"), &self.listen, out);
        let rows = [
            ("header_timeout_secs", self.header_timeout_secs),
            ("body_timeout_secs", self.body_timeout_secs),
            ("write_timeout_secs", self.write_timeout_secs),
            ("linger_secs", self.linger_secs),
            ("max_headers", self.max_headers as u64),
        ];
        at_least_one(prefix, &rows, out);
        if !(8192..=1_048_576).contains(&self.max_header_bytes) {
            out.push(Problem::new(
                format!("{prefix}.max_header_bytes"),
                "must be from 8192 to 1048576",
                "leave the key out for 32768",
            ));
        }
        for (index, origin) in self.cors.origins.iter().enumerate() {
            if origin == "*" || !origin.contains("://") || origin.ends_with('/') {
                out.push(Problem::new(
                    format!("{prefix}.cors.origins[{index}]"),
                    "is not an exact origin",
                    "write scheme, host and port only, such as https://app.example.org",
                ));
            }
        }
    }
}

impl AdminConfig {
    /// Range checks; `prefix` is the section's name.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        address(format!("{prefix}.listen"), &self.listen, out);
        let rows = [
            ("changes_per_min", u64::from(self.changes_per_min)),
            ("config_per_min", u64::from(self.config_per_min)),
        ];
        at_least_one(prefix, &rows, out);
    }
}

impl GatewayConfig {
    /// Range checks; `prefix` is the section's name.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let rows = [
            ("max_body_bytes", self.max_body_bytes as u64),
            ("max_upload_bytes", self.max_upload_bytes as u64),
            ("timeout_secs", self.timeout_secs),
            ("embed_timeout_secs", self.embed_timeout_secs),
            ("default_max_tokens", u64::from(self.default_max_tokens)),
            ("comment_secs", self.comment_secs),
        ];
        at_least_one(prefix, &rows, out);
    }
}
