//! A crowd that wants its news within one minute from sources that it shares, through the real binary, with doubles of
//! Telegram and of the web that answer after 300 ms. A digest counts as committed when its first message arrives, which
//! is a little later; the pace of sending is lifted, so that it does not hide when that was. Invariant: everybody gets a
//! digest.

use crate::{
    bot::{mib, serve, share},
    digests::{Chance, made, posts},
    machine, meter,
    options::Options,
    report,
};
use anyhow::{Result, ensure};
use portcullis_testkit::{
    pages::{Channel, Post, Site, Web, feed_atom},
    telegram::{Options as Double, Person, Rates, Telegram},
};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

const PEOPLE: usize = 500;
const SOURCES: usize = 50;
/// Sources of one person, posts of one source.
const EACH: usize = 5;
const POSTS: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
const LATENCY: Duration = Duration::from_millis(300);

/// Prints the table and writes `crowd.md`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut page = format!(
        "# Crowd benchmark\n\nWritten by `cargo xtask bench crowd`: {PEOPLE} people press `/news` within one minute, each with {EACH} of \
         {SOURCES} shared sources of {POSTS} posts; Telegram and the sources answer after {} ms.\n\n* {}; {}\n\n\
         | sources | to commit, s: half, 95 %, all | fetches of one source, most | processor time of one digest, ms | resident \
         memory before, most, after, MiB |\n|---|---:|---:|---:|---:|\n",
        LATENCY.as_millis(),
        machine::today(),
        machine::description()
    );
    one(options, "feeds of as many hosts", false, &mut page).await?;
    one(options, "public channels of one host", true, &mut page).await?;
    writeln!(page, "\nAsked: 95 % under 20 s, each source fetched once.")?;
    report::write(&options.results, "crowd.md", &page)?;
    print!("{page}");
    Ok(())
}

/// What people write to add a source, and the site that shows it.
struct Source {
    name: String,
    path: String,
    site: Site,
}

async fn sources(webs: &mut Vec<Web>, channels: bool) -> Result<Vec<Source>> {
    let (words, mut chance) = (posts()?, Chance::new(11));
    let mut out = Vec::new();
    for number in 0..SOURCES {
        if webs.is_empty() || !channels {
            webs.push(Web::start().await);
        }
        let Some(web) = webs.last() else { continue };
        let now = machine::now();
        let posts: Vec<Post> = (0..POSTS)
            .map(|id| Post {
                id: id as u64 + 1,
                text: made(&words, &mut chance),
                time: now.clone(),
                reply_to: None,
            })
            .collect();
        out.push(if channels {
            let slug = format!("channel_{number}");
            let channel = Channel { slug: slug.clone(), posts, other_layout: false };
            let site = channel.show(web.here().after(LATENCY));
            Source { name: format!("@{slug}"), path: format!("/s/{slug}"), site }
        } else {
            let site = web.here().after(LATENCY).page("/feed", feed_atom(&posts));
            Source { name: format!("http://{}/feed", web.address()), path: "/feed".into(), site }
        });
    }
    Ok(out)
}

async fn one(options: &Options, name: &str, channels: bool, page: &mut String) -> Result<()> {
    let double = Telegram::with(Double { rates: Rates::Off, latency: LATENCY, ..Double::default() }).await;
    let mut webs = Vec::new();
    let sources = sources(&mut webs, channels).await?;
    let private: Vec<String> = webs.iter().map(|web| format!("\"{}\"", web.address())).collect();
    let settings = format!(
        "[telegram.send]\nglobal_per_sec = 1000\nchat_interval_ms = 0\n[messages]\nsending = 64\n\
         [pages]\nallow_private = [{}]\n[news.scrape]\nbase_url = \"http://{}\"\n",
        private.join(", "),
        webs[0].address()
    );
    let mut server = serve(options, &double, &settings).await?;
    // Each is looked at once beforehand, no more at once than are looked at while somebody waits.
    for (number, part) in sources.chunks(EACH).enumerate() {
        let scout = double.person(&format!("Scout {number}"));
        let names: Vec<&str> = part.iter().map(|source| source.name.as_str()).collect();
        double.say(&scout, &format!("/add {}", names.join(" ")));
        until(&double, std::slice::from_ref(&scout), MINUTE, |count| count >= 1).await?;
    }
    let people: Vec<Person> = (0..PEOPLE).map(|n| double.person(&format!("Reader {n}"))).collect();
    for (index, person) in people.iter().enumerate() {
        let own: Vec<&str> =
            (0..EACH).map(|n| sources[(index * 7 + n * 11) % SOURCES].name.as_str()).collect();
        double.say(person, &format!("/add {}", own.join(" ")));
    }
    until(&double, &people, Duration::from_secs(600), |count| count >= 1).await?;
    for person in &people {
        let told = double.sent_to(person.id);
        let added = told.iter().map(|sent| sent.text.matches('✅').count()).sum::<usize>();
        ensure!(added == EACH, "a person follows {added} sources: {}", told[0].text);
    }
    // What was fetched to look at the sources is old by then.
    sleep(Duration::from_secs(125)).await;
    let fetched = |source: &Source| source.site.targets().iter().filter(|path| **path == source.path).count();
    let before: Vec<usize> = sources.iter().map(fetched).collect();
    let pids = [server.id()];
    let (begun, cpu, mut memory) =
        (Instant::now(), meter::Cpu::read(&pids)?, vec![meter::resident_bytes(&pids)?]);
    let mut asked = BTreeMap::new();
    for (index, person) in people.iter().enumerate() {
        sleep_until(begun + MINUTE.mul_f64(index as f64 / PEOPLE as f64)).await;
        asked.insert(person.id, Instant::now());
        double.say(person, "/news");
        if index % 25 == 0 {
            memory.push(meter::resident_bytes(&pids)?);
        }
    }
    let is_digest = |text: &str| text.starts_with("📰 Folder 1");
    let given = Instant::now();
    let mut took: Vec<f64> = loop {
        let mut first: BTreeMap<i64, Instant> = BTreeMap::new();
        for sent in double.sent().iter().filter(|sent| is_digest(&sent.text)) {
            first.entry(sent.chat).or_insert(sent.at);
        }
        if first.len() == PEOPLE {
            break first
                .iter()
                .filter_map(|(chat, at)| Some((*at - *asked.get(chat)?).as_secs_f64()))
                .collect();
        }
        ensure!(given.elapsed() < 4 * MINUTE, "{} of {PEOPLE} got a digest", first.len());
        memory.push(meter::resident_bytes(&pids)?);
        sleep(Duration::from_secs(1)).await;
    };
    let spent = meter::Cpu::read(&pids)?.since(&cpu).as_secs_f64() * 1000.0 / PEOPLE as f64;
    sleep(Duration::from_secs(10)).await;
    let after = meter::resident_bytes(&pids)?;
    let most = sources.iter().zip(before).map(|(source, before)| fetched(source) - before).max().unwrap_or(0);
    writeln!(
        page,
        "| {name} | {:.1}; {:.1}; {:.1} | {most} | {spent:.0} | {:.0}; {:.0}; {:.0} |",
        share(&mut took, 0.5),
        share(&mut took, 0.95),
        share(&mut took, 1.0),
        mib(memory.first().copied().unwrap_or_default()),
        mib(memory.iter().max().copied().unwrap_or_default()),
        mib(after),
    )?;
    server.terminate();
    ensure!(server.wait(40).await == Some(0), "it does not end");
    Ok(())
}

/// Waits until everybody has messages enough.
async fn until(
    double: &Telegram,
    people: &[Person],
    most: Duration,
    enough: fn(usize) -> bool,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut counts: BTreeMap<i64, usize> = people.iter().map(|person| (person.id, 0)).collect();
        for sent in double.sent() {
            *counts.entry(sent.chat).or_default() += 1;
        }
        let waiting = counts.values().filter(|count| !enough(**count)).count();
        if waiting == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < most, "{waiting} people wait for an answer");
        sleep(Duration::from_secs(1)).await;
    }
}
