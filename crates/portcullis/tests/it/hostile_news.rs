//! What people and sites can do to the news bot, with the real binary: sources that lead to where nobody may go, pages and
//! feeds made to break their readers, and texts with every character that means something to Telegram. Each ends in a
//! clear message or a clean post, in either form of writing: the strict double of Telegram refuses anything else.

use crate::support::{BINARY, get, post, until};
use portcullis_testkit::{
    pages::{Answer, Post, Site, Web, feed_atom},
    process::{Options, Server},
    telegram::{Options as Double, Person, Rates, Telegram},
};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

const ADMIN_KEY: &str = "pcl_made-up-administrator-key-for-tests-0001";
/// Every character that MarkdownV2 gives a meaning.
const MARKS: &str = r"_*[]()~`>#+-=|{}.!\";
const FAMILY: &str = "👩\u{200d}👩\u{200d}👧";

async fn serve(double: &Telegram, web: &Web, format: &str) -> Server {
    let (api, pages) = (double.base_url(), web.address());
    let config = format!(
        "[telegram]\nenabled = true\napi_base = \"{api}\"\nformat = \"{format}\"\n\
         [telegram.send]\nglobal_per_sec = 1000\nchat_interval_ms = 0\n\
         [pages]\nallow_private = [\"{pages}\"]\nhost_interval_ms = 0\n\
         [news]\nplan = \"pro\"\nstories = 15\n[news.scrape]\nbase_url = \"http://{pages}\"\n\
         [actions.add_source]\nper_user_per_min = 1000\n\
         [actions.message]\nper_user_per_min = 1000\nper_user_per_hour = 1000\n"
    );
    let options =
        Options::config(config).env("TELEGRAM_BOT_TOKEN", double.token()).env("ADMIN_KEY", ADMIN_KEY);
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// An address inside, where nobody may come, and how many did.
async fn inside() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, tasks) = (came.clone(), TaskTracker::new());
    tasks.spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, came)
}

/// A sentence that only this source has, of words that nobody else uses, so that nothing is taken for the same event.
fn sentence(name: &str) -> String {
    let mut chance =
        name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
    let mut word = || {
        (0..8)
            .map(|_| {
                chance =
                    chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + u8::try_from((chance >> 40) % 26).unwrap())
            })
            .collect::<String>()
    };
    let words: Vec<String> = (0..9).map(|_| word()).collect();
    format!("The {name} {}.", words.join(" "))
}

/// A message of a channel page, as it is written there.
fn message(channel: &str, before: &str, text: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "<div class=\"tgme_channel_info\">c</div><div class=\"tgme_widget_message\" data-post=\"{channel}/1\">{before}\
         <div class=\"tgme_widget_message_text\">{text}</div><time datetime=\"{now}\"></time></div>"
    )
}

/// The sites that are made to break a reader; those that give something, each with its own word.
fn hostile(web: &Web, inside: SocketAddr) -> (Site, Vec<(String, &'static str)>) {
    let now = jiff::Timestamp::now().to_string();
    let post = |id: u64, time: &str, text: String| Post { id, text, time: time.to_owned(), reply_to: None };
    let quote = |inner: &str| {
        format!(
            "<a class=\"tgme_widget_message_reply\"><div class=\"tgme_widget_message_text\">somebody elses words{inner}\
             </div></a>"
        )
    };
    let nested = message("nested_channel", &quote(&quote(&quote(""))), &sentence("lighthouse"));
    let (open, close) = ("<div>".repeat(100_000), "</div>".repeat(100_000));
    let deep = format!("{open}{close}{}", message("deep_channel", "", &sentence("pier")));
    let broken = [sentence("crane").as_bytes(), b" \xff\xfe\xc3\x28 \xed\xa0\x80 and more."].concat();
    let broken = [
        b"<?xml version=\"1.0\" encoding=\"utf-8\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><entry><id>1</id><updated>",
        now.as_bytes(),
        b"</updated><content>",
        &broken,
        b"</content></entry></feed>",
    ]
    .concat();
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let laughs = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE f [<!ENTITY l0 \"lolol\">{laughs}<!ENTITY x SYSTEM \"http://{inside}/x\">]>\
         <feed xmlns=\"http://www.w3.org/2005/Atom\"><entry><id>1</id><updated>{now}</updated>\
         <content>{} &l9;&x;</content></entry></feed>",
        sentence("ferry")
    );
    let dates = [
        post(1, "1970-01-01T00:00:00Z", sentence("steamer")),
        post(2, "2099-01-01T00:00:00Z", sentence("airship")),
        post(3, &now, sentence("tugboat")),
    ];
    let marks = format!("{} {MARKS} *bold _and* not_ ```closed ![{MARKS}]({MARKS}", sentence("ropeway"));
    let emoji = format!(
        "{} {} \u{202e}שלום עולם\u{202c} {}",
        sentence("carnival"),
        FAMILY.repeat(200),
        "א".repeat(4000)
    );
    let atom = "application/atom+xml; charset=utf-8";
    let site = web
        .here()
        .page("/s/nested_channel", Answer::html(&nested))
        .page("/s/deep_channel", Answer::html(&deep))
        .page("/charset", Answer::text(atom, "").body(broken))
        .page("/laughs", Answer::text(atom, &laughs))
        .page("/dates", feed_atom(&dates))
        .page("/marks", feed_atom(&[post(1, &now, marks)]))
        .page("/emoji", feed_atom(&[post(1, &now, emoji)]))
        .page("/deep", Answer::html(&format!("{open}{}", sentence("windmill"))))
        .page("/large", Answer::html("").body(vec![b'a'; 50 << 20]))
        .page("/packed", Answer::bomb(50 << 20))
        .page("/inside", Answer::redirect(302, &format!("http://{inside}/feed")));
    let here = |path: &str| format!("http://{}{path}", web.address());
    let give = vec![
        ("@nested_channel".to_owned(), "lighthouse"),
        ("@deep_channel".to_owned(), "pier"),
        (here("/charset"), "crane"),
        (here("/laughs"), "ferry"),
        (here("/dates"), "tugboat"),
        (here("/marks"), "ropeway"),
        (here("/emoji"), "carnival"),
    ];
    (site, give)
}

async fn said(double: &Telegram, person: &Person, text: &str) -> String {
    let before = double.sent_to(person.id).len();
    double.say(person, text);
    double.sent_count(person.id, before + 1).await.remove(before).text
}

/// Sources that are none, or lead to where nobody may go: told why, not added, and nobody is asked.
async fn are_refused(double: &Telegram, person: &Person, web: &Web, inside: SocketAddr) {
    let (port, pages) = (inside.port(), web.address());
    let unreachable = [
        format!("http://{inside}/feed"),
        format!("http://localhost:{port}/feed"),
        format!("http://[::1]:{port}/feed"),
        format!("http://[::ffff:127.0.0.1]:{port}/feed"),
        format!("http://2130706433:{port}/feed"),
        format!("http://0x7f.1:{port}/feed"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/feed".to_owned(),
        format!("http://{pages}/inside"),
    ];
    for address in &unreachable {
        let told = said(double, person, &format!("/add {address}")).await;
        assert!(told.starts_with('✖') || told.starts_with('⚠'), "{address}: {told}");
        assert!(
            told.contains("not reachable from here") || told.contains("write a channel"),
            "{address}: {told}"
        );
    }
    for name in [
        "@../../etc/passwd",
        "@https://evil.example/x",
        "t.me/https://evil.example",
        "https://t.me/s/../evil",
        "https://t.me/harbour/15",
        "https://t.me/harbour_news?x=http://evil.example",
        "https://user:pass@example.org/feed",
        "ftp://example.org/feed",
        "javascript:alert(1)",
        "@abcd",
        "@канал_порта",
    ] {
        let told = said(double, person, &format!("/add {name}")).await;
        // Some look like an attack before they are looked at as names.
        assert!(told.starts_with('✖') || told == "I cannot process this message.", "{name}: {told}");
    }
    let listed = said(double, person, "/list").await;
    assert!(listed.contains("0/"), "nothing was added: {listed}");
}

/// One form of writing.
async fn meets_everything(format: &str) {
    let (double, web) =
        (Telegram::with(Double { rates: Rates::Off, ..Double::default() }).await, Web::start().await);
    let (inside, came) = inside().await;
    let (_site, give) = hostile(&web, inside);
    let mut server = serve(&double, &web, format).await;
    let ann = double.person("Ann");
    are_refused(&double, &ann, &web, inside).await;
    let named = said(&double, &ann, &format!("/folder rename {MARKS}")).await;
    assert!(named.contains(MARKS), "{named}");
    for (source, _) in &give {
        let told = said(&double, &ann, &format!("/add {source}")).await;
        assert!(told.starts_with('✅'), "{source}: {told}");
    }
    for (path, marks) in [("/large", "⚠"), ("/packed", "⚠"), ("/deep", "⚠✅")] {
        let told = said(&double, &ann, &format!("/add http://{}{path}", web.address())).await;
        assert!(told.starts_with(|first| marks.contains(first)), "{path}: {told}");
    }
    let before = double.sent_to(ann.id).len();
    double.say(&ann, "/news all");
    let told = |double: &Telegram| {
        double.sent_to(ann.id)[before..].iter().map(|sent| sent.text.clone()).collect::<Vec<_>>().join("\n")
    };
    let missing = |told: &str| {
        give.iter().filter(|(_, word)| !told.contains(word)).map(|(_, word)| *word).collect::<Vec<_>>()
    };
    until("the digest stands", async || {
        let sent = double.sent_to(ann.id);
        sent[before..].last().is_some_and(|last| !last.text.starts_with('⏳') && !last.buttons().is_empty())
    })
    .await;
    let all = told(&double);
    assert_eq!(missing(&all), [""; 0], "{all}");
    assert!(all.contains(&format!("📰 {MARKS}")), "the header names the folder: {all}");
    for never in ["somebody elses words", "lolol", "\u{202e}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"] {
        assert!(!all.contains(never), "{never:?} is told: {all}");
    }
    // The boundary of a message inside a joined emoji, and where the direction of writing changes.
    let long = format!("{}{FAMILY}{}{FAMILY}{}", "א".repeat(4090), "ab".repeat(2045), MARKS.repeat(220));
    let before = double.sent_to(ann.id).len();
    let body = json!({"to": format!("telegram:{}", ann.id), "text": long});
    let queued = post(server.admin().unwrap(), "/admin/v1/outbox", ADMIN_KEY, &body).await;
    assert_eq!(queued.status, 202, "{queued:?}");
    let parts = usize::try_from(queued.json()["messages"].as_u64().unwrap()).unwrap();
    let sent = double.sent_count(ann.id, before + parts).await;
    let whole: String = sent[before..].iter().map(|sent| sent.text.as_str()).collect();
    assert!(parts >= 3 && whole == long, "{parts} parts");
    // Nothing was lost on the way, nobody inside was asked, nothing broke.
    let dead = get(server.admin().unwrap(), "/admin/v1/outbox?state=dead", ADMIN_KEY).await.text();
    assert!(!dead.contains("\"telegram:"), "{dead}");
    assert_eq!(came.load(Ordering::Relaxed), 0, "somebody inside was asked");
    assert_eq!(double.violations(), [""; 0]);
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
}

// req: S2-1.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_sources_pages_and_texts_end_in_a_clear_message_or_a_clean_post() {
    meets_everything("entities").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_sources_pages_and_texts_are_escaped_where_telegram_reads_marks() {
    meets_everything("markdown_v2").await;
}
