//! News for people with the real binary, against the strict double of Telegram and a double of channel pages: many ask at
//! once while the server is killed at random moments.

use crate::support::{BINARY, get};
use portcullis_testkit::{
    pages::{Channel, Post, Web},
    postgres,
    process::{Options, Server},
    telegram::{Person, Sent, Telegram},
};
use std::time::Duration;

const ADMIN_KEY: &str = "pcl_made-up-administrator-key-for-tests-0001";

/// A channel with one story of today.
fn channel() -> Channel {
    let text = "The harbour bridge was closed on Saturday evening after a crane hit its middle span. \
                The city expects repairs to take three weeks and sends traffic through the tunnel.";
    let time = jiff::Timestamp::now().to_string();
    let post = Post { id: 7, text: text.into(), time, reply_to: None };
    Channel { slug: "harbour_news".into(), posts: vec![post], other_layout: false }
}

async fn serve(double: &Telegram, web: &Web, postgres: Option<&str>) -> Server {
    let (api, pages) = (double.base_url(), web.address());
    let store = if postgres.is_some() { "[store]\nurl_secret = \"store_url\"\n" } else { "" };
    let config = format!(
        "[telegram]\nenabled = true\napi_base = \"{api}\"\n\
         [telegram.send]\nglobal_per_sec = 1000\nchat_interval_ms = 1\n\
         [messages]\ntake_over_secs = 3\n\
         [pages]\nallow_private = [\"{pages}\"]\n\
         [news]\ncharge_degraded = true\n[news.scrape]\nbase_url = \"http://{pages}\"\n\
         [actions.message]\nper_user_per_min = 100000\nper_user_per_hour = 100000\n\
         [actions.news]\nper_user_per_min = 100000\nper_user_per_hour = 100000\n{store}"
    );
    let mut options =
        Options::config(config).env("TELEGRAM_BOT_TOKEN", double.token()).env("ADMIN_KEY", ADMIN_KEY);
    if let Some(url) = postgres {
        options = options.env("STORE_URL", url).env("DATA_KEY", "a key of this test, made up for it");
    }
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn digests(sent: &[Sent]) -> usize {
    sent.iter().filter(|sent| sent.text.starts_with("📰 Folder 1")).count()
}

/// The outbox's messages in that state, as they are listed.
async fn listed(server: &Server, state: &str) -> String {
    let path = format!("/admin/v1/outbox?limit=1000&state={state}");
    get(server.admin().unwrap(), &path, ADMIN_KEY).await.text()
}

/// Messages to that person that are listed as dead.
async fn reported(server: &Server, person: i64) -> usize {
    listed(server, "dead").await.matches(&format!("\"telegram:{person}\"")).count()
}

/// Whether a message is still to leave: one that was on its way at a kill waits for the time its sender had.
async fn waits(server: &Server) -> bool {
    listed(server, "queued").await.contains("\"telegram:")
        || listed(server, "sending").await.contains("\"telegram:")
}

/// How many ask how often, and how often the server is killed meanwhile.
struct Size {
    people: usize,
    each: usize,
    kills: usize,
}

const SMALL: Size = Size { people: 10, each: 10, kills: 4 };
const FULL: Size = Size { people: 50, each: 20, kills: 8 };

/// Many ask, and the server is killed at random moments; afterwards every digest was given once, or twice where nobody
/// knew; what is charged was given, and everybody has the one folder that they began with.
async fn ask_and_kill(size: Size, postgres: Option<&str>) {
    let (double, web) = (Telegram::start().await, Web::start().await);
    let _site = channel().show(web.here());
    let mut server = serve(&double, &web, postgres).await;
    let people: Vec<Person> = (0..size.people).map(|n| double.person(&format!("Reader {n}"))).collect();
    for person in &people {
        double.say(person, "/add @harbour_news");
    }
    for person in &people {
        double.sent_count(person.id, 1).await;
    }
    let mut killed = 0;
    for round in 0..size.each {
        for person in &people {
            double.say(person, "/news all");
        }
        // Spread over the rounds, each at another moment of its round.
        if round * size.kills / size.each >= killed && killed < size.kills {
            killed += 1;
            tokio::time::sleep(Duration::from_millis(20 + (killed as u64 * 977) % 1900)).await;
            server.kill();
            server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        }
    }
    assert_eq!(killed, size.kills);
    // The last question of everybody is answered when everything before it is.
    let (mut quiet, mut before) = (0, 0);
    while quiet < 12 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = double.sent_so_far();
        let still = now == before && double.pending() == 0 && !waits(&server).await;
        quiet = if still { quiet + 1 } else { 0 };
        before = now;
    }
    let (mut charges, mut gifts) = (0, 0);
    for person in &people {
        let seen = double.sent_to(person.id).len();
        double.say(person, "/usage");
        let sent = double.sent_count(person.id, seen + 1).await;
        let usage = &sent.last().unwrap().text;
        let left = (0..=3).find(|left| usage.contains(&format!("{left} of 3 digests"))).unwrap();
        let (charged, given) = (3 - left, digests(&sent));
        // A message that was on its way when the server was killed is sent once more, since nobody knows.
        // One that was on its way at two kills is not sent a third time: it is among those that are reported.
        let told = given + reported(&server, person.id).await;
        assert!(
            (charged..=charged + size.kills).contains(&told),
            "{charged} charged, {given} given, {told} with those that are reported: {usage}\nexpired: {}",
            listed(&server, "expired").await
        );
        assert!(charged >= 1, "{usage}");
        double.say(person, "/list");
        let sent = double.sent_count(person.id, seen + 2).await;
        let list = &sent.last().unwrap().text;
        assert_eq!((list.matches("Folder").count(), list.matches("@harbour_news").count()), (1, 1), "{list}");
        (charges, gifts) = (charges + charged, gifts + given);
    }
    // One kill leaves as many outcomes unknown as are sent at once.
    assert!(gifts <= charges + size.kills * 8, "{gifts} given, {charges} charged");
    // What shows how far some work is goes with it, or with the next start; of a kill between "sent" and "noted" it stays.
    let standing = double
        .sent()
        .iter()
        .filter(|sent| sent.deleted.is_none() && sent.button("✖️ Cancel").is_some())
        .count();
    assert!(standing <= size.kills, "{standing} status messages stay");
    // That chats are written to faster than Telegram likes is what this asked for, and what a server was told of waiting
    // just when it was killed, it cannot know.
    let pace = ["more than once in 1s", "more than 30 messages in a second", "before the end of a wait"];
    let violations = double.violations();
    let others: Vec<_> =
        violations.iter().filter(|what| !pace.iter().any(|pace| what.contains(pace))).collect();
    assert!(others.is_empty(), "{others:?}");
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let store = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    let Size { people, each, kills, .. } = size;
    row(&format!(
        "| {store} | {people} people x {each} | {kills} | {charges} charged, {gifts} given | {standing} |"
    ));
}

#[expect(clippy::print_stdout, reason = "`cargo xtask soak` makes its table of these")]
fn row(row: &str) {
    println!("{row}");
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_every_digest_is_given_once_and_what_is_charged_was_given() {
    ask_and_kill(SMALL, None).await;
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_on_postgres_every_digest_is_given_once_too() {
    let Some(server) = postgres::start().await else { return };
    ask_and_kill(SMALL, Some(&server.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask soak readers"]
async fn soak_of_fifty_people_with_twenty_questions_each() {
    ask_and_kill(FULL, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask soak readers"]
async fn soak_of_fifty_people_with_twenty_questions_each_on_postgres() {
    let Some(server) = postgres::start().await else { return };
    ask_and_kill(FULL, Some(&server.url())).await;
}
