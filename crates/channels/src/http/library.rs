//! Requests to documents (`/v1/ask`, `/v1/search`, …) as payloads. Invariant: what is wrong is told by the member's
//! name and its rule; a member that is not known is refused by name, because a misspelt `collection` would otherwise
//! be answered from another one. Source: ask.md section 11.

use super::{decode::DecodeLimits, form, governed::Asked, json};
use bytes::Bytes;
use portcullis_domain::{
    AskRequest, DocumentsRequest, Failure, IngestRequest, IngestSource, LibraryRequest, Payload,
    SearchRequest,
};
use serde::Deserialize;

/// Longest name of a collection, conversation, document or job, in bytes.
const MAX_NAME: usize = 128;
/// Most passages that may be asked for.
const MAX_PASSAGES: usize = 100;
/// Longest address of a page, in bytes.
const MAX_URL: usize = 2048;
/// Most files in one form.
pub(super) const MAX_FILES: usize = 100;
/// How far from the first page links are followed.
const MAX_DEPTH: u32 = 3;

/// The members of all bodies; which of them one endpoint knows, its list says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    question: Option<String>,
    query: Option<String>,
    collection: Option<String>,
    conversation: Option<String>,
    language: Option<String>,
    mode: Option<String>,
    k: Option<usize>,
    stream: Option<bool>,
    url: Option<String>,
    depth: Option<u32>,
}

const ASK: &[&str] = &["question", "collection", "conversation", "language", "mode", "k", "stream"];
const SEARCH: &[&str] = &["query", "collection", "k"];
const INGEST: &[&str] = &["url", "collection", "depth"];

fn members(body: &[u8], known: &[&str], limits: &DecodeLimits) -> Result<Members, Failure> {
    json::check_depth(body, limits.depth)?;
    let named: serde_json::Map<String, serde_json::Value> = json::parse(body)?;
    if let Some(other) = named.keys().find(|name| !known.contains(&name.as_str())) {
        let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
        let list = known.join(", ");
        return Err(Failure::invalid(shown, format!("This member is not known here; there are {list}.")));
    }
    json::parse(body)
}

/// A name within bounds, printable.
fn name(value: Option<String>, param: &'static str) -> Result<Option<String>, Failure> {
    let fits = |value: &String| {
        !value.is_empty()
            && value.len() <= MAX_NAME
            && !value.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    match value {
        Some(value) if !fits(&value) => {
            Err(Failure::invalid(param, format!("{param} must be 1 to {MAX_NAME} bytes without spaces.")))
        }
        value => Ok(value),
    }
}

fn passages(value: Option<usize>) -> Result<Option<usize>, Failure> {
    match value {
        Some(k) if !(1..=MAX_PASSAGES).contains(&k) => {
            Err(Failure::invalid("k", format!("k must be a whole number from 1 to {MAX_PASSAGES}.")))
        }
        k => Ok(k),
    }
}

fn words(value: Option<String>, param: &'static str) -> Result<String, Failure> {
    value
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| Failure::invalid(param, format!("{param} must be a text that is not empty.")))
}

/// `POST /v1/ask`.
pub(super) fn ask(body: &[u8], limits: &DecodeLimits) -> Result<Payload, Failure> {
    let members = members(body, ASK, limits)?;
    let extractive = match members.mode.as_deref() {
        None | Some("auto") => false,
        Some("extractive") => true,
        Some(_) => return Err(Failure::invalid("mode", "mode must be auto or extractive.")),
    };
    let language = match members.language {
        Some(code) if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_lowercase()) => {
            return Err(Failure::invalid("language", "language must be two lower-case letters, such as en."));
        }
        language => language,
    };
    Ok(Payload::Library(LibraryRequest::Ask(AskRequest {
        question: words(members.question, "question")?,
        collection: name(members.collection, "collection")?,
        conversation: name(members.conversation, "conversation")?,
        language,
        extractive,
        passages: passages(members.k)?,
        stream: members.stream.unwrap_or(false),
    })))
}

/// `POST /v1/search`.
pub(super) fn search(body: &[u8], limits: &DecodeLimits) -> Result<Payload, Failure> {
    let members = members(body, SEARCH, limits)?;
    Ok(Payload::Library(LibraryRequest::Search(SearchRequest {
        query: words(members.query, "query")?,
        collection: name(members.collection, "collection")?,
        passages: passages(members.k)?,
    })))
}

/// `GET /v1/documents?collection=&cursor=&limit=`.
pub(super) fn documents(query: &str) -> Result<Payload, Failure> {
    let mut asked = DocumentsRequest::default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (key, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            "collection" => asked.collection = name(value, "collection")?,
            "cursor" => asked.cursor = name(value, "cursor")?,
            "limit" => {
                let limit = value.and_then(|value| value.parse().ok()).filter(|n| (1..=1000).contains(n));
                asked.limit = Some(limit.ok_or_else(|| {
                    Failure::invalid("limit", "limit must be a whole number from 1 to 1000.")
                })?);
            }
            _ => {
                let rule = "There are collection, cursor and limit.";
                return Err(Failure::invalid("query", rule));
            }
        }
    }
    Ok(Payload::Library(LibraryRequest::Documents(asked)))
}

/// `DELETE /v1/documents/{id}`.
pub(super) fn remove(segment: Option<String>) -> Result<Payload, Failure> {
    let document = name(segment, "id")?.unwrap_or_default();
    Ok(Payload::Library(LibraryRequest::Remove { document }))
}

/// `POST /v1/ingest`: an address as JSON, or files as a form.
pub(super) fn ingest(asked: &Asked, limits: &DecodeLimits) -> Result<Payload, Failure> {
    match &asked.boundary {
        Some(boundary) => files(&asked.body, boundary),
        None => page(&asked.body, limits),
    }
}

/// Files, each in a part with a file name, and the collection in a part of that name.
fn files(body: &Bytes, boundary: &str) -> Result<Payload, Failure> {
    let (mut collection, mut files) = (None, Vec::new());
    for part in form::parts(body, boundary, MAX_FILES + 1)? {
        match (part.file, part.field.as_str()) {
            (Some(file), _) if file.is_empty() => {
                return Err(Failure::invalid("file", "A file needs a name; its end tells its kind."));
            }
            (Some(file), _) => files.push((file, part.bytes)),
            (None, "collection") => {
                collection = name(Some(String::from_utf8_lossy(&part.bytes).into_owned()), "collection")?;
            }
            (None, _) => {
                let rule = "A form to this path has files, and collection.";
                return Err(Failure::invalid("body", rule));
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::invalid(
            "file",
            "The form holds no file: send each as a part with a file name.",
        ));
    }
    let source = IngestSource::Files(files);
    Ok(Payload::Library(LibraryRequest::Ingest(IngestRequest { collection, source })))
}

fn page(body: &[u8], limits: &DecodeLimits) -> Result<Payload, Failure> {
    let members = members(body, INGEST, limits)?;
    let url = words(members.url, "url")?;
    if url.len() > MAX_URL || !(url.starts_with("http://") || url.starts_with("https://")) {
        let rule = format!("url must begin with http:// or https:// and have at most {MAX_URL} bytes.");
        return Err(Failure::invalid("url", rule));
    }
    let depth = members.depth.unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(Failure::invalid(
            "depth",
            format!("depth must be a whole number from 0 to {MAX_DEPTH}."),
        ));
    }
    Ok(Payload::Library(LibraryRequest::Ingest(IngestRequest {
        collection: name(members.collection, "collection")?,
        source: IngestSource::Url { url, depth },
    })))
}

/// `GET /v1/ingest/{job}` and `DELETE /v1/ingest/{job}`.
pub(super) fn job(segment: Option<String>, cancel: bool) -> Result<Payload, Failure> {
    let id = name(segment, "job")?.unwrap_or_default();
    Ok(Payload::Library(LibraryRequest::Job { id, cancel }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<AskRequest, Failure> {
        let Payload::Library(LibraryRequest::Ask(ask)) = ask(body.as_bytes(), &DecodeLimits::default())?
        else {
            unreachable!("no question")
        };
        Ok(ask)
    }

    #[test]
    fn a_question_is_decoded_with_its_wishes() {
        let ask = asked(r#"{"question":"How?","collection":"docs","conversation":"c1","language":"nl","mode":"extractive","k":3,"stream":true}"#).unwrap();
        assert_eq!((ask.question.as_str(), ask.collection.as_deref()), ("How?", Some("docs")));
        assert_eq!(
            (ask.language.as_deref(), ask.extractive, ask.passages, ask.stream),
            (Some("nl"), true, Some(3), true)
        );
        let plain = asked(r#"{"question":"How?","mode":null}"#).unwrap();
        assert!(!plain.extractive && !plain.stream && plain.conversation.is_none());
    }

    #[test]
    fn a_wrong_member_is_named_with_its_rule() {
        for (body, param) in [
            (r#"{"question":" "}"#, "question"),
            (r"{}", "question"),
            (r#"{"question":"x","mode":"quick"}"#, "mode"),
            (r#"{"question":"x","k":0}"#, "k"),
            (r#"{"question":"x","k":101}"#, "k"),
            (r#"{"question":"x","language":"english"}"#, "language"),
            (r#"{"question":"x","collection":"a b"}"#, "collection"),
            (r#"{"question":"x","colection":"a"}"#, "colection"),
        ] {
            let Err(Failure::InvalidInput { param: Some(named), .. }) = asked(body) else { panic!("{body}") };
            assert_eq!(named, param, "{body}");
        }
        assert!(ask(b"[1]", &DecodeLimits::default()).is_err());
    }

    #[test]
    fn pages_are_taken_in_from_web_addresses_only() {
        let taken = |body: &str| page(body.as_bytes(), &DecodeLimits::default());
        assert!(taken(r#"{"url":"https://example.org/a","depth":3}"#).is_ok());
        for body in [
            r#"{"url":"file:///etc/passwd"}"#,
            r#"{"url":"ftp://x"}"#,
            r#"{"url":"https://x","depth":4}"#,
            "{}",
        ] {
            assert!(taken(body).is_err(), "{body}");
        }
    }

    #[test]
    fn files_come_as_parts_with_names_and_the_collection_beside_them() {
        let part = |head: &str, text: &str| {
            format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n")
        };
        let taken = |parts: &[String]| files(&format!("{}--b--", parts.concat()).into(), "b");
        let a = part("name=\"file\"; filename=\"a.md\"", "# A");
        let b = part("name=\"file\"; filename=\"b.txt\"", "B");
        let Ok(Payload::Library(LibraryRequest::Ingest(asked))) =
            taken(&[a.clone(), part("name=\"collection\"", "work"), b])
        else {
            panic!("no ingestion")
        };
        let IngestSource::Files(files) = asked.source else { panic!("no files") };
        assert_eq!(asked.collection.as_deref(), Some("work"));
        assert_eq!(files, [("a.md".to_owned(), Bytes::from("# A")), ("b.txt".to_owned(), Bytes::from("B"))]);
        for wrong in [
            vec![],
            vec![a.clone(), part("name=\"url\"", "https://x")],
            vec![a, part("name=\"collection\"", "a b")],
            vec![part("name=\"file\"; filename=\"\"", "x")],
        ] {
            assert!(taken(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_list_of_documents_is_asked_for_by_page() {
        let Ok(Payload::Library(LibraryRequest::Documents(asked))) =
            documents("collection=docs&cursor=d_1&limit=7")
        else {
            panic!("no list")
        };
        assert_eq!(
            (asked.collection.as_deref(), asked.cursor.as_deref(), asked.limit),
            (Some("docs"), Some("d_1"), Some(7))
        );
        for wrong in ["limit=0", "limit=x", "limit=1001", "page=2"] {
            assert!(documents(wrong).is_err(), "{wrong}");
        }
        assert!(documents("").is_ok());
    }
}
