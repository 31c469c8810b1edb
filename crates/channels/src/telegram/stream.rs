//! `/chat`: words to the route `default`, and its answer as it grows. Invariants: what is shown while it grows is a
//! draft, the final text goes through the outbox; a stream that fails midway ends with what was said and a note.
//!
//! Source: news.md sections 3 and 8.

use super::progress::Status;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use portcullis_domain::{
    ByteStream, Failure, Format, LibraryRequest, MessageReply, MessageRequest, Payload, Step,
};
use portcullis_engine::words::{Tongue, Word, Words};
use portcullis_wire::{Reader, sse};
use serde_json::json;

/// The route that answers.
const ROUTE: &str = "default";
/// Longest answer, in bytes; what is more is not waited for.
const LONGEST: usize = 200_000;

/// What follows the command, as a turn of a conversation whose answer is streamed.
#[must_use]
pub fn chat(message: MessageRequest) -> Payload {
    let words = rest(&message.text);
    let turn = json!({"role": "user", "content": words});
    let body = json!({"model": ROUTE, "stream": true, "messages": [turn]});
    match crate::http::chat_request(Bytes::from(body.to_string())) {
        Ok(request) => Payload::Chat(request),
        // A text of a message always decodes; were it not so, the library says what it understands.
        Err(_) => Payload::Library(LibraryRequest::Message(message)),
    }
}

/// What follows a command.
pub(super) fn rest(text: &str) -> &str {
    text.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim())
}

/// Shows an answer while it grows; what it came to.
pub(super) async fn follow(
    mut body: ByteStream,
    status: &Status,
    words: &Words,
    tongue: Tongue,
) -> Result<MessageReply, Failure> {
    let (mut growing, mut ended) = (Growing::default(), None);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(bytes) => {
                if growing.push(&bytes) {
                    status.grow(&growing.text);
                }
            }
            Err(failure) => ended = Some(failure),
        }
        if ended.is_some() || !status.is_wanted() || growing.text.len() > LONGEST {
            break;
        }
    }
    let Growing { mut text, .. } = growing;
    match ended {
        Some(failure) if text.trim().is_empty() => return Err(failure),
        Some(_) => {
            text.push_str("\n\n");
            text.push_str(&words.plain(tongue, Word::CutOff));
        }
        None => {}
    }
    if text.trim().is_empty() {
        text = words.plain(tongue, Word::NothingSaid);
    }
    Ok(MessageReply::post(super::marks::post(&text)))
}

/// The words of a stream so far.
struct Growing {
    reader: Reader,
    held: BytesMut,
    text: String,
}

impl Default for Growing {
    fn default() -> Self {
        Self { reader: Reader::new(Format::OpenAi), held: BytesMut::new(), text: String::new() }
    }
}

impl Growing {
    /// Reads on; says whether there are more words.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.held.extend_from_slice(bytes);
        let before = self.text.len();
        let mut steps = Vec::new();
        while let Some(end) = sse::first_end(&self.held) {
            let event = self.held.split_to(end);
            let Some(data) = sse::data_of(&event) else { continue };
            if self.reader.event(&data, &mut steps).is_err() {
                continue;
            }
            for step in steps.drain(..) {
                if let Step::Text { choice: 0, text } | Step::Refusal { choice: 0, text } = step {
                    self.text.push_str(&text);
                }
            }
        }
        self.text.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_command_is_asked_of_the_default_route() {
        let message =
            MessageRequest { text: "/chat@MadeUpBot  what \"is\" it?\n".into(), ..MessageRequest::default() };
        let Payload::Chat(request) = chat(message) else { panic!("a turn") };
        assert_eq!((request.model.as_str(), request.stream), ("default", true));
        assert_eq!(
            request.texts().map(|(_, text)| text.into_owned()).collect::<Vec<_>>(),
            ["what \"is\" it?"]
        );
    }

    #[test]
    fn words_are_read_however_the_stream_is_cut() {
        let event = |text: &str| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
                "choices": [{"index": 0, "delta": {"content": text}}]});
            format!("data: {chunk}\n\n")
        };
        let whole = format!("{}{}data: [DONE]\n\n", event("Hel"), event("lo 👍"));
        for cut in 0..whole.len() {
            let mut growing = Growing::default();
            growing.push(&whole.as_bytes()[..cut]);
            growing.push(&whole.as_bytes()[cut..]);
            assert_eq!(growing.text, "Hello 👍", "{cut}");
        }
    }
}
