//! Which functions of the product serve requests: the product runs under callgrind, is sent what a gateway is sent, and
//! the symbols of every function that ran meanwhile are written, the busiest first. The linker lays them side by side
//! (`crates/portcullis/build.rs`), so that serving touches a few dense pages and not one in three of the program's.
//! Invariant: what ran only while it started or stopped is not in the list; no name in it holds the compiler's sum of all
//! types, which a change of any dependency changes.
//!
//! Source: the Callgrind format, <https://valgrind.org/docs/manual/cl-format.html>.

use crate::{
    load::{self, Connection},
    options::Options,
    target::{Target, Upstream},
    wire,
};
use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_testkit::program;
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet};

/// Exchanges of each kind; enough that what happens once in ten or a hundred requests is seen.
const SMALL: usize = 400;
const LARGE: usize = 6;
const STREAMS: usize = 12;
/// How long requests come at once, so that waiting and waking are seen too.
const TOGETHER: Duration = Duration::from_secs(4);
/// The formats of the other clients, and what is asked besides.
const OTHERS: [(&str, &str); 5] = [
    (
        "/v1/messages",
        r#"{"model":"bench-model","max_tokens":64,"messages":[{"role":"user","content":"Who wrote Faust?"}]}"#,
    ),
    ("/v1/responses", r#"{"model":"bench-model","input":"Who wrote Faust?"}"#),
    (
        "/v1beta/models/bench-model:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"Who wrote Faust?"}]}]}"#,
    ),
    ("/v1/models", ""),
    ("/v1/chat/completions", r#"{"model":"no-such-model","messages":[{"role":"user","content":"Hello"}]}"#),
];

/// Runs the product under callgrind and writes the list to `layout`.
pub(crate) async fn run(options: &Options, layout: &Path) -> Result<()> {
    let valgrind = program("valgrind", &["/usr/bin"]).context("valgrind is not installed")?;
    let control =
        program("callgrind_control", &["/usr/bin"]).context("callgrind_control is not installed")?;
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace");
    let wrapper = folder.path().join("under-callgrind");
    let script = format!(
        "#!/bin/sh\nexec '{}' --tool=callgrind --demangle=no --compress-strings=no --callgrind-out-file='{}' '{}' \"$@\"\n",
        valgrind.display(),
        trace.display(),
        options.portcullis.display()
    );
    fs::write(&wrapper, script)?;
    make_runnable(&wrapper)?;
    let upstream = Upstream::start()?;
    let under = Options { portcullis: wrapper, ..options.clone() };
    let target = Target::product_with(upstream.address, &under, "", &[], |_| Ok(())).await?;
    let pid = target.pids.first().context("no process")?.to_string();
    let dump = || -> Result<()> {
        ensure!(
            Command::new(&control).arg("--dump").arg(&pid).output()?.status.success(),
            "callgrind_control"
        );
        Ok(())
    };
    dump()?;
    serve(&target).await?;
    dump()?;
    drop(target);
    let program = fs::canonicalize(&options.portcullis)?;
    let served = fs::read_to_string(folder.path().join("trace.2")).context("what callgrind saw")?;
    let list = busiest(&served, program.to_str().context("a path that is not UTF-8")?);
    ensure!(list.len() > 500, "only {} functions ran: the program was built without symbols", list.len());
    fs::write(layout, list.join("\n") + "\n")?;
    println!("{} functions served; written to {}", list.len(), layout.display());
    Ok(())
}

#[cfg(unix)]
fn make_runnable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_runnable(_file: &Path) -> Result<()> {
    anyhow::bail!("valgrind runs on Unix only")
}

/// What a gateway is sent, whole and streamed, one at a time and at once.
async fn serve(target: &Target) -> Result<()> {
    let kinds = [
        (wire::MODEL, 0, false, SMALL),
        (wire::MODEL, 400_000, false, LARGE),
        (wire::MODEL, 0, true, STREAMS),
    ];
    for (model, prompt_bytes, stream, times) in kinds {
        let mut connection = Connection::open(target.plan(model, prompt_bytes, stream)).await?;
        for _ in 0..times {
            connection.exchange().await?;
        }
    }
    load::run(&target.plan(wire::MODEL, 0, false), 16, TOGETHER).await?;
    load::run(&target.plan(wire::MODEL, 0, true), 16, TOGETHER).await?;
    for (path, body) in OTHERS {
        ask(target.address, &target.key, path, body).await.with_context(|| path.to_owned())?;
    }
    Ok(())
}

/// One request on a connection of its own, with a key and without; whatever the answer is, it is read whole.
async fn ask(address: SocketAddr, key: &str, path: &str, body: &'static str) -> Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    for key in [key, "pcl_wrong"] {
        let request = http::Request::builder()
            .method(if body.is_empty() { http::Method::GET } else { http::Method::POST })
            .uri(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::AUTHORIZATION, format!("Bearer {key}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from_static(body.as_bytes())))?;
        sender.ready().await?;
        crate::upstream::collect(sender.send_request(request).await?.into_body()).await?;
    }
    Ok(())
}

/// The program's functions in a callgrind dump with whole names, by the instructions they ran themselves.
fn busiest(dump: &str, program: &str) -> Vec<String> {
    let mut cost: HashMap<&str, u64> = HashMap::new();
    let (mut own, mut function, mut called) = (false, "", false);
    for line in dump.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            own = object == program;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line after a call says what the callee cost, which is counted there.
            let counted = line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
            if let (false, true, Some(counted)) = (std::mem::take(&mut called), own, counted) {
                *cost.entry(function).or_default() += counted;
            }
        }
    }
    // Callgrind marks recursion and unknown places with what no symbol holds.
    let mut list: Vec<_> = cost.into_iter().filter(|(name, _)| is_symbol(name)).collect();
    list.sort_by_key(|(name, cost)| (std::cmp::Reverse(*cost), *name));
    let mut seen = HashSet::new();
    list.into_iter().map(|(name, _)| lasting(name)).filter(|name| seen.insert(name.clone())).collect()
}

/// A pattern for a symbol: without the sum that ends it (`17h`, sixteen digits, `E`).
fn lasting(name: &str) -> String {
    const SUM: usize = 16;
    let summed = name.strip_prefix("_ZN").and_then(|_| name.len().checked_sub(SUM + 1));
    match summed.and_then(|end| name.get(..end)).filter(|stem| stem.ends_with("17h")) {
        Some(stem) => format!("{stem}*"),
        None => name.to_owned(),
    }
}

fn is_symbol(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_by_what_they_cost_themselves_and_only_the_programs() {
        let dump = "# callgrind format\nversion: 1\npositions: line\nevents: Ir\n\nob=/bin/it\nfl=a.rs\nfn=_ZN1aE\n10 5\n+2 7\n\
                    cob=/lib/libc.so\ncfn=memcpy\ncalls=3 0\n11 900\n12 1\n\nfn=_ZN1bE\nfi=b.rs\n4 40\nfe=a.rs\n* 2\n\nob=/lib/libc.so\n\
                    fn=memcpy\n0 900\n\nob=/bin/it\nfn=_ZN1aE\n9 100\nfn=0x0000000000012345\n1 9\nfn=busy'2\n1 1\n";
        assert_eq!(busiest(dump, "/bin/it"), ["_ZN1aE", "_ZN1bE"]);
        assert_eq!(busiest(dump, "/bin/other"), [""; 0]);
    }

    #[test]
    fn the_sum_that_ends_a_name_is_left_out_and_nothing_else() {
        for (name, pattern) in [
            ("_ZN5hyper4conn17h0123456789abcdefE", "_ZN5hyper4conn17h*"),
            ("sqlite3VdbeExec", "sqlite3VdbeExec"),
            (
                "_RNvNtNtCsgEmfK2I1SDS_4core3str8converts9from_utf8",
                "_RNvNtNtCsgEmfK2I1SDS_4core3str8converts9from_utf8",
            ),
            ("_ZN1aE", "_ZN1aE"),
        ] {
            assert_eq!(lasting(name), pattern);
        }
    }
}
