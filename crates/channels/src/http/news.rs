//! Requests for news (`/v1/news/digest`) as payloads. Invariant: what is wrong is told by the member's name and its rule; a member
//! that is not known is refused by name. Source: news.md section 14.

use super::{decode::DecodeLimits, json};
use portcullis_domain::{DigestRequest, Failure, NewsRequest, Payload};
use serde::Deserialize;

/// Longest address of a source, in bytes.
const MAX_SOURCE: usize = 2048;
/// Most sources that are read; how many a digest may have, the app says.
const MAX_SOURCES: usize = 1000;
/// Most words of one list.
const MAX_TERMS: usize = 20;
/// Longest word or phrase, in characters.
const MAX_TERM: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    sources: Vec<String>,
    window_hours: Option<u32>,
    stories: Option<usize>,
    language: Option<String>,
    include: Vec<String>,
    exclude: Vec<String>,
}

const KNOWN: &[&str] = &["sources", "window_hours", "stories", "language", "include", "exclude"];

/// `POST /v1/news/digest`.
pub(super) fn digest(body: &[u8], limits: &DecodeLimits) -> Result<Payload, Failure> {
    json::check_depth(body, limits.depth)?;
    let named: serde_json::Map<String, serde_json::Value> = json::parse(body)?;
    if let Some(other) = named.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
        let list = KNOWN.join(", ");
        return Err(Failure::invalid(shown, format!("This member is not known here; there are {list}.")));
    }
    let members: Members = json::parse(body)?;
    let fits = |source: &String| !source.trim().is_empty() && source.len() <= MAX_SOURCE;
    if members.sources.is_empty() || members.sources.len() > MAX_SOURCES || !members.sources.iter().all(fits)
    {
        let rule = format!(
            "sources must be a list of 1 to {MAX_SOURCES} channels such as @example or addresses of feeds and pages."
        );
        return Err(Failure::invalid("sources", rule));
    }
    for (name, list) in [("include", &members.include), ("exclude", &members.exclude)] {
        let fits = |term: &String| !term.trim().is_empty() && term.chars().count() <= MAX_TERM;
        if list.len() > MAX_TERMS || !list.iter().all(fits) {
            let rule = format!(
                "{name} must be a list of up to {MAX_TERMS} words or phrases of 1 to {MAX_TERM} characters."
            );
            return Err(Failure::invalid(name, rule));
        }
    }
    let language = match members.language {
        Some(code) if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_lowercase()) => {
            return Err(Failure::invalid("language", "language must be two lower-case letters, such as en."));
        }
        language => language,
    };
    Ok(Payload::News(NewsRequest::Digest(DigestRequest {
        sources: members.sources,
        window_hours: members.window_hours,
        stories: members.stories,
        language,
        include: members.include,
        exclude: members.exclude,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<DigestRequest, Failure> {
        let Payload::News(NewsRequest::Digest(asked)) = digest(body.as_bytes(), &DecodeLimits::default())?
        else {
            panic!("another payload")
        };
        Ok(asked)
    }

    #[test]
    fn a_digest_is_read_and_what_is_wrong_is_named() {
        let asked =
            read(r#"{"sources":["@abcde"],"window_hours":12,"stories":3,"language":"en","exclude":["ad"]}"#);
        let expected = DigestRequest {
            sources: vec!["@abcde".into()],
            window_hours: Some(12),
            stories: Some(3),
            language: Some("en".into()),
            include: vec![],
            exclude: vec!["ad".into()],
        };
        assert_eq!(asked.unwrap(), expected);
        for (body, param) in [
            ("{}", "sources"),
            (r#"{"sources":[]}"#, "sources"),
            (r#"{"sources":[" "]}"#, "sources"),
            (r#"{"sources":["@abcde"],"language":"english"}"#, "language"),
            (r#"{"sources":["@abcde"],"include":[""]}"#, "include"),
            (r#"{"sources":["@abcde"],"hours":3}"#, "hours"),
        ] {
            match read(body) {
                Err(Failure::InvalidInput { param: Some(found), .. }) => assert_eq!(found, param, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
