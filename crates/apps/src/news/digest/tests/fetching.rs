//! What a digest asks of its sources: how far back, how often, and what it does where one is not well.

use super::*;
use portcullis_testkit::pages::{Answer, feed_rss};

/// Of a house in which everything is always fetched anew.
fn anew(config: &mut NewsConfig) {
    config.fetch_ttl_secs = 0;
}

impl House {
    /// A source that failed may be asked again at once.
    async fn wake(&self, source: &str) {
        let row = self.store.feeds().find(source).await.unwrap().unwrap();
        self.store.feeds().keep(&portcullis_store::FeedRow { next_at: 0, ..row }, &[]).await.unwrap();
    }

    async fn state(&self, source: &str) -> String {
        self.store.feeds().find(source).await.unwrap().unwrap().state
    }

    fn reasons(digest: &Digest) -> Vec<Reason> {
        digest.failed.iter().map(|failed| failed.reason).collect()
    }
}

fn many(count: u64, minutes: i64) -> Vec<Post> {
    (0..count)
        .map(|n| {
            let text = format!(
                "Report {n} of the day: the {n}th ostrich of the zoo has walked into the harbour town."
            );
            post(n + 1, (count - n).cast_signed() * minutes, &text)
        })
        .collect()
}

#[tokio::test]
async fn pages_of_a_channel_are_followed_until_the_window_is_covered_and_no_further() {
    let house = house(false, |config| config.posts_per_source = 200).await;
    house.channel("zembla_news", many(90, 10));
    let site = house.web.site("channels.example");
    let hours = |hours: i64| DigestAsk {
        since: now_ms() - hours * 3_600_000 + 60_000,
        ..house.ask(&["@zembla_news"])
    };
    assert_eq!(house.room.digest(hours(1)).await.unwrap().posts, 5);
    assert_eq!(site.targets(), ["/s/zembla_news"]);
    house.room.digest(hours(1)).await.unwrap();
    assert_eq!(site.targets().len(), 1, "known for a while");
    let digest = house.room.digest(hours(6)).await.unwrap();
    assert_eq!(digest.posts, 35);
    assert_eq!(
        site.targets()[1..],
        ["/s/zembla_news", "/s/zembla_news?before=71"],
        "further back than is known"
    );
    assert_eq!(house.room.digest(hours(20)).await.unwrap().posts, 60, "three pages at most");
    assert_eq!(site.targets().len(), 6);
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again_and_keeps_its_posts() {
    let house = house(false, anew).await;
    let not_modified = Answer::status(304);
    let site = house
        .web
        .site("press.example")
        .page(
            "/feed",
            feed_atom(&[post(3, 10, RAILWAY)]).header("etag", "\"v1\"").header("last-modified", "today"),
        )
        .page("/feed", not_modified);
    for _ in 0..2 {
        assert_eq!(house.digest(&["http://press.example/feed"]).await.stories.len(), 1);
    }
    let seen = site.seen();
    assert_eq!((seen[0].header("if-none-match"), seen[1].header("if-none-match")), ("", "\"v1\""));
    assert_eq!(seen[1].header("if-modified-since"), "today");
}

#[tokio::test]
async fn a_feed_without_times_counts_from_when_it_was_first_seen() {
    let house = house(false, anew).await;
    let _site = house.web.site("press.example").page("/feed", feed_rss(&[post(3, 10, RAILWAY)]));
    let first = house.digest(&["http://press.example/feed"]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = house.digest(&["http://press.example/feed"]).await;
    assert_eq!(first.stories[0].at, second.stories[0].at);
}

#[tokio::test]
async fn what_is_gone_is_asked_no_more_at_once_or_after_five_times() {
    let house = house(false, anew).await;
    let site = house.web.site("press.example").page("/feed/gone", Answer::status(410));
    for _ in 0..2 {
        let digest = house.digest(&["http://press.example/feed/gone"]).await;
        assert_eq!(House::reasons(&digest), [Reason::NotFound]);
    }
    assert_eq!(site.targets().len(), 1);
    for n in 0..7 {
        house.digest(&["http://press.example/feed/lost"]).await;
        assert_eq!(house.state("http://press.example/feed/lost").await == "gone", n >= 4, "{n}");
        house.wake("http://press.example/feed/lost").await;
    }
    assert_eq!(site.targets().len(), 1 + 5);
}

#[tokio::test]
async fn a_source_that_is_not_well_keeps_its_posts_and_is_left_alone_for_a_while() {
    let house = house(false, anew).await;
    let site = house
        .web
        .site("press.example")
        .page("/feed", feed_atom(&[post(3, 10, RAILWAY)]))
        .page("/feed", Answer::later(120))
        .page("/feed", Answer::status(500));
    assert_eq!(house.digest(&["http://press.example/feed"]).await.stories.len(), 1);
    for _ in 0..3 {
        let digest = house.digest(&["http://press.example/feed"]).await;
        assert_eq!((digest.stories.len(), digest.failed.len()), (1, 0), "what is known of it is told");
    }
    assert_eq!(site.targets().len(), 2, "it asked to be left alone");
    let row = house.store.feeds().find("http://press.example/feed").await.unwrap().unwrap();
    assert!((115_000..=121_000).contains(&(row.next_at - now_ms())), "{}", row.next_at - now_ms());
}

#[tokio::test]
async fn a_source_that_is_late_gives_what_is_known_of_it() {
    let house = house(false, |config| (config.fetch_ttl_secs, config.fetch_budget_secs) = (0, 1)).await;
    let _site = house
        .web
        .site("press.example")
        .page("/feed", feed_atom(&[post(3, 10, RAILWAY)]))
        .page("/feed", Answer::hang())
        .page("/feed/never", Answer::hang());
    house.digest(&["http://press.example/feed"]).await;
    let digest = house.digest(&["http://press.example/feed", "http://press.example/feed/never"]).await;
    assert_eq!((digest.stories.len(), digest.less.as_slice()), (1, [Less::Late].as_slice()));
    assert_eq!(House::reasons(&digest), [Reason::NotAnswering]);
    assert_eq!(
        house.state("http://press.example/feed").await,
        "ok",
        "being late for us is no failure of its own"
    );
}

#[tokio::test]
async fn who_moved_for_good_three_times_is_asked_at_the_new_place() {
    let house = house(false, anew).await;
    let site = house
        .web
        .site("press.example")
        .page("/feed/old", Answer::redirect(301, "/new"))
        .page("/new", feed_atom(&[post(3, 10, RAILWAY)]));
    for _ in 0..4 {
        house.digest(&["http://press.example/feed/old"]).await;
    }
    assert_eq!(site.targets(), ["/feed/old", "/new", "/feed/old", "/new", "/feed/old", "/new", "/new"]);
}

#[tokio::test]
async fn a_channel_without_preview_is_named_and_one_that_leads_elsewhere_is_refused() {
    let house = house(false, anew).await;
    let site = house.web.site("channels.example");
    let _site = site
        .page("/s/closed_one", Answer::redirect(302, "/closed_one"))
        .page("/closed_one", Answer::html("<html><body>Contact @closed_one</body></html>"))
        .page("/s/leads_away", Answer::redirect(302, "http://elsewhere.example/s/leads_away"));
    let elsewhere = house.web.site("elsewhere.example");
    let digest = house.digest(&["@closed_one", "@leads_away", "http://127.0.0.1/feed"]).await;
    assert_eq!(House::reasons(&digest), [Reason::NoPreview, Reason::Refused, Reason::Refused]);
    assert_eq!(elsewhere.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_page_is_read_by_its_new_articles_and_its_robots_txt_is_obeyed() {
    let house = house(false, anew).await;
    let front = "<html><body><h1>News</h1><a href=\"/a1\">The first railway of Zembla opens on Monday</a>\
                 <a href=\"/a2\">Eleven young ostriches in the harbour town</a></body></html>";
    let article = |title: &str, text: &str| {
        let more =
            "It was a long day for everybody who came to see it, and many people stayed until the evening. "
                .repeat(4);
        Answer::html(&format!(
            "<html><head><title>{title}</title></head><body><article><h1>{title}</h1><p>{text}</p><p>{more}</p></article></body></html>"
        ))
    };
    let site = house
        .web
        .site("paper.example")
        .page("/", Answer::html(front))
        .page("/a1", article("The railway opens", RAILWAY))
        .page("/a2", article("Young ostriches", OSTRICH))
        .robots("User-agent: *\nDisallow: /private");
    let first = house.digest(&["http://paper.example/", "http://paper.example/private"]).await;
    assert_eq!(first.stories.len(), 2, "{first:#?}");
    let second = house.digest(&["http://paper.example/"]).await;
    assert_eq!(second.stories.len(), 2);
    let opened = site.targets().into_iter().filter(|target| target.starts_with("/a")).collect::<Vec<_>>();
    assert_eq!(opened, ["/a1", "/a2"], "nothing is opened twice");
    assert_eq!(house.web.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn an_edited_post_is_told_as_it_is_now() {
    let house = house(false, anew).await;
    let _site = house
        .web
        .site("press.example")
        .page("/feed", feed_atom(&[post(3, 10, RAILWAY)]))
        .page("/feed", feed_atom(&[post(3, 10, LIGHTHOUSE)]));
    assert!(house.digest(&["http://press.example/feed"]).await.stories[0].headline.contains("railway"));
    let digest = house.digest(&["http://press.example/feed"]).await;
    assert_eq!((digest.stories.len(), digest.stories[0].headline.contains("lighthouse")), (1, true));
}

#[tokio::test]
async fn who_adds_a_source_hears_what_it_is_and_later_how_it_is() {
    let house = house(false, anew).await;
    house.channel("zembla_news", vec![post(1, 60, RAILWAY)]);
    let front = "<html><head><link rel=\"alternate\" type=\"application/rss+xml\" title=\"All\" href=\"/feed.xml\"></head>\
                 <body><a href=\"/a1\">The first railway of Zembla opens on Monday</a></body></html>";
    let _site = house
        .web
        .site("paper.example")
        .page("/", Answer::html(front))
        .page("/feed/old", feed_atom(&[post(3, 60 * 24 * 9, RAILWAY)]))
        .page("/feed/gone", Answer::status(410));
    let _closed = house
        .web
        .site("channels.example")
        .page("/s/closed_one", Answer::redirect(302, "/closed_one"))
        .page("/closed_one", Answer::html("<html><body>Contact @closed_one</body></html>"));
    let source = |written: &str| Source::read(written).unwrap();
    let page = house.room.check(&source("http://paper.example/")).await.unwrap();
    assert!(page.is_page);
    assert_eq!(page.feeds, [("All".to_owned(), "http://paper.example/feed.xml".to_owned())]);
    let channel = house.room.check(&source("@zembla_news")).await.unwrap();
    assert!(!channel.is_page);
    assert_eq!(house.room.check(&source("@closed_one")).await, Err(Reason::NoPreview));
    assert_eq!(house.room.check(&source("http://10.0.0.1/feed")).await, Err(Reason::Refused));
    assert_eq!(house.room.health(&source("@nobody_asked")).await, None);
    house
        .digest(&[
            "@closed_one",
            "http://paper.example/feed/old",
            "http://paper.example/feed/gone",
            "@lost_one",
        ])
        .await;
    let health = async |written: &str| house.room.health(&source(written)).await;
    assert_eq!(health("@zembla_news").await, Some(super::super::Health::Ok));
    assert_eq!(health("@closed_one").await, Some(super::super::Health::NoPreview));
    assert!(matches!(
        health("http://paper.example/feed/old").await,
        Some(super::super::Health::Quiet { since: Some(_) })
    ));
    assert_eq!(health("http://paper.example/feed/gone").await, Some(super::super::Health::Gone));
    let failing = health("@lost_one").await;
    assert!(
        matches!(failing, Some(super::super::Health::Failing { reason: Reason::NotFound, since: 1.. })),
        "{failing:?}"
    );
}

#[tokio::test]
async fn when_pages_of_three_channels_cannot_be_read_an_operator_is_told_and_known_posts_stay() {
    let mut house = house(false, anew).await;
    let slugs = ["zembla_news", "coast_daily", "north_daily"];
    for (n, slug) in (0..).zip(slugs) {
        house.channel(slug, vec![post(1, 60 + n, &format!("{OSTRICH} Reported by number {n}."))]);
        let other = ChannelPages { slug: slug.into(), posts: vec![post(2, 5, RAILWAY)], other_layout: true };
        let _site = other.show(house.web.site("channels.example"));
    }
    let sources = slugs.map(|slug| format!("@{slug}"));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    house.digest(&sources).await;
    house.digest(&sources[..2]).await;
    assert!(house.raised.try_recv().is_err(), "two are their own affair");
    let digest = house.digest(&sources).await;
    assert_eq!((digest.posts, digest.failed.len()), (3, 0), "what is known stays in use");
    assert_eq!(house.raised.try_recv().unwrap().category.as_str(), "scraper_layout_changed");
}

#[tokio::test]
async fn many_who_add_one_source_at_once_ask_it_once() {
    let house = house(false, |_| {}).await;
    house.channel("zembla_news", vec![post(1, 60, RAILWAY)]);
    let source = Source::read("@zembla_news").unwrap();
    let checks = futures_util::future::join_all((0..50).map(|_| house.room.check(&source))).await;
    assert!(checks.into_iter().all(|check| check.is_ok_and(|checked| !checked.is_page)));
    assert_eq!(house.web.site("channels.example").targets(), ["/s/zembla_news"]);
}
