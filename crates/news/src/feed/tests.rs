//! Feeds as they are, and as they are sent to do harm.

use super::*;

/// 1 March 2025, noon UTC.
const NOW: i64 = 1_740_830_400_000;

fn read(text: &str) -> Result<FeedPage, Unreadable> {
    feed(text.as_bytes(), "", &Url::parse("https://paper.example/feeds/all.xml").unwrap(), NOW)
}

fn rss(items: &str) -> FeedPage {
    read(&format!("<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>The &amp; Paper</title>{items}</channel></rss>")).unwrap()
}

#[test]
fn rss_is_read_with_its_extensions_left_out() {
    let page = rss(
        "<atom:link href=\"https://paper.example/self\" rel=\"self\"/><image><title>logo</title></image>
         <item><title>A &lt;b&gt;bold&lt;/b&gt; claim</title><media:title>no</media:title><link>/one?a=1&amp;b=2</link>
         <guid isPermaLink=\"false\">one</guid><description><![CDATA[<p>Short &amp; sweet</p><script>no</script>]]></description>
         <content:encoded><![CDATA[<p>Whole text.</p><p>Read https://ads.example/now</p>]]></content:encoded>
         <pubDate>Sat, 01 Mar 2025 10:00:00 GMT</pubDate></item>
         <item><link>https://other.example/two</link><description>Only words</description><dc:date>2025-02-28T10:00:00Z</dc:date></item>
         <item><title>Only a title</title><link>javascript:alert(1)</link></item>
         <item><title>One again</title><guid>one</guid></item><item><pubDate>never</pubDate></item>",
    );
    assert_eq!(page.title, "The & Paper");
    assert_eq!(
        page.posts[0],
        Post {
            id: "one".into(),
            at: Some(1_740_823_200_000),
            title: Some("A bold claim".into()),
            text: "Whole text.\n\nRead".into(),
            url: "https://paper.example/one?a=1&b=2".into(),
            views: None,
            edited: false,
        }
    );
    assert_eq!(
        (page.posts[1].id.as_str(), page.posts[1].at),
        ("https://other.example/two", Some(1_740_736_800_000))
    );
    assert_eq!(page.posts[2].url, "https://paper.example/feeds/all.xml", "no address that is not of the web");
    assert_eq!(page.posts[2].id.len(), 32);
    assert_eq!(page.posts.len(), 3);
}

#[test]
fn atom_is_read_in_each_of_its_types() {
    let page = read(
        "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title type=\"html\">Blog &amp;amp; more</title>
         <entry><id>urn:1</id><title type=\"text\">a &lt; b</title><link rel=\"enclosure\" href=\"/x.mp3\"/><link href=\"/1\"/>
         <published>2025-02-28T10:00:00Z</published><updated>2025-02-28T11:00:00Z</updated>
         <content type=\"xhtml\"><div xmlns=\"http://www.w3.org/1999/xhtml\"><p>One</p><p>Two</p></div></content></entry>
         <entry><id>urn:2</id><title>t</title><updated>2025-02-28T11:00:00Z</updated><summary type=\"html\">&lt;p&gt;S&amp;amp;T&lt;/p&gt;</summary></entry></feed>",
    )
    .unwrap();
    assert_eq!(page.title, "Blog & more");
    let first = &page.posts[0];
    assert_eq!(
        (first.title.as_deref(), first.text.as_str(), first.edited),
        (Some("a < b"), "One\n\nTwo", true)
    );
    assert_eq!(first.url, "https://paper.example/1");
    assert_eq!(page.posts[1].text, "S&T");
    assert!(page.posts[1].at.is_some());
}

#[test]
fn rss_one_and_json_feeds_are_read() {
    let page = read(
        "<rdf:RDF xmlns:rdf=\"x\"><channel rdf:about=\"c\"><title>Old</title></channel>
         <item rdf:about=\"https://paper.example/a\"><title>T</title><link>https://paper.example/a</link><description>D</description></item></rdf:RDF>",
    )
    .unwrap();
    assert_eq!(
        (page.title.as_str(), page.posts[0].id.as_str(), page.posts[0].text.as_str()),
        ("Old", "https://paper.example/a", "D")
    );
    let page = read(
        "\u{feff} {\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"J\",\"items\":[
         {\"id\":7,\"url\":\"https://j.example/7\",\"title\":\"T\",\"content_html\":\"<p>a<br>b</p>\",\"date_published\":\"2025-02-28T10:00:00Z\"},
         {\"id\":\"8\",\"content_text\":\"1 < 2\",\"tags\":5},{\"title\":[]},7]}",
    )
    .unwrap();
    assert_eq!(page.posts.len(), 2);
    assert_eq!((page.posts[0].id.as_str(), page.posts[0].text.as_str()), ("7", "a\nb"));
    assert_eq!(page.posts[1].text, "1 < 2");
}

#[test]
fn what_is_no_feed_is_said_to_be_none() {
    for text in
        ["", "<html><body>x</body></html>", "{\"items\":7}", "{\"a\":1}", "{", "plain words", "<a/>", "\0\0"]
    {
        assert_eq!(read(text), Err(Unreadable::NoFeed), "{text}");
    }
}

#[test]
fn a_broken_feed_gives_what_a_reader_would_show() {
    let page = rss(
        "<item><title>Fish & chips <3</title><guid>1</guid><description>a <p>b<br></description></item><item><title>Next<guid>2</guid></item>",
    );
    let shown: Vec<_> = page.posts.iter().map(|post| post.title.clone().unwrap_or_default()).collect();
    assert_eq!(shown[0], "Fish & chips <3");
    let cut =
        read("<rss><channel><title>t</title><item><title>whole</title></item><item><title>cut sho").unwrap();
    assert_eq!(cut.posts.len(), 2);
}

#[test]
fn a_bomb_of_entities_is_not_expanded() {
    let lol: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let bomb = format!("<?xml version=\"1.0\"?><!DOCTYPE rss [<!ENTITY l0 \"lol\">{lol}<!ENTITY x SYSTEM \"file:///etc/passwd\">]>
        <rss><channel><title>t</title><item><title>a &l9; b &x;</title><guid>1</guid></item></channel></rss>");
    let page = read(&bomb).unwrap();
    assert_eq!(page.posts[0].text, "a &l9; b &x;");
}

#[test]
fn dates_of_1970_and_2099_are_no_dates() {
    let item = |date: &str| format!("<item><title>{date}</title><pubDate>{date}</pubDate></item>");
    let page = rss(&[
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Thu, 01 Jan 2099 00:00:00 GMT",
        "Sat, 01 Mar 2025 15:00:00 GMT",
        "soon",
    ]
    .map(item)
    .concat());
    let dates: Vec<_> = page.posts.iter().map(|post| post.at).collect();
    assert_eq!(dates, [None, None, Some(NOW), None]);
}

#[test]
fn a_feed_in_an_old_charset_is_read() {
    let text = "<?xml version=\"1.0\" encoding=\"windows-1251\"?><rss><channel><title>Газета</title><item><title>Новость</title></item></channel></rss>";
    let bytes = encoding_rs::WINDOWS_1251.encode(text).0;
    let page = feed(&bytes, "application/rss+xml", &Url::parse("https://a.example/").unwrap(), NOW).unwrap();
    assert_eq!((page.title.as_str(), page.posts[0].text.as_str()), ("Газета", "Новость"));
}
