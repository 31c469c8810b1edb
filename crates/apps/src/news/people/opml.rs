//! OPML, the form in which readers of feeds exchange what they follow: outlines with an address, in outlines that are
//! folders. Invariants: no entity is expanded and no document type is read; what is too deep or too much is refused;
//! written OPML is read back as it was. Source: news.md section 3; opml.org/spec2.opml.

use portcullis_news::Source;
use quick_xml::{
    XmlVersion,
    escape::escape,
    events::{BytesStart, Event},
    reader::Reader,
};

/// Outlines within outlines.
const DEPTH: usize = 16;
/// Outlines of one document.
const OUTLINES: usize = 2000;
/// Characters of a folder's name.
const NAME: usize = 32;

/// What a document holds: sources with the folder they stand in, where they stand in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outlines {
    /// Folder and source, in order.
    pub(super) sources: Vec<(Option<String>, Source)>,
    /// Addresses that are no source.
    pub(super) refused: usize,
}

/// Reads a document; none: it is no OPML.
pub(super) fn read(bytes: &[u8]) -> Option<Outlines> {
    let text = std::str::from_utf8(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)).ok()?;
    let mut reader = Reader::from_str(text);
    let mut out = Outlines::default();
    let (mut folders, mut seen, mut opml): (Vec<Option<String>>, usize, bool) = (Vec::new(), 0, false);
    loop {
        let event = reader.read_event().ok()?;
        let (start, open) = match &event {
            Event::Start(start) => (start, true),
            Event::Empty(start) => (start, false),
            Event::End(end) => {
                if end.name().as_ref().eq_ignore_ascii_case("outline") {
                    folders.pop();
                }
                continue;
            }
            Event::DocType(_) => return None,
            Event::Eof => break,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => continue,
        };
        opml |= start.name().as_ref().eq_ignore_ascii_case("opml");
        if !start.name().as_ref().eq_ignore_ascii_case("outline") {
            continue;
        }
        seen += 1;
        if !opml || seen > OUTLINES || folders.len() >= DEPTH {
            return None;
        }
        let outline = Outline::of(start);
        if let Some(address) = &outline.address {
            let folder = folders.iter().rev().flatten().next().cloned();
            match Source::read(address) {
                Ok(source) => out.sources.push((folder, source)),
                Err(_) => out.refused += 1,
            }
        }
        if open {
            folders.push(if outline.address.is_none() { outline.name } else { None });
        }
    }
    opml.then_some(out)
}

struct Outline {
    name: Option<String>,
    address: Option<String>,
}

impl Outline {
    fn of(start: &BytesStart<'_>) -> Self {
        let mut outline = Self { name: None, address: None };
        for attribute in start.attributes().flatten() {
            let Ok(value) = attribute.normalized_value(XmlVersion::Implicit1_0) else { continue };
            let value = value.trim().to_owned();
            match attribute.key.as_ref().to_ascii_lowercase().as_str() {
                "xmlurl" if !value.is_empty() => outline.address = Some(value),
                "text" | "title" if !value.is_empty() => {
                    outline.name = Some(value.chars().filter(|c| !c.is_control()).take(NAME).collect());
                }
                _ => {}
            }
        }
        outline
    }
}

/// Writes folders with their sources.
pub(super) fn write<'a>(folders: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<opml version=\"2.0\">\n  <head><title>News</title></head>\n  <body>\n",
    );
    for (name, sources) in folders {
        out.push_str(&format!("    <outline text=\"{}\">\n", escape(name)));
        for source in sources {
            let address = source
                .strip_prefix('@')
                .map_or_else(|| source.to_owned(), |name| format!("https://t.me/s/{name}"));
            out.push_str(&format!(
                "      <outline type=\"rss\" text=\"{}\" xmlUrl=\"{}\"/>\n",
                escape(source),
                escape(&address)
            ));
        }
        out.push_str("    </outline>\n");
    }
    out.push_str("  </body>\n</opml>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_again_with_its_folders() {
        let written = write(
            [("Work & \"play\"", vec!["@durov_news", "https://example.org/feed?a=1&b=2"]), ("Empty", vec![])]
                .into_iter(),
        );
        let read = read(written.as_bytes()).unwrap();
        let expected = [
            (Some("Work & \"play\"".to_owned()), "@durov_news".to_owned()),
            (Some("Work & \"play\"".to_owned()), "https://example.org/feed?a=1&b=2".to_owned()),
        ];
        let got: Vec<_> =
            read.sources.into_iter().map(|(folder, source)| (folder, source.to_string())).collect();
        assert_eq!((got, read.refused), (expected.to_vec(), 0));
    }

    #[test]
    fn hostile_documents_are_refused_and_wrong_addresses_counted() {
        let bomb =
            "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><opml><outline xmlUrl=\"&b;\"/></opml>";
        assert_eq!(read(bomb.as_bytes()), None);
        assert_eq!(read(b"<html><outline xmlUrl='https://example.org'/></html>"), None);
        assert_eq!(read(b"<opml><outline"), None);
        let deep = format!("<opml>{}", "<outline text='a'>".repeat(17));
        assert_eq!(read(deep.as_bytes()), None);
        let wrong = read(
            b"<opml><body><outline xmlUrl='ftp://x'/><outline xmlUrl='https://example.org/f'/></body></opml>",
        );
        let wrong = wrong.unwrap();
        assert_eq!((wrong.refused, wrong.sources.len(), wrong.sources[0].0.clone()), (1, 1, None));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = read(&bytes);
        }
    }
}
