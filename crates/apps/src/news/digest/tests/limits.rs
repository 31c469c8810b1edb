//! Limits seen through whole digests, on a clock that stands still while anything works: pages fetched at once and in a minute,
//! calls of an embedder, calls of an AI. Source: news.md "Must show" 2 to 4.

use super::*;
use crate::chat::tests::{app_with, providers};
use portcullis_domain::{Caller, RequestId};
use portcullis_engine::AdmissionConfig;
use portcullis_providers::{Call, EmbedConfig, Provider, Reading};
use portcullis_testkit::{pages::own_words, upstream::Pace};
use std::{io, sync::atomic::AtomicUsize};

/// A newsroom without a store: its threads would not keep to a clock of ours.
struct Hall {
    room: Newsroom,
    web: Web,
    metrics: Metrics,
}

impl Hall {
    async fn new((chat, metrics): (ChatApp, Metrics), embedders: Vec<Embedder>, budget_secs: u64) -> Self {
        let web = Web::start().await;
        let to = web.address();
        let lookup: Lookup = Arc::new(|_| Box::pin(async { Ok(vec!["93.184.216.34".parse().unwrap()]) }));
        let pages = Pages::new(&Parts {
            config: &PagesConfig { host_interval_ms: 0, host_concurrency: 64, ..PagesConfig::default() },
            outbound: &HttpConfig::default(),
            network: Network::of(lookup, move |_: SocketAddr| to),
            metrics: &metrics,
            alerts: &Alerts::silent(),
            registry: &Registry::new(),
        });
        let config = NewsConfig {
            posts_per_source: 200,
            deadline_secs: 600,
            fetch_budget_secs: 600,
            embed_budget_secs: budget_secs,
            ..NewsConfig::default()
        };
        let room = Newsroom::new(NewsParts {
            pages,
            store: None,
            chat,
            embedders,
            inspector: Arc::new(Inspector::new(&InspectConfig::default()).unwrap()),
            config: Arc::new(config),
            metrics: metrics.clone(),
            alerts: Alerts::silent(),
            state: NewsState::default(),
        });
        Self { room, web, metrics }
    }

    /// A feed of so many posts, none like another.
    fn feed(&self, number: u64, posts: u64) -> String {
        let posts: Vec<Post> = (0..posts).map(|n| post(n + 1, 30, &own_words(number * 1000 + n))).collect();
        let _site = self.web.site("press.example").page(&format!("/feed/{number}"), feed_atom(&posts));
        format!("http://press.example/feed/{number}")
    }

    fn ask(&self, who: &str, sources: &[String]) -> DigestAsk {
        let request = inspected(PLAIN, Payload::News(NewsRequest::Digest(Default::default())));
        DigestAsk {
            caller: Caller { id: who.into(), ..request.caller },
            quotas: Quotas::OPEN,
            span: None,
            deadline: Deadline::after(Duration::from_secs(600)),
            sources: sources.iter().map(|written| Source::read(written).unwrap()).collect(),
            since: now_ms() - 86_400_000,
            stories: 20,
            language: Some(Language::EN),
            keeps: None,
            watches: None,
            shown: Shown::new(),
            urgent: true,
            progress: Phases::silent(),
        }
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// req: S0-08, S0-09
#[tokio::test(start_paused = true)]
async fn of_two_hundred_pages_asked_for_at_once_five_are_under_way_and_sixty_begin_in_any_minute() {
    let heard = Heard::default();
    let writer = heard.clone();
    let logging = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(logging);
    let hall = Hall::new(app(&[], &[]), Vec::new(), 20).await;
    let site = hall.web.site("press.example").at_once(5);
    let mut sources = Vec::new();
    for number in 0..200 {
        let slow = feed_atom(&[post(1, 30, &own_words(number))]).slowly(256, Duration::from_secs(1));
        let _site = hall.web.site("press.example").page(&format!("/feed/{number}"), slow);
        sources.push(format!("http://press.example/feed/{number}"));
    }
    let (one, two) = tokio::join!(
        hall.room.digest(hall.ask("tg:1", &sources[..100])),
        hall.room.digest(hall.ask("tg:2", &sources[100..]))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.failed.len(), two.failed.len(), one.posts + two.posts), (0, 0, 200), "all are served");
    assert_eq!(hall.web.violations(), Vec::<String>::new(), "more than five at once");
    let seen = site.seen();
    assert_eq!(seen.len(), 200);
    for minute in seen.windows(61) {
        let apart = minute[60].at - minute[0].at;
        assert!(apart >= Duration::from_secs(60), "the 61st begins {apart:?} after the first");
    }
    let log = String::from_utf8(heard.0.lock().clone()).unwrap();
    let backlogs: Vec<&str> = log.lines().filter(|line| line.contains("\"queue_backlog\"")).collect();
    assert!(backlogs.len() > 1 && backlogs[0].contains("\"queue\":\"pages\""), "{log}");
}

/// A model that knows nothing, with a threshold that is known, and how often it was asked.
fn counted() -> (Embedder, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let embedder = Embedder::new(space("gemini/gemini-embedding-001", vec![]), 1, move |texts, _| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move { Ok(texts.iter().map(|_| vec![1.0, 0.0]).collect()) })
    });
    (embedder, asked)
}

// req: S0-06
#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_embedding_call_of_a_person_in_a_minute_waits_or_words_compare() {
    for (budget_secs, waits) in [(20, false), (120, true)] {
        let (embedder, asked) = counted();
        let hall = Hall::new(app(&[], &[]), vec![embedder], budget_secs).await;
        let source = hall.feed(1, 101);
        let quotas = Quotas::alone(&AdmissionConfig::default());
        let ask = DigestAsk { quotas: quotas.clone(), ..hall.ask("tg:1", std::slice::from_ref(&source)) };
        let began = tokio::time::Instant::now();
        let digest = hall.room.digest(ask).await.unwrap();
        let asked_once = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!digest.stories.is_empty(), "the digest arrives");
        if waits {
            assert_eq!((asked_once, digest.less.contains(&Less::Lexical)), (101, false));
            assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
        } else {
            assert_eq!((asked_once, digest.less.contains(&Less::Lexical)), (100, true));
            assert!(hall.metrics.render().contains("step=\"embed\",reason=\"rate_limited\"} 1"));
        }
        let ask = DigestAsk { quotas, ..hall.ask("tg:2", &[hall.feed(2, 3)]) };
        let other = hall.room.digest(ask).await.unwrap();
        assert!(!other.less.contains(&Less::Lexical), "another person has calls of their own");
    }
}

/// As the running server asks a provider's model.
fn embedder_of(provider: Arc<Provider>) -> Embedder {
    Embedder::new(Space { dimensions: 8, ..space("a/gemini-embedding-001", vec![]) }, 1, move |texts, _| {
        let provider = provider.clone();
        Box::pin(async move {
            let call = Call {
                span: None,
                id: RequestId::from_parts(1, 1),
                route: "knowledge".into(),
                caller: "questions".into(),
                weight: 1,
                deadline: Deadline::after(Duration::from_secs(20)),
                tried: 0,
                others: false,
                strict: false,
                purpose: None,
            };
            let model = provider.model("embed-double");
            let vectors = provider.vectors(&call, &model, texts, Reading::Question, 1).await;
            vectors.map_err(|_| EmbedFailure::Away { retry_after: Duration::from_secs(1) })
        })
    })
}

// req: S0-07
#[tokio::test(start_paused = true)]
async fn a_sixth_embedding_call_waits_and_where_the_line_is_full_words_compare() {
    for (queue, less) in [(64, false), (1, true)] {
        let double = OpenAi::start().await;
        let (first_byte, metrics) = (Duration::from_millis(400), Metrics::new());
        double.change(|options| options.dimensions = 8);
        double.always(Behaviour::Paced(Pace { first_byte, ..Pace::default() }));
        let config = EmbedConfig { queue, ..EmbedConfig::default() };
        let providers = providers(&[("a", &double)], |_, _| {}, &config, &metrics);
        let embedder = embedder_of(providers.get("a").unwrap().clone());
        let hall = Hall::new(app(&[], &[]), vec![embedder], 20).await;
        // Three calls each: a digest makes no more at once.
        let feeds: Vec<String> = (0..3).map(|number| hall.feed(number, 3)).collect();
        let digests = feeds
            .iter()
            .enumerate()
            .map(|(n, feed)| hall.room.digest(hall.ask(&format!("tg:{n}"), std::slice::from_ref(feed))));
        let digests = futures_util::future::join_all(digests).await;
        let digests: Vec<Digest> = digests.into_iter().map(Result::unwrap).collect();
        assert!(digests.iter().all(|digest| !digest.stories.is_empty()), "every digest arrives");
        assert_eq!(double.counts().max_in_flight, 5);
        let lexical = digests.iter().filter(|digest| digest.less.contains(&Less::Lexical)).count();
        assert_eq!(lexical > 0, less, "{lexical} fell back");
        assert_eq!(double.counts().requests == 9, !less, "{}", double.counts().requests);
    }
}

// req: S0-02
#[tokio::test(start_paused = true)]
async fn sixteen_summaries_are_under_way_and_the_seventeenth_waits() {
    let double = OpenAi::start().await;
    let first_byte = Duration::from_millis(400);
    let said =
        serde_json::json!({"headline": "A railway opens in the north", "bullets": ["It runs to the coast."]});
    double.always(Behaviour::Say(Say::Text(said.to_string())));
    double.change(|options| options.pace.first_byte = first_byte);
    let route: Routed<'_> = &[("summarise", &[("a", "gpt-double", 0)])];
    let chat = app_with(&[("a", &double)], route, |_, config| {
        config.concurrency = Some(16);
        config.queue = Some(64);
    });
    let hall = Hall::new(chat, Vec::new(), 20).await;
    let feed = hall.feed(1, 17);
    let digest = hall.room.digest(hall.ask("tg:1", &[feed])).await.unwrap();
    assert_eq!((digest.stories.len(), digest.less.as_slice()), (17, [].as_slice()));
    assert!(digest.stories.iter().all(|story| story.told_by_ai));
    assert_eq!((double.counts().requests, double.counts().max_in_flight), (17, 16));
}
