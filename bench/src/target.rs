//! Starts what is measured, each as a process of its own in front of the same mock upstream. Invariant: a target is
//! ready (it has answered once, verified) before it is measured, and is stopped by its own process id.

use crate::{
    load::{Connection, Expect, Plan},
    options::{Kind, Options},
    wire,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use portcullis_testkit::{child::Owned, free_port, process, program};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A running server.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) pids: Vec<u32>,
    /// From the start of the process to its first whole answer.
    pub(crate) first_answer: Duration,
    owner: Owner,
}

/// What stops the process when the target goes away.
#[expect(dead_code, reason = "most are held for their Drop")]
enum Owner {
    Child(Owned),
    Nginx(Nginx),
    Peer(Owned, tempfile::TempDir),
    Product(Box<process::Server>),
}

/// A killed master would leave its workers behind, so nginx is asked.
struct Nginx {
    master: Owned,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.master.terminate(2);
    }
}

/// The mock upstream.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _child: Owned,
}

impl Upstream {
    pub(crate) fn start() -> Result<Self> {
        let (child, address) = own_server(&["upstream"])?;
        Ok(Self { address, _child: child })
    }
}

impl Target {
    /// Starts one; none when its program is not installed.
    pub(crate) async fn start(kind: Kind, upstream: SocketAddr, options: &Options) -> Result<Option<Self>> {
        let begun = Instant::now();
        let started = match kind {
            Kind::Floor => {
                let (child, address) = own_server(&["floor", &upstream.to_string()])?;
                Some((child.id(), address, wire::CALLER_KEY.to_owned(), Owner::Child(child)))
            }
            Kind::Nginx => nginx(upstream)?,
            Kind::LiteLlm => litellm(upstream, options)?,
            Kind::Portcullis => Some(product(upstream, options, "", &[], None::<Untouched>).await?),
        };
        let Some((pid, address, key, owner)) = started else { return Ok(None) };
        let mut target = Self { kind, address, key, pids: vec![pid], first_answer: Duration::ZERO, owner };
        target.wait_ready().await.with_context(|| format!("{} does not answer", kind.as_str()))?;
        target.first_answer = begun.elapsed();
        Ok(Some(target))
    }

    /// The product with more settings and environment, and a store that `prepare` changed while it was stopped.
    pub(crate) async fn product_with(
        upstream: SocketAddr,
        options: &Options,
        settings: &str,
        env: &[(&str, &str)],
        prepare: impl FnOnce(&Path) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (pid, address, key, owner) = product(upstream, options, settings, env, Some(prepare)).await?;
        let kind = Kind::Portcullis;
        let target = Self { kind, address, key, pids: vec![pid], first_answer: Duration::ZERO, owner };
        target.wait_ready().await?;
        Ok(target)
    }

    /// Ends the product as an operator does, and waits until it has.
    pub(crate) async fn end(self) -> Result<()> {
        let Owner::Product(mut server) = self.owner else { bail!("only the product is ended so") };
        server.terminate();
        ensure!(server.wait(60).await == Some(0), "portcullis serve did not end when it was told to");
        Ok(())
    }

    /// How to ask it.
    pub(crate) fn plan(&self, model: &str, prompt_bytes: usize, stream: bool) -> Plan {
        Plan {
            address: self.address,
            key: self.key.clone(),
            body: wire::request(model, prompt_bytes, stream),
            fresh: true,
            keys: std::sync::Arc::default(),
            expect: match (self.kind, stream) {
                (Kind::LiteLlm, true) => Expect::StreamOfWords,
                (Kind::LiteLlm, false) => Expect::Words,
                (Kind::Floor | Kind::Nginx | Kind::Portcullis, true) => Expect::Stream,
                (Kind::Floor | Kind::Nginx | Kind::Portcullis, false) => Expect::Whole,
            },
        }
    }

    async fn wait_ready(&self) -> Result<()> {
        let plan = self.plan(wire::MODEL, 0, false);
        let mut last = anyhow!("not tried");
        // A peer in Python needs many seconds to start.
        for _ in 0..12_000 {
            match Connection::open(plan.clone()).await {
                Ok(mut connection) => return connection.exchange().await,
                Err(problem) => last = problem,
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(last)
    }
}

/// A server of this program in its own process, on the address it prints.
fn own_server(args: &[&str]) -> Result<(Owned, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Owned::spawn(&mut command, None)?;
    let mut line = String::new();
    BufReader::new(child.stdout().context("no output")?).read_line(&mut line)?;
    let address = line.trim().rsplit_once("http://").context("no address printed")?.1.parse()?;
    Ok((child, address))
}

/// The kind of preparation that nobody makes.
type Untouched = fn(&Path) -> Result<()>;

type Started = (u32, SocketAddr, String, Owner);

/// nginx as a gateway is set up in practice: pooled upstream, request and connection limits on, streams unbuffered.
fn nginx(upstream: SocketAddr) -> Result<Option<Started>> {
    let Some(binary) = program("nginx", &["/usr/sbin", "/usr/local/sbin"]) else {
        println!("skipped: nginx is not installed");
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = folder.path().join("nginx.conf");
    fs::write(&config, nginx_config(folder.path(), address, upstream))?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(folder.path()).arg("-c").arg(&config).stdin(Stdio::null());
    command.stderr(fs::File::create(folder.path().join("stderr.log"))?);
    let child = Owned::spawn(&mut command, Some(folder.path()))?;
    let key = wire::CALLER_KEY.to_owned();
    Ok(Some((child.id(), address, key, Owner::Nginx(Nginx { master: child, _folder: folder }))))
}

fn nginx_config(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let root = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let key = wire::UPSTREAM_KEY;
    let folder = folder.display();
    format!(
        "{root}
daemon off;
worker_processes 2;
worker_rlimit_nofile 16384;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    limit_req_zone $http_authorization zone=key:1m rate=1000000r/s;
    limit_conn_zone $binary_remote_addr zone=address:1m;
    upstream mock {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            limit_req zone=key burst=1000000 nodelay;
            limit_conn address 60000;
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Authorization \"Bearer {key}\";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"
    )
}

/// LiteLLM's proxy as its own documents start it: one worker, one model, one key, nothing else on.
fn litellm(upstream: SocketAddr, options: &Options) -> Result<Option<Started>> {
    let Some(binary) = options.litellm.as_ref().filter(|binary| binary.is_file()) else {
        println!("skipped: litellm is not installed");
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let model = |name: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: openai/{name}\n      api_base: http://{upstream}/v1\n      \
             api_key: {}\n",
            wire::UPSTREAM_KEY
        )
    };
    let config = folder.path().join("config.yaml");
    let models = [wire::MODEL, wire::HOLD_MODEL].map(model).concat();
    fs::write(
        &config,
        format!("model_list:\n{models}general_settings:\n  master_key: {}\n", wire::CALLER_KEY),
    )?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(&config).args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--num_workers", "1"]).current_dir(folder.path()).stdin(Stdio::null());
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
    command.stdout(fs::File::create(folder.path().join("stdout.log"))?);
    command.stderr(fs::File::create(folder.path().join("stderr.log"))?);
    let child = Owned::spawn(&mut command, Some(folder.path()))?;
    Ok(Some((child.id(), address, wire::CALLER_KEY.to_owned(), Owner::Peer(child, folder))))
}

/// `portcullis serve` with the benchmark profile, in which every check is on and no limit refuses.
async fn product(
    upstream: SocketAddr,
    options: &Options,
    more: &str,
    env: &[(&str, &str)],
    prepare: Option<impl FnOnce(&Path) -> Result<()> + Send + 'static>,
) -> Result<Started> {
    let binary = options.portcullis.to_str().context("the path of portcullis is not UTF-8")?;
    if !options.portcullis.is_file() {
        bail!("{binary} is missing: build it first, or leave it out with --targets floor,nginx");
    }
    let profile = fs::read_to_string(&options.profile).context("the benchmark profile")?;
    let configuration = profile.replace("http://127.0.0.1:1", &format!("http://{upstream}"));
    let mut settings =
        process::Options::config(configuration + more).env("BENCH_API_KEY", wire::UPSTREAM_KEY);
    for (name, value) in env {
        settings = settings.env(name, *value);
    }
    let ended = |refused: process::Refused| {
        anyhow!("portcullis serve ended with {:?}\n{}{}", refused.code, refused.stdout, refused.stderr)
    };
    let mut server = process::Server::start(binary, settings).await.map_err(ended)?;
    let key = server.key().context("portcullis serve printed no key")?;
    if let Some(prepare) = prepare {
        let folder = server.folder().to_owned();
        server.terminate();
        server.wait(10).await.context("portcullis serve did not end")?;
        prepare(&folder)?;
        server = server.restart(|_| {}).await.map_err(ended)?;
    }
    Ok((server.id(), server.address(), key, Owner::Product(Box::new(server))))
}
