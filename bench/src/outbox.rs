//! The outbox of the Telegram door: a flood with everything that Telegram allows and forbids, killed in the middle, and a
//! long queue at the configured pace. Invariant: the double counts to the message and notes what is too fast.

use crate::{
    bot::{Arrivals, arrived, fill, mib, serve, spread},
    machine, meter,
    options::Options,
    report,
};
use anyhow::{Context, Result, ensure};
use portcullis_testkit::telegram::{Fault, Options as Double, Rates, Rule, Telegram};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Messages and chats of the flood; of the chats so many are groups, each with so many messages.
const FLOOD: (usize, usize) = (1000, 200);
const GROUPS: (usize, usize) = (10, 25);
/// Messages and chats of the long queue.
const QUEUE: (usize, usize) = (10_000, 400);
/// Arrived messages after which the product is killed.
const KILLED_AT: usize = 400;

/// Prints the tables and writes `outbox.md`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut page = format!(
        "# Outbox benchmark\n\nWritten by `cargo xtask bench outbox`. The product as it is configured by default, in front of the strict \
         double of Telegram, which counts to the message.\n\n* {}; {}\n",
        machine::today(),
        machine::description()
    );
    flood(options, &mut page).await?;
    queue(options, &mut page).await?;
    report::write(&options.results, "outbox.md", &page)?;
    print!("{page}");
    Ok(())
}

async fn double() -> Telegram {
    Telegram::with(Double { rates: Rates::Exact, ..Double::default() }).await
}

async fn flood(options: &Options, page: &mut String) -> Result<()> {
    let double = double().await;
    let server = serve(options, &double, "").await?;
    let (messages, chats) = FLOOD;
    let people: Vec<_> = (GROUPS.0..chats).map(|n| double.person(&format!("Person {n}"))).collect();
    let member = people.first().context("no people")?;
    let groups: Vec<i64> = (0..GROUPS.0).map(|n| double.group(&format!("Group {n}"), &[member]).id).collect();
    let mut all = Vec::new();
    for number in 0..GROUPS.1 {
        all.extend(groups.iter().map(|group| (*group, number.to_string())));
    }
    let rest = messages - all.len();
    all.extend((0..rest).map(|index| (people[index % people.len()].id, (index / people.len()).to_string())));
    let silenced = people[7].id;
    double.fault(Rule::new("sendMessage", 1, Fault::retry_after(7)).to(silenced));
    fill(&server, &all).await?;
    arrived(&double, KILLED_AT, Duration::from_secs(120)).await?;
    let mut server = server;
    server.kill();
    let killed = Instant::now();
    let mut server = server.restart(|_| {}).await.map_err(|refused| anyhow::anyhow!(refused.stderr))?;
    each_arrived(&double, messages).await?;
    // Whatever comes twice would come now.
    sleep(Duration::from_secs(3)).await;
    let sent = double.sent();
    let mut by_chat: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for one in &sent {
        by_chat.entry(one.chat).or_default().push(one.text.parse().context("a text that nobody sent")?);
    }
    let mut twice = 0;
    for (chat, numbers) in &mut by_chat {
        ensure!(numbers.is_sorted(), "chat {chat} is out of order: {numbers:?}");
        let before = numbers.len();
        numbers.dedup();
        twice += before - numbers.len();
        ensure!(numbers.iter().copied().eq(0..numbers.len()), "chat {chat} misses some: {numbers:?}");
    }
    let distinct: usize = by_chat.values().map(Vec::len).sum();
    ensure!(distinct == messages, "{distinct} of {messages} arrived");
    let violations = double.violations();
    ensure!(violations.is_empty(), "{violations:#?}");
    let told = double
        .calls()
        .into_iter()
        .find(|call| call.status == Some(429))
        .context("nobody was told to wait")?;
    let first_after =
        sent.iter().find(|one| one.chat == silenced).context("the silenced chat got nothing")?;
    let meanwhile = sent.iter().filter(|one| one.at > told.at && one.at < first_after.at).count();
    let of = |chat: i64| Arrivals::of(sent.iter().filter(move |one| one.chat == chat));
    let every = Arrivals::of(sent.iter());
    let gap = by_chat.keys().filter_map(|chat| of(*chat).least_gap()).min().unwrap_or_default();
    let group = groups.iter().map(|group| of(*group).most_within(60_000)).max().unwrap_or_default();
    let away = sent.iter().filter(|one| one.at > killed).map(|one| one.at - killed).min().unwrap_or_default();
    writeln!(
        page,
        "\n## {messages} messages to {chats} chats, {} of them groups with {} messages each, `kill -9` after {KILLED_AT}\n\n\
         | | measured | allowed |\n|---|---:|---:|\n\
         | messages lost; chats out of order | 0; 0 | 0; 0 |\n\
         | sent twice, because the kill left their outcome unknown | {twice} | 8 |\n\
         | most in any second | {} | 30 |\n| least time between two in one chat, ms | {gap} | 1000 |\n\
         | most in any minute in one group | {group} | 20 |\n\
         | silence of the chat that was told to wait, s | {:.1} | at least 7 |\n\
         | messages to others in that time | {meanwhile} | |\n\
         | from the kill to the next message, s | {:.1} | |\n| all, s | {:.1} | |",
        GROUPS.0,
        GROUPS.1,
        every.most_within(1000),
        (first_after.at - told.at).as_secs_f64(),
        away.as_secs_f64(),
        every.seconds(),
    )?;
    server.terminate();
    ensure!(server.wait(40).await == Some(0), "it does not end");
    Ok(())
}

/// Waits until so many different messages arrived: some may come twice, and each is to come once at least.
async fn each_arrived(double: &Telegram, messages: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let sent = double.sent();
        let distinct: BTreeSet<_> = sent.iter().map(|one| (one.chat, one.text.as_str())).collect();
        if distinct.len() >= messages {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(300), "{} of {messages} arrived", distinct.len());
        sleep(Duration::from_millis(200)).await;
    }
}

async fn queue(options: &Options, page: &mut String) -> Result<()> {
    let double = double().await;
    let mut server = serve(options, &double, "").await?;
    let (messages, chats) = QUEUE;
    let people: Vec<_> = (0..chats).map(|n| double.person(&format!("Person {n}"))).collect();
    let all: Vec<_> = (0..messages)
        .map(|index| (people[index % chats].id, format!("Message {} of the long queue", index / chats)))
        .collect();
    let pids = [server.id()];
    let filled = fill(&server, &all).await?;
    let (queued, begun) = (double.sent_so_far(), meter::Cpu::read(&pids)?);
    let mut memory = vec![meter::resident_bytes(&pids)?];
    while double.sent_so_far() < messages {
        sleep(Duration::from_secs(5)).await;
        memory.push(meter::resident_bytes(&pids)?);
        ensure!(memory.len() < 200, "it does not end");
    }
    let cpu = meter::Cpu::read(&pids)?.since(&begun);
    let violations = double.violations();
    ensure!(violations.is_empty(), "{violations:#?}");
    let sent = double.sent();
    let arrivals = Arrivals::of(sent.iter().skip(queued));
    let seconds = arrivals.by_second();
    let (mean, jitter) = spread(&seconds);
    let (least, most) = (seconds.iter().min().copied(), seconds.iter().max().copied());
    let [first, last, high] = [memory.first().copied(), memory.last().copied(), memory.iter().max().copied()]
        .map(|m| mib(m.unwrap_or(0)));
    writeln!(
        page,
        "\n## {messages} queued messages to {chats} chats\n\n| | measured | asked |\n|---|---:|---:|\n\
         | messages a second, mean | {mean:.2} | 30 |\n| in each second, least and most | {}; {} | |\n\
         | jitter: standard deviation over mean | {:.1} % | under 5 % |\n\
         | most in any second | {} | 30 |\n| until the last, s | {:.1} | {:.1} |\n\
         | resident memory at the begin, most, at the end, MiB | {first:.1}; {high:.1}; {last:.1} | flat |\n\
         | processor time of one message, ms | {:.2} | |\n\
         | queued by the admin API meanwhile, s | {:.1} | |",
        least.unwrap_or(0),
        most.unwrap_or(0),
        jitter * 100.0,
        arrivals.most_within(1000),
        arrivals.seconds(),
        (messages - queued) as f64 / 30.0,
        cpu.as_secs_f64() * 1000.0 / (messages - queued) as f64,
        filled.as_secs_f64(),
    )?;
    server.terminate();
    ensure!(server.wait(40).await == Some(0), "it does not end");
    Ok(())
}
