//! What comes from signal-cli, cut into messages: server-sent events, or lines of JSON. Pure: bytes go in, items come
//! out. Invariants: an item is a whole one; what is too long is dropped and counted, and the stream goes on; any byte
//! is a sign of life.

use bytes::BytesMut;
use memchr::memchr;

/// Longest event or line, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Something whole that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The text of a message, or on sockets of an answer.
    Text(Vec<u8>),
    /// An event of another name.
    Other,
    /// Longer than allowed; dropped.
    TooLong,
}

/// Which framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Events,
    Lines,
}

/// Cuts bytes into items.
#[derive(Debug)]
pub(super) struct Cutter {
    framing: Framing,
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no line end.
    searched: usize,
    /// The line under way is too long already.
    skipping: bool,
    event: Vec<u8>,
    data: Option<Vec<u8>>,
    too_long: bool,
    /// Longest line for now, in bytes.
    most: usize,
}

impl Cutter {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
            event: Vec::new(),
            data: None,
            too_long: false,
            most: MAX_BYTES,
        }
    }

    /// From now on lines may be as long as `more` bytes; none: as usual.
    pub(super) fn allow(&mut self, more: Option<usize>) {
        self.most = more.unwrap_or(MAX_BYTES);
    }

    /// Takes bytes that came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole item, where there is one.
    pub(super) fn next(&mut self) -> Option<Item> {
        loop {
            let Some(found) = memchr(b'\n', self.buffer.get(self.searched..)?) else {
                self.searched = self.buffer.len();
                if self.buffer.len() > self.most {
                    self.buffer.clear();
                    self.searched = 0;
                    self.skipping = true;
                }
                return None;
            };
            let mut line = self.buffer.split_to(self.searched + found + 1);
            self.searched = 0;
            let skipped = std::mem::take(&mut self.skipping) || line.len() > self.most;
            line.truncate(line.len() - 1);
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            let item = match self.framing {
                Framing::Lines if skipped => Some(Item::TooLong),
                Framing::Lines => (!line.trim_ascii().is_empty()).then(|| Item::Text(line.to_vec())),
                Framing::Events => self.field(&line, skipped),
            };
            if item.is_some() {
                return item;
            }
        }
    }

    /// One line of an event; the blank one ends it.
    fn field(&mut self, line: &[u8], skipped: bool) -> Option<Item> {
        if skipped {
            self.too_long = true;
            return None;
        }
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), self.data.take());
            if std::mem::take(&mut self.too_long) {
                return Some(Item::TooLong);
            }
            return data.map(|data| if event == b"receive" { Item::Text(data) } else { Item::Other });
        }
        let (name, value) = match memchr(b':', line) {
            // A comment: a sign of life.
            Some(0) => return None,
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[..0]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event = value.to_vec(),
            b"data" => {
                let data = self.data.get_or_insert_default();
                if !data.is_empty() {
                    data.push(b'\n');
                }
                data.extend_from_slice(value);
                if data.len() > MAX_BYTES {
                    data.clear();
                    self.too_long = true;
                }
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(framing: Framing, pieces: &[&[u8]]) -> Vec<Item> {
        let (mut cutter, mut out) = (Cutter::new(framing), Vec::new());
        for piece in pieces {
            cutter.push(piece);
            out.extend(std::iter::from_fn(|| cutter.next()));
        }
        out
    }

    fn text(text: &str) -> Item {
        Item::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn events_are_cut_by_the_rules_of_the_standard() {
        let stream = b":\nevent:receive\ndata:{\"a\":1}\n\nevent: receive\r\ndata: two\r\ndata: lines\r\nid: 7\r\n\r\nevent:other\ndata:x\n\nevent:receive\n\ndata:unnamed\n\nevent:receive\ndata:half";
        assert_eq!(
            cut(Framing::Events, &[stream]),
            [text("{\"a\":1}"), text("two\nlines"), Item::Other, Item::Other]
        );
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_next_is_whole() {
        let long = vec![b'x'; 2 * MAX_BYTES];
        let event = [b"event:receive\ndata:", long.as_slice(), b"\n\nevent:receive\ndata:ok\n\n"].concat();
        assert_eq!(cut(Framing::Events, &[&event]), [Item::TooLong, text("ok")]);
        let pieces: Vec<&[u8]> = event.chunks(5000).collect();
        assert_eq!(cut(Framing::Events, &pieces), [Item::TooLong, text("ok")]);
        let lines = [long.as_slice(), b"\nok\n"].concat();
        assert_eq!(cut(Framing::Lines, &lines.chunks(4096).collect::<Vec<_>>()), [Item::TooLong, text("ok")]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_makes_no_difference(
            texts in prop::collection::vec("[a-z{}:\" ]{1,20}", 0..6), sizes in prop::collection::vec(1..9_usize, 1..40),
            lines in any::<bool>(),
        ) {
            let (framing, stream): (_, String) = if lines {
                (Framing::Lines, texts.iter().map(|text| format!("x{text}\n")).collect())
            } else {
                (Framing::Events, texts.iter().map(|text| format!(":\nevent:receive\ndata:x{text}\n\n")).collect())
            };
            let (mut pieces, mut rest) = (Vec::new(), stream.as_bytes());
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            let expected: Vec<_> = texts.iter().map(|one| text(&format!("x{one}"))).collect();
            prop_assert_eq!(cut(framing, &pieces), expected);
        }
    }
}
