//! Many people ask at once: the real binary with the product's own manual as documents, a provider that takes a second,
//! the double of signal-cli as the door of a hundred people, and HTTP beside it. Invariants: every message is answered, or
//! the run ends with an error; the limits of people are those that everybody has; what the answers wait for by setting
//! (the pace of sending) is named beside the figure. Source: ask design, must show 19.

use crate::{bot::WIDE, machine, meter, options::Options, report, scholar::Scholar};
use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_testkit::{
    process,
    signal::{ACCOUNT, Person, Signal, envelope},
};
use serde_json::{Value, json};
use std::{collections::HashMap, fmt::Write as _, net::SocketAddr, path::PathBuf, time::Duration};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// People.
const PEOPLE: usize = 100;
/// Messages of each in the part that is ten times and more as busy as asked: 1,000 in all.
const EACH: usize = 10;
/// How long the provider takes.
const PAUSE: Duration = Duration::from_secs(1);
/// Length of each paced part unless `--seconds` says more than the usual few.
const PACED: Duration = Duration::from_secs(150);
/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(300);
/// A made-up passphrase.
const PASSPHRASE: &str = "bench passphrase, made up";
/// What people ask.
const QUESTIONS: [&str; 8] = [
    "How do I restore a backup?",
    "How are documents taken in?",
    "What does a policy of the guard decide?",
    "Where is the audit trail kept?",
    "How many messages may one person send in a minute?",
    "What happens when the provider is down?",
    "How is signal-cli started for the Signal door?",
    "Which formats of documents are read?",
];
/// Every fifth message is one of these.
const COMMANDS: [&str; 4] = ["/info", "/help", "/lang en", "/short"];

const CONFIG: &str = "
[ask]
cache_hours = 0
[actions.ask]
per_user_per_min = 1000000
[routes.ask]
targets = [{ provider = \"bench\", model = \"bench-model\" }]
[providers.bench]
key_secret = \"bench_api_key\"
models = [\"bench-model\"]
concurrency = 128
queue = 256
rpm = 100000
tpm = 1000000000
";

/// The whole product with its double of signal-cli.
struct House {
    server: process::Server,
    double: Signal,
    people: Vec<Person>,
    key: String,
    _scholar: Scholar,
}

/// A message that was sent, and when.
struct Pushed {
    command: bool,
    at: Instant,
}

/// Prints the table and writes `asking.md`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let paced = if options.seconds > 60 { Duration::from_secs(options.seconds) } else { PACED };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut page = format!(
        "# Many people ask\n\nWritten by `portcullis-bench asking`: {PEOPLE} people at the double of signal-cli, the manual \
         as documents, a provider that takes {} s.\n\n* {}; {}\n* load of the machine when it began: {}\n\n\
         | | messages | p50 | p95 | worst | asked for |\n|---|---:|---:|---:|---:|---|\n",
        PAUSE.as_secs(),
        machine::today(),
        machine::description(),
        load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
    );
    let house = House::start(options, "").await?;
    house.paced(&mut page, 1, paced).await?;
    house.over_http(&mut page).await?;
    house.burst(&mut page, "all at once at Signal, sending at the usual pace of 5 a second").await?;
    drop(house);
    let house = House::start(options, "send_per_sec = 50\nsend_interval_ms = 100\n").await?;
    let memory = house.paced(&mut page, EACH, paced).await?;
    house.burst(&mut page, "all at once at Signal, `signal.send_per_sec = 50`").await?;
    let last = meter::resident_bytes(&[house.server.id()])?;
    drop(house);
    page.push_str("\nResident memory in MiB, from ten messages to a thousand: ");
    let mib = |bytes: &u64| format!("{:.1}", *bytes as f64 / f64::from(1 << 20));
    page.push_str(&memory.iter().map(mib).collect::<Vec<_>>().join(", "));
    writeln!(page, "; after all of the above {}.", mib(&last))?;
    println!("{page}");
    report::write(&options.results, "asking.md", &page)
}

impl House {
    async fn start(options: &Options, signal: &str) -> Result<Self> {
        let scholar = Scholar::start(PAUSE).await?;
        let double = Signal::start().await;
        let config = format!(
            "{WIDE}{CONFIG}base_url = \"http://{}/v1\"\n[signal]\nenabled = true\nurl = \"{}\"\n{signal}",
            scholar.address,
            double.http_url()
        );
        let settings = process::Options::config(config)
            .env("BENCH_API_KEY", "sk-bench-made-up")
            .env("SIGNAL_PHONE_NUMBER", ACCOUNT)
            .env("ACTIVATION_PASSPHRASE", PASSPHRASE);
        let binary = options.portcullis.to_str().context("the path of portcullis is not UTF-8")?;
        let refused = |refused: process::Refused| anyhow!("portcullis serve ended: {}", refused.stderr);
        let server = process::Server::start(binary, settings).await.map_err(refused)?;
        let key = server.key().context("portcullis serve printed no key")?;
        let manual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/manual");
        let manual = manual.to_str().context("the path of the manual is not UTF-8")?;
        let taken = process::run(binary, server.folder(), &["ingest", manual], &[]).await;
        ensure!(taken.code == Some(0), "the manual was not taken in: {}", taken.stderr);
        let people: Vec<Person> = (0..PEOPLE).map(|n| double.person(&format!("Person {n}"))).collect();
        let house = Self { server, double, people, key, _scholar: scholar };
        for person in &house.people {
            house.double.push(envelope::data(person, PASSPHRASE));
        }
        house.until_sent(PEOPLE).await?;
        // The server has followed what was published when it answers from it.
        let begun = Instant::now();
        while house.ask("How do I restore a backup?").await?["mode"] != "full" {
            ensure!(begun.elapsed() < PATIENCE, "it does not answer from the manual");
            sleep(Duration::from_millis(200)).await;
        }
        Ok(house)
    }

    async fn until_sent(&self, count: usize) -> Result<()> {
        let begun = Instant::now();
        while self.double.sent().len() < count {
            ensure!(begun.elapsed() < PATIENCE, "{} of {count} messages came", self.double.sent().len());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Everybody writes `each` messages now and then; the memory after each part of the time.
    async fn paced(&self, page: &mut String, each: usize, length: Duration) -> Result<Vec<u64>> {
        let (slot, begin, before) = (length / each as u32, Instant::now(), self.double.sent().len());
        let mut due: Vec<(Duration, usize, usize)> = (0..PEOPLE * each)
            .map(|n| {
                let (person, turn) = (n % PEOPLE, n / PEOPLE);
                // Spread over four fifths of the slot, so that nobody writes twice within a second or two.
                let within = slot.mul_f64(
                    0.8 * f64::from((n as u32).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24),
                );
                (slot * turn as u32 + within, person, turn)
            })
            .collect();
        due.sort_unstable();
        let (mut pushed, mut memory) = (HashMap::<usize, Vec<Pushed>>::new(), Vec::new());
        for (n, (at, person, turn)) in due.into_iter().enumerate() {
            sleep_until(begin + at).await;
            if n % PEOPLE == 10 {
                memory.push(meter::resident_bytes(&[self.server.id()])?);
            }
            let command = (person + turn) % 5 == 3;
            let text = if command {
                COMMANDS[person / 5 % COMMANDS.len()].to_owned()
            } else {
                QUESTIONS[(person + turn) % QUESTIONS.len()].to_owned()
            };
            self.double.push(envelope::data(&self.people[person], &text));
            pushed.entry(person).or_default().push(Pushed { command, at: Instant::now() });
        }
        self.until_sent(before + PEOPLE * each).await?;
        memory.push(meter::resident_bytes(&[self.server.id()])?);
        let (mut questions, mut commands) = (Vec::new(), Vec::new());
        for (person, pushed) in &pushed {
            let answers = self.answers(*person, before);
            ensure!(
                answers.len() == pushed.len(),
                "person {person}: {} of {} answers",
                answers.len(),
                pushed.len()
            );
            for (answered, pushed) in answers.into_iter().zip(pushed) {
                let took = answered.saturating_duration_since(pushed.at);
                if pushed.command { commands.push(took) } else { questions.push(took) }
            }
        }
        let rate = 3600.0 * (PEOPLE * each) as f64 / length.as_secs_f64();
        row(page, &format!("questions at Signal, {rate:.0} messages an hour"), questions, "p95 < 5 s")?;
        row(page, "commands among them", commands, "< 500 ms")?;
        Ok(memory)
    }

    /// When this person's answers left, of all but the first `before` messages.
    fn answers(&self, person: usize, before: usize) -> Vec<Instant> {
        let uuid = &self.people[person].uuid;
        let sent = self.double.sent();
        let own = sent.iter().skip(before).filter(|sent| sent.recipients.first() == Some(uuid));
        own.map(|sent| sent.at).collect()
    }

    async fn burst(&self, page: &mut String, what: &str) -> Result<()> {
        let (before, begin) = (self.double.sent().len(), Instant::now());
        for (n, person) in self.people.iter().enumerate() {
            self.double.push(envelope::data(person, QUESTIONS[n % QUESTIONS.len()]));
        }
        self.until_sent(before + PEOPLE).await?;
        let took = (0..PEOPLE).flat_map(|person| self.answers(person, before));
        row(page, what, took.map(|at| at.saturating_duration_since(begin)).collect(), "-")
    }

    async fn over_http(&self, page: &mut String) -> Result<()> {
        let mut asking = JoinSet::new();
        let (address, key) = (self.server.address(), self.key.clone());
        for n in 0..PEOPLE {
            let (key, text) = (key.clone(), QUESTIONS[n % QUESTIONS.len()]);
            asking.spawn(async move {
                let begin = Instant::now();
                let answer = ask(address, &key, &json!({ "question": text })).await?;
                ensure!(answer["mode"] == "full", "not a full answer: {answer}");
                Ok(begin.elapsed())
            });
        }
        let mut took = Vec::new();
        while let Some(ended) = asking.join_next().await {
            took.push(ended??);
        }
        row(page, "all at once over HTTP, `POST /v1/ask`", took, "p95 < 5 s")
    }

    async fn ask(&self, question: &str) -> Result<Value> {
        ask(self.server.address(), &self.key, &json!({ "question": question })).await
    }
}

/// Asks on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, key: &str, asked: &Value) -> Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::post("/v1/ask")
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::<Bytes>::from(asked.to_string()))?;
    let response = timeout(PATIENCE, sender.send_request(request)).await??;
    let status = response.status();
    let bytes = crate::upstream::collect(response.into_body()).await?;
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
    Ok(serde_json::from_slice(&bytes)?)
}

fn row(page: &mut String, what: &str, mut took: Vec<Duration>, asked: &str) -> Result<()> {
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was answered");
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    writeln!(
        page,
        "| {what} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {asked} |",
        took.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    )?;
    Ok(())
}
