//! What a file is, by its first bytes. Only Markdown and plain text, which look alike, are told apart by the name.

use super::{Hint, charset};

/// Bytes that are looked at.
const HEAD: usize = 8192;
/// Bytes before which `%PDF-` must begin (ISO 32000-1, Annex H 3.4.1).
const PDF_WITHIN: usize = 1024;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No bytes, or nothing but white space.
    Empty,
    /// PDF.
    Pdf,
    /// Word 2007 and later.
    Docx,
    /// HTML.
    Html,
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// An office document behind a password.
    Encrypted,
    /// Something that is not read, by name.
    Other(&'static str),
}

/// First bytes and what they mean.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\0asm", "a program"),
    (b"SQLite format 3", "a database"),
    (b"OggS", "a sound"),
    (b"ID3", "a sound"),
    (b"fLaC", "a sound"),
    (b"RIFF", "a sound, film or picture"),
    (b"\x1a\x45\xdf\xa3", "a film"),
    (b"{\\rtf", "a rich text document (RTF)"),
    (b"%!PS", "a PostScript document"),
];

pub(super) fn of(bytes: &[u8], hint: &Hint) -> Kind {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Kind::Empty;
    }
    if position(bytes.get(..PDF_WITHIN + 5).unwrap_or(bytes), b"%PDF-").is_some() {
        return Kind::Pdf;
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return packed(bytes);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        let name: Vec<u8> = "EncryptedPackage".bytes().flat_map(|byte| [byte, 0]).collect();
        return match position(bytes, &name) {
            Some(_) => Kind::Encrypted,
            None => Kind::Other("an Office document of before 2007: save it as DOCX or PDF"),
        };
    }
    let marked = encoding_rs::Encoding::for_bom(head).is_some() || charset::wide(head).is_some();
    if !marked && let Some(name) = binary(head) {
        return Kind::Other(name);
    }
    if looks_like_html(head) {
        return Kind::Html;
    }
    match hint.extension.as_str() {
        "md" | "markdown" | "mdx" => Kind::Markdown,
        "txt" | "text" | "log" | "csv" | "tsv" | "json" | "toml" | "yaml" | "yml" | "ini" | "conf" | "rs"
        | "py" | "sh" | "c" | "h" | "js" | "ts" | "go" | "java" | "sql" => Kind::Text,
        "html" | "htm" | "xhtml" => Kind::Html,
        _ if looks_like_markdown(head) => Kind::Markdown,
        _ => Kind::Text,
    }
}

/// What a ZIP archive holds, by the names in it.
fn packed(bytes: &[u8]) -> Kind {
    let holds = |name: &[u8]| position(bytes, name).is_some();
    if holds(b"word/document.xml") {
        Kind::Docx
    } else if holds(b"xl/workbook.xml") {
        Kind::Other("an Excel workbook")
    } else if holds(b"ppt/presentation.xml") {
        Kind::Other("a PowerPoint presentation")
    } else if holds(b"application/vnd.oasis.opendocument") {
        Kind::Other("an OpenDocument file: save it as DOCX or PDF")
    } else if holds(b"application/epub+zip") {
        Kind::Other("an EPUB book")
    } else {
        Kind::Other("a ZIP archive")
    }
}

/// The kind of bytes that are no text.
fn binary(head: &[u8]) -> Option<&'static str> {
    let controls = head.iter().filter(|byte| matches!(**byte, 0..=8 | 14..=26 | 28..=31)).count();
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    match known {
        // Two letters begin many a text.
        Some(name) if !(head.starts_with(b"BM") || head.starts_with(b"MZ") || head.starts_with(b"ID3")) => {
            Some(name)
        }
        Some(name) if controls > 0 => Some(name),
        Some(_) | None if head.get(4..8) == Some(b"ftyp") => Some("a film"),
        // Terminal recordings and old logs have some.
        Some(_) | None if head.contains(&0) || controls * 50 > head.len() => Some("binary data"),
        Some(_) | None => None,
    }
}

fn looks_like_html(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = ["<!doctype html", "<html", "<head", "<body"].iter().any(|word| text.starts_with(word));
    let xml = text.starts_with("<?xml") || text.starts_with("<!--");
    begins || (xml && text.contains("<html"))
}

/// A heading at the beginning of a line, and something else that plain texts do not have.
fn looks_like_markdown(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let heading = text.lines().any(|line| {
        let rest = line.trim_start_matches('#');
        (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
    });
    text.starts_with("---\n")
        || (heading && (text.contains("](") || text.contains("\n```") || text.contains("\n\n")))
}

pub(super) fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
