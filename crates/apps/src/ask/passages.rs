//! From what a search found to passages: neighbours joined without repeating what they share, flagged ones left out,
//! cut to the room there is. Pure but for reading the texts of the index. Source: ask.md section 6.5.

use super::answer::Source;
use portcullis_knowledge::{Chunk, Hit, Index};

/// Passages within bounds, best first, numbered from 1. A passage that cannot be read any more is left out and counted.
pub(crate) struct Passages {
    pub(crate) sources: Vec<Source>,
    /// How many could not be read: the file changed below us.
    pub(crate) unreadable: usize,
    /// How many were left out because inspection suspects them.
    pub(crate) flagged: usize,
}

/// What may be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) chars: usize,
    pub(crate) passages: usize,
    pub(crate) flagged: bool,
}

/// Takes what fits.
pub(crate) fn take(index: &Index, hits: &[Hit], room: Room) -> Passages {
    let mut out = Passages { sources: Vec::new(), unreadable: 0, flagged: 0 };
    let mut left = room.chars;
    for hit in hits {
        if out.sources.len() == room.passages || left == 0 {
            break;
        }
        if hit.flagged && !room.flagged {
            out.flagged += 1;
            continue;
        }
        let Some(document) = index.documents().get(hit.document as usize) else { continue };
        let chunks: Result<Vec<Chunk>, _> = hit.chunks.clone().map(|n| index.chunk(n)).collect();
        let Ok(chunks) = chunks else {
            out.unreadable += 1;
            continue;
        };
        // A neighbour that inspection suspects does not come in with a passage that it does not.
        let kept: Vec<Chunk> = chunks.into_iter().filter(|chunk| room.flagged || !chunk.flagged).collect();
        let mut text = joined(&kept);
        let chars = text.chars().count();
        if chars > left {
            // The first passage is cut; others are left out rather than cut.
            if !out.sources.is_empty() {
                continue;
            }
            text = text.chars().take(left).collect();
        }
        left -= chars.min(left);
        let pages = kept.iter().filter_map(|chunk| chunk.pages);
        let pages = pages.reduce(|(first, last), (a, b)| (first.min(a), last.max(b)));
        out.sources.push(Source {
            n: out.sources.len() + 1,
            document: document.id.clone(),
            title: document.title.clone(),
            pages,
            heading: kept.first().map(|chunk| chunk.heading.clone()).unwrap_or_default(),
            url: document.url.clone(),
            text,
            score: hit.score,
        });
    }
    out
}

/// Texts of neighbours as one: what both hold stands once.
fn joined(chunks: &[Chunk]) -> String {
    let mut out = String::new();
    let mut end = None;
    for chunk in chunks {
        match end {
            Some(end) if chunk.chars.start < end => {
                let shared = (end - chunk.chars.start) as usize;
                out.extend(chunk.text.chars().skip(shared));
            }
            Some(_) => {
                out.push_str("\n\n");
                out.push_str(&chunk.text);
            }
            None => out.push_str(&chunk.text),
        }
        end = Some(chunk.chars.end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_knowledge::Language;

    fn chunk(text: &str, start: u32) -> Chunk {
        let length = u32::try_from(text.chars().count()).unwrap();
        Chunk {
            document: 0,
            ordinal: 0,
            text: text.to_owned(),
            chars: start..start + length,
            pages: None,
            heading: Vec::new(),
            language: Language::EN,
            flagged: false,
        }
    }

    #[test]
    fn what_neighbours_share_stands_once() {
        // "Ünder one. Two." and "Two. Three." of "Ünder one. Two. Three.".
        let both = [chunk("Ünder one. Two.", 0), chunk("Two. Three.", 11)];
        assert_eq!(joined(&both), "Ünder one. Two. Three.");
        assert_eq!(joined(&[chunk("A.", 0), chunk("B.", 10)]), "A.\n\nB.");
        assert_eq!(joined(&[]), "");
    }
}
