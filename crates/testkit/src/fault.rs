//! A TCP proxy that stands between a client and a real server and breaks the network on demand. Invariant: bytes it
//! passes are passed in order and unchanged; a change of fault takes effect on open connections as well as new ones.

use parking_lot::Mutex;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    Pass,
    /// Nobody listens: open connections break, new ones are refused.
    Refuse,
    /// Open connections break with RST, new ones are accepted and reset.
    Reset,
    /// Accepts, takes nothing in and gives nothing out, until the fault changes; then everything goes on.
    Hang,
    /// Passes each piece after this wait, in both directions.
    Latency(Duration),
    /// Passes at this rate, in both directions.
    Trickle {
        /// At least 1.
        bytes_per_sec: u64,
    },
    /// Closes a connection in both directions once so many bytes of it have gone to the client.
    CutAfter {
        /// Counted from the connection's first byte.
        bytes: u64,
    },
}

/// The running proxy; it closes everything on `Drop`.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    link: Arc<Link>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Link {
    target: Mutex<SocketAddr>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Proxy {
    /// A proxy in front of `target`, passing everything.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (fault, seen) = watch::channel(Fault::Pass);
        let link = Arc::new(Link {
            target: Mutex::new(target),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, seen, Arc::clone(&link), stop.clone(), tasks.clone()));
        Self { address, fault, link, stop }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the fault, for open connections too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Sends connections from now on to another server.
    pub fn retarget(&self, target: SocketAddr) {
        *self.link.target.lock() = target;
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.link.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.link.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    mut fault: watch::Receiver<Fault>,
    link: Arc<Link>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut listener = Some(listener);
    loop {
        if *fault.borrow_and_update() == Fault::Refuse {
            listener = None;
        } else if listener.is_none() {
            // The port was ours a moment ago; a neighbour on loopback may hold it for an instant.
            listener = TcpListener::bind(address).await.ok();
        }
        let Some(open) = &listener else {
            tokio::select! {
                _changed = fault.changed() => continue,
                () = sleep(Duration::from_millis(10)) => continue,
                () = stop.cancelled() => return,
            }
        };
        let accepted = tokio::select! {
            accepted = open.accept() => accepted,
            changed = fault.changed() => if changed.is_ok() { continue } else { return },
            () = stop.cancelled() => return,
        };
        let Ok((client, _peer)) = accepted else { continue };
        link.accepted.fetch_add(1, Ordering::SeqCst);
        let (fault, link, stop) = (fault.clone(), Arc::clone(&link), stop.clone());
        tasks.spawn(async move {
            link.open.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                () = connection(client, fault, &link) => {}
                () = stop.cancelled() => {}
            }
            link.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Waits until `holds` of the fault.
async fn until(fault: &mut watch::Receiver<Fault>, holds: impl Fn(Fault) -> bool) {
    if fault.wait_for(|now| holds(*now)).await.is_err() {
        // The proxy is being dropped; its own signal ends this connection.
        std::future::pending::<()>().await;
    }
}

async fn connection(mut client: TcpStream, mut fault: watch::Receiver<Fault>, link: &Link) {
    let mut gone = fault.clone();
    let target = *link.target.lock();
    let pumping = async {
        until(&mut fault, |now| now != Fault::Hang).await;
        if let Ok(mut server) = TcpStream::connect(target).await {
            drop(server.set_nodelay(true));
            drop(client.set_nodelay(true));
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let up = pump(from_client, to_server, fault.clone(), false);
            let down = pump(from_server, to_client, fault.clone(), true);
            drop(tokio::try_join!(up, down));
        }
    };
    let broken = tokio::select! {
        biased;
        () = until(&mut gone, |now| matches!(now, Fault::Reset | Fault::Refuse)) => true,
        () = pumping => false,
    };
    if broken {
        // A zero linger closes with RST instead of FIN.
        drop(client.set_zero_linger());
    }
}

/// One direction; ends in an error when the connection must break rather than close.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    down: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0_u64;
    loop {
        until(&mut fault, |now| now != Fault::Hang).await;
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            // What was read while the line hung is held, not lost.
            until(&mut fault, |now| now != Fault::Hang).await;
            let now = *fault.borrow();
            let (piece, wait) = step(now, rest.len(), passed, down);
            sleep(wait).await;
            let (head, tail) = rest.split_at(piece);
            to.write_all(head).await?;
            passed += piece as u64;
            rest = tail;
            if let Fault::CutAfter { bytes } = now
                && down
                && passed >= bytes
            {
                drop(to.shutdown().await);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }
}

/// How many of `waiting` bytes may pass after which wait.
fn step(fault: Fault, waiting: usize, passed: u64, down: bool) -> (usize, Duration) {
    let at_most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(waiting);
    match fault {
        Fault::Latency(wait) => (waiting, wait),
        Fault::Trickle { bytes_per_sec } => {
            // Twenty steps a second where the rate allows, single bytes where it does not.
            let rate = bytes_per_sec.max(1);
            let piece = at_most((rate / 20).max(1));
            (piece, Duration::from_secs_f64(piece as f64 / rate as f64))
        }
        Fault::CutAfter { bytes } if down => (at_most(bytes.saturating_sub(passed)), Duration::ZERO),
        Fault::Pass | Fault::Refuse | Fault::Reset | Fault::Hang | Fault::CutAfter { .. } => {
            (waiting, Duration::ZERO)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A server that sends back what it gets.
    async fn echo(tasks: &TaskTracker) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = tasks.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _peer)) = listener.accept().await {
                inner.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        timeout(SOON, stream.read_exact(&mut answer)).await??;
        Ok(answer)
    }

    #[tokio::test]
    async fn it_passes_bytes_unchanged_and_counts_connections() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let long: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let (mut from, mut to) = stream.split();
        let mut answer = vec![0; long.len()];
        let (wrote, read) = tokio::join!(to.write_all(&long), from.read_exact(&mut answer));
        assert!(wrote.is_ok() && read.is_ok() && answer == long);
        assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    }

    #[tokio::test]
    async fn refuse_breaks_open_connections_and_refuses_new_ones_until_it_passes_again() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"hello").await.unwrap();
        proxy.set(Fault::Refuse);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        proxy.set(Fault::Pass);
        let mut again = loop {
            match TcpStream::connect(proxy.address()).await {
                Ok(stream) => break stream,
                Err(_not_yet) => sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(say(&mut again, b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn reset_resets_open_and_new_connections() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"hello").await.unwrap();
        proxy.set(Fault::Reset);
        for stream in [&mut stream, &mut TcpStream::connect(proxy.address()).await.unwrap()] {
            let problem = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
            assert_eq!(problem.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_hanging_line_loses_nothing_when_it_goes_on() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"hello").await.unwrap();
        proxy.set(Fault::Hang);
        stream.write_all(b"are you there").await.unwrap();
        let mut answer = [0; 13];
        assert!(timeout(A_WHILE, stream.read_exact(&mut answer)).await.is_err());
        proxy.set(Fault::Pass);
        timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"are you there");
    }

    #[tokio::test]
    async fn a_cut_lets_exactly_its_bytes_through() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        proxy.set(Fault::CutAfter { bytes: 7 });
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"hello world").await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().ok();
        assert_eq!(answer, b"hello w");
    }

    #[tokio::test(start_paused = true)]
    async fn latency_and_bandwidth_take_their_time() {
        let tasks = TaskTracker::new();
        let proxy = Proxy::start(echo(&tasks).await).await;
        proxy.set(Fault::Latency(Duration::from_secs(3)));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let begun = tokio::time::Instant::now();
        let mut answer = [0; 5];
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
        proxy.set(Fault::Trickle { bytes_per_sec: 1 });
        let begun = tokio::time::Instant::now();
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
    }
}
