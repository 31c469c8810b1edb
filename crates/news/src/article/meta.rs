//! What a page says of itself: its headline and its date, in JSON-LD, meta elements and the text. Invariant: what a page
//! says wrongly formed is passed over for what it says next.

use crate::{
    content, dates,
    markup::{Element, Tree},
    post::{plausible, title as cleaned},
    text::line,
};
use serde_json::Value;
use url::Url;

/// Values of JSON-LD that are looked at.
const MOST_VALUES: usize = 5000;
/// Meta elements that are looked at.
const MOST_METAS: usize = 500;
/// Headings, and times, that are looked at.
const MOST_HEADINGS: usize = 40;

/// What is taken from JSON-LD.
#[derive(Default)]
pub(super) struct Data {
    headline: Option<String>,
    published: Option<String>,
    /// The whole text, which some pages show by script only.
    pub(super) body: Option<String>,
}

impl Data {
    pub(super) fn read(tree: &Tree<'_>) -> Self {
        let mut data = Self::default();
        let scripts = tree.all().filter(|element| {
            element.name() == "script"
                && element.attribute("type").is_some_and(|kind| kind.to_ascii_lowercase().contains("ld+json"))
        });
        for script in scripts {
            let text = script.raw_text();
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let text =
                text.trim().trim_start_matches("<!--").trim_end_matches("-->").trim().trim_end_matches(';');
            if let Ok(value) = serde_json::from_str(text) {
                data.take(&value);
            }
        }
        data
    }

    fn take(&mut self, value: &Value) {
        let mut left = vec![value];
        let mut seen = 0;
        while let Some(value) = left.pop() {
            seen += 1;
            if seen > MOST_VALUES {
                return;
            }
            match value {
                Value::Array(values) => left.extend(values.iter().rev()),
                Value::Object(members) => {
                    if is_article(members.get("@type")) {
                        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
                        self.headline = self.headline.take().or_else(|| text("headline"));
                        self.published = self.published.take().or_else(|| text("datePublished"));
                        self.body = self.body.take().or_else(|| text("articleBody"));
                    }
                    for name in ["mainEntity", "mainEntityOfPage", "itemListElement", "@graph"] {
                        left.extend(members.get(name));
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}

fn is_article(kind: Option<&Value>) -> bool {
    let named = |kind: &Value| {
        let kind = kind.as_str().unwrap_or_default();
        kind.ends_with("Article")
            || kind.ends_with("Posting")
            || kind.ends_with("Page")
            || matches!(kind, "Report" | "Review" | "CreativeWork")
    };
    match kind {
        Some(Value::Array(kinds)) => kinds.iter().any(named),
        Some(kind) => named(kind),
        None => false,
    }
}

/// The names and values of the page's meta elements.
struct Metas<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Metas<'t> {
    fn read(tree: &'t Tree<'_>) -> Self {
        let metas = tree.all().filter(|element| element.name() == "meta").filter_map(|element| {
            let name =
                ["property", "name", "itemprop"].into_iter().find_map(|kind| element.attribute(kind))?;
            Some((name, element.attribute("content").filter(|value| !value.trim().is_empty())?))
        });
        Self(metas.take(MOST_METAS).collect())
    }

    fn get(&self, name: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The headline: the heading that the page's title is about, else what the page calls itself; and where it stands.
pub(super) fn title(tree: &Tree<'_>, data: &Data) -> (Option<String>, Option<usize>) {
    let of_page = tree
        .all()
        .find(|element| element.name() == "title" && element.around().all(|around| around.name() != "svg"));
    let of_page = of_page.map(|element| line(&element.raw_text())).filter(|title| !title.is_empty());
    let metas = Metas::read(tree);
    let shared =
        ["og:title", "twitter:title", "title", "dc.title"].into_iter().find_map(|name| metas.get(name));
    let shared = shared.and_then(cleaned);
    let headings: Vec<(usize, String)> = tree
        .all()
        .filter(|element| matches!(element.name(), "h1" | "h2" | "h3") && !content::is_hidden(*element))
        .take(MOST_HEADINGS)
        .map(|element| (element.at, line(&content::whole(element))))
        .filter(|(_, heading)| !heading.is_empty())
        .collect();
    let told = [shared.as_deref(), data.headline.as_deref(), of_page.as_deref()];
    let told: Vec<String> = told.iter().flatten().map(|told| told.to_lowercase()).collect();
    // A heading that is only the site's name is not what the page is about.
    let about = |heading: &str| {
        let heading = heading.to_lowercase();
        told.iter().any(|told| told.contains(&heading) && heading.len() * 5 > told.len() * 2)
    };
    let heading = headings.iter().find(|(_, heading)| about(heading));
    let first =
        headings.iter().find(|(at, _)| tree.element(*at).is_some_and(|element| element.name() == "h1"));
    let place = heading.or(first).map(|(at, _)| *at);
    let headline = data.headline.as_deref().and_then(cleaned);
    let title = heading
        .map(|(_, heading)| heading.clone())
        .or(shared)
        .or(headline)
        .or_else(|| of_page.as_deref().map(without_site))
        .or_else(|| first.map(|(_, heading)| heading.clone()));
    (title.and_then(|title| cleaned(&title)), place)
}

/// A page's title without the name of its site behind the last bar or dash.
fn without_site(title: &str) -> String {
    let cuts = [" | ", " – ", " — ", " - ", " « ", " :: "].iter().filter_map(|bar| title.rfind(bar));
    let cut = cuts.max().filter(|at| at * 2 >= title.len());
    title.get(..cut.unwrap_or(title.len())).unwrap_or(title).to_owned()
}

/// When the page says it was published.
pub(super) fn published(tree: &Tree<'_>, data: &Data, url: Option<&Url>, now: i64) -> Option<i64> {
    const NAMES: [&str; 18] = [
        "article:published_time",
        "article:published",
        "og:published_time",
        "og:article:published_time",
        "datePublished",
        "parsely-pub-date",
        "sailthru.date",
        "pubdate",
        "publishdate",
        "publish-date",
        "publish_date",
        "publication_date",
        "published_time",
        "dc.date.issued",
        "dcterms.created",
        "dc.date",
        "dcterms.date",
        "date",
    ];
    let metas = Metas::read(tree);
    let told = data.published.as_deref().into_iter().chain(NAMES.iter().filter_map(|name| metas.get(name)));
    let named = tree
        .all()
        .filter(|element| element.attribute("itemprop").is_some_and(|item| item.contains("datePublished")));
    let times = tree.all().filter(|element| element.name() == "time");
    let marked = times.filter(|time| {
        time.attribute("pubdate").is_some() || time.has_class("published") || time.has_class("entry-date")
    });
    let any = tree
        .all()
        .filter(|element| element.name() == "time" && !content::is_hidden(*element))
        .take(MOST_HEADINGS);
    let elements = named.take(MOST_HEADINGS).chain(marked.take(MOST_HEADINGS)).chain(any).filter_map(date_of);
    let mut dates = told.filter_map(dates::read).chain(elements);
    dates
        .find_map(|at| plausible(at, now))
        .or_else(|| url.and_then(in_path).and_then(|at| plausible(at, now)))
}

fn date_of(element: Element<'_, '_>) -> Option<i64> {
    let said = element.attribute("datetime").or_else(|| element.attribute("content"));
    said.and_then(dates::read).or_else(|| dates::read(&line(&content::whole(element))))
}

/// `/2021/09/06/` in an address.
fn in_path(url: &Url) -> Option<i64> {
    let parts: Vec<&str> = url.path_segments()?.collect();
    parts.windows(3).find_map(|window| {
        let [year, month, day] = window else { return None };
        let digits = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        (digits(year, 4) && digits(month, 2) && digits(day, 2))
            .then(|| dates::read(&format!("{year}-{month}-{day}")))?
    })
}
