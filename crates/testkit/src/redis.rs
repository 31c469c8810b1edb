//! A real Redis server of one test's own. Invariant: nothing is persisted, so a restarted server is empty, as a
//! lost cache would be. Source: the flags and figures of the project's notes on real components (ready in 0.04 s).

use crate::child::Owned;
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// A running Redis server; killed and its folder removed on `Drop`.
#[derive(Debug)]
pub struct RedisServer {
    binary: PathBuf,
    port: u16,
    flags: Vec<String>,
    child: Owned,
    folder: tempfile::TempDir,
}

/// Starts Redis, or says that it is missing.
pub async fn start() -> Option<RedisServer> {
    start_with(&[]).await
}

/// Starts Redis with further command-line flags (`--requirepass x`).
///
/// # Panics
/// When an installed server does not come up.
pub async fn start_with(flags: &[&str]) -> Option<RedisServer> {
    let Some(binary) = crate::program("redis-server", &["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"])
    else {
        crate::skip("redis-server", "is not installed");
        return None;
    };
    let flags = flags.iter().map(ToString::to_string).collect();
    Some(crate::blocking(move || RedisServer::launch(binary, flags)).await)
}

/// Starts a Redis Cluster of one node that owns every slot: it refuses a script whose keys hash to different slots,
/// exactly as a larger cluster does.
///
/// # Panics
/// When an installed server does not come up.
pub async fn start_cluster() -> Option<RedisServer> {
    let server = start_with(&["--cluster-enabled", "yes"]).await?;
    let address = server.address();
    let formed = crate::blocking(move || {
        command(address, "CLUSTER ADDSLOTSRANGE 0 16383")?;
        crate::wait_for(10, || {
            command(address, "CLUSTER INFO").filter(|info| info.contains("cluster_state:ok")).map(drop)
        })
    });
    formed.await.expect("a cluster of one forms");
    Some(server)
}

impl RedisServer {
    fn launch(binary: PathBuf, flags: Vec<String>) -> Self {
        // A picked port may be taken by another test before the server binds it.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let port = crate::free_port();
            let child = spawn(&binary, port, &flags, &folder);
            let mut server = Self { binary: binary.clone(), port, flags: flags.clone(), child, folder };
            if server.wait_ready() {
                return server;
            }
        }
        panic!("redis-server does not come up");
    }

    /// `redis://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills it with -9; connections break, new ones are refused.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Stops it from answering while its connections stay open (SIGSTOP).
    pub fn freeze(&mut self) {
        self.child.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on after [`RedisServer::freeze`].
    pub fn thaw(&mut self) {
        self.child.signal(rustix::process::Signal::CONT);
    }

    /// Starts it again, empty, on the same port; kills it first if it still runs.
    ///
    /// # Panics
    /// When it does not come up again.
    pub async fn restart(self) -> Self {
        crate::blocking(move || {
            let mut server = self;
            server.child.kill();
            server.child = spawn(&server.binary, server.port, &server.flags, &server.folder);
            assert!(server.wait_ready(), "redis-server does not come up again");
            server
        })
        .await
    }

    fn wait_ready(&mut self) -> bool {
        let address = self.address();
        crate::wait_for(10, || match self.child.ended() {
            Some(_) => Some(false),
            None => ping(address).then_some(true),
        })
        .unwrap_or(false)
    }
}

fn spawn(binary: &PathBuf, port: u16, flags: &[String], folder: &tempfile::TempDir) -> Owned {
    let log = File::create(folder.path().join("redis.log")).expect("a log file");
    let mut command = Command::new(binary);
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder.path())
        .args(flags)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(log);
    Owned::spawn(&mut command, Some(folder.path())).expect("redis-server starts")
}

fn ping(address: SocketAddr) -> bool {
    // `-NOAUTH` is an answer too: a server with a password is up.
    command(address, "PING").is_some()
}

/// Sends one inline command; the first piece of the answer, none when there is no answer within a second.
fn command(address: SocketAddr, line: &str) -> Option<String> {
    let second = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, second).ok()?;
    stream.set_read_timeout(Some(second)).ok()?;
    stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).ok().filter(|read| *read > 0)?;
    Some(String::from_utf8_lossy(&answer[..read]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn redis_starts_dies_and_comes_back_on_the_same_port() {
        let Some(mut server) = start().await else { return };
        let address = server.address();
        assert!(ping(address));
        server.kill();
        assert!(TcpStream::connect(address).is_err());
        let server = server.restart().await;
        assert_eq!(server.address(), address);
        assert!(ping(address));
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[tokio::test]
    async fn a_cluster_of_one_refuses_keys_of_two_slots_in_one_script() {
        let Some(server) = start_cluster().await else { return };
        let eval = |keys: &str| command(server.address(), &format!("EVAL \"return 1\" 2 {keys}")).unwrap();
        assert!(eval("a b").starts_with("-CROSSSLOT"), "{}", eval("a b"));
        assert_eq!(eval("{t}a {t}b"), ":1\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_redis_accepts_but_does_not_answer_and_thaws() {
        let Some(mut server) = start().await else { return };
        server.freeze();
        assert!(TcpStream::connect(server.address()).is_ok());
        assert!(!ping(server.address()));
        server.thaw();
        assert!(ping(server.address()));
    }
}
