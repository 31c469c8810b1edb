//! The fetcher against the small web of testkit: names lead to public addresses by a resolver of the test's own, and
//! those to loopback, so that the guard judges what it would judge outside.

use super::*;
use parking_lot::Mutex;
use portcullis_resilience::http::Lookup;
use portcullis_testkit::pages::{Answer, Site, Web, feed_rss};
use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
};
use tokio::net::TcpListener;

struct World {
    web: Web,
    pages: Pages,
    metrics: Metrics,
    lookups: Arc<Mutex<Vec<String>>>,
    /// Where everything that is not public leads: nobody may come.
    trap: TcpListener,
}

fn quick() -> PagesConfig {
    let contact_url = Some("https://example.org/bot".to_owned());
    PagesConfig { host_interval_ms: 0, total_secs: 2, connect_secs: 1, contact_url, ..PagesConfig::default() }
}

/// What a name answers, by its first part; `rebind` first with a public address, then with loopback.
fn answer(name: &str, asked_before: usize) -> Vec<IpAddr> {
    let texts: &[&str] = match name.split('.').next().unwrap_or_default() {
        "inside" => &["10.0.0.7"],
        "mixed" => &["93.184.216.34", "127.0.0.1"],
        "metadata" => &["169.254.169.254"],
        "rebind" if asked_before > 0 => &["127.0.0.1"],
        "nobody" => &[],
        _ => &["93.184.216.34"],
    };
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn world(config: PagesConfig) -> World {
    let web = Web::start().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, trapped) = (web.address(), trap.local_addr().unwrap());
    let lookups = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lookups);
    let lookup: Lookup = Arc::new(move |name| {
        let before = seen.lock().iter().filter(|known| **known == name).count();
        seen.lock().push(name.clone());
        Box::pin(async move { Ok(answer(&name, before)) })
    });
    let public: IpAddr = "93.184.216.34".parse().unwrap();
    let reroute = move |asked: SocketAddr| if asked.ip() == public { to } else { trapped };
    let metrics = Metrics::new();
    let pages = Pages::new(&Parts {
        config: &config,
        outbound: &HttpConfig::default(),
        network: Network::of(lookup, reroute),
        metrics: &metrics,
        alerts: &Alerts::silent(),
        registry: &Registry::new(),
    });
    World { web, pages, metrics, lookups, trap }
}

impl World {
    fn site(&self) -> Site {
        self.web.site("a.example")
    }

    async fn get(&self, url: &str) -> Result<Page, PageError> {
        self.with(url, |_| {}).await
    }

    async fn with(&self, url: &str, change: impl FnOnce(&mut Options)) -> Result<Page, PageError> {
        let mut options = Options::until(Deadline::after(Duration::from_secs(20)));
        change(&mut options);
        self.pages.fetch(&Url::parse(url).unwrap(), options).await
    }

    /// Nothing was asked that may not be, and nobody came where nobody may.
    async fn clean(&self) {
        assert_eq!(self.web.violations(), Vec::<String>::new());
        let came = tokio::time::timeout(Duration::from_millis(20), self.trap.accept()).await;
        assert!(came.is_err(), "a connection to an address that is not public");
    }
}

#[tokio::test]
async fn a_page_comes_with_what_its_site_says_of_it_and_the_site_hears_who_asks() {
    let world = world(quick()).await;
    let page = Answer::html("<p>words</p>")
        .header("etag", "\"v1\"")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let site = world.site().page("/x?q=1", page.gzip());
    let page = world.get("http://a.example/x?q=1#part").await.unwrap();
    assert_eq!((&page.bytes[..], page.final_url.as_str()), (&b"<p>words</p>"[..], "http://a.example/x?q=1"));
    assert_eq!((page.content_type.as_deref(), page.charset.as_deref()), (Some("text/html"), Some("utf-8")));
    assert_eq!((page.etag.as_deref(), page.not_modified), (Some("\"v1\""), false));
    let again = world
        .with("http://a.example/x?q=1", |options| {
            (options.etag, options.last_modified) = (page.etag.clone(), page.last_modified.clone());
        })
        .await
        .unwrap();
    assert!(again.not_modified && again.bytes.is_empty());
    assert_eq!(site.targets(), ["/robots.txt", "/x?q=1", "/x?q=1"]);
    let agent = format!("Portcullis/{} (+https://example.org/bot)", env!("CARGO_PKG_VERSION"));
    assert!(site.seen().iter().all(|seen| seen.header("user-agent") == agent));
    assert!(world.metrics.render().contains("pages_fetched_total{outcome=\"not_modified\"} 1"));
    world.clean().await;
}

#[tokio::test]
async fn redirects_are_followed_five_times_and_what_moved_for_good_is_told() {
    let world = world(quick()).await;
    let site = world.site().chain(6, 301);
    let site = site
        .page("/for-good", Answer::redirect(308, "/for-now"))
        .page("/for-now", Answer::redirect(302, "/end"));
    let site = site.page("/end", Answer::html("end")).page("/nowhere", Answer::redirect(301, "http://[x"));
    let _site = site.page("/silent", Answer::status(302));
    let page = world.get("http://a.example/chain/2").await.unwrap();
    assert_eq!(page.final_url.path(), "/chain/7");
    assert_eq!(page.permanent_redirect, Some(page.final_url));
    assert_eq!(world.get("http://a.example/chain/1").await, Err(PageError::Redirects));
    let page = world.get("http://a.example/for-good").await.unwrap();
    assert_eq!(page.permanent_redirect.unwrap().path(), "/for-now");
    assert_eq!(world.get("http://a.example/for-now").await.unwrap().permanent_redirect, None);
    assert_eq!(world.get("http://a.example/nowhere").await, Err(PageError::Redirects));
    assert_eq!(world.get("http://a.example/silent").await, Err(PageError::Status(302)));
    world.clean().await;
}

#[tokio::test]
async fn nothing_leads_to_an_address_that_is_not_public() {
    let world = world(quick()).await;
    let trap = world.trap.local_addr().unwrap();
    let inside = [
        "http://127.0.0.1/".to_owned(),
        format!("http://{trap}/"),
        "http://2130706433/".into(),
        "http://[::ffff:7f00:1]/".into(),
        "http://0x7f.1/".into(),
        "http://inside.example/".into(),
        "http://mixed.example/".into(),
        "http://metadata.example/latest".into(),
        "http://a.example:8080/".into(),
        "http://me:secret@a.example/".into(),
    ];
    for (n, target) in inside.iter().enumerate() {
        assert_eq!(world.get(target).await, Err(PageError::NotReachable), "{target}");
        let from = format!("/to/{n}");
        let _site = world.site().page(&from, Answer::redirect(302, target));
        assert_eq!(
            world.get(&format!("http://a.example{from}")).await,
            Err(PageError::NotReachable),
            "{target}"
        );
    }
    let _site = world.site().page("/file", Answer::redirect(302, "file:///etc/passwd"));
    assert_eq!(world.get("http://a.example/file").await, Err(PageError::Address));
    // A robots.txt may lead elsewhere too.
    let _site = world.web.site("b.example").robots_answer(Answer::redirect(301, "http://169.254.169.254/"));
    assert_eq!(world.get("http://b.example/").await, Err(PageError::NotReachable));
    assert_eq!(PageError::NotReachable.to_string(), "this address is not reachable from here");
    world.clean().await;
}

#[tokio::test]
async fn a_name_that_turns_inside_after_the_check_is_not_followed_there() {
    let world = world(PagesConfig { robots: RobotsFor::Off, ..quick() }).await;
    let close = Answer::html("outside").header("connection", "close");
    let site = world.web.site("rebind.example").page("/", close);
    // The address that was checked is the one that is connected to, though the next answer would be another.
    assert_eq!(&world.get("http://rebind.example/").await.unwrap().bytes[..], b"outside");
    assert_eq!(world.lookups.lock().len(), 1);
    assert_eq!(world.get("http://rebind.example/").await, Err(PageError::NotReachable));
    assert_eq!((world.lookups.lock().len(), site.seen().len()), (2, 1));
    world.clean().await;
}

#[tokio::test]
async fn an_exception_reaches_exactly_one_host_and_port() {
    let web = Web::start().await;
    let here = web.here().page("/", Answer::html("intranet"));
    let config = PagesConfig { allow_private: vec![web.address().to_string()], ..quick() };
    let pages = Pages::new(&Parts {
        config: &config,
        outbound: &HttpConfig::default(),
        network: Network::system(),
        metrics: &Metrics::new(),
        alerts: &Alerts::silent(),
        registry: &Registry::new(),
    });
    let options = || Options::until(Deadline::after(Duration::from_secs(10)));
    let url = |text: String| Url::parse(&text).unwrap();
    let page = pages.fetch(&url(format!("http://{}/", web.address())), options()).await.unwrap();
    assert_eq!(&page.bytes[..], b"intranet");
    let other = url(format!("http://localhost:{}/", web.address().port()));
    assert_eq!(pages.fetch(&other, options()).await, Err(PageError::NotReachable));
    assert_eq!((here.seen().len(), web.violations().len()), (2, 0));
}

#[tokio::test]
async fn robots_txt_is_obeyed_in_each_of_its_forms() {
    let world = world(quick()).await;
    let sites = [
        ("none", None, Ok(())),
        ("gone", Some(Answer::status(410)), Ok(())),
        ("closed", Some(Answer::status(403)), Ok(())),
        ("broken", Some(Answer::status(500)), Err(PageError::Robots)),
        ("cut", Some(Answer::text("text/plain", "User-agent: *").cut()), Err(PageError::Broken)),
        (
            "ours",
            Some(Answer::text("text/plain", "User-agent: *\nDisallow: /\nUser-agent: Portcullis\nAllow: /")),
            Ok(()),
        ),
        ("all", Some(Answer::text("text/plain", "User-agent: *\nDisallow: /p")), Err(PageError::Robots)),
        (
            "huge",
            Some(Answer::text(
                "text/plain",
                &format!("User-agent: *\n{}Disallow: /p", "#\n".repeat(500_000)),
            )),
            Ok(()),
        ),
        (
            "packed",
            Some(Answer::text("text/plain", "User-agent: *\nDisallow: /p").gzip()),
            Err(PageError::Robots),
        ),
        ("moved", Some(Answer::redirect(301, "http://all.example/robots.txt")), Err(PageError::Robots)),
        ("circle", Some(Answer::redirect(301, "/robots.txt")), Ok(())),
    ];
    for (name, robots, expected) in sites {
        let host = format!("{name}.example");
        let mut site = world.web.site(&host).page("/page", Answer::html("page"));
        if let Some(robots) = robots {
            site = site.robots_answer(robots);
        }
        if expected.is_err() {
            site = site.forbid("/page");
        }
        for _ in 0..2 {
            let told = world.get(&format!("http://{host}/page")).await;
            assert_eq!(told.map(|_| ()), expected, "{name}");
        }
        let asked = site.targets().iter().filter(|target| *target == "/robots.txt").count();
        assert_eq!(asked, if name == "circle" { 6 } else { 1 }, "{name}: it is remembered");
    }
    // A page that redirects to a forbidden one is not followed there.
    let _site = world.site().page("/", Answer::redirect(302, "http://all.example/page"));
    assert_eq!(world.get("http://a.example/").await, Err(PageError::Robots));
    // Feeds are asked for by those who subscribe; their sites' robots.txt is heeded when the settings say so.
    let _site = world.web.site("all.example").page("/feed", feed_rss(&[]));
    let feed = world.with("http://all.example/feed", |options| options.kind = Kind::Feed).await.unwrap();
    assert_eq!(feed.content_type.as_deref(), Some("application/rss+xml"));
    world.clean().await;
}

#[tokio::test]
async fn size_is_bounded_unpacked_and_time_in_all() {
    let world =
        world(PagesConfig { max_page_bytes: 10_000, max_feed_bytes: 20_000, total_secs: 1, ..quick() }).await;
    let large = || Answer::html(&"x".repeat(10_001));
    let site = world.site().page("/large", large()).page("/packed", large().gzip());
    let site = site.page("/bomb", Answer::bomb(200 << 20)).page("/endless", Answer::endless());
    let site = site.page("/cut", Answer::html("half of this").cut()).page("/hang", Answer::hang());
    let slow = Answer::html("one letter at a time").slowly(1, Duration::from_millis(300));
    let site = site.page("/slow", slow).page("/fits", Answer::html(&"x".repeat(10_000)).gzip());
    let _site = site.page("/br", Answer::html("?").header("content-encoding", "br"));
    for (path, expected) in [
        ("/large", PageError::TooLarge(10_000)),
        ("/packed", PageError::TooLarge(10_000)),
        ("/bomb", PageError::TooLarge(10_000)),
        ("/endless", PageError::TooLarge(10_000)),
        ("/cut", PageError::Broken),
        ("/br", PageError::Broken),
        ("/hang", PageError::Timeout),
        ("/slow", PageError::Timeout),
    ] {
        assert_eq!(world.get(&format!("http://a.example{path}")).await, Err(expected), "{path}");
    }
    assert_eq!(world.get("http://a.example/fits").await.unwrap().bytes.len(), 10_000);
    let feed = world.with("http://a.example/large", |options| options.kind = Kind::Feed).await;
    assert_eq!(feed.unwrap().bytes.len(), 10_001);
    world.clean().await;
}

#[tokio::test]
async fn a_pause_that_a_site_asks_for_is_kept_by_all_and_other_sites_go_on() {
    let world = world(quick()).await;
    let site = world.site().page("/", Answer::later(600)).page("/other", Answer::html("x"));
    let _other = world.web.site("b.example").page("/", Answer::html("b"));
    let later = Duration::from_secs(600);
    assert_eq!(world.get("http://a.example/").await, Err(PageError::Later { retry_after: later }));
    let told = world.get("http://a.example/other").await;
    assert!(matches!(told, Err(PageError::Later { retry_after }) if retry_after <= later), "{told:?}");
    assert!(world.get("http://b.example/").await.is_ok());
    assert_eq!(site.targets(), ["/robots.txt", "/"]);
    // No site can stop us for longer than the settings say.
    let _greedy = world.web.site("c.example").page("/", Answer::later(9_999_999));
    assert_eq!(
        world.get("http://c.example/").await,
        Err(PageError::Later { retry_after: Duration::from_secs(900) })
    );
    world.clean().await;
}

// req: S0-08
#[tokio::test]
async fn one_host_is_asked_at_its_pace_and_never_more_than_twice_at_once() {
    let world = world(PagesConfig { host_interval_ms: 40, ..quick() }).await;
    let slow = || Answer::html("slow").slowly(1, Duration::from_millis(40));
    let mut site = world.site().pace(Duration::from_millis(39)).at_once(2);
    for n in 0..8 {
        site = site.page(&format!("/{n}"), slow());
    }
    let urls: Vec<_> = (0..8).map(|n| format!("http://a.example/{n}")).collect();
    let got = together(urls.iter().map(|url| world.get(url))).await;
    assert!(got.iter().all(Result::is_ok), "{got:?}");
    assert_eq!(site.seen().len(), 9);
    world.clean().await;
}

#[tokio::test]
async fn a_crawl_delay_sets_the_pace_of_its_site() {
    let world = world(quick()).await;
    let site = world.site().robots("User-agent: *\nCrawl-delay: 0.2").page("/", Answer::html("x"));
    let site = site.pace(Duration::from_millis(199));
    for _ in 0..3 {
        world.get("http://a.example/").await.unwrap();
    }
    assert_eq!(site.seen().len(), 4);
    world.clean().await;
}

#[tokio::test]
async fn more_than_the_line_holds_is_refused_with_a_time_and_who_goes_away_leaves_no_trace() {
    let world = world(PagesConfig { queue: 2, concurrency: 1, robots: RobotsFor::Off, ..quick() }).await;
    let _site = world.site().page("/hang", Answer::hang()).page("/", Answer::html("x"));
    let (first, second, third, fourth) = tokio::join!(
        world.get("http://a.example/hang"),
        world.with("http://a.example/", |options| options.deadline =
            Deadline::after(Duration::from_millis(100))),
        world.get("http://a.example/"),
        world.get("http://a.example/"),
    );
    assert_eq!(first, Err(PageError::Timeout));
    assert!(matches!(second, Err(PageError::Busy { .. })), "{second:?}");
    assert!(third.is_ok(), "{third:?}");
    assert!(matches!(fourth, Err(PageError::Busy { .. })), "{fourth:?}");
    assert!(world.metrics.render().contains("queue_depth{queue=\"pages-line\"} 0"));
    world.clean().await;
}

#[tokio::test]
async fn the_patience_of_one_caller_is_not_that_of_another() {
    let world = world(quick()).await;
    let _site = world.site().robots_answer(Answer::hang()).page("/", Answer::html("x"));
    let (patient, hasty) = tokio::join!(
        world.get("http://a.example/"),
        world.with("http://a.example/", |options| options.deadline =
            Deadline::after(Duration::from_millis(100))),
    );
    assert_eq!((patient, hasty), (Err(PageError::Timeout), Err(PageError::Timeout)));
    // Whoever gave up found out nothing of the site: the next one asks again.
    let site = world.web.site("b.example").robots_answer(Answer::hang()).page("/", Answer::html("x"));
    let hasty = |options: &mut Options| options.deadline = Deadline::after(Duration::from_millis(100));
    assert_eq!(world.with("http://b.example/", hasty).await, Err(PageError::Timeout));
    let _mended = site.robots("User-agent: *\nAllow: /");
    assert!(world.get("http://b.example/").await.is_ok());
    world.clean().await;
}

#[tokio::test]
async fn dead_sites_do_not_stop_the_fetches_of_others() {
    let world = world(PagesConfig { per_min: 6_000, ..quick() }).await;
    let _site = world.site().page("/", Answer::html("x"));
    for n in 0..30 {
        let _broken = world.web.site(&format!("broken{n}.example")).page("/", Answer::status(500));
        assert_eq!(world.get(&format!("http://broken{n}.example/")).await, Err(PageError::Status(500)));
        assert_eq!(world.get("http://nobody.example/").await, Err(PageError::NoAnswer));
    }
    assert!(world.get("http://a.example/").await.is_ok());
    world.clean().await;
}

/// All of them at once, in one task.
async fn together<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    use std::{future::poll_fn, task::Poll};
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        for (one, done) in &mut all {
            if done.is_none()
                && let Poll::Ready(value) = one.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}
