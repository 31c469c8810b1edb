//! What a fetched document is, and where its page leads. Invariant: only addresses of the web come out, each once, and no
//! more than a person would look through. Source: news.md section 4.

use crate::{
    charset, content,
    feed::address,
    markup::{Element, Tree},
    text::{cut, line},
};
use std::collections::HashSet;
use url::Url;

/// Bytes at the beginning that tell what a document is.
const HEAD: usize = 4096;
/// Feeds that are offered of one page.
const MOST_FEEDS: usize = 10;
/// Links that are read of one page.
const MOST_LINKS: usize = 300;
/// Shortest text of a link that leads to an article, in characters.
const LEAST_TEXT: usize = 20;
/// Longest text of a link that is kept, in characters.
const LONGEST_TEXT: usize = 300;

/// How a document is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RSS, Atom or JSON Feed.
    Feed,
    /// HTML.
    Page,
}

/// A link with what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// On one line; the address itself where it says nothing.
    pub title: String,
    /// Where it leads.
    pub url: Url,
}

/// What a document is: what its beginning shows, else what its server says. None: neither feed nor page.
#[must_use]
pub fn form(content_type: &str, bytes: &[u8]) -> Option<Form> {
    let head = charset::text(bytes.get(..HEAD).unwrap_or(bytes), content_type);
    let head = head.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']).to_ascii_lowercase();
    if head.starts_with('{') {
        let feed = head.contains("jsonfeed.org") || head.contains("\"items\"");
        return (feed || content_type.contains("feed+json")).then_some(Form::Feed);
    }
    let first = |names: &[&str]| names.iter().filter_map(|name| head.find(name)).min();
    match (first(&["<rss", "<feed", "<rdf:rdf"]), first(&["<html", "<!doctype html", "<head", "<body"])) {
        (Some(feed), Some(page)) => return Some(if feed < page { Form::Feed } else { Form::Page }),
        (Some(_), None) => return Some(Form::Feed),
        (None, Some(_)) => return Some(Form::Page),
        (None, None) => {}
    }
    let said = content_type.to_ascii_lowercase();
    if head.contains('\0') || !head.starts_with('<') && !said.starts_with("text/html") {
        return None;
    }
    let feed = ["rss", "atom", "rdf"].iter().any(|kind| said.contains(kind));
    Some(if feed { Form::Feed } else { Form::Page })
}

/// The feeds that a page names.
#[must_use]
pub fn alternates(html: &[u8], content_type: &str, base: &Url) -> Vec<Link> {
    let text = charset::text(html, content_type);
    let tree = Tree::html(&text);
    let base = base_of(&tree, base);
    let links = tree.all().filter(|element| element.name() == "link" && names_feed(*element));
    let links = links.filter_map(|element| {
        let url = address(element.attribute("href")?, &base)?;
        let title = line(element.attribute("title").unwrap_or_default());
        Some(Link { title: if title.is_empty() { url.to_string() } else { title }, url })
    });
    once(links).take(MOST_FEEDS).collect()
}

fn names_feed(link: Element<'_, '_>) -> bool {
    const TYPES: [&str; 5] = [
        "application/rss+xml",
        "application/atom+xml",
        "application/feed+json",
        "application/rdf+xml",
        "application/json",
    ];
    let said = link.attribute("type").unwrap_or_default().trim();
    let kind = said.split(';').next().unwrap_or_default().trim();
    let json = kind.eq_ignore_ascii_case("application/json");
    // WordPress names its programming interface in the same way.
    let interface = json && !link.attribute("href").is_some_and(|href| href.contains("feed"));
    link.attribute("rel")
        .is_some_and(|rel| rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("alternate")))
        && TYPES.iter().any(|one| kind.eq_ignore_ascii_case(one))
        && !interface
}

/// The links of a page to what may be its articles: of the same host, with enough words, in the order of the page.
#[must_use]
pub fn links(html: &[u8], content_type: &str, base: &Url) -> Vec<Link> {
    let text = charset::text(html, content_type);
    let tree = Tree::html(&text);
    let at = base_of(&tree, base);
    let mut end = 0;
    let links = tree.all().filter_map(|element| {
        if element.at < end {
            return None;
        }
        if matches!(element.name(), "nav" | "footer") || content::is_hidden(element) {
            end = tree.inside(element.at).end;
            return None;
        }
        let mut url = address(element.attribute("href").filter(|_| element.name() == "a")?, &at)?;
        url.set_fragment(None);
        if host(&url) != host(base) || url.path() == base.path() {
            return None;
        }
        end = tree.inside(element.at).end;
        let title = line(&content::whole(element));
        let enough = title.chars().nth(LEAST_TEXT - 1).is_some();
        enough.then(|| Link { title: cut(&title, LONGEST_TEXT).to_owned(), url })
    });
    once(links).take(MOST_LINKS).collect()
}

fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host)
}

/// Where addresses of the page begin: its first `base` element.
fn base_of(tree: &Tree<'_>, fetched: &Url) -> Url {
    let element = tree.all().find(|element| element.name() == "base");
    element.and_then(|base| address(base.attribute("href")?, fetched)).unwrap_or_else(|| fetched.clone())
}

/// Each address once.
fn once(links: impl Iterator<Item = Link>) -> impl Iterator<Item = Link> {
    let mut known = HashSet::new();
    links.filter(move |link| known.insert(link.url.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://www.paper.example/news/").unwrap()
    }

    #[test]
    fn a_document_is_what_it_shows_before_what_its_server_says() {
        let rows: [(&str, &str, Option<Form>); 12] = [
            ("text/html", "<?xml version='1.0'?>\n<rss version='2.0'>", Some(Form::Feed)),
            ("application/xml", "<!-- x --><feed xmlns='a'>", Some(Form::Feed)),
            ("application/rss+xml", "<!DOCTYPE html><html>", Some(Form::Page)),
            ("text/plain", "<html><body>about <rss", Some(Form::Page)),
            ("application/json", "{\"version\":\"https://jsonfeed.org/version/1\"", Some(Form::Feed)),
            ("application/json", "{\"a\":1}", None),
            ("text/html; charset=utf-8", "<div>bare</div>", Some(Form::Page)),
            ("text/html", "words only", Some(Form::Page)),
            ("application/atom+xml", "<?xml version='1.0'?><x/>", Some(Form::Feed)),
            ("image/png", "\u{fffd}PNG\0\0", None),
            ("application/pdf", "%PDF-1.7", None),
            ("", "", None),
        ];
        for (content_type, text, wanted) in rows {
            assert_eq!(form(content_type, text.as_bytes()), wanted, "{content_type} {text}");
        }
    }

    #[test]
    fn a_page_offers_its_feeds() {
        let html = "<base href='https://cdn.example/x/'><link rel='alternate stylesheet' href=a.css>
            <LINK REL=Alternate TYPE='application/rss+xml; charset=utf-8' TITLE='All news' HREF='/feed?a=1&amp;b=2'>
            <link rel=alternate type=application/atom+xml href=atom.xml><link rel=alternate type=application/atom+xml href=atom.xml>
            <link rel=alternate type=application/json href=/wp-json/wp/v2/pages/2><link rel=alternate type=application/rss+xml href='file:///etc/passwd'>
            <link rel=alternate hreflang=de href=/de>";
        let feeds: Vec<(String, String)> = alternates(html.as_bytes(), "", &base())
            .into_iter()
            .map(|link| (link.title, link.url.to_string()))
            .collect();
        assert_eq!(
            feeds,
            [
                ("All news".to_owned(), "https://cdn.example/feed?a=1&b=2".to_owned()),
                ("https://cdn.example/x/atom.xml".to_owned(), "https://cdn.example/x/atom.xml".to_owned()),
            ]
        );
    }

    #[test]
    fn links_to_articles_are_of_the_same_host_and_have_words() {
        let html = "<nav><a href=/a>A long text in the navigation of it</a></nav>
            <a href='/2025/bridge#top'>The old bridge <b>reopens</b> on Monday</a><a href='https://paper.example/2025/bridge'>The old bridge reopens on Monday</a>
            <a href=/short>More</a><a href='https://ads.example/x'>A long text that leads to elsewhere</a>
            <a href='mailto:x@y.example'>A long text that leads to a mailbox</a><a href=''>A long text that leads to this page</a>
            <a href=/hidden hidden>A long text that nobody can see here</a>";
        let links = links(html.as_bytes(), "text/html", &base());
        let shown: Vec<&str> = links.iter().map(|link| link.url.as_str()).collect();
        assert_eq!(shown, ["https://www.paper.example/2025/bridge", "https://paper.example/2025/bridge"]);
        assert_eq!(links[0].title, "The old bridge reopens on Monday");
    }
}
