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
    /// What readers wrote, whatever its size.
    Comments,
}

/// What the class and id of an element say.
pub(super) fn sign(names: &str) -> Sign {
    if body(names) {
        return Sign::Body;
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
        "comment" | "comments" | "disqus" | "respond" | "commentlist" | "replies" => Sign::Comments,
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
        | "prevnext" | "popup" | "modal" | "overlay" | "lightbox" | "cookie" | "cookies" | "gdpr"
        | "consent" | "tooltip" | "dropdown" | "toolbar" | "toolbox" | "tools" | "rating" | "ratings"
        | "vote" | "votes" | "poll" | "quiz" | "survey" | "masthead" | "banner" | "widget" | "widgets"
        | "skyscraper" | "sponsorship" | "affiliate" | "disclosure" | "disclaimer" | "readmore"
        | "seealso" | "alsoread" | "nextup" | "onward" | "infobox" | "yarpp" | "jp" | "print"
        | "printonly" | "noprint" | "gallery" | "slideshow" | "carousel" | "slider" | "thumbnails"
        | "flyout" | "ticker" | "toc" | "feedback" | "reactions" | "emoji" | "subtitle" | "subhead"
        | "standfirst" | "dek" | "tagline" | "jumpto" | "skiplink" | "hidden" | "invisible" | "offscreen"
        | "reader" => Sign::Beside,
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
const NOTES: [&str; 62] = [
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
    "copyright ©",
    "© ",
    "all rights reserved",
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

/// Whether a short line is a note beside the text.
pub(super) fn is_note(line: &str) -> bool {
    let lower: String =
        line.chars().take(40).flat_map(char::to_lowercase).map(|c| if c == '’' { '\'' } else { c }).collect();
    NOTES.iter().any(|note| lower.starts_with(note))
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
            ("comments-area", Sign::Comments),
            ("", Sign::None),
        ];
        for (names, wanted) in rows {
            assert_eq!(sign(names), wanted, "{names}");
        }
    }
}
