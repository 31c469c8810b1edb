//! `sources.toml` in a folder: where people read its files. `[urls]` maps the beginning of a path to an address, in
//! which `{path}` stands for the rest; the longest beginning holds. Pure but for reading the file.

use super::report::IngestError;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, io, path::Path};

/// Its name, in the folder that is ingested. It is no document itself.
pub const NAME: &str = "sources.toml";

/// The mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    #[serde(default)]
    urls: BTreeMap<String, String>,
}

impl Sources {
    /// That of a folder; an empty one where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or understood, or an address that is no web address.
    pub fn of(folder: &Path) -> Result<Self, IngestError> {
        let path = folder.join(NAME);
        let trouble = |why: String| IngestError::Sources { path: path.display().to_string(), why };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(trouble(error.to_string())),
        };
        let sources: Self = toml::from_str(&text).map_err(|error| trouble(error.message().to_owned()))?;
        match sources.urls.values().find(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            Some(url) => Err(trouble(format!("`{url}` is no web address"))),
            None => Ok(sources),
        }
    }

    /// The address of a file, by its path in the folder.
    #[must_use]
    pub fn url(&self, source: &str) -> Option<String> {
        let (begin, url) = self
            .urls
            .iter()
            .filter(|(begin, _)| source.starts_with(*begin))
            .max_by_key(|(begin, _)| begin.len())?;
        Some(url.replace("{path}", &escaped(source.get(begin.len()..).unwrap_or_default())))
    }
}

/// A path in an address: everything but unreserved characters and `/` in percent form (RFC 3986).
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Result<Sources, IngestError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), text).unwrap();
        Sources::of(folder.path())
    }

    #[test]
    fn the_longest_beginning_gives_the_address() {
        let sources = sources(
            "[urls]\n\"\" = \"https://example.org/all/{path}\"\n\"rules/\" = \"https://example.org/r/{path}?v=1\"\n\
             \"rules/a.pdf\" = \"https://example.org/the-rules\"\n",
        )
        .unwrap();
        let url = |source| sources.url(source).unwrap();
        assert_eq!(url("x/y z.md"), "https://example.org/all/x/y%20z.md");
        assert_eq!(url("rules/ü.md"), "https://example.org/r/%C3%BC.md?v=1");
        assert_eq!(url("rules/a.pdf"), "https://example.org/the-rules");
        assert_eq!(Sources::default().url("a"), None);
    }

    #[test]
    fn a_mapping_that_is_wrong_stops_before_anything_is_taken_in() {
        assert!(sources("[urls]\n\"a\" = \"javascript:x\"\n").is_err());
        assert!(sources("[url]\n").unwrap_err().to_string().contains("sources.toml"));
        assert_eq!(Sources::of(Path::new("/nowhere")).unwrap(), Sources::default());
    }
}
