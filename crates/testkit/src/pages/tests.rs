//! The double itself: what it serves, and what it calls a violation.

use super::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One request on a connection of its own.
async fn get(web: &Web, host: &str, target: &str, more: &str) -> String {
    let mut socket = TcpStream::connect(web.address()).await.unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: Portcullis/test\r\nconnection: close\r\n{more}\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut out = Vec::new();
    socket.read_to_end(&mut out).await.unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

#[tokio::test]
async fn a_site_serves_what_it_was_told_and_counts_who_asks() {
    let web = Web::start().await;
    let site = web.site("a.example").chain(2, 301).robots("User-agent: *").page("/x", Answer::later(0));
    let site = site.page("/e", Answer::html("new").header("etag", "\"1\""));
    assert!(get(&web, "a.example", "/robots.txt", "").await.ends_with("User-agent: *"));
    assert!(get(&web, "a.example", "/chain/1", "").await.contains("location: /chain/2"));
    assert!(get(&web, "a.example", "/chain/3", "").await.ends_with("<p>the end</p>"));
    assert!(get(&web, "a.example", "/nowhere", "").await.starts_with("HTTP/1.1 404"));
    assert!(get(&web, "a.example", "/e", "").await.ends_with("new"));
    assert!(get(&web, "a.example", "/e", "if-none-match: \"1\"\r\n").await.starts_with("HTTP/1.1 304"));
    assert_eq!(site.targets().len(), 6);
    assert_eq!((web.connections(), web.violations()), (6, vec![]));
}

#[tokio::test]
async fn whatever_is_not_polite_or_not_allowed_is_a_violation() {
    let web = Web::start().await;
    let _site = web
        .site("a.example")
        .forbid("/private")
        .page("/later", Answer::later(60))
        .pace(Duration::from_secs(60));
    get(&web, "b.example", "/", "").await;
    get(&web, "a.example", "/private/x", "").await;
    get(&web, "a.example", "/later", "").await;
    get(&web, "a.example", "/", "cookie: a=b\r\n").await;
    let told = web.violations();
    for (at, words) in [
        (0, "nobody is allowed"),
        (1, "robots.txt forbids"),
        (2, "after the request before"),
        (3, "after the request before"),
        (4, "before the end of the pause"),
        (5, "cookie has no business"),
    ] {
        assert!(told[at].contains(words), "{words}: {told:?}");
    }
}

#[tokio::test]
async fn a_channel_shows_twenty_posts_and_where_the_older_ones_are() {
    let post = |id| Post {
        id,
        text: format!("post <{id}>"),
        time: "2026-11-01T10:00:00+00:00".into(),
        reply_to: None,
    };
    let channel = Channel { slug: "news".into(), posts: (1..=45).map(post).collect(), other_layout: false };
    let web = Web::start().await;
    let _site = channel.show(web.site("t.example"));
    let first = get(&web, "t.example", "/s/news", "").await;
    assert_eq!(first.matches("data-post=").count(), 20);
    assert!(first.contains("data-before=\"26\"") && first.contains("post &lt;45&gt;"));
    let second = get(&web, "t.example", "/s/news?before=26", "").await;
    assert!(second.contains("data-post=\"news/25\"") && second.contains("data-before=\"6\""));
    let third = get(&web, "t.example", "/s/news?before=6", "").await;
    assert_eq!(third.matches("data-post=").count(), 5);
    assert!(!third.contains("data-before"));
    for feed in [feed_rss(&channel.posts), feed_atom(&channel.posts), feed_json(&channel.posts)] {
        assert!(String::from_utf8_lossy(&feed.body).contains("45"));
    }
}

#[tokio::test]
async fn the_control_api_adds_pages_and_tells_who_asked() {
    let web = Web::start().await;
    let page = r#"{"host":"a.example","path":"/x","type":"text/html","body":"<p>hi</p>"}"#;
    let mut socket = TcpStream::connect(web.address()).await.unwrap();
    let head = format!(
        "POST /_control/pages HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut out = String::new();
    socket.read_to_string(&mut out).await.unwrap();
    assert!(out.starts_with("HTTP/1.1 200"), "{out}");
    assert!(get(&web, "a.example", "/x", "").await.contains("<p>hi</p>"));
    assert!(get(&web, "a", "/_control/state", "").await.contains(r#""a.example":["/x"]"#));
    assert!(get(&web, "a", "/_control/pages", "").await.starts_with("HTTP/1.1 400"));
}
