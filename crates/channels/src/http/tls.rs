//! TLS of the listeners: PEM files, read again when they change. Invariant: a pair that cannot be used never
//! replaces a good one; the old certificate stays until the files are right again.

use super::TlsConfig;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{path::Path, sync::Arc, time::Duration, time::SystemTime};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Why a certificate or key cannot be used. Names the file's role, not its path.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain.
    #[error("the TLS certificate cannot be read: {0}")]
    Certificate(String),
    /// The private key.
    #[error("the TLS private key cannot be read: {0}")]
    Key(String),
    /// The two together.
    #[error("the TLS certificate and key do not work together: {0}")]
    Pair(String),
}

/// How often, at most, the files' times are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Gives the acceptor for a new connection.
pub(super) type Acceptors = Arc<dyn Fn() -> TlsAcceptor + Send + Sync>;

struct Current {
    acceptor: TlsAcceptor,
    stamp: Option<(SystemTime, SystemTime)>,
    looked: Instant,
}

/// An acceptor that follows the files.
pub(super) fn reloading(config: &TlsConfig) -> Result<Acceptors, TlsError> {
    let config = config.clone();
    let first = Current { acceptor: load(&config)?, stamp: stamp(&config), looked: Instant::now() };
    let current = Mutex::new(first);
    Ok(Arc::new(move || {
        let mut current = current.lock();
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let stamp = stamp(&config);
            if stamp != current.stamp {
                match load(&config) {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        current.stamp = stamp;
                        tracing::info!("TLS certificate reloaded");
                    }
                    Err(error) => {
                        tracing::error!(%error, "new TLS files not used; the old certificate stays")
                    }
                }
            }
        }
        current.acceptor.clone()
    }))
}

fn stamp(config: &TlsConfig) -> Option<(SystemTime, SystemTime)> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    Some((modified(&config.cert)?, modified(&config.key)?))
}

fn load(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_file_iter(&config.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::Certificate(kind(&error)))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| TlsError::Key(kind(&error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| TlsError::Pair(error.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// What is wrong with a PEM file, without its path or content.
fn kind(error: &rustls::pki_types::pem::Error) -> String {
    if let rustls::pki_types::pem::Error::Io(error) = error {
        error.kind().to_string()
    } else {
        error.to_string()
    }
}
