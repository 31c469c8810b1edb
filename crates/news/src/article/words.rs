//! What the names of elements and the beginnings of lines say about what they hold. Invariant: a name is judged by its
//! words, not by letters inside them ("shadow" is no "ad").

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// Nothing.
    None,
    /// The text of an article.
    Body,
    /// Something beside the article, unless most of the page is in it.
    Beside,
    /// What readers wrote, and questions about cookies, whatever their size.
    Never,
}

/// What the class and id of an element say.
pub(super) fn sign(names: &str) -> Sign {
    if body(names) {
        return Sign::Body;
    }
    // What a site takes over from elsewhere into its text.
    if names.contains("embed") || names.contains("tweet") {
        return Sign::None;
    }
    let mut found = Sign::None;
    for name in names.split_ascii_whitespace().take(24) {
        if utility(name) {
            continue;
        }
        let mut last = String::new();
        for word in split(name) {
            let word = word.to_ascii_lowercase();
            let pair = format!("{last}{word}");
            found = found.max(one(&word)).max(two(&pair));
            last = word;
        }
    }
    found
}

/// Names of layout systems, which say how an element looks and not what it is.
fn utility(name: &str) -> bool {
    name.contains([':', '['])
        || ["has-", "is-", "no-", "with-", "js-", "not-", "wp-image", "hide-", "show-"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// The words of a name: parted by signs and by capitals.
fn split(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphabetic()).flat_map(|part| {
        let bytes = part.as_bytes();
        let mut from = 0;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < bytes.len() {
                at += 1;
                let border = at == bytes.len()
                    || (bytes.get(at - 1).is_some_and(u8::is_ascii_lowercase)
                        && bytes.get(at).is_some_and(u8::is_ascii_uppercase));
                if border {
                    let word = part.get(from..at);
                    from = at;
                    return word;
                }
            }
            None
        })
    })
}

fn body(names: &str) -> bool {
    const BODY: [&str; 36] = [
        "articlebody",
        "article-body",
        "article_body",
        "article__body",
        "article-content",
        "article__content",
        "article_content",
        "article-text",
        "article__text",
        "article_text",
        "articletext",
        "articlecontent",
        "story-body",
        "story__body",
        "storybody",
        "story-content",
        "story_content",
        "story-text",
        "entry-content",
        "entry__content",
        "post-content",
        "post__content",
        "post_content",
        "post-body",
        "post__body",
        "post_body",
        "postcontent",
        "post-text",
        "news-text",
        "news-content",
        "news-body",
        "td-post-content",
        "c-entry-content",
        "body-content",
        "single-content",
        "rich-text-body",
    ];
    names.split_ascii_whitespace().any(|name| {
        let lower = name.to_ascii_lowercase();
        BODY.contains(&lower.as_str())
    })
}

/// What one word says.
fn one(word: &str) -> Sign {
    match word {
        "cookie" | "cookies" | "gdpr" | "consent" | "comment" | "comments" | "disqus" | "respond"
        | "commentlist" | "replies" => Sign::Never,
        "ad" | "ads" | "advert" | "adverts" | "advertisement" | "advertising" | "adsense" | "adslot"
        | "adunit" | "sponsor" | "sponsored" | "sponsors" | "promo" | "promos" | "promotion" | "promoted"
        | "outbrain" | "taboola" | "zergnet" | "sidebar" | "rail" | "footer" | "foot" | "nav" | "navbar"
        | "navigation" | "navi" | "menu" | "submenu" | "breadcrumb" | "breadcrumbs" | "crumbs" | "share"
        | "sharing" | "shares" | "sharebar" | "sharedaddy" | "addthis" | "addtoany" | "social"
        | "socials" | "socialmedia" | "follow" | "related" | "recommended" | "recommend"
        | "recommendation" | "recommendations" | "trending" | "popular" | "teaser" | "teasers"
        | "newsletter" | "newsletters" | "subscribe" | "subscription" | "signup" | "signin" | "login"
        | "register" | "paywall" | "optin" | "byline" | "bylines" | "dateline" | "datetime" | "timestamp"
        | "author" | "authors" | "bio" | "meta" | "metadata" | "postmeta" | "postmetadata" | "kicker"
        | "published" | "pubdate" | "caption" | "captions" | "figcaption" | "credit" | "credits"
        | "copyright" | "tag" | "tags" | "taglist" | "categories" | "pager" | "pagination" | "paging"
        | "prevnext" | "popup" | "modal" | "overlay" | "lightbox" | "tooltip" | "rollover" | "hovercard"
        | "dropdown" | "toolbar" | "toolbox" | "tools" | "rating" | "ratings" | "vote" | "votes" | "poll"
        | "quiz" | "survey" | "masthead" | "banner" | "widget" | "widgets" | "skyscraper" | "sponsorship"
        | "affiliate" | "disclosure" | "disclaimer" | "readmore" | "seealso" | "alsoread" | "nextup"
        | "onward" | "infobox" | "yarpp" | "jp" | "print" | "printonly" | "noprint" | "gallery"
        | "slideshow" | "carousel" | "slider" | "thumbnails" | "flyout" | "ticker" | "feedback"
        | "reactions" | "emoji" | "subtitle" | "subhead" | "standfirst" | "dek" | "tagline" | "jumpto"
        | "skiplink" | "hidden" | "invisible" | "offscreen" | "reader" => Sign::Beside,
        _ => Sign::None,
    }
}

/// What two words beside one another say.
fn two(pair: &str) -> Sign {
    match pair {
        "mostread" | "mostviewed" | "mostpopular" | "morefrom" | "moreon" | "morestories" | "morenews"
        | "readmore" | "readnext" | "readalso" | "seemore" | "alsoread" | "alsolike" | "upnext"
        | "nextpost" | "prevpost" | "previouspost" | "relatedposts" | "latestnews" | "lateststories"
        | "signup" | "signin" | "callout" | "screenreader" | "visuallyhidden" | "sronly" | "aboutauthor"
        | "authorbox" | "authorbio" | "postauthor" | "imagecredit" | "photocredit" | "postdate"
        | "entrydate" | "articledate" | "datepublished" | "backtotop" | "topstories" | "editorspick"
        | "editorspicks" | "postnav" | "entrymeta" | "entryfooter" | "postfooter" | "articlefooter"
        | "contentfooter" | "pullquote" | "inlinerelated" | "donotprint" => Sign::Beside,
        _ => Sign::None,
    }
}

/// Lines that are no sentence of an article, by how they begin; in lower case.
const NOTES: [&str; 59] = [
    "advertisement",
    "advert",
    "sponsored",
    "share this",
    "share on",
    "read more",
    "read also",
    "also read",
    "see also",
    "see more",
    "related:",
    "related article",
    "related stor",
    "recommended",
    "more:",
    "more on this",
    "don't miss",
    "must read",
    "click here",
    "tap here",
    "sign up",
    "subscribe",
    "follow us",
    "follow @",
    "like us on",
    "join us on",
    "download the",
    "leave a reply",
    "leave a comment",
    "you must be logged in",
    "image 1 of",
    "image credit",
    "photo:",
    "photo by",
    "image:",
    "source:",
    "filed under",
    "tags:",
    "tagged",
    "posted in",
    "posted on",
    "posted by",
    "published:",
    "updated:",
    "last updated",
    "реклама",
    "читайте также",
    "читать также",
    "подписывайтесь",
    "подпишитесь",
    "поделиться",
    "lees ook",
    "lees verder",
    "meer over",
    "advertentie",
    "lesen sie auch",
    "lea también",
    "leia também",
    "lire aussi",
];

/// Headings of what follows an article, by how they begin; in lower case.
const TAILS: [&str; 60] = [
    "related",
    "more from",
    "more on",
    "more stories",
    "more news",
    "more great",
    "more in ",
    "more about",
    "recommended",
    "you may",
    "you might",
    "read next",
    "read more",
    "read also",
    "see also",
    "also read",
    "also on",
    "most read",
    "most popular",
    "most viewed",
    "latest",
    "trending",
    "don't miss",
    "up next",
    "editors' picks",
    "editor's pick",
    "popular",
    "top stories",
    "what to read",
    "about the author",
    "about author",
    "share this",
    "share",
    "comments",
    "leave a",
    "follow us",
    "subscribe",
    "newsletter",
    "sign up",
    "sponsored",
    "promoted",
    "from our partners",
    "around the web",
    "from the web",
    "читайте также",
    "похожие",
    "вам может",
    "по теме",
    "lees ook",
    "lees verder",
    "meer over",
    "gerelateerd",
    "misschien",
    "das könnte",
    "mehr zum",
    "à lire aussi",
    "te puede",
    "você pode",
    "leia também",
    "potrebbe",
];

/// Longest heading of what follows an article, in characters.
const TAIL: usize = 48;

/// Whether a heading says that what follows is something else.
pub(super) fn is_tail(heading: &str) -> bool {
    let heading = heading.trim();
    if heading.is_empty()
        || (heading.ends_with('.') && !heading.ends_with("..."))
        || heading.chars().nth(TAIL).is_some()
    {
        return false;
    }
    let lower: String = heading.to_lowercase().replace('’', "'");
    TAILS.iter().any(|tail| {
        lower.strip_prefix(tail).is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphabetic()) || tail.len() > 8 || *tail == "related"
        })
    })
}

/// Whether a line at the end asks to be followed elsewhere.
pub(super) fn asks_to_follow(line: &str) -> bool {
    const WHERE: [&str; 9] = [
        "twitter",
        "facebook",
        "instagram",
        "youtube",
        "telegram",
        "newsletter",
        "whatsapp",
        "linkedin",
        "@",
    ];
    const ASKS: [&str; 10] = [
        "follow",
        "subscribe",
        "sign up",
        "like us",
        "join us",
        "подпис",
        "volg ",
        "síguenos",
        "folgen",
        "suivez",
    ];
    let lower = line.to_lowercase();
    ASKS.iter().any(|asks| lower.contains(asks)) && WHERE.iter().any(|place| lower.contains(place))
}

/// Whether a short line is a note beside the text.
pub(super) fn is_note(line: &str) -> bool {
    let lower: String =
        line.chars().take(40).flat_map(char::to_lowercase).map(|c| if c == '’' { '\'' } else { c }).collect();
    NOTES.iter().any(|note| lower.starts_with(note)) || counts_pictures(&lower)
}

/// `image 2 of 5`
fn counts_pictures(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|word| matches!(word, "image" | "photo" | "slide" | "picture"))
        && words.next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        && matches!(words.next(), Some("of" | "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_judged_by_its_words() {
        let rows = [
            ("shadow header-badge", Sign::None),
            ("article-body has-sidebar", Sign::Body),
            ("has-sidebar", Sign::None),
            ("SocialShare", Sign::Beside),
            ("post__most-read", Sign::Beside),
            ("col-12 adSlot", Sign::Beside),
            ("ad-slot", Sign::Beside),
            ("comments-area", Sign::Never),
            ("", Sign::None),
        ];
        for (names, wanted) in rows {
            assert_eq!(sign(names), wanted, "{names}");
        }
    }
}
