//! Two servers of the real binary over one PostgreSQL and one Redis, at one bot of Telegram: one works for the door and
//! the other takes over when it is killed, and people notice nothing of it but a pause.

use crate::support::{BINARY, get, metric, post, until};
use futures_util::future::join_all;
use portcullis_testkit::{
    pages::{Channel, Post, Site, Web},
    postgres::{self, PgServer},
    process::{Options, Server},
    redis::{self, RedisServer},
    telegram::{Options as Double, Person, Rates, Telegram},
};
use serde_json::json;
use std::time::Duration;

pub(crate) const ADMIN_KEY: &str = "pcl_made-up-administrator-key-for-tests-0001";

/// What both servers stand on.
pub(crate) struct Ground {
    pub(crate) double: Telegram,
    pub(crate) web: Web,
    redis: RedisServer,
    postgres: PgServer,
}

impl Ground {
    /// With a double that counts to the message. None where a component is not installed.
    pub(crate) async fn new() -> Option<Self> {
        let (redis, postgres) = (redis::start().await?, postgres::start().await?);
        let double = Telegram::with(Double {
            rates: Rates::Exact,
            patience: Duration::from_secs(60),
            ..Double::default()
        })
        .await;
        Some(Self { double, web: Web::start().await, redis, postgres })
    }

    /// A server with these settings, which begin with more of `[telegram]`.
    pub(crate) async fn server(&self, more: &str) -> Server {
        let (api, pages) = (self.double.base_url(), self.web.address());
        let text = format!(
            "[messages]\ntake_over_secs = 3\n\
             [redis]\nurl_secret = \"redis_url\"\ntimeout_ms = 5000\n[store]\nurl_secret = \"store_url\"\n\
             [pages]\nallow_private = [\"{pages}\"]\n\
             [news.scrape]\nbase_url = \"http://{pages}\"\n[schedule]\njitter_secs = 0\nat_once = 100\n\
             [telegram]\nenabled = true\napi_base = \"{api}\"\n{more}"
        );
        let options = Options::config(text)
            .env("TELEGRAM_BOT_TOKEN", self.double.token())
            .env("REDIS_URL", self.redis.url())
            .env("STORE_URL", self.postgres.url())
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("DATA_KEY", "one key for all replicas of this test, made up")
            .env("API_KEY_PEPPER", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// A channel with one story of today.
    pub(crate) fn channel(&self) -> Site {
        let text = "The harbour bridge was closed on Saturday evening after a crane hit its middle span. \
                    The city expects repairs to take three weeks and sends traffic through the tunnel.";
        let story =
            Post { id: 7, text: text.into(), time: jiff::Timestamp::now().to_string(), reply_to: None };
        let channel = Channel { slug: "harbour_news".into(), posts: vec![story], other_layout: false };
        channel.show(self.web.here())
    }

    /// Every schedule that has not been made yet is due now.
    async fn make_due(&self) {
        let earlier = "UPDATE news_schedules SET next_at = next_at - 3600000 WHERE id NOT IN \
                       (SELECT schedule FROM news_fires)";
        postgres::execute(&self.postgres.url(), earlier).await;
    }

    /// How often the channel was fetched.
    fn fetched(&self) -> usize {
        self.web.here().seen().len()
    }

    /// Digests that somebody got.
    fn digests(&self, person: &Person) -> usize {
        self.double.sent_to(person.id).iter().filter(|sent| sent.text.contains("harbour bridge")).count()
    }

    pub(crate) fn count(&self, person: &Person) -> usize {
        self.double.sent_to(person.id).len()
    }

    /// Until everybody got so many, and a little longer, in which nothing more comes.
    pub(crate) async fn each_got(&self, people: &[Person], count: usize) {
        self.double
            .until("everybody is answered", |double| {
                people.iter().all(|person| double.sent_to(person.id).len() >= count)
            })
            .await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

/// How the doors are.
pub(crate) async fn door(server: &Server) -> String {
    get(server.address(), "/health", ADMIN_KEY).await.text()
}

async fn works(server: &Server) -> bool {
    door(server).await.contains("\"polling\"")
}

// req: S1-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_update_is_answered_once_at_one_pace_and_the_other_server_takes_over_after_kill_9() {
    let Some(ground) = Ground::new().await else { return };
    let few = "[actions.message]\nper_user_per_min = 100\nper_user_per_hour = 4\n";
    let mut one = ground.server(few).await;
    until("the first server works", async || works(&one).await).await;
    let mut two = ground.server(few).await;
    until("the second waits", async || door(&two).await.contains("another replica works")).await;
    let people: Vec<Person> = (0..12).map(|n| ground.double.person(&format!("Reader {n}"))).collect();
    for _ in 0..2 {
        for person in &people {
            ground.double.say(person, "/usage");
        }
    }
    ground.each_got(&people, 2).await;
    assert!(people.iter().all(|person| ground.count(person) == 2), "once each");
    // What both are given to send goes at one pace: the double counts.
    let told = people.iter().enumerate().flat_map(|(index, person)| {
        let admin = if index % 2 == 0 { one.admin() } else { two.admin() }.expect("an admin listener");
        (0..3).map(move |n| {
            let body = json!({"to": format!("telegram:{}", person.id), "text": format!("note {n}")});
            async move { post(admin, "/admin/v1/outbox", ADMIN_KEY, &body).await.status.as_u16() }
        })
    });
    assert!(join_all(told).await.iter().all(|status| *status == 202));
    ground.each_got(&people, 5).await;
    assert!(people.iter().all(|person| ground.count(person) == 5));
    // Killed while it answers: what was on its way then nobody knows, and it is sent once more.
    for person in &people {
        ground.double.say(person, "/usage");
    }
    ground.double.until("the burst begins", |double| double.sent_so_far() > 5 * people.len()).await;
    one.kill();
    until("the second server takes over", async || works(&two).await).await;
    ground.each_got(&people, 6).await;
    let twice: usize = people.iter().map(|person| ground.count(person) - 6).sum();
    let uncertain = metric(two.address(), "outbox_uncertain_total{door=\"telegram\"}").await;
    assert!(twice as f64 <= uncertain, "{twice} twice, {uncertain} unknown");
    // Limits are known to both: of four an hour three were used at the first server, and a message that was under way
    // at the kill may have been counted by both.
    let (ann, before) = (&people[0], ground.count(&people[0]));
    let mut last = String::new();
    for more in 1..=2 {
        if !last.starts_with("Too many messages") {
            ground.double.say(ann, "/usage");
            let sent = ground.double.sent_count(ann.id, before + more).await;
            last.clone_from(&sent.last().unwrap().text);
        }
    }
    assert!(last.starts_with("Too many messages. Please try again in"), "{last}");
    let says =
        ["\"rate_limit_breach\"", "\"door\":\"telegram\"", "\"limit\":\"4/3600s\"", "\"retry_after_ms\":"];
    until("the breach is in the log", async || {
        two.stderr().lines().any(|line| says.iter().all(|word| line.contains(word)))
    })
    .await;
    assert_eq!(ground.double.violations(), [""; 0]);
    two.terminate();
    assert_eq!(two.wait(40).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_schedule_fires_once_and_the_door_changes_hands_without_a_wait_when_one_drains() {
    let Some(ground) = Ground::new().await else { return };
    let _site = ground.channel();
    let (mut one, mut two) = (ground.server("").await, ground.server("").await);
    let people: Vec<Person> = (0..6).map(|n| ground.double.person(&format!("Reader {n}"))).collect();
    for text in ["/add @harbour_news", "/schedule hourly zone=UTC"] {
        for person in &people {
            ground.double.say(person, text);
        }
    }
    ground.each_got(&people, 2).await;
    ground.make_due().await;
    until("everybody has a digest", async || people.iter().all(|person| ground.digests(person) >= 1)).await;
    // Longer than both servers need to look once more.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(people.iter().all(|person| ground.digests(person) == 1), "once each");
    let first_works = works(&one).await;
    let (first, second) = if first_works { (&mut one, &mut two) } else { (&mut two, &mut one) };
    first.terminate();
    assert_eq!(first.wait(40).await, Some(0));
    until("the other server works", async || works(second).await).await;
    let before = ground.count(&people[0]);
    ground.double.say(&people[0], "/usage");
    ground.double.sent_count(people[0].id, before + 1).await;
    assert_eq!(ground.double.violations(), [""; 0]);
    second.terminate();
    assert_eq!(second.wait(40).await, Some(0));
}

/// A kill of the server that makes digests on schedule, and one of the server that sends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_schedules_fire_or_while_their_digests_leave_each_is_given_once_by_the_other_server() {
    let Some(ground) = Ground::new().await else { return };
    let site = ground.channel();
    let quick = "[news]\nfetch_ttl_secs = 0\ndeadline_secs = 8\ncharge_degraded = true\n";
    let mut one = ground.server(quick).await;
    let people: Vec<Person> = (0..12).map(|n| ground.double.person(&format!("Reader {n}"))).collect();
    let (early, late) = people.split_at(6);
    let subscribe = async |people: &[Person]| {
        for text in ["/add @harbour_news", "/schedule hourly zone=UTC"] {
            for person in people {
                ground.double.say(person, text);
            }
        }
        ground.each_got(people, 2).await;
    };
    subscribe(early).await;
    // Every planned minute is taken by the only server there is, and waits for the page when that is killed.
    let (site, fetched) = (site.after(Duration::from_secs(6)), ground.fetched());
    ground.make_due().await;
    until("the minutes are being made", async || ground.fetched() > fetched).await;
    one.kill();
    assert!(early.iter().all(|person| ground.digests(person) == 0), "none is given yet");
    let _site = site.after(Duration::ZERO);
    let mut two = ground.server(quick).await;
    until("the other server makes them", async || early.iter().all(|one| ground.digests(one) >= 1)).await;
    let mut one = one.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    until("who took over goes on", async || works(&two).await && !works(&one).await).await;
    // Killed when the first digests have left: what was on its way then nobody knows.
    subscribe(late).await;
    ground.make_due().await;
    until("digests leave", async || late.iter().any(|person| ground.digests(person) >= 1)).await;
    two.kill();
    until("the first server works again", async || works(&one).await).await;
    until("everybody has a digest", async || late.iter().all(|one| ground.digests(one) >= 1)).await;
    // Longer than it needs to look once more, and than any lease of who was killed.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(early.iter().all(|person| ground.digests(person) == 1), "once each");
    let twice: usize = late.iter().map(|person| ground.digests(person) - 1).sum();
    let uncertain = metric(one.address(), "outbox_uncertain_total{door=\"telegram\"}").await;
    assert!(twice as f64 <= uncertain, "{twice} twice, {uncertain} unknown");
    assert_eq!(ground.double.violations(), [""; 0]);
    one.terminate();
    assert_eq!(one.wait(40).await, Some(0));
}
