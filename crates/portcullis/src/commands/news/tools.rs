//! `portcullis news extract` and `news duplicates`: what a digest is made with, on a file. Nothing is fetched, sent or
//! recorded, and no settings are read. Invariant: whatever the bytes are, the work is linear in them.

use super::Ended;
use crate::{
    cli,
    output::{BOLD, DIM, Trouble, line},
};
use jiff::Timestamp;
use portcullis_runtime::posts::{Print, article, pairs};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::ExitCode,
};

/// Bytes of a page that are read.
const MOST_HTML: u64 = 8 * 1024 * 1024;
/// Pairs that are printed.
const MOST_PAIRS: usize = 1_000_000;
/// Members that hold the text of a line, the first that is there.
const TEXTS: [&str; 6] = ["text", "body", "content", "articleBody", "article", "description"];

/// `news extract`.
pub(super) fn extract(arguments: &cli::NewsExtract, as_json: bool) -> Ended {
    let url = match arguments.url.as_deref().map(str::parse) {
        None => None,
        Some(Ok(url)) => Some(url),
        Some(Err(_)) => {
            return Err(Trouble::usage("--url is no address")
                .mend("give a whole address, such as https://example.org/a"));
        }
    };
    let mut bytes = Vec::new();
    let read = open(&arguments.html).and_then(|file| file.take(MOST_HTML + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(&arguments.html, &error))?;
    if bytes.len() as u64 > MOST_HTML {
        anstream::eprintln!("{DIM}(the page is larger than 8 MiB; its beginning is read){DIM:#}");
        bytes.truncate(usize::try_from(MOST_HTML).unwrap_or(usize::MAX));
    }
    let found = article(&bytes, "", url.as_ref(), Timestamp::now().as_millisecond());
    let published = found.published_at.and_then(|at| Timestamp::from_millisecond(at).ok());
    if as_json {
        let published = published.map(|at| at.to_string());
        line(json!({ "title": found.title, "text": found.text, "published_at": published }));
    } else {
        if let Some(title) = &found.title {
            line(format_args!("{BOLD}{title}{BOLD:#}"));
        }
        if let Some(at) = published {
            line(format_args!("{DIM}{at}{DIM:#}"));
        }
        line(format_args!("\n{}", found.text));
    }
    Ok(if found.text.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `news duplicates`.
pub(super) fn duplicates(arguments: &cli::NewsDuplicates, as_json: bool) -> Ended {
    let path = &arguments.jsonl;
    let file = open(path).map_err(|error| unreadable(path, &error))?;
    let (mut ids, mut prints) = (Vec::new(), Vec::new());
    for (number, row) in (1..).zip(BufReader::new(file).lines()) {
        let row = row.map_err(|error| unreadable(path, &error))?;
        if row.trim().is_empty() {
            continue;
        }
        let (id, text) = text_of(&row, number).map_err(|problem| {
            Trouble::usage(format!("{}: line {number}: {problem}", path.display()))
                .mend("give lines of {\"id\": …, \"text\": …}")
        })?;
        ids.push(id);
        prints.push(Print::of(&text));
    }
    let found = pairs(&prints, MOST_PAIRS);
    let named = found.iter().filter_map(|(one, other)| Some((ids.get(*one)?, ids.get(*other)?)));
    if as_json {
        line(json!({ "texts": ids.len(), "pairs": named.collect::<Vec<_>>() }));
    } else {
        named.for_each(|(one, other)| line(format_args!("{one}\t{other}")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The id and the text of a line.
fn text_of(row: &str, number: usize) -> Result<(String, String), String> {
    if !row.trim_start().starts_with('{') {
        let (id, text) = row
            .trim()
            .split_once(char::is_whitespace)
            .ok_or("it is neither an object nor an id with a text")?;
        return Ok((id.to_owned(), text.to_owned()));
    }
    let row: Value = serde_json::from_str(row).map_err(|error| error.to_string())?;
    let text = TEXTS.iter().find_map(|name| row.get(name)?.as_str()).ok_or("it has no text")?;
    let id = match row.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) | None => number.to_string(),
    };
    Ok((id, text.to_owned()))
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{}: {error}", path.display()))
        .mend("name a readable file, or `-` for standard input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_or_an_id_with_a_text() {
        let rows = [
            (r#"{"id":"a","text":"x y"}"#, ("a", "x y")),
            (r#"{"id":7,"body":"x","title":"t"}"#, ("7", "x")),
            (r#" {"articleBody":"x"}"#, ("3", "x")),
            ("t120 The Supreme Court", ("t120", "The Supreme Court")),
        ];
        for (row, (id, text)) in rows {
            assert_eq!(text_of(row, 3), Ok((id.to_owned(), text.to_owned())), "{row}");
        }
        for row in [r#"{"id":"a"}"#, "{", "alone", r#"{"text":5}"#] {
            assert!(text_of(row, 1).is_err(), "{row}");
        }
    }
}
