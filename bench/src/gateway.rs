//! The gateway benchmark: the targets take turns (A B C A B C) under the same load, so that a change of the machine's
//! pace hits all alike. Invariant: what is charged to a target is the CPU time of its own process, divided by the
//! answers that were verified.

use crate::{
    load::{self, Connection},
    machine,
    meter::{Cpu, anonymous_bytes, resident_bytes},
    options::{Kind, Measure, Options},
    report::{self, Row},
    resident::{self, Resident},
    target::{Target, Upstream},
    wire,
};
use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{net::SocketAddr, time::Duration};
use tokio::time::{sleep, timeout};

const LARGE_PROMPT_BYTES: usize = 400_000;
const OPEN_STREAMS: usize = 500;
const PACED_PER_SEC: u32 = 100;
/// When a server that was started, and has answered once, is idle: the product makes its first backup after a second.
const IDLE_AFTER: Duration = Duration::from_secs(3);

/// A measure that is a number of requests under load.
struct Load {
    name: &'static str,
    connections: usize,
    prompt_bytes: usize,
    stream: bool,
    /// Whether no two requests ask the same.
    fresh: bool,
    /// Whether the prompt is in lines and holds signs beyond ASCII.
    typeset: bool,
    most_ratio: Option<f64>,
}

const SMALL: Load = Load {
    name: "small request",
    connections: 16,
    prompt_bytes: 0,
    stream: false,
    fresh: true,
    typeset: false,
    most_ratio: Some(1.7),
};
const LARGE: Load = Load {
    name: "request with a 400 kB prompt",
    connections: 8,
    prompt_bytes: LARGE_PROMPT_BYTES,
    stream: false,
    fresh: true,
    typeset: false,
    most_ratio: Some(1.2),
};
/// As people write: in lines, with a dash and an apostrophe in each.
const LARGE_TYPESET: Load =
    Load { name: "the same in lines, with dashes and apostrophes", typeset: true, ..LARGE };
/// The same prompt again and again, as a client sends a long conversation with each new message.
const LARGE_AGAIN: Load = Load { name: "the first of these sent again", fresh: false, ..LARGE };
/// Never the same, with the model reading as much of it as it does by default.
const LARGE_READ: Load =
    Load { name: "request with a 400 kB prompt, `long_texts = \"model\"`", most_ratio: None, ..LARGE };
const STREAM: Load = Load {
    name: "stream of 101 events",
    connections: 64,
    prompt_bytes: 0,
    stream: true,
    fresh: true,
    typeset: false,
    most_ratio: Some(1.25),
};

/// Runs what the options ask for and writes the tables.
pub(crate) async fn run(options: Options) -> Result<()> {
    allow_many_files();
    let notes = notes(&options);
    for note in &notes {
        println!("{note}");
    }
    let upstream = Upstream::start()?;
    let mut rows = Vec::new();
    if options.measures.contains(&Measure::Memory) {
        rows.extend(memory(&options, upstream.address, &notes).await?);
    }
    let mut targets = Vec::new();
    for kind in &options.targets {
        targets.extend(Target::start(*kind, upstream.address, &options).await?);
    }
    let mut loads = Vec::new();
    for measure in &options.measures {
        match measure {
            Measure::Small => loads.push(under_load(&SMALL, &targets, &options).await?),
            Measure::Large => {
                loads.push(under_load(&LARGE, &targets, &options).await?);
                loads.push(under_load(&LARGE_TYPESET, &targets, &options).await?);
                loads.push(under_load(&LARGE_AGAIN, &targets, &options).await?);
                let env = [("PORTCULLIS__INSPECT__LONG_TEXTS", "model")];
                let reading = Target::product_with(upstream.address, &options, "", &env, |_| Ok(())).await?;
                loads.push(under_load(&LARGE_READ, &[reading], &options).await?);
            }
            Measure::Stream => loads.push(under_load(&STREAM, &targets, &options).await?),
            Measure::Latency => loads.push(latency(&targets, upstream.address, &options).await?),
            Measure::Memory => {}
        }
    }
    loads.append(&mut rows);
    println!("\n{}", report::table(&loads));
    let profile = std::fs::read_to_string(&options.profile).unwrap_or_default();
    let json = report::json(&loads, &notes);
    if options.json {
        println!("{json:#}");
    }
    // A partial run must not replace the full table.
    if options.measures.len() == Measure::ALL.len() && options.targets.len() == Kind::ALL.len() {
        report::write(&options.results, "gateway.md", &report::markdown(&loads, &notes, &profile))?;
        report::write(&options.results, "gateway.json", &format!("{json:#}\n"))?;
        println!("written to {}", options.results.join("gateway.md").display());
    }
    Ok(())
}

fn notes(options: &Options) -> Vec<String> {
    let nginx = machine::nginx_version().unwrap_or_else(|| "nginx is not installed".into());
    vec![
        format!("{}; {}", machine::today(), machine::description()),
        format!(
            "floor: a bare reverse proxy on the same hyper (reads the body, finds model and key, swaps the key, \
             forwards over a pool); {nginx}: proxy_pass, 2 workers, keep-alive, request and connection limits, \
             streams unbuffered; LiteLLM, where it is installed: its proxy with one worker and a master key, no \
             limits, no database, no logs"
        ),
        format!(
            "no two requests ask the same, but where it says so; CPU is user + system time of the server process per verified answer; median of {} rounds of {} s each, \
             targets taking turns; load generator and mock upstream share the machine",
            options.rounds, options.seconds
        ),
    ]
}

/// 500 streams are a thousand sockets and more in one process; children inherit the limit.
pub(crate) fn allow_many_files() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = hard.map_or(32_768, |hard| hard.min(32_768));
    // A refusal shows as a refused connection later.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: hard });
}

async fn under_load(load: &Load, targets: &[Target], options: &Options) -> Result<Row> {
    let mut rounds: Vec<(Kind, Vec<f64>)> = targets.iter().map(|target| (target.kind, Vec::new())).collect();
    // Round 0 warms up and is not counted.
    for round in 0..=options.rounds {
        let length = if round == 0 { Duration::from_secs(1) } else { Duration::from_secs(options.seconds) };
        for (target, (_, values)) in targets.iter().zip(&mut rounds) {
            let mut plan = target.plan(wire::MODEL, load.prompt_bytes, load.stream);
            plan.fresh = load.fresh;
            if load.typeset {
                plan.body = wire::typeset(&plan.body);
            }
            let before = Cpu::read(&target.pids)?;
            let done = load::run(&plan, load.connections, length)
                .await
                .with_context(|| format!("{} on {}", load.name, target.kind.as_str()))?;
            let used = Cpu::read(&target.pids)?.since(&before);
            let micros = used.as_secs_f64() * 1e6 / done as f64;
            if round > 0 {
                println!(
                    "{}, round {round}, {}: {micros:.1} µs, {done} done",
                    load.name,
                    target.kind.as_str()
                );
                values.push(micros);
            }
        }
    }
    Ok(Row { name: load.name, unit: "CPU µs", rounds, most_ratio: load.most_ratio })
}

/// The middle time of one small request at a fixed low rate, less the same straight to the upstream.
async fn latency(targets: &[Target], upstream: SocketAddr, options: &Options) -> Result<Row> {
    let length = Duration::from_secs(options.seconds);
    let mut rounds: Vec<(Kind, Vec<f64>)> = targets.iter().map(|target| (target.kind, Vec::new())).collect();
    for round in 1..=options.rounds {
        for (target, (_, values)) in targets.iter().zip(&mut rounds) {
            let plan = target.plan(wire::MODEL, 0, false);
            let mut direct = plan.clone();
            (direct.address, direct.key) = (upstream, wire::UPSTREAM_KEY.into());
            let through = middle(&load::paced(&plan, PACED_PER_SEC, length).await?);
            let straight = middle(&load::paced(&direct, PACED_PER_SEC, length).await?);
            println!("latency, round {round}, {}: {through:.0} - {straight:.0} µs", target.kind.as_str());
            values.push((through - straight).max(0.0));
        }
    }
    Ok(Row { name: "added p50 at 100 requests/s", unit: "µs", rounds, most_ratio: None })
}

fn middle(sorted: &[Duration]) -> f64 {
    sorted.get(sorted.len() / 2).map_or(0.0, |value| value.as_secs_f64() * 1e6)
}

/// Fresh processes: memory that a load has touched is not given back at once.
async fn memory(options: &Options, upstream: SocketAddr, notes: &[String]) -> Result<Vec<Row>> {
    let row = |name, unit| Row { name, unit, rounds: Vec::new(), most_ratio: None };
    let mut start = row("start to first answer", "ms");
    let mut idle = row("resident memory, idle", "MiB");
    let mut idle_own = row("of it not mapped from files", "MiB");
    let mut busy = row("resident memory, 500 open streams", "MiB");
    let mut busy_own = row("of it not mapped from files, 500 streams", "MiB");
    for kind in &options.targets {
        let Some(target) = Target::start(*kind, upstream, options).await? else { continue };
        start.rounds.push((*kind, vec![target.first_answer.as_secs_f64() * 1e3]));
        sleep(IDLE_AFTER).await;
        let [idle_mib, idle_own_mib] = mib(&target)?;
        let idle_parts = parts(&target)?;
        let plan = target.plan(wire::HOLD_MODEL, 0, true);
        let mut open = Vec::new();
        for _ in 0..OPEN_STREAMS {
            let mut connection = Connection::open(plan.clone()).await?;
            let mut body = connection.send().await.context("open streams")?.into_body();
            let first = timeout(Duration::from_secs(10), body.frame()).await.context("no first event")?;
            ensure!(first.is_some_and(|frame| frame.is_ok()), "a stream ended at once");
            open.push((connection, body));
        }
        sleep(Duration::from_secs(1)).await;
        let [busy_mib, busy_own_mib] = mib(&target)?;
        if let (Some(idle), Some(busy)) = (idle_parts, parts(&target)?) {
            report::write(&options.results, "memory.md", &resident::markdown(notes, &idle, &busy))?;
        }
        println!("memory, {}: {idle_mib:.1} MiB idle, {busy_mib:.1} MiB with 500 streams", kind.as_str());
        for (row, value) in [
            (&mut idle, idle_mib),
            (&mut idle_own, idle_own_mib),
            (&mut busy, busy_mib),
            (&mut busy_own, busy_own_mib),
        ] {
            row.rounds.push((*kind, vec![value]));
        }
    }
    Ok(vec![start, idle, idle_own, busy, busy_own])
}

/// What the product's resident memory consists of.
fn parts(target: &Target) -> Result<Option<Resident>> {
    let product = target.pids.first().filter(|_| target.kind == Kind::Portcullis);
    product.map(|pid| Resident::read(*pid)).transpose()
}

/// Resident memory, and the part of it that is no file's.
fn mib(target: &Target) -> Result<[f64; 2]> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok([mib(resident_bytes(&target.pids)?), mib(anonymous_bytes(&target.pids)?)])
}
