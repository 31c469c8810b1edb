//! Digests of news: how well posts are grouped, what grouping 10,000 posts costs, and what a digest of 100 sources with 20 posts
//! each costs besides fetching. The labelled posts are `bench/news_cluster/posts.jsonl`, made up for it; the large sets are made
//! of their words. Invariants: the same posts every time; thresholds are those of the product.

use crate::{machine, options::Options, report};
use anyhow::{Context, Result};
use portcullis_apps::news::{BY_WORDS, calibrated, measure, scales};
use portcullis_knowledge::{Language, Space};
use portcullis_providers::{MULTILINGUAL, Reading, e5::Multilingual, minilm::MiniLm};
use portcullis_runtime::{
    Secrets, Settings,
    news::{Alone, DigestRequest},
};
use portcullis_store::{FeedRow, PostRow, Store, StoreParts};
use portcullis_telemetry::{Alerts, Health, Metrics};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};
use tokio::time::Instant;

const POSTS: &str = include_str!("../news_cluster/posts.jsonl");
/// Posts that are grouped.
const MANY: usize = 10_000;
/// Sources of the digest, and posts of each.
const SOURCES: usize = 100;
const EACH: usize = 20;
/// Words of a post that is made.
const WORDS: usize = 40;

#[derive(Deserialize)]
pub(crate) struct Post {
    lang: String,
    event: String,
    text: String,
}

/// Prints the tables and writes `digests.md`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let posts = posts()?;
    let mut page = format!(
        "# Digests benchmark\n\nWritten by `portcullis-bench news`.\n\n* {}; {}\n",
        machine::today(),
        machine::description()
    );
    grouping(&posts, &mut page)?;
    scales_found(&mut page)?;
    let near = |folder: &Path| folder.join("near-duplicates/articles_2500.train");
    let rows = Some(near(&options.data)).filter(|file| file.is_file());
    let rows = rows.unwrap_or_else(|| near(&options.data.with_file_name("news")));
    clustering(&posts, &rows, &mut page)?;
    Box::pin(digest(&posts, &mut page)).await?;
    report::write(&options.results, "digests.md", &page)?;
    print!("{page}");
    Ok(())
}

/// The labelled posts.
pub(crate) fn posts() -> Result<Vec<Post>> {
    POSTS.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the labelled posts")
}

/// How well posts of each language are grouped.
fn grouping(posts: &[Post], page: &mut String) -> Result<()> {
    writeln!(page, "\n## Grouping\n\nPairwise F1 over made-up posts (`bench/news_cluster`).\n")?;
    writeln!(
        page,
        "| posts | measure | threshold | F1 | right, wrong, missed pairs |\n|---|---|---|---|---|"
    )?;
    let mut languages = BTreeMap::<&str, Vec<&Post>>::new();
    posts.iter().for_each(|post| languages.entry(&post.lang).or_default().push(post));
    for (code, posts) in languages {
        let language = Language::from_code(code);
        let texts: Vec<(&str, Language)> = posts.iter().map(|post| (post.text.as_str(), language)).collect();
        let events: Vec<&str> = posts.iter().map(|post| post.event.as_str()).collect();
        let mut row = |measure: &str, threshold: f32, vectors: Option<&[Vec<f32>]>| {
            let counts = measure::pairs(&measure::grouped(&texts, vectors, threshold), &events);
            writeln!(
                page,
                "| {code} ({}) | {measure} | {threshold:.2} | {:.3} | {counts:?} |",
                posts.len(),
                measure::f1(counts)
            )
        };
        row("words", BY_WORDS, None)?;
        if language == Language::EN {
            let model = MiniLm::default();
            let vectors = texts.iter().map(|(text, _)| Ok(model.embed(text)?.vector));
            let vectors: Vec<Vec<f32>> = vectors.collect::<Result<_>>()?;
            row("builtin model", calibrated("builtin/minilm-l6-v2").context("calibrated")?, Some(&vectors))?;
        }
    }
    Ok(())
}

/// What a model would find for itself, had nobody measured it.
fn scales_found(page: &mut String) -> Result<()> {
    writeln!(
        page,
        "\n## Likeness found by a model itself\n\nOver the same posts: what is measured beforehand, what the model finds when it is first used, and F1 of \
         each half of the events with the likeness found by the other half.\n\n\
         | model | posts | beforehand | found | F1 | F1 across halves |\n|---|---|---|---|---|---|"
    )?;
    let space = |languages| Space { id: String::new(), version: 1, dimensions: 384, languages };
    let mut row = |name: &str, posts: &[scales::Labelled], vectors: &[Vec<f32>]| {
        let (found, well) = scales::best(posts, vectors);
        let before = calibrated(name).map_or_else(|| "-".to_owned(), |at| format!("{at:.2}"));
        let across = across(posts, vectors);
        writeln!(page, "| {name} | {} | {before} | {found:.3} | {well:.3} | {across:.3} |", posts.len())
    };
    let (posts, model) = (scales::labelled(&space(vec![Language::EN])), MiniLm::default());
    let vectors: Vec<Vec<f32>> =
        posts.iter().map(|post| Ok(model.embed(&post.text)?.vector)).collect::<Result<_>>()?;
    row("minilm-l6-v2", &posts, &vectors)?;
    let folder = Settings::default().data_dir.join("models");
    let model = Multilingual::new(folder.join(format!("{MULTILINGUAL}.pclmodel")));
    if model.is_installed() {
        let posts = scales::labelled(&space(Vec::new()));
        let read = |post: &scales::Labelled| Ok(model.embed(&post.text, Reading::Question)?.vector);
        let vectors: Vec<Vec<f32>> = posts.iter().map(read).collect::<Result<_>>()?;
        row(MULTILINGUAL, &posts, &vectors)?;
    }
    Ok(())
}

/// F1 of each half of the events, with the likeness that groups the other half best.
fn across(posts: &[scales::Labelled], vectors: &[Vec<f32>]) -> f64 {
    let events: std::collections::BTreeSet<&str> = posts.iter().map(|post| post.event.as_str()).collect();
    let half_of = |at: usize| match posts[at].event.as_str() {
        "" => at % 2,
        event => events.iter().position(|known| *known == event).unwrap_or_default() % 2,
    };
    let half = |wanted: usize| -> (Vec<scales::Labelled>, Vec<Vec<f32>>) {
        (0..posts.len())
            .filter(|at| half_of(*at) == wanted)
            .map(|at| (posts[at].clone(), vectors[at].clone()))
            .unzip()
    };
    let mut counts = [0; 3];
    for (one, other) in [(half(0), half(1)), (half(1), half(0))] {
        let (threshold, _) = scales::best(&one.0, &one.1);
        for code in ["en", "ru", "nl"] {
            let of = |at: &usize| other.0[*at].lang == code;
            let own: Vec<usize> = (0..other.0.len()).filter(of).collect();
            let vectors: Vec<Vec<f32>> = own.iter().map(|at| other.1[*at].clone()).collect();
            let events: Vec<&str> = own.iter().map(|at| other.0[*at].event.as_str()).collect();
            let found = measure::pairs(&measure::grouped(&[], Some(&vectors), threshold), &events);
            counts.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
    measure::f1(counts)
}

/// What grouping many posts costs on one thread: made of few words, so that all are alike a little; and pieces of real articles,
/// where they are there.
fn clustering(posts: &[Post], articles: &Path, page: &mut String) -> Result<()> {
    writeln!(
        page,
        "\n## Clustering of {MANY} posts, one thread\n\n| measure | seconds | groups |\n|---|---|---|"
    )?;
    let mut chance = Chance(7);
    let texts: Vec<String> = (0..MANY).map(|_| made(posts, &mut chance)).collect();
    let pairs: Vec<(&str, Language)> = texts.iter().map(|text| (text.as_str(), Language::EN)).collect();
    let begun = Instant::now();
    let groups = measure::grouped(&pairs, None, BY_WORDS);
    writeln!(
        page,
        "| words, all posts of few words | {:.2} | {} |",
        begun.elapsed().as_secs_f64(),
        groups.len()
    )?;
    if let Ok(rows) = std::fs::read_to_string(articles) {
        let articles: Vec<Vec<&str>> = rows.lines().map(|row| row.split(' ').skip(1).collect()).collect();
        let piece = |n: usize| {
            let words = &articles[n % articles.len()];
            let at = n / articles.len() * WORDS * 2;
            words[at.min(words.len())..(at + WORDS * 2).min(words.len())].join(" ")
        };
        let texts: Vec<String> = (0..MANY).map(piece).collect();
        let pieces: Vec<(&str, Language)> = texts.iter().map(|text| (text.as_str(), Language::EN)).collect();
        let begun = Instant::now();
        let groups = measure::grouped(&pieces, None, BY_WORDS);
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(page, "| words, pieces of articles | {seconds:.2} | {} |", groups.len())?;
    }
    // A fifth of the vectors lie near others, as the posts of a day do.
    let vectors: Vec<Vec<f32>> = (0..MANY)
        .map(|at| {
            let mut near = Chance(if at % 5 == 0 { at as u64 % 400 } else { at as u64 + 1000 });
            let own = &mut chance;
            (0..384).map(|_| near.centred() + own.centred() * 0.2).collect()
        })
        .collect();
    let begun = Instant::now();
    let groups = measure::grouped(&pairs, Some(&vectors), 0.7);
    writeln!(page, "| vectors of 384 numbers | {:.2} | {} |", begun.elapsed().as_secs_f64(), groups.len())?;
    Ok(())
}

/// What a digest costs besides fetching: its posts are known already.
async fn digest(posts: &[Post], page: &mut String) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("data");
    let mut settings = Settings { data_dir, ..Settings::default() };
    settings.news.fetch_ttl_secs = 86_400;
    let mut chance = Chance(11);
    let texts: Vec<Vec<String>> =
        (0..SOURCES).map(|_| (0..EACH).map(|_| made(posts, &mut chance)).collect()).collect();
    let sources = kept(&settings, &texts).await.context("the posts are kept")?;
    writeln!(page, "\n## A digest of {SOURCES} sources with {EACH} posts each, besides fetching\n")?;
    writeln!(page, "| | processor seconds | seconds | stories |\n|---|---|---|---|")?;
    for (embedder, name) in [("auto", "first time"), ("auto", "again: vectors are kept")] {
        embedder.clone_into(&mut settings.news.embedder);
        let alone = Alone::open(&settings, &Secrets::default()).await?;
        let asked = DigestRequest { sources: sources.clone(), stories: Some(10), ..DigestRequest::default() };
        let (before, begun) = (cpu(), Instant::now());
        let told = alone.digest(asked, |_, _| {}).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        let stories = told["stories"].as_array().map_or(0, Vec::len);
        writeln!(
            page,
            "| {name} | {:.2} | {:.2} | {stories} |",
            cpu() - before,
            begun.elapsed().as_secs_f64()
        )?;
    }
    Ok(())
}

/// Keeps posts as if their sources had just been fetched; the sources.
async fn kept(settings: &Settings, texts: &[Vec<String>]) -> Result<Vec<String>> {
    let store = Store::open(StoreParts {
        config: &settings.store,
        data_dir: &settings.data_dir,
        url: None,
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    })
    .await?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let mut sources = Vec::new();
    for (number, texts) in texts.iter().enumerate() {
        let source = format!("@bench_source_{number}");
        let row = store.feeds().of(&source, "channel").await?;
        let post = |(at, text): (usize, &String)| PostRow {
            external_id: at.to_string(),
            at: now - 60_000 * (number + at) as i64,
            dated: true,
            title: String::new(),
            text: text.clone(),
            url: format!("https://t.me/bench_source_{number}/{at}"),
            views: 100,
        };
        let posts: Vec<PostRow> = texts.iter().enumerate().map(post).collect();
        let fetched = FeedRow { state: "ok".to_owned(), fetched_at: now, ..row };
        store.feeds().keep(&fetched, &posts).await?;
        sources.push(source);
    }
    store.close().await;
    Ok(sources)
}

/// Processor time of this process, in seconds.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// A post of words of two posts and some of nobody's.
pub(crate) fn made(posts: &[Post], chance: &mut Chance) -> String {
    let english: Vec<&Post> = posts.iter().filter(|post| post.lang == "en").collect();
    let mut words: Vec<String> = Vec::new();
    for _ in 0..2 {
        let post = english[chance.below(english.len())];
        words.extend(post.text.split_whitespace().map(str::to_owned));
    }
    words.truncate(WORDS / 2);
    while words.len() < WORDS {
        let name: String = (0..2 + chance.below(3))
            .map(|_| ["ka", "ro", "ten", "mil", "va", "sho", "lu", "dren", "pi", "gor"][chance.below(10)])
            .collect();
        words.insert(chance.below(words.len() + 1), name);
    }
    words.join(" ")
}

/// Numbers that look like chance and are the same every time (xorshift).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn centred(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    }
}
