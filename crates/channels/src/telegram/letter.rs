//! What an answer looks like on its way out: messages that Telegram takes, each a row of the outbox. Pure. Invariants: a
//! row is one message; the reply mark is on the first, the buttons are below the last; a token of a button that
//! Telegram would refuse is left out with its button; where it goes is the row's chat and not written in it.
//!
//! Source: news.md section 8; Bot API.

use super::{
    config::TextFormat,
    markup::{RAW_BYTES, markdown},
    parts::{CAPTION, MESSAGE, Part, Span, split, units},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_domain::{Button, Post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most bytes of what comes back when a button is pressed.
const TOKEN_BYTES: usize = 64;
/// Name of a reply that is too long for messages.
const LONG_NAME: &str = "answer.txt";

/// One message to send, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// The words, or what is written to the file.
    pub(super) text: String,
    /// What stands out in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) spans: Vec<Span>,
    /// Rows of labels and tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) buttons: Vec<Vec<(String, String)>>,
    /// Topic of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thread: Option<i64>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<i64>,
    /// The message in whose place it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) edit: Option<i64>,
    /// A link of the text that is shown as a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preview: Option<String>,
    /// Name and bytes, in base64, of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<(String, String)>,
    /// Whether it makes no sound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) silent: bool,
}

/// What of a place stands in a letter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    pub(super) thread: Option<i64>,
    pub(super) reply_to: Option<i64>,
    pub(super) edit: Option<i64>,
}

/// The letters of a post; more than `most` become a file.
pub(super) fn letters(post: &Post, spot: Spot, most: usize) -> Vec<Letter> {
    let parts = split(&post.text, &post.styles, MESSAGE);
    let file = post.file.as_ref().map(|file| (file.name.clone(), STANDARD.encode(&file.bytes)));
    let (mut parts, file) = match file {
        Some(file) => (parts, Some(file)),
        None if parts.len() > most.max(1) => {
            let head = split(first_line(&post.text), &[], CAPTION).into_iter().take(1).collect();
            (head, Some((LONG_NAME.to_owned(), STANDARD.encode(&post.text))))
        }
        None => (parts, None),
    };
    // A file takes the last words along, where they fit below it.
    let written = match parts.last() {
        Some(last) if file.is_some() && units(&last.text) <= CAPTION.units => parts.pop(),
        _ => None,
    };
    let letter = |part: Part| {
        let preview = post.preview.clone().filter(|link| shows(&part, link));
        Letter { text: part.text, spans: part.spans, preview, ..Letter::default() }
    };
    let mut out: Vec<Letter> = parts.into_iter().map(letter).collect();
    if file.is_some() {
        out.push(Letter { file, preview: None, ..letter(written.unwrap_or_default()) });
    }
    let first_is_text = out.first().is_some_and(|letter| letter.file.is_none());
    for letter in &mut out {
        (letter.thread, letter.silent) = (spot.thread, post.silent);
    }
    if let Some(first) = out.first_mut() {
        first.reply_to = spot.reply_to;
        first.edit = spot.edit.filter(|_| first_is_text);
    }
    if let Some(last) = out.last_mut() {
        last.buttons = buttons(&post.choices);
    }
    out
}

fn shows(part: &Part, link: &str) -> bool {
    use super::parts::Kind;
    part.text.contains(link)
        || part.spans.iter().any(|span| matches!(&span.kind, Kind::TextLink { url } if **url == *link))
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

/// What Telegram takes of rows of buttons.
fn buttons(choices: &[Vec<Button>]) -> Vec<Vec<(String, String)>> {
    let fits = |button: &&Button| {
        let fits = (1..=TOKEN_BYTES).contains(&button.token.len()) && !button.label.trim().is_empty();
        if !fits {
            tracing::error!(bytes = button.token.len(), "a button has a token that Telegram does not take");
        }
        fits
    };
    let row = |row: &Vec<Button>| -> Vec<_> {
        row.iter().filter(fits).map(|button| (button.label.clone(), button.token.clone())).collect()
    };
    choices.iter().map(row).filter(|row: &Vec<_>| !row.is_empty()).collect()
}

impl Letter {
    /// The method that sends it.
    pub(super) const fn method(&self) -> &'static str {
        match (&self.file, self.edit) {
            (Some(_), _) => "sendDocument",
            (None, Some(_)) => "editMessageText",
            (None, None) => "sendMessage",
        }
    }

    /// The parameters of that method for a chat.
    pub(super) fn params(&self, chat: i64, format: TextFormat) -> Value {
        let mut params = json!({"chat_id": chat});
        let names = if self.file.is_some() { ["caption", "caption_entities"] } else { ["text", "entities"] };
        self.words(&mut params, names, format);
        if let Some(edit) = self.edit.filter(|_| self.file.is_none()) {
            params["message_id"] = json!(edit);
        } else {
            if let Some(thread) = self.thread {
                params["message_thread_id"] = json!(thread);
            }
            if let Some(reply_to) = self.reply_to {
                params["reply_parameters"] =
                    json!({"message_id": reply_to, "allow_sending_without_reply": true});
            }
            if self.silent {
                params["disable_notification"] = json!(true);
            }
        }
        if self.file.is_none() {
            params["link_preview_options"] = match &self.preview {
                Some(link) => json!({"url": link}),
                None => json!({"is_disabled": true}),
            };
        }
        if !self.buttons.is_empty() {
            params["reply_markup"] = self.markup();
        }
        params
    }

    fn markup(&self) -> Value {
        let button = |(label, token): &(String, String)| json!({"text": label, "callback_data": token});
        let rows: Vec<Value> = self.buttons.iter().map(|row| row.iter().map(button).collect()).collect();
        json!({"inline_keyboard": rows})
    }

    fn words(&self, params: &mut Value, [text, entities]: [&str; 2], format: TextFormat) {
        if self.text.is_empty() {
            return;
        }
        if format == TextFormat::MarkdownV2 {
            let marked = markdown(&Part { text: self.text.clone(), spans: self.spans.clone() });
            if marked.len() <= RAW_BYTES {
                params[text] = json!(marked);
                params["parse_mode"] = json!("MarkdownV2");
                return;
            }
        }
        params[text] = json!(self.text);
        if format == TextFormat::Entities && !self.spans.is_empty() {
            params[entities] = json!(self.spans);
        }
    }

    /// The file's name and bytes.
    pub(super) fn attachment(&self) -> Option<(&str, Vec<u8>)> {
        let (name, coded) = self.file.as_ref()?;
        Some((name, STANDARD.decode(coded).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::{File, Look, Style};

    #[test]
    fn a_post_becomes_messages_with_the_mark_on_the_first_and_buttons_on_the_last() {
        let sentence = "This sentence says what it says and says it once. ";
        let post = Post {
            text: sentence.repeat(200),
            styles: vec![Style { start: 0, length: 4, look: Look::Bold }],
            choices: vec![
                vec![Button::new("Go", "1:go:a"), Button::new("Bad", "x".repeat(65))],
                vec![Button::new("No", "")],
            ],
            silent: true,
            ..Post::default()
        };
        let spot = Spot { thread: Some(3), reply_to: Some(9), edit: None };
        let all = letters(&post, spot, 10);
        assert_eq!(all.len(), 3);
        assert_eq!(all.iter().map(|letter| letter.reply_to).collect::<Vec<_>>(), [Some(9), None, None]);
        assert!(all.iter().all(|letter| letter.silent && letter.thread == Some(3)));
        assert_eq!(all[2].buttons, [[("Go".to_owned(), "1:go:a".to_owned())]]);
        let params = all[0].params(-7, TextFormat::Entities);
        assert_eq!(params["entities"], json!([{"offset": 0, "length": 4, "type": "bold"}]));
        assert_eq!(params["reply_parameters"]["message_id"], 9);
        assert!(params.get("parse_mode").is_none() && params.get("reply_markup").is_none());
        assert_eq!(
            all[2].params(-7, TextFormat::Plain)["reply_markup"]["inline_keyboard"][0][0]["text"],
            "Go"
        );
        let marked = all[0].params(-7, TextFormat::MarkdownV2);
        assert!(
            marked["text"]
                .as_str()
                .unwrap()
                .starts_with("*This* sentence says what it says and says it once\\.")
        );
        assert_eq!(marked["parse_mode"], "MarkdownV2");
    }

    #[test]
    fn what_is_too_long_becomes_a_file_and_a_file_takes_short_words_along() {
        let post = Post::text(format!("The head\n{}", "word ".repeat(3000)));
        let all = letters(&post, Spot::default(), 2);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].text.as_str(), all[0].method()), ("The head", "sendDocument"));
        assert_eq!(all[0].attachment().unwrap().1, post.text.as_bytes());
        let file = File { name: "a.opml".into(), bytes: "<opml/>".into() };
        let post = Post { file: Some(file), ..Post::text("here") };
        let spot = Spot { edit: Some(4), ..Spot::default() };
        let all = letters(&post, spot, 2);
        assert_eq!((all.len(), all[0].text.as_str(), all[0].edit), (1, "here", None));
        let params = all[0].params(5, TextFormat::Entities);
        assert_eq!(params["caption"], "here");
        let edit = letters(&Post::text("new"), spot, 2).remove(0);
        assert_eq!(
            (edit.method(), &edit.params(5, TextFormat::Entities)["message_id"]),
            ("editMessageText", &json!(4))
        );
    }
}
