//! News for people with the real binary, against the strict double of Telegram and a double of channel pages: many ask at
//! once while the server is killed at random moments.

use crate::support::BINARY;
use portcullis_testkit::{
    pages::{Channel, Post, Web},
    process::{Options, Server},
    telegram::{Person, Sent, Telegram},
};
use std::time::Duration;

/// A channel with one story of today.
fn channel() -> Channel {
    let text = "The harbour bridge was closed on Saturday evening after a crane hit its middle span. \
                The city expects repairs to take three weeks and sends traffic through the tunnel.";
    let time = jiff::Timestamp::now().to_string();
    let post = Post { id: 7, text: text.into(), time, reply_to: None };
    Channel { slug: "harbour_news".into(), posts: vec![post], other_layout: false }
}

async fn serve(double: &Telegram, web: &Web) -> Server {
    let (api, pages) = (double.base_url(), web.address());
    let config = format!(
        "[telegram]\nenabled = true\napi_base = \"{api}\"\n\
         [telegram.send]\nglobal_per_sec = 1000\nchat_interval_ms = 1\n\
         [pages]\nallow_private = [\"{pages}\"]\n\
         [news]\ncharge_degraded = true\n[news.scrape]\nbase_url = \"http://{pages}\"\n\
         [actions.message]\nper_user_per_min = 100000\nper_user_per_hour = 100000\n\
         [actions.news]\nper_user_per_min = 100000\nper_user_per_hour = 100000\n"
    );
    let options = Options::config(config).env("TELEGRAM_BOT_TOKEN", double.token());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn digests(sent: &[Sent]) -> usize {
    sent.iter().filter(|sent| sent.text.starts_with("📰 Folder 1")).count()
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_every_digest_is_given_once_and_what_is_charged_was_given() {
    const PEOPLE: usize = 10;
    const EACH: usize = 10;
    const KILLS: usize = 4;
    let (double, web) = (Telegram::start().await, Web::start().await);
    let _site = channel().show(web.here());
    let mut server = serve(&double, &web).await;
    let people: Vec<Person> = (0..PEOPLE).map(|n| double.person(&format!("Reader {n}"))).collect();
    for person in &people {
        double.say(person, "/add @harbour_news");
    }
    for person in &people {
        double.sent_count(person.id, 1).await;
    }
    for round in 0..EACH {
        for person in &people {
            double.say(person, "/news all");
        }
        if round % 2 == 0 && round / 2 < KILLS {
            tokio::time::sleep(Duration::from_millis(20 + 130 * round as u64)).await;
            server.kill();
            server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        }
    }
    // The last question of everybody is answered when everything before it is.
    let mut quiet = 0;
    let mut before = 0;
    while quiet < 8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = double.sent_so_far();
        quiet = if now == before && double.pending() == 0 { quiet + 1 } else { 0 };
        before = now;
    }
    for person in &people {
        let seen = double.sent_to(person.id).len();
        double.say(person, "/usage");
        let sent = double.sent_count(person.id, seen + 1).await;
        let usage = &sent.last().unwrap().text;
        let left = (0..=3).find(|left| usage.contains(&format!("{left} of 3 digests"))).unwrap();
        let (charged, given) = (3 - left, digests(&sent));
        // A message that was on its way when the server was killed is sent once more, since nobody knows.
        assert!((charged..=charged + KILLS).contains(&given), "{charged} charged, {given} given: {usage}");
        assert!(charged >= 1, "{usage}");
    }
    // That chats are written to faster than Telegram likes is what this test asked for, and what a killed server was told
    // of waiting, it forgets.
    let pace = ["more than once in 1s", "before the end of a wait"];
    let violations = double.violations();
    let others: Vec<_> =
        violations.iter().filter(|what| !pace.iter().any(|pace| what.contains(pace))).collect();
    assert!(others.is_empty(), "{others:?}");
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
}
