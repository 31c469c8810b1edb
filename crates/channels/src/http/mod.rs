//! The HTTP doors: the main listener (gateway, health, metrics, OpenAPI) and the admin listener. This module wires;
//! `accept` owns sockets, `routes` all paths, `governed` the one way every `/v1` request takes, `answer` all words.
//!
//! Invariant: no handler sees a body before identity and limits said yes, and no failure leaves except through
//! `answer::failure`.

mod accept;
mod admin;
mod answer;
mod anthropic;
mod body;
mod config;
pub mod control;
mod decode;
mod form;
mod gemini;
mod governed;
mod hooks;
mod json;
mod library;
mod linger;
mod news;
mod openai;
mod openapi;
mod operations;
mod rest;
mod routes;
mod stall;
mod stream;
mod threads;
mod tls;
mod trace;

pub use config::{AdminConfig, CorsConfig, GatewayConfig, HttpConfig, MetricsConfig, TlsConfig};
pub use decode::DecodeLimits;
pub use hooks::Hooks;
pub use openapi::document as openapi_document;
pub use threads::ServingThreads;
pub use tls::TlsError;

use accept::{AcceptLimits, Acceptor};
use arc_swap::ArcSwap;
use axum::body::Body;
use http::{HeaderValue, Response};
use linger::LingerLimits;
use portcullis_domain::{Failure, LimitView, RequestId};
use portcullis_engine::{Engine, keys::Keys, messages::ChatDoors, safety::SafetyDesk};
use portcullis_resilience::{Registry, connections::Connections};
use portcullis_telemetry::{Health, Metrics};
use routes::Answerer;
use secrecy::SecretString;
use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// A turn of a conversation in OpenAI's format, for doors beside HTTP.
pub(crate) fn chat_request(body: bytes::Bytes) -> Result<portcullis_domain::ChatRequest, Failure> {
    openai::decode::chat(body, &DecodeLimits::default())
}

/// Address of the other end, put into each request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What the doors are built from.
pub struct Parts {
    /// The way in.
    pub engine: Engine,
    /// API keys, for the admin API.
    pub keys: Keys,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What is healthy.
    pub health: Health,
    /// Sockets of the main listener.
    pub connections: Connections,
    /// Tasks that the shutdown waits for.
    pub tasks: TaskTracker,
    /// Who serves the connections of the main listener; without any, the runtime that accepts them.
    pub threads: Option<Arc<ServingThreads>>,
    /// Fires when the drain time is over and streams must end.
    pub cut: CancellationToken,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[gateway]`.
    pub gateway: GatewayConfig,
    /// `[metrics]`.
    pub metrics_access: MetricsConfig,
    /// Value of the secret that opens `/metrics`.
    pub metrics_token: Option<SecretString>,
    /// The settings in force and the end of the process, for the admin API.
    pub control: control::Control,
    /// Every guarded dependency, for the admin API.
    pub registry: Registry,
    /// Overrides of safety settings, for the admin API.
    pub safety: SafetyDesk,
    /// Chat doors, for what an operator sends.
    pub chats: ChatDoors,
}

/// What handlers work with. One value lives from one reload to the next; a request takes it once and keeps it.
#[derive(Clone)]
pub(crate) struct Door {
    engine: Engine,
    keys: Keys,
    metrics: Metrics,
    health: Health,
    cut: CancellationToken,
    gateway: GatewayConfig,
    decode: DecodeLimits,
    body_timeout: Duration,
    metrics_allow: Vec<IpAddr>,
    metrics_token: Option<SecretString>,
    /// Written when first asked for: most servers never are.
    openapi: Arc<OnceLock<bytes::Bytes>>,
    control: control::Control,
    registry: Registry,
    admin: AdminConfig,
    /// Changes through the admin API take turns.
    changes: Arc<tokio::sync::Mutex<()>>,
    safety: SafetyDesk,
    hooks: Hooks,
    chats: ChatDoors,
}

impl Door {
    /// The wall clock, for headers and error bodies.
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    /// The answer for a failure, in that wire.
    fn refuse(
        &self,
        schema: answer::Schema,
        failure: &Failure,
        id: &RequestId,
        views: &[LimitView],
    ) -> Response<Body> {
        answer::failure(&self.metrics, schema, failure, id, views, self.now())
    }
}

/// What of the doors changes with the settings while they are open.
pub struct Live {
    /// The way in.
    pub engine: Engine,
    /// `[gateway]`.
    pub gateway: GatewayConfig,
    /// `http.body_timeout_secs`.
    pub body_timeout_secs: u64,
    /// `[metrics]`.
    pub metrics_access: MetricsConfig,
    /// Value of the secret that opens `/metrics`.
    pub metrics_token: Option<SecretString>,
}

/// The one pointer that a reload moves: a request sees what stood when it came, to its end. Cheap to clone.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Door>>);

impl Current {
    /// From now on new requests see this; running ones end on what they began with.
    pub fn swap(&self, live: Live) {
        let before = self.0.load_full();
        let door = Door {
            engine: live.engine,
            gateway: live.gateway,
            body_timeout: Duration::from_secs(live.body_timeout_secs),
            metrics_allow: live.metrics_access.allow,
            metrics_token: live.metrics_token,
            ..Door::clone(&before)
        };
        self.0.store(Arc::new(door));
    }
}

impl Current {
    /// What stands now.
    fn now(&self) -> Arc<Door> {
        self.0.load_full()
    }
}

impl axum::extract::FromRef<Current> for Arc<Door> {
    fn from_ref(current: &Current) -> Self {
        current.now()
    }
}

/// The two listeners, ready to run.
pub struct Doors {
    door: Current,
    http: HttpConfig,
    admin: AdminConfig,
    connections: Connections,
    tasks: TaskTracker,
    threads: Option<Arc<ServingThreads>>,
}

impl Doors {
    /// Builds the routes once.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let door = Current(Arc::new(ArcSwap::from_pointee(Door {
            engine: parts.engine,
            keys: parts.keys,
            metrics: parts.metrics,
            health: parts.health,
            cut: parts.cut,
            gateway: parts.gateway,
            decode: DecodeLimits::default(),
            body_timeout: Duration::from_secs(parts.http.body_timeout_secs),
            metrics_allow: parts.metrics_access.allow,
            metrics_token: parts.metrics_token,
            openapi: Arc::default(),
            control: parts.control,
            registry: parts.registry,
            admin: parts.admin.clone(),
            changes: Arc::default(),
            safety: parts.safety,
            hooks: Hooks::default(),
            chats: parts.chats,
        })));
        Self {
            door,
            http: parts.http,
            admin: parts.admin,
            connections: parts.connections,
            tasks: parts.tasks,
            threads: parts.threads,
        }
    }

    /// The pointer through which a reload reaches both listeners.
    #[must_use]
    pub fn current(&self) -> Current {
        self.door.clone()
    }

    /// Finds the way in of now, for doors beside HTTP: a reload replaces it.
    #[must_use]
    pub fn find_engine(&self) -> Arc<dyn Fn() -> Engine + Send + Sync> {
        let current = self.door.clone();
        Arc::new(move || current.0.load().engine.clone())
    }

    /// Where doors beside HTTP say that something is brought to them.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        self.door.now().hooks.clone()
    }

    /// Serves the main listener until `stop`, then until its running requests have ended.
    ///
    /// # Errors
    /// Certificate or key that cannot be used.
    pub fn serve_main(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + use<>, TlsError> {
        let (mut router, mut direct) = (routes::main(self.door.clone()), Some(self.door.clone()));
        if !self.http.cors.origins.is_empty() {
            router = router.layer(cors(&self.http.cors.origins));
            direct = None;
        }
        let threads = self.threads.clone();
        self.serve(listener, Answerer { router, direct }, (self.http.tls.as_ref(), threads), stop)
    }

    /// Serves the admin listener likewise.
    ///
    /// # Errors
    /// Certificate or key that cannot be used.
    pub fn serve_admin(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + use<>, TlsError> {
        let answerer = Answerer { router: admin::routes(self.door.clone()), direct: None };
        self.serve(listener, answerer, (self.admin.tls.as_ref(), None), stop)
    }

    fn serve(
        &self,
        listener: TcpListener,
        answerer: Answerer,
        (tls, threads): (Option<&TlsConfig>, Option<Arc<ServingThreads>>),
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + use<>, TlsError> {
        let acceptor = Acceptor {
            listener,
            tls: tls.map(tls::reloading).transpose()?,
            answerer,
            connections: self.connections.clone(),
            limits: AcceptLimits {
                header_timeout: Duration::from_secs(self.http.header_timeout_secs),
                write_timeout: Duration::from_secs(self.http.write_timeout_secs),
                header_bytes: self.http.max_header_bytes,
                headers: self.http.max_headers,
                linger: LingerLimits {
                    bytes: self.http.linger_bytes,
                    time: Duration::from_secs(self.http.linger_secs),
                },
            },
            tasks: self.tasks.clone(),
            threads,
        };
        Ok(acceptor.run(stop))
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let exact = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(exact))
        .allow_methods(Any)
        .allow_headers(Any)
        // What a page gives back to confirm a message; it must be able to read it.
        .expose_headers([http::HeaderName::from_static(answer::CONFIRM)])
}
