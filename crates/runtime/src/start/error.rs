//! Why a start fails, in words that say how to mend it.

use crate::secrets::OwnKeyError;
use portcullis_channels::http::TlsError;
use portcullis_engine::keys::KeysError;
use portcullis_inspect::model::ModelProblem;
use portcullis_providers::ProvidersError;
use portcullis_resilience::shared::SharedError;
use portcullis_store::{StoreError, files};
use portcullis_telemetry::AuditError;
use std::{io, net::SocketAddr};

/// Why it could not start. Every message says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict what was found.
    #[error("{0}")]
    Settings(String),
    /// Logs.
    #[error(
        "the log file cannot be opened: {0}. Mend: choose another `log.file`, or none for standard error"
    )]
    Logs(io::Error),
    /// Threads.
    #[error(
        "no threads can be started to serve requests: {0}. Mend: raise the limit of threads, or lower `server.worker_threads`"
    )]
    Threads(io::Error),
    /// A key of our own.
    #[error(transparent)]
    OwnKey(#[from] OwnKeyError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A folder.
    #[error(transparent)]
    Folder(#[from] files::FileError),
    /// Redis.
    #[error("{0}. Mend: correct the secret that `redis.url_secret` names")]
    Redis(#[from] SharedError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The weights of the detector.
    #[error("{0}. Mend: install the binary again")]
    Model(#[from] ModelProblem),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A provider.
    #[error("{0}. Mend: correct its section, or set `enabled = false`")]
    Provider(#[from] ProvidersError),
    /// A certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// An address.
    #[error(
        "cannot listen on {address} (`{key}`): {error}. Mend: stop what listens there, or choose another address"
    )]
    Listen {
        /// Which.
        address: String,
        /// The setting.
        key: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// Nobody would be asked for a key.
    #[error(
        "{address} (`{key}`) can be reached from other machines, but nobody would need a key. Mend: make a key first \
         (start on loopback, `portcullis keys create --name ops`), or give the secret `admin_key`, or configure \
         `[[auth.jwt.keys]]`, or listen on 127.0.0.1"
    )]
    Open {
        /// Which.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
    },
}
