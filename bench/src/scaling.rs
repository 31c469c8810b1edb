//! What grows with what: the product's cost of a small request against the number of keys, of budgets and of replicas,
//! and its cost and memory against the number of open streams. Invariant: every row is measured on fresh processes
//! beside its own base, so that ratios are of the same minutes of the machine.

use crate::{
    gateway::allow_many_files,
    keys,
    load::{self, Connection, Plan},
    machine,
    meter::{Cpu, resident_bytes},
    options::{Kind, Options},
    report::{self, median},
    target::{Target, Upstream},
    wire,
};
use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt as _;
use portcullis_testkit::redis;
use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

const KEYS: [usize; 4] = [1, 10, 1_000, 100_000];
const BUDGETS: [usize; 3] = [0, 10, 100];
const STREAMS: [usize; 5] = [100, 500, 1_000, 2_000, 5_000];
const CONNECTIONS: usize = 16;
/// Keys the load takes turns with, at most: more would measure the load generator's own caches.
const KEYS_USED: usize = 10_000;

/// One line of a table.
struct Line {
    name: String,
    values: Vec<f64>,
}

/// Runs every part and writes the tables.
pub(crate) async fn run(options: Options) -> Result<()> {
    allow_many_files();
    let upstream = Upstream::start()?;
    let mut page = format!(
        "# Scaling benchmark\n\nWritten by `cargo xtask bench scaling`.\n\n* {}; {}\n* CPU of the server process per \
         verified answer; median of {} rounds of {} s each, rows taking turns; the profile of the gateway benchmark\n",
        machine::today(),
        machine::description(),
        options.rounds,
        options.seconds
    );
    let small = "A small request, CPU µs";
    let lines = by_keys(&options, upstream.address).await?;
    section(&mut page, "Keys", "keys in the store, each in use in turn", small, &lines);
    let lines = by_budgets(&options, upstream.address).await?;
    section(&mut page, "Budgets", "refusing budgets over every caller, reserved and settled", small, &lines);
    let lines = by_replicas(&options, upstream.address).await?;
    section(&mut page, "Replicas", "where limits, budgets and breakers are counted", small, &lines);
    streams(&options, upstream.address, &mut page).await?;
    println!("\n{page}");
    report::write(&options.results, "scaling.md", &page)?;
    Ok(())
}

fn section(page: &mut String, title: &str, what: &str, measure: &str, lines: &[Line]) {
    let _ = write!(page, "\n## {title}\n\n| {what} | {measure} | to the first row |\n|---|---:|---:|\n");
    let base = lines.first().map_or(0.0, |line| median(&line.values));
    for line in lines {
        let value = median(&line.values);
        let low = line.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = line.values.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(page, "| {} | {value:.1} ({low:.1}-{high:.1}) | {:.2} |", line.name, value / base);
    }
}

/// One or more processes under one load.
struct Subject {
    name: String,
    servers: Vec<Target>,
    plans: Vec<Plan>,
}

/// Lets the subjects take turns.
async fn measure(subjects: &[Subject], options: &Options) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> =
        subjects.iter().map(|subject| Line { name: subject.name.clone(), values: Vec::new() }).collect();
    for round in 0..=options.rounds {
        let length = if round == 0 { Duration::from_secs(1) } else { Duration::from_secs(options.seconds) };
        for (subject, line) in subjects.iter().zip(&mut lines) {
            let pids: Vec<u32> = subject.servers.iter().flat_map(|server| server.pids.clone()).collect();
            let before = Cpu::read(&pids)?;
            let share = (CONNECTIONS / subject.plans.len()).max(1);
            let mut loads = JoinSet::new();
            for plan in subject.plans.clone() {
                loads.spawn(async move { load::run(&plan, share, length).await });
            }
            let mut done = 0;
            while let Some(finished) = loads.join_next().await {
                done += finished.context("a load ended early")?.with_context(|| subject.name.clone())?;
            }
            let micros = Cpu::read(&pids)?.since(&before).as_secs_f64() * 1e6 / done as f64;
            if round > 0 {
                println!("{}, round {round}: {micros:.1} µs, {done} done", subject.name);
                line.values.push(micros);
            }
        }
    }
    Ok(lines)
}

fn subject(name: String, server: Target) -> Subject {
    let plan = server.plan(wire::MODEL, 0, false);
    Subject { name, plans: vec![plan], servers: vec![server] }
}

async fn by_keys(options: &Options, upstream: SocketAddr) -> Result<Vec<Line>> {
    let mut subjects = Vec::new();
    for count in KEYS {
        let made: Arc<std::sync::OnceLock<Vec<String>>> = Arc::default();
        let fill = made.clone();
        let server = Target::product_with(upstream, options, "", &[], move |folder| {
            if count > 1 {
                let keys = keys::insert(folder, count)?;
                let _set = fill.set(keys);
            }
            Ok(())
        })
        .await?;
        let mut subject = subject(format!("{count}"), server);
        if let Some(keys) = made.get() {
            subject.plans[0].keys = keys.iter().take(KEYS_USED).cloned().collect();
        }
        subjects.push(subject);
    }
    measure(&subjects, options).await
}

async fn by_budgets(options: &Options, upstream: SocketAddr) -> Result<Vec<Line>> {
    let mut subjects = Vec::new();
    for count in BUDGETS {
        let mut settings = String::new();
        for index in 0..count {
            let _ = write!(
                settings,
                "\n[budgets.b{index}]\nscope = \"global\"\nwindow = \"day\"\ntokens = 1000000000000\naction = \"refuse\"\n"
            );
        }
        let server = Target::product_with(upstream, options, &settings, &[], |_| Ok(())).await?;
        subjects.push(subject(format!("{count}"), server));
    }
    measure(&subjects, options).await
}

async fn by_replicas(options: &Options, upstream: SocketAddr) -> Result<Vec<Line>> {
    let memory = Target::product_with(upstream, options, "", &[], |_| Ok(())).await?;
    let mut subjects = vec![subject("one process, in memory".into(), memory)];
    let Some(redis) = redis::start().await else { return measure(&subjects, options).await };
    let settings = "\n[redis]\nurl_secret = \"bench_redis\"\n";
    let url = redis.url();
    let env = [("BENCH_REDIS", url.as_str())];
    let alone = Target::product_with(upstream, options, settings, &env, |_| Ok(())).await?;
    subjects.push(subject("one process, in Redis".into(), alone));
    let (mut servers, mut plans) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let server = Target::product_with(upstream, options, settings, &env, |_| Ok(())).await?;
        plans.push(server.plan(wire::MODEL, 0, false));
        servers.push(server);
    }
    subjects.push(Subject { name: "two processes, one Redis".into(), servers, plans });
    measure(&subjects, options).await
}

/// Open streams that bring an event every 200 ms.
async fn streams(options: &Options, upstream: SocketAddr, page: &mut String) -> Result<()> {
    page.push_str(
        "\n## Streams\n\nEach brings an event every 200 ms.\n\n\
         | open streams | floor: CPU µs an event | portcullis: CPU µs an event | ratio | floor: KiB a stream | portcullis: KiB a stream |\n\
         |---:|---:|---:|---:|---:|---:|\n",
    );
    for count in STREAMS {
        let mut cells = Vec::new();
        for kind in [Kind::Floor, Kind::Portcullis] {
            let Some(target) = Target::start(kind, upstream, options).await? else { continue };
            cells.push(open_streams(&target, count, options.seconds).await?);
        }
        let [(floor, floor_kib), (ours, ours_kib)] = cells[..] else { continue };
        println!("{count} streams: {floor:.1} and {ours:.1} µs an event");
        let _ = writeln!(
            page,
            "| {count} | {floor:.1} | {ours:.1} | {:.2} | {floor_kib:.1} | {ours_kib:.1} |",
            ours / floor
        );
    }
    Ok(())
}

/// CPU microseconds an event, and KiB of resident memory a stream.
async fn open_streams(target: &Target, count: usize, seconds: u64) -> Result<(f64, f64)> {
    let plan = target.plan(wire::SLOW_MODEL, 0, true);
    let empty = resident_bytes(&target.pids)?;
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::open(plan.clone()).await?;
        let body = connection.send().await.context("open streams")?.into_body();
        open.push((connection, body));
    }
    let full = resident_bytes(&target.pids)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let before = Cpu::read(&target.pids)?;
    let mut readers = JoinSet::new();
    for (connection, mut body) in open {
        readers.spawn(async move {
            let mut events = 0_u64;
            while let Ok(frame) = timeout(until.saturating_duration_since(Instant::now()), body.frame()).await
            {
                match frame {
                    Some(Ok(_)) => events += 1,
                    Some(Err(_)) | None => break,
                }
            }
            drop(connection);
            events
        });
    }
    let mut events = 0;
    while let Some(read) = readers.join_next().await {
        events += read.context("a reader ended early")?;
    }
    let used = Cpu::read(&target.pids)?.since(&before);
    ensure!(events as usize >= count, "{events} events of {count} streams");
    let kib = full.saturating_sub(empty) as f64 / 1024.0 / count as f64;
    Ok((used.as_secs_f64() * 1e6 / events as f64, kib))
}
