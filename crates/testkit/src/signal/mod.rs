//! A strict double of the signal-cli daemon on loopback: HTTP, TCP and a UNIX socket at once. It refuses what the real
//! 0.13.19 refuses, in its words where those are stable, and has every fault that the real one has. Invariant: it
//! shares no code with the product; what it hands to a listener is either written whole or waits for the next one,
//! except where a test asks for a loss.
//!
//! Source: answers of the real daemon to the same probes; signal-cli's `man/signal-cli-jsonrpc.5`.

pub mod envelope;
mod http;
mod rpc;
mod send;
mod socket;
mod state;
#[cfg(test)]
mod tests;

pub use rpc::{Fault, Rule};
pub use send::{Outcome, Sent};
pub use state::Call;

use parking_lot::Mutex;
use serde_json::Value;
use state::{Frame, Shared};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// When the daemon fetches messages from Signal's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Always: what nobody listens to is lost.
    OnStart,
    /// While somebody listens.
    OnConnection,
    /// On sockets, while somebody has subscribed.
    Manual,
}

/// Somebody on Signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Account id.
    pub uuid: String,
    /// Number, unless hidden.
    pub number: Option<String>,
    /// Profile name.
    pub name: String,
}

/// How the double is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of HTTP on loopback; 0: any.
    pub port: u16,
    /// The linked accounts.
    pub accounts: Vec<Person>,
    /// When it fetches.
    pub receive_mode: ReceiveMode,
    /// Whether the stream's headers are sent at once (newer daemons) or with the first event or keep-alive (0.13).
    pub flush_headers: bool,
    /// Whether a foreign `Host` is answered with 421, as newer daemons do.
    pub host_check: bool,
    /// Pause between keep-alives.
    pub keep_alive: Duration,
    /// What it calls itself.
    pub version: &'static str,
}

/// The account that doubles have unless told otherwise.
pub const ACCOUNT: &str = "+15550001111";
/// Its id.
pub const ACCOUNT_UUID: &str = "00000000-0000-4000-8000-000000000001";

impl Default for Options {
    fn default() -> Self {
        let own =
            Person { uuid: ACCOUNT_UUID.into(), number: Some(ACCOUNT.into()), name: "Portcullis".into() };
        Self {
            port: 0,
            accounts: vec![own],
            receive_mode: ReceiveMode::OnConnection,
            flush_headers: true,
            host_check: false,
            keep_alive: Duration::from_secs(15),
            version: "0.13.19",
        }
    }
}

/// The running double; it stops and breaks its connections on `Drop`.
#[derive(Debug)]
pub struct Signal {
    shared: Arc<Shared>,
    run: Mutex<Run>,
    tasks: TaskTracker,
    http: SocketAddr,
    tcp: SocketAddr,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

/// One life of the daemon.
#[derive(Clone, Debug)]
struct Run {
    /// No new connections; streams end after what is under way.
    leave: CancellationToken,
    /// Connections break.
    die: CancellationToken,
}

impl Run {
    fn new() -> Self {
        Self { leave: CancellationToken::new(), die: CancellationToken::new() }
    }
}

impl Signal {
    /// A double with the usual account.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A double set up so.
    ///
    /// # Panics
    /// When the port is taken, or loopback has no free one.
    pub async fn with(options: Options) -> Self {
        let wanted = (Ipv4Addr::LOCALHOST, options.port);
        let http = TcpListener::bind(wanted).await.expect("loopback has the port");
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("socket");
        let double = Self {
            shared: Arc::new(Shared::new(options)),
            run: Mutex::new(Run::new()),
            tasks: TaskTracker::new(),
            http: http.local_addr().expect("a bound socket has an address"),
            tcp: tcp.local_addr().expect("a bound socket has an address"),
            socket,
            _folder: folder,
        };
        double.listen(http, tcp);
        double
    }

    fn listen(&self, http: TcpListener, tcp: TcpListener) {
        drop(std::fs::remove_file(&self.socket));
        let unix = UnixListener::bind(&self.socket).expect("a socket in a folder of our own");
        let (run, shared, tasks) = (self.run.lock().clone(), &self.shared, &self.tasks);
        tasks.spawn(http::accept(http, Arc::clone(shared), run.clone(), tasks.clone()));
        tasks.spawn(socket::accept_tcp(tcp, Arc::clone(shared), run.clone(), tasks.clone()));
        tasks.spawn(socket::accept_unix(unix, Arc::clone(shared), run, tasks.clone()));
    }

    /// `http://…`
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// `tcp://…`
    #[must_use]
    pub fn tcp_url(&self) -> String {
        format!("tcp://{}", self.tcp)
    }

    /// `unix:///…`
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The daemon leaves in order: every stream ends after what was written, nobody can connect.
    ///
    /// # Panics
    /// When connections do not end.
    pub async fn stop(&self) {
        let run = std::mem::replace(&mut *self.run.lock(), Run::new());
        run.leave.cancel();
        self.shared.end_streams();
        for _ in 0..200 {
            if self.tasks.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        run.die.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// The daemon dies: every connection breaks where it is.
    pub async fn kill(&self) {
        let run = std::mem::replace(&mut *self.run.lock(), Run::new());
        run.leave.cancel();
        run.die.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// It is back, on the same addresses, with the messages that waited.
    ///
    /// # Panics
    /// When another process took its port meanwhile.
    pub async fn start_again(&self) {
        let http = TcpListener::bind(self.http).await.expect("the port is still ours");
        let tcp = TcpListener::bind(self.tcp).await.expect("the port is still ours");
        self.listen(http, tcp);
    }

    /// A message for the first account.
    pub fn push(&self, envelope: Value) {
        self.push_for(ACCOUNT, envelope);
    }

    /// A message for that account.
    pub fn push_for(&self, account: &str, envelope: Value) {
        self.shared.push(account, envelope);
    }

    /// These bytes go into every stream, as they are.
    pub fn raw(&self, bytes: impl Into<Vec<u8>>) {
        self.shared.to_all(&Frame::Raw(bytes.into()));
    }

    /// The next message breaks off in its middle and its connection with it; it comes again to the next listener.
    pub fn cut_next(&self) {
        self.shared.cut_next();
    }

    /// The streams of now say nothing any more and stay open; what comes for them alone is lost.
    pub fn freeze(&self) {
        self.shared.freeze();
    }

    /// Adds a fault.
    pub fn fault(&self, rule: Rule) {
        self.shared.rules.lock().push(rule);
    }

    /// Makes somebody known, so that messages to them arrive.
    pub fn know(&self, person: &Person) {
        self.shared.people.lock().push(person.clone());
    }

    /// Somebody new with a number, known to the account.
    #[must_use]
    pub fn person(&self, name: &str) -> Person {
        let index = self.shared.people.lock().len() + 2;
        let person = Person {
            uuid: format!("00000000-0000-4000-8000-{index:012}"),
            number: Some(format!("+1555001{index:04}")),
            name: name.into(),
        };
        self.know(&person);
        person
    }

    /// Makes a group known: its id and its members besides the account.
    pub fn group(&self, id: &str, members: &[Person]) {
        self.shared.groups.lock().insert(id.into(), members.to_vec());
    }

    /// What was sent, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().clone()
    }

    /// Every call, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().clone()
    }

    /// Whether that recipient sees the account typing now.
    #[must_use]
    pub fn typing(&self, recipient: &str) -> bool {
        self.shared.is_typing(recipient)
    }

    /// Messages that were written to at least one listener.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.shared.delivered()
    }

    /// Messages that wait for a listener.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Messages that nobody will ever get.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost()
    }

    /// Streams open now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.listeners()
    }

    /// Keeps a file that a message names by this id.
    pub fn keep_file(&self, id: &str, bytes: impl Into<Vec<u8>>) {
        self.shared.files.lock().insert(id.into(), bytes.into());
    }

    /// Streams that are frozen and not yet closed by who reads them.
    #[must_use]
    pub fn frozen(&self) -> usize {
        self.shared.frozen()
    }

    /// What a client did that the real daemon would not let pass or would silently ignore, and faults nobody met.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut all = self.shared.violations.lock().clone();
        let unmet = self.shared.rules.lock();
        all.extend(
            unmet.iter().filter(|rule| rule.times > 0).map(|rule| format!("a fault nobody met: {rule:?}")),
        );
        all
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let run = self.run.lock();
        run.leave.cancel();
        run.die.cancel();
    }
}
