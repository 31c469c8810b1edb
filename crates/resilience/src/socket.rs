//! Plain sockets to a helper that the operator put beside us (signal-cli): a line of bytes each way, no TLS, no pool.
//! Invariant: connects only where the settings say, within the time given; what is said over it is its user's matter.

use std::{io, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Where a helper listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Host and port.
    Tcp(String),
    /// Path of a socket.
    Unix(PathBuf),
}

/// The half that brings bytes.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The half that takes bytes.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Connects, within `patience`.
///
/// # Errors
/// As the system says; `TimedOut` when the time is over.
pub async fn connect(place: &Place, patience: Duration) -> io::Result<(ReadHalf, WriteHalf)> {
    let connecting = async {
        Ok(match place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                (Box::new(read) as ReadHalf, Box::new(write) as WriteHalf)
            }
            Place::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                (Box::new(read) as ReadHalf, Box::new(write) as WriteHalf)
            }
        })
    };
    timeout(patience, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_place_without_a_listener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Unix(folder.path().join("socket"));
        assert!(connect(&place, Duration::from_secs(5)).await.is_err());
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (mut read, mut write) = connect(&place, Duration::from_secs(5)).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        write.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        peer.read_exact(&mut heard).await.unwrap();
        peer.write_all(b"pong").await.unwrap();
        read.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
    }
}
