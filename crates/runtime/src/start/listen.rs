//! Sockets. Invariant: none is opened that strangers could reach without a key.

use super::StartError;
use crate::Settings;
use portcullis_engine::identity::Identity;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Binds a listener, unless strangers could reach it without a key.
pub(super) async fn listen(
    key: &'static str,
    text: &str,
    settings: &Settings,
    identity: &Identity,
) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Listen { address: text.to_owned(), key, error };
    let listener = TcpListener::bind(text).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let open = !identity.is_closed() && !settings.http.anonymous;
    if open && !address.ip().to_canonical().is_loopback() {
        return Err(StartError::Open { address, key });
    }
    Ok(listener)
}

pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen {
        address: "the socket".to_owned(),
        key: "listen",
        error,
    })
}
