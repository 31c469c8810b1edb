//! What people follow, as they write it. Invariant: one spelling of each source, so that two people who follow it share
//! its fetches. Source: news.md section 3.

use std::fmt;
use url::Url;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A public Telegram channel, by its name in lower case, without `@`.
    Channel(String),
    /// A feed or a page of the web, in the spelling of the URL standard, without fragment.
    Web(Url),
}

/// Why something is no source; the words are for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Neither a channel's name nor an address.
    #[error("write a channel such as @example or the address of a feed or page")]
    Unknown,
    /// A link to one post of a channel.
    #[error("this is a link to one post; write the channel alone")]
    OnePost,
    /// A channel's link with a query or a fragment.
    #[error("this link has something after the channel's name; write the channel alone")]
    Extra,
    /// No name that a channel can have.
    #[error("a channel's name has 5 to 32 letters, digits and underscores")]
    Name,
}

impl Source {
    /// Reads what somebody wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(written: &str) -> Result<Self, SourceError> {
        let written = written.trim();
        if let Some(name) = written.strip_prefix('@') {
            return channel(name);
        }
        let bare = ["https://", "http://"].iter().find_map(|scheme| {
            let start = written.get(..scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then(|| written.get(scheme.len()..))?
        });
        let rest = bare.unwrap_or(written);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        if ["t.me", "telegram.me"].contains(&host.strip_prefix("www.").unwrap_or(&host)) {
            return link(rest.get(host.len()..).unwrap_or_default());
        }
        if bare.is_none() {
            return Err(SourceError::Unknown);
        }
        let mut url = Url::parse(written).map_err(|_| SourceError::Unknown)?;
        url.set_fragment(None);
        Ok(Self::Web(url))
    }
}

/// What follows the host of a channel's link.
fn link(path: &str) -> Result<Source, SourceError> {
    if path.contains(['?', '#']) {
        return Err(SourceError::Extra);
    }
    let path = path.trim_matches('/');
    let name = path.strip_prefix("s/").unwrap_or(path);
    if name.contains('/') {
        return Err(SourceError::OnePost);
    }
    channel(name)
}

fn channel(name: &str) -> Result<Source, SourceError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain && (5..=32).contains(&name.len()) {
        Ok(Source::Channel(name.to_ascii_lowercase()))
    } else {
        Err(SourceError::Name)
    }
}

impl fmt::Display for Source {
    /// The one spelling; `read` takes it back.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(to, "@{name}"),
            Self::Web(url) => write!(to, "{url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_source_comes_to_one() {
        for written in [
            "@Durov_News",
            "t.me/durov_news",
            "https://t.me/s/Durov_News/",
            "http://www.telegram.me/durov_news",
            " T.ME/durov_news ",
        ] {
            let source = Source::read(written).unwrap();
            assert_eq!(source, Source::Channel("durov_news".into()), "{written}");
            assert_eq!(Source::read(&source.to_string()), Ok(source));
        }
        let web = Source::read("HTTP://Example.org:80/feed.xml#top").unwrap();
        assert_eq!(web.to_string(), "http://example.org/feed.xml");
    }

    #[test]
    fn what_is_no_source_is_told_why() {
        let rows = [
            ("https://t.me/durov/41", SourceError::OnePost),
            ("https://t.me/durov?before=3", SourceError::Extra),
            ("t.me/durov#x", SourceError::Extra),
            ("@abc", SourceError::Name),
            ("t.me/+AbCdEfGh", SourceError::Name),
            ("@имя_канала", SourceError::Name),
            ("example.org", SourceError::Unknown),
            ("", SourceError::Unknown),
            ("https://", SourceError::Unknown),
        ];
        for (written, error) in rows {
            assert_eq!(Source::read(written), Err(error), "{written}");
        }
    }
}
