//! Fetching and reading one source: pages of a channel, a feed, a page with its articles. Invariants: what comes out is plain text;
//! a channel's pages are built from its name and stay at their host; nothing is opened that was opened before.
//! Source: news.md section 4.

use super::{
    model::Reason,
    now_ms,
    sources::{Fetcher, Trouble, Wanted},
};
use portcullis_news::{
    Form, Link, Post, Source, Unreadable, alternates, article, channel, feed, form, links,
};
use portcullis_pages::{Kind, Options, Page, Url};
use portcullis_store::{FeedRow, PostRow};

pub(crate) const CHANNEL: &str = "channel";
pub(crate) const FEED: &str = "feed";
pub(crate) const PAGE: &str = "page";
/// An address that nobody has looked at yet.
pub(crate) const UNKNOWN: &str = "web";
/// Posts of a page that count as opened before.
const REMEMBERED: usize = 1000;

/// What a source said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    pub(crate) posts: Vec<PostRow>,
    pub(crate) etag: String,
    pub(crate) modified: String,
    pub(crate) not_modified: bool,
    /// Every post since then is among them.
    pub(crate) covers_since: i64,
    /// Where it moved for good.
    pub(crate) moved: Option<String>,
    /// Feeds that a page names.
    pub(crate) feeds: Vec<Link>,
}

/// Fetches a source and reads it.
pub(crate) async fn fetch(
    fetcher: &Fetcher,
    source: &Source,
    row: &FeedRow,
    wanted: Wanted,
) -> Result<Read, Trouble> {
    match source {
        Source::Channel(slug) => channels(fetcher, slug, row, wanted).await,
        Source::Web(url) => {
            let moved = Some(&row.address).filter(|address| !address.is_empty());
            let url = moved.and_then(|address| Url::parse(address).ok()).unwrap_or_else(|| url.clone());
            web(fetcher, &url, row, wanted).await
        }
    }
}

fn options(row: &FeedRow, wanted: Wanted, kind: Kind) -> Options {
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    // What is not known as far back as it is wanted must be read again.
    let known = row.fetched_at > 0 && row.covers_since <= wanted.since;
    Options {
        kind,
        etag: said(&row.etag).filter(|_| known),
        last_modified: said(&row.modified).filter(|_| known),
        urgent: wanted.urgent,
        ..Options::until(wanted.until)
    }
}

/// Pages of a channel, newest first, until the window is covered.
async fn channels(fetcher: &Fetcher, slug: &str, row: &FeedRow, wanted: Wanted) -> Result<Read, Trouble> {
    let scrape = &fetcher.config.scrape;
    let base = scrape.base_url.trim_end_matches('/');
    let address = |before: Option<u64>| {
        let query = before.map_or_else(String::new, |before| format!("?before={before}"));
        Url::parse(&format!("{base}/s/{slug}{query}")).map_err(|_| Trouble::Said(Reason::Refused))
    };
    let mut read = Read { kind: CHANNEL, ..Read::default() };
    let mut before = None;
    for number in 0..scrape.channel_pages {
        let first = number == 0;
        let plain = FeedRow::default();
        let options = Options { stay: true, ..options(if first { row } else { &plain }, wanted, Kind::Open) };
        let page = match fetcher.pages.fetch(&address(before)?, options).await {
            Ok(page) => page,
            Err(error) if first => return Err(error.into()),
            // What the first pages said is worth having without the older ones.
            Err(_) => break,
        };
        if page.not_modified {
            return Ok(Read { not_modified: true, ..read });
        }
        if !page.final_url.as_str().starts_with(&format!("{base}/s/")) {
            return Err(Trouble::Said(Reason::NoPreview));
        }
        let said = match channel(&page.bytes, slug, now_ms()) {
            Ok(said) => said,
            Err(unreadable) if first => return Err(trouble(unreadable)),
            Err(_) => break,
        };
        if first {
            (read.etag, read.modified) = validators(&page);
            read.title = said.title;
        }
        let oldest = said.posts.iter().filter_map(|post| post.at).min();
        // Of a post without a readable time nobody knows whether it is news.
        read.posts.extend(said.posts.into_iter().filter(|post| post.at.is_some()).map(|post| kept(post, 0)));
        read.covers_since = if said.before.is_some() { oldest.unwrap_or(i64::MAX) } else { 0 };
        before = said.before;
        let enough = read.posts.len() >= fetcher.config.posts_per_source;
        if before.is_none() || enough || read.covers_since <= wanted.since {
            break;
        }
    }
    Ok(read)
}

/// A feed, or a page with its articles.
async fn web(fetcher: &Fetcher, url: &Url, row: &FeedRow, wanted: Wanted) -> Result<Read, Trouble> {
    let feed_like = row.kind == FEED || (row.kind == UNKNOWN && names_feed(url));
    let kind = if feed_like { Kind::Feed } else { Kind::Page };
    let page = fetcher.pages.fetch(url, options(row, wanted, kind)).await?;
    if page.not_modified {
        let kind = if row.kind == PAGE { PAGE } else { FEED };
        return Ok(Read { kind, not_modified: true, moved: moved(&page), ..Read::default() });
    }
    let now = now_ms();
    match form(&typed(&page), &page.bytes) {
        Some(Form::Feed) => {
            let said = feed(&page.bytes, &typed(&page), &page.final_url, now).map_err(trouble)?;
            let (etag, modified) = validators(&page);
            let posts = said.posts.into_iter().map(|post| kept(post, now)).collect();
            let moved = moved(&page);
            Ok(Read { kind: FEED, title: said.title, posts, etag, modified, moved, ..Read::default() })
        }
        // What turns out to be a page is asked for as one, so that robots.txt has its say.
        Some(Form::Page) if kind == Kind::Feed => {
            let page = fetcher.pages.fetch(url, options(row, wanted, Kind::Page)).await?;
            articles(fetcher, row, &page, wanted).await
        }
        Some(Form::Page) => articles(fetcher, row, &page, wanted).await,
        None => Err(Trouble::Said(Reason::Unreadable)),
    }
}

/// Whether an address that nobody has looked at yet is meant for programs: a page is asked for only where robots.txt allows it.
fn names_feed(url: &Url) -> bool {
    let path = url.path().to_ascii_lowercase();
    ["feed", "rss", "atom", ".xml", ".json", ".rdf"].iter().any(|part| path.contains(part))
}

/// The articles that a page leads to and that are new.
async fn articles(fetcher: &Fetcher, row: &FeedRow, page: &Page, wanted: Wanted) -> Result<Read, Trouble> {
    let known = fetcher.stored(row, 0, REMEMBERED).await;
    let title = page.final_url.host_str().unwrap_or_default().to_owned();
    let found = links(&page.bytes, &typed(page), &page.final_url);
    if found.is_empty() && known.is_empty() {
        return Err(Trouble::Said(Reason::Unreadable));
    }
    let new = found.into_iter().filter(|link| known.iter().all(|post| post.external_id != link.url.as_str()));
    let mut posts = Vec::new();
    for link in new.take(fetcher.config.scrape.articles) {
        let options = Options { urgent: wanted.urgent, ..Options::until(wanted.until) };
        // One article that cannot be had costs no other.
        let Ok(opened) = fetcher.pages.fetch(&link.url, options).await else { continue };
        let said = article(&opened.bytes, &typed(&opened), Some(&opened.final_url), now_ms());
        posts.push(PostRow {
            external_id: link.url.to_string(),
            at: said.published_at.unwrap_or_else(now_ms),
            dated: said.published_at.is_some(),
            title: said.title.unwrap_or(link.title),
            text: said.text,
            url: opened.final_url.to_string(),
            views: -1,
        });
    }
    let (etag, modified) = validators(page);
    let feeds = alternates(&page.bytes, &typed(page), &page.final_url);
    Ok(Read { kind: PAGE, title, posts, etag, modified, moved: moved(page), feeds, ..Read::default() })
}

fn kept(post: Post, now: i64) -> PostRow {
    PostRow {
        external_id: post.id,
        at: post.at.unwrap_or(now),
        dated: post.at.is_some(),
        title: post.title.unwrap_or_default(),
        text: post.text,
        url: post.url,
        views: post.views.and_then(|views| i64::try_from(views).ok()).unwrap_or(-1),
    }
}

fn validators(page: &Page) -> (String, String) {
    (page.etag.clone().unwrap_or_default(), page.last_modified.clone().unwrap_or_default())
}

fn moved(page: &Page) -> Option<String> {
    page.permanent_redirect.as_ref().map(Url::to_string)
}

/// The media type with its charset, as readers want it.
pub(crate) fn typed(page: &Page) -> String {
    let kind = page.content_type.as_deref().unwrap_or_default();
    page.charset.as_ref().map_or_else(|| kind.to_owned(), |charset| format!("{kind}; charset={charset}"))
}

const fn trouble(unreadable: Unreadable) -> Trouble {
    match unreadable {
        Unreadable::NoPreview => Trouble::Said(Reason::NoPreview),
        Unreadable::LayoutChanged => Trouble::Layout,
        Unreadable::NoChannel => Trouble::Said(Reason::NotFound),
        Unreadable::NoFeed => Trouble::Said(Reason::Unreadable),
    }
}
