//! What chat doors carry: what somebody typed, pressed or sent, and what is said to people. Invariant: every text here
//! was bounded by its door; an app sees it only after inspection, and names no door.
//!
//! Source: news.md sections 2, 3 and 8, ask.md section 9.

use bytes::Bytes;
use std::{fmt, sync::Arc};

/// A message of a chat door.
#[derive(Clone, Debug, Default)]
pub struct MessageRequest {
    /// What was typed; with a file, what was written to it.
    pub text: String,
    /// The token of the choice that was pressed; there is no text then.
    pub pressed: Option<String>,
    /// A file that was sent.
    pub file: Option<File>,
    /// Where it was typed: a person, or a group as a whole. Unique over all doors, such as `signal:<uuid>`; a door finds
    /// the place again by it.
    pub conversation: Arc<str>,
    /// What the message is known by, unique over all doors: an app that did its work already knows it again. Empty where
    /// the door does not keep its messages.
    pub key: Arc<str>,
    /// Two letters, where the door knows the language of the interface.
    pub language: Option<String>,
    /// Whether others read along.
    pub group: bool,
    /// Whether the sender may change what holds for the whole conversation: in a group, its administrators.
    pub manages: bool,
    /// Seconds after which messages disappear there; nothing may be remembered longer.
    pub disappears_secs: Option<u64>,
    /// How the app says how far it is.
    pub progress: Progress,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without folders.
    pub name: String,
    /// What is in it.
    pub bytes: Bytes,
}

/// An answer for a chat door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageReply {
    /// What is said, in this order; none: nothing, or it is in the outbox already.
    pub posts: Vec<Post>,
    /// A few words, at most 200 characters, for whoever pressed a button.
    pub toast: Option<String>,
    /// Whether the first post stands in the place of the message whose button was pressed.
    pub in_place: bool,
}

impl MessageReply {
    /// Some words, and nothing else.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::post(Post::text(text))
    }

    /// One post, and nothing else.
    #[must_use]
    pub fn post(post: Post) -> Self {
        Self { posts: vec![post], ..Self::default() }
    }

    /// The words of all posts, a blank line between two.
    #[must_use]
    pub fn words(&self) -> String {
        let texts: Vec<&str> = self.posts.iter().map(|post| post.text.as_str()).collect();
        texts.join("\n\n")
    }
}

/// One message to people, of any length: its door cuts it where it must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The words.
    pub text: String,
    /// What stands out in them, in order of their beginning; of two, one may lie within the other.
    pub styles: Vec<Style>,
    /// A link that may be shown as a card; none: no card.
    pub preview: Option<String>,
    /// Rows of buttons below it.
    pub choices: Vec<Vec<Button>>,
    /// A file that goes with it.
    pub file: Option<File>,
    /// Whether it makes no sound.
    pub silent: bool,
}

impl Post {
    /// Some words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// Something to press.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// What stands on it.
    pub label: String,
    /// What comes back when it is pressed: at most 64 bytes, never a name that somebody typed. [`Button::CANCEL`] and
    /// [`Button::CONFIRM`] are the door's own.
    pub token: String,
}

impl Button {
    /// Ends the work under way in its conversation, whose [`Progress`] then says that it is not wanted any more.
    pub const CANCEL: &str = "cancel";
    /// Says that the message is meant that inspection asked about.
    pub const CONFIRM: &str = "confirm";

    /// A button.
    #[must_use]
    pub fn new(label: impl Into<String>, token: impl Into<String>) -> Self {
        Self { label: label.into(), token: token.into() }
    }
}

/// A piece of a text that stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Where it begins, in UTF-16 units.
    pub start: usize,
    /// How long it is, in UTF-16 units.
    pub length: usize,
    /// How it looks.
    pub look: Look,
}

/// How a piece of a text looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Bold.
    Bold,
    /// Italic.
    Italic,
    /// Letters of equal width, within a line.
    Mono,
    /// Struck through.
    Strike,
    /// Lines of equal width, with the language of the program they are, where one is named.
    Lines(Option<Box<str>>),
    /// Leads to that address.
    Link(Box<str>),
    /// Said by somebody else.
    Quote,
}

/// How an app says how far it is while it works: a post that stands there until the next one, or until the answer comes.
/// Cheap to clone; silent where nobody looks.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Say>>);

/// Takes what to show, and says whether the work is still wanted.
type Say = dyn Fn(Option<Post>) -> bool + Send + Sync;

impl Progress {
    /// Told to that function, which must not wait: with a post to show, or with none to be asked whether the work is
    /// still wanted.
    pub fn new(say: impl Fn(Option<Post>) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(say)))
    }

    /// Shows a post in the place of the last one; false when the work is not wanted any more.
    pub fn show(&self, post: Post) -> bool {
        self.0.as_ref().is_none_or(|say| say(Some(post)))
    }

    /// Whether the work is still wanted.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.0.as_ref().is_none_or(|say| say(None))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Progress")
    }
}

/// Who sent a message at a door that knows its people itself, such as a messenger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Stable identity with the door's name before it, such as `signal:<uuid>`: at most 160 bytes.
    pub id: Arc<str>,
    /// Whether the operator named this person as administrator.
    pub admin: bool,
}
