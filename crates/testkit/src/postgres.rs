//! A real PostgreSQL server of one test's own. `initdb` runs once on a machine; each server starts on a copy of that
//! template, so a start costs some tenths of a second. Invariant: nothing a server wrote outlives it; postgres never
//! runs as root (it refuses to), so under root everything happens as the user nobody.

mod vectors;

use crate::child::Owned;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The ids of nobody and nogroup on Debian, where this matters.
const NOBODY: u32 = 65534;

/// A running PostgreSQL server; killed and its folder removed on `Drop`.
#[derive(Debug)]
pub struct PgServer {
    bin: PathBuf,
    port: u16,
    child: Owned,
    folder: tempfile::TempDir,
    databases: AtomicU32,
}

/// Starts PostgreSQL with an empty database, or says that it is missing.
///
/// # Panics
/// When an installed server does not come up.
pub async fn start() -> Option<PgServer> {
    let Some(bin) = binaries() else {
        crate::skip("postgresql", "is not installed");
        return None;
    };
    Some(crate::blocking(move || PgServer::launch(bin)).await)
}

/// Starts PostgreSQL with pgvector, from a pinned package of binaries, or says that it cannot be had.
///
/// # Panics
/// When a server that is there does not come up.
pub async fn start_with_vectors() -> Option<PgServer> {
    let bin = vectors::binaries().await?;
    Some(crate::blocking(move || PgServer::launch(bin)).await)
}

/// Runs a statement in the database of that URL, as the server's owner.
///
/// # Panics
/// When the server refuses it.
pub async fn execute(url: &str, statement: &str) {
    let (address, database) =
        url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("a URL of this server");
    let address: SocketAddr = address.parse().expect("an address on loopback");
    let (database, statement) = (database.to_owned(), statement.to_owned());
    let done = crate::blocking(move || query_of(address, &database, &statement)).await;
    done.expect("the server does it");
}

impl PgServer {
    fn launch(bin: PathBuf) -> Self {
        let template = template(&bin).unwrap_or_else(|problem| panic!("initdb: {problem}"));
        for _ in 0..5 {
            let folder = folder_for_postgres().expect("a temporary folder");
            let copied = as_nobody("cp").arg("-a").arg(&template).arg(folder.path().join("data")).status();
            assert!(copied.is_ok_and(|status| status.success()), "the template can be copied");
            let port = crate::free_port();
            let child = spawn(&bin, port, folder.path());
            let mut server = Self { bin: bin.clone(), port, child, folder, databases: AtomicU32::new(0) };
            if server.wait_ready() {
                return server;
            }
        }
        panic!("postgres does not come up");
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`, an empty database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of another, new and empty database on this server.
    ///
    /// # Panics
    /// When the server is down.
    pub async fn database(&self) -> String {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let (address, statement) = (self.address(), format!("CREATE DATABASE {name}"));
        let made = crate::blocking(move || simple_query(address, &statement)).await;
        made.expect("a database can be made");
        self.url_of(&name)
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills it with -9; its workers notice and go.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts it again with its data on the same port; kills it first if it still runs.
    ///
    /// # Panics
    /// When it does not come up again.
    pub async fn restart(self) -> Self {
        crate::blocking(move || {
            let mut server = self;
            server.child.kill();
            // Workers of the killed server hold its shared memory for a moment; until then a start refuses.
            let up = crate::wait_for(2, || {
                drop(fs::remove_file(server.folder.path().join("data/postmaster.pid")));
                server.child = spawn(&server.bin, server.port, server.folder.path());
                server.wait_ready().then_some(())
            });
            assert!(up.is_some(), "postgres does not come up again");
            server
        })
        .await
    }

    fn wait_ready(&mut self) -> bool {
        let address = self.address();
        crate::wait_for(30, || match self.child.ended() {
            Some(_) => Some(false),
            None => simple_query(address, "SELECT 1").is_ok().then_some(true),
        })
        .unwrap_or(false)
    }
}

fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    newest
        .or_else(|| crate::program("postgres", &[])?.parent().map(Path::to_path_buf))
        .filter(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `program`, as the user nobody when we are root.
fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command
}

/// A private temporary folder that postgres may use.
fn folder_for_postgres() -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("portcullis-pg-").tempdir()?;
    give_to_postgres(folder.path())?;
    Ok(folder)
}

fn give_to_postgres(path: &Path) -> io::Result<()> {
    if is_root() { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

/// The data folder every server is copied from, made by the first that needs it.
fn template(bin: &Path) -> io::Result<PathBuf> {
    let owner = if is_root() { NOBODY } else { rustix::process::geteuid().as_raw() };
    let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("local");
    let home = std::env::temp_dir().join(format!("portcullis-pg-template-{version}-{owner}"));
    match fs::create_dir(&home) {
        Ok(()) => {
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
            give_to_postgres(&home)?;
        }
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
        Err(problem) => return Err(problem),
    }
    // Someone else's folder under a guessable name is not trusted. Its maker may be about to hand it over.
    let ours = crate::wait_for(2, || (fs::symlink_metadata(&home).ok()?.uid() == owner).then_some(()));
    ours.ok_or_else(|| io::Error::other(format!("{} belongs to somebody else", home.display())))?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    let data = home.join("data");
    if !data.exists() {
        let fresh = home.join("fresh");
        drop(fs::remove_dir_all(&fresh));
        let output = as_nobody(bin.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--wal-segsize=1", "-D"])
            .arg(&fresh)
            .stderr(Stdio::piped())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        fs::rename(&fresh, &data)?;
    }
    Ok(data)
}

fn spawn(bin: &Path, port: u16, folder: &Path) -> Owned {
    let mut command = as_nobody(bin.join("postgres"));
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    let log = File::create(folder.join("postgres.log")).expect("a log file");
    let socket_folder = format!("unix_socket_directories={}", folder.display());
    for setting in [
        "listen_addresses=127.0.0.1",
        &socket_folder,
        // Not synchronous_commit=off: what was acknowledged must be there after a kill -9, as with a real server.
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
        "min_wal_size=2MB",
    ] {
        command.args(["-c", setting]);
    }
    Owned::spawn(command.stderr(log), Some(folder)).expect("postgres starts")
}

/// Runs one statement over the simple query protocol (frontend/backend protocol 3.0).
fn simple_query(address: SocketAddr, statement: &str) -> io::Result<()> {
    query_of(address, "postgres", statement)
}

fn query_of(address: SocketAddr, database: &str, statement: &str) -> io::Result<()> {
    let seconds = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, seconds)?;
    stream.set_read_timeout(Some(seconds))?;
    let parameters = [b"\0\x03\0\0user\0postgres\0database\0", database.as_bytes(), b"\0\0"].concat();
    send(&mut stream, None, &parameters)?;
    read_until_ready(&mut stream)?;
    send(&mut stream, Some(b'Q'), &[statement.as_bytes(), b"\0"].concat())?;
    read_until_ready(&mut stream)
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    stream.write_all(&message)
}

/// Reads messages up to ReadyForQuery; an ErrorResponse on the way is the error.
fn read_until_ready(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.clamp(4, 1 << 20) - 4];
        stream.read_exact(&mut body)?;
        match head[0] {
            b'Z' => return Ok(()),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).replace('\0', " "))),
            _other_message => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn postgres_answers_gives_fresh_databases_and_keeps_them_over_a_restart() {
        let Some(mut server) = start().await else { return };
        let (first, second) = (server.database().await, server.database().await);
        assert_ne!(first, second);
        assert!(simple_query(server.address(), "CREATE DATABASE fresh_0").is_err());
        server.kill();
        assert!(simple_query(server.address(), "SELECT 1").is_err());
        let server = server.restart().await;
        assert!(simple_query(server.address(), "SELECT nonsense").is_err());
        let folder = server.folder.path().to_path_buf();
        drop(server);
        assert!(!folder.exists());
    }
}
