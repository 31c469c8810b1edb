//! What is seen while work goes on: "typing", and one status message that is edited, at most every 1.5 seconds, to the
//! latest only, and gone at the end. Invariants: work never waits for it; nothing of it enters the outbox; a failure of
//! it is no failure of the work; what a button "Cancel" ends is told through it.
//!
//! Source: news.md sections 5, 8 and 9.

use super::{
    api::{Api, ApiError},
    config::TextFormat,
    desk::Desk,
    letter::{Spot, letters},
    sights::Sights,
    update::{Incoming, line},
};
use parking_lot::Mutex;
use portcullis_domain::{Button, Post, Progress};
use portcullis_engine::messages::Outbox;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Least time between two edits.
const EDIT: Duration = Duration::from_millis(1500);
/// Telegram shows "typing" for five seconds.
const TYPING: Duration = Duration::from_millis(4500);
/// People remembered who ended what they had asked for.
const REMEMBERED: usize = 1000;
/// Pause before room is asked for again.
const ROOM: Duration = Duration::from_millis(250);

/// What is to be seen.
#[derive(Debug)]
enum Sight {
    /// How far the work is.
    Status(Post),
    /// An answer that grows.
    Growing(String),
}

/// Work under way, as others see it.
#[derive(Debug)]
pub(super) struct Status {
    caller: String,
    /// Number of what asked for it, in the order in which things arrived.
    asked: i64,
    unwanted: AtomicBool,
    /// Number of its message; 0 where there is none.
    message: AtomicI64,
    latest: Mutex<Option<Sight>>,
    /// What Telegram knows the draft of its answer by; never 0.
    draft: i32,
    changed: Notify,
}

impl Status {
    /// How an app tells it.
    pub(super) fn progress(this: &Arc<Self>) -> Progress {
        let status = this.clone();
        Progress::new(move |post| {
            if let Some(post) = post {
                status.show(post);
            }
            status.is_wanted()
        })
    }

    /// To be seen in the place of what is seen now.
    pub(super) fn show(&self, post: Post) {
        *self.latest.lock() = Some(Sight::Status(post));
        self.changed.notify_one();
    }

    /// An answer has grown to this.
    pub(super) fn grow(&self, text: &str) {
        *self.latest.lock() = Some(Sight::Growing(text.to_owned()));
        self.changed.notify_one();
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.unwanted.load(Ordering::Acquire)
    }
}

/// Which work of a person in a chat is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Whatever is under way.
    All,
    /// What the message with that number shows.
    Shown(i64),
    /// What was asked for before that number, also if it has not begun yet.
    Before(i64),
}

/// All work under way, by chat.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<Work>>);

#[derive(Default)]
struct Work {
    by_chat: HashMap<String, Vec<Arc<Status>>>,
    /// Of a person in a chat nothing is wanted that was asked for before that number.
    ended: HashMap<(String, String), i64>,
}

impl Running {
    /// Work of somebody begins, for which `asked` asked.
    pub(super) fn begin(&self, line: &str, caller: &str, asked: i64) -> Arc<Status> {
        let mut work = self.0.lock();
        let ended = work.ended.get(&(line.to_owned(), caller.to_owned()));
        let status = Arc::new(Status {
            caller: caller.to_owned(),
            asked,
            unwanted: AtomicBool::new(ended.is_some_and(|before| asked < *before)),
            message: AtomicI64::new(0),
            latest: Mutex::default(),
            draft: rand::random_range(1..i32::MAX),
            changed: Notify::new(),
        });
        work.by_chat.entry(line.to_owned()).or_default().push(status.clone());
        status
    }

    fn end(&self, line: &str, status: &Arc<Status>) {
        let mut work = self.0.lock();
        if let Some(here) = work.by_chat.get_mut(line) {
            here.retain(|one| !Arc::ptr_eq(one, status));
            if here.is_empty() {
                work.by_chat.remove(line);
            }
        }
    }

    /// Work of that person there is not wanted any more. Says whether there was any.
    pub(super) fn cancel(&self, line: &str, caller: &str, which: Which) -> bool {
        let mut work = self.0.lock();
        if let Which::Before(number) = which {
            if work.ended.len() >= REMEMBERED {
                work.ended.clear();
            }
            work.ended.insert((line.to_owned(), caller.to_owned()), number);
        }
        let meant = |status: &Status| match which {
            Which::All => true,
            Which::Shown(message) => status.message.load(Ordering::Acquire) == message,
            Which::Before(number) => status.asked < number,
        };
        let mut found = false;
        for status in work.by_chat.get(line).into_iter().flatten() {
            if status.caller == caller && meant(status) {
                status.unwanted.store(true, Ordering::Release);
                found = true;
            }
        }
        found
    }
}

/// Shows what goes on until it is told to end.
pub(super) struct Companion {
    running: Running,
    line: String,
    status: Arc<Status>,
    end: CancellationToken,
}

struct Shown {
    api: Api,
    outbox: Outbox,
    sights: Sights,
    chat: i64,
    thread: Option<i64>,
    status: Arc<Status>,
    typing_after: Duration,
}

impl Companion {
    pub(super) fn accompany(desk: &Desk, it: &Incoming, status: &Arc<Status>) -> Self {
        let end = CancellationToken::new();
        let shown = Shown {
            api: desk.api.clone(),
            outbox: desk.outbox.clone(),
            sights: desk.sights(),
            chat: it.chat,
            thread: it.thread,
            status: status.clone(),
            typing_after: Duration::from_secs(desk.config.send.typing_after_secs),
        };
        desk.tasks.spawn(shown.go_on(end.clone()));
        Self { running: desk.running.clone(), line: it.line(), status: status.clone(), end }
    }

    /// The work is done; what was shown goes.
    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.running.end(&self.line, &self.status);
        self.end.cancel();
    }
}

impl Shown {
    async fn go_on(self, end: CancellationToken) {
        let (mut typing, mut last, mut given_up) =
            (Instant::now() + self.typing_after, None::<Instant>, false);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = sleep_until(typing) => {
                    typing = Instant::now() + TYPING;
                    if self.status.message.load(Ordering::Acquire) == 0 && self.outbox.may_pass(None) {
                        self.type_on().await;
                    }
                }
                () = self.status.changed.notified(), if !given_up => {
                    let pause = last.map_or_else(Instant::now, |last| last + EDIT);
                    if end.run_until_cancelled(self.room(pause)).await.is_none() {
                        break;
                    }
                    let sight = self.status.latest.lock().take();
                    given_up = match sight {
                        Some(Sight::Status(post)) => !self.put(&post).await,
                        Some(Sight::Growing(text)) if self.chat > 0 => !self.draft(&text).await,
                        Some(Sight::Growing(text)) => !self.put(&super::marks::post(&text)).await,
                        None => {
                            self.outbox.has_passed(&line(self.chat));
                            continue;
                        }
                    };
                    last = Some(Instant::now());
                }
            }
        }
        let message = self.status.message.load(Ordering::Acquire);
        if message != 0 {
            self.sights.take_away(self.chat, message).await;
        }
    }

    /// Waits for that moment, and then for room in the chat.
    async fn room(&self, pause: Instant) {
        sleep_until(pause).await;
        while !self.outbox.may_pass(Some(&line(self.chat))) {
            tokio::time::sleep(ROOM).await;
        }
    }

    async fn type_on(&self) {
        let mut params = json!({"chat_id": self.chat, "action": "typing"});
        if let Some(thread) = self.thread {
            params["message_thread_id"] = json!(thread);
        }
        if let Err(error) = self.api.call("sendChatAction", &params).await {
            tracing::debug!(%error, "typing is not shown");
        }
    }

    /// Shows an answer while it grows; false when there is no point in going on.
    async fn draft(&self, text: &str) -> bool {
        let letter = letters(&super::marks::post(text), Spot::default(), usize::MAX).pop();
        let Some(letter) = letter else { return true };
        let mut params = letter.params(self.chat, TextFormat::Entities);
        params["draft_id"] = json!(self.status.draft);
        if let Some(members) = params.as_object_mut() {
            members.remove("link_preview_options");
        }
        if let Some(thread) = self.thread {
            params["message_thread_id"] = json!(thread);
        }
        let answer = self.api.call("sendMessageDraft", &params).await;
        self.outbox.has_passed(&line(self.chat));
        match answer {
            Err(ApiError::Refused { code: 429, retry_after, .. }) => {
                let wait = Duration::from_secs(retry_after.unwrap_or(5));
                self.outbox.hold(&line(self.chat), wait).await;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a draft is not shown");
                error.code().is_none_or(|code| code >= 500)
            }
            Ok(_) => true,
        }
    }

    /// Sends or edits; false when there is no point in going on.
    async fn put(&self, post: &Post) -> bool {
        let known = self.status.message.load(Ordering::Acquire);
        let spot = Spot { thread: self.thread, reply_to: None, edit: (known != 0).then_some(known) };
        let parts = letters(&Post { silent: true, ..post.clone() }, spot, usize::MAX);
        // Of what is too long the end.
        let Some(mut letter) = parts.into_iter().next_back() else { return true };
        letter.edit = spot.edit;
        let answer = self.api.call(letter.method(), &letter.params(self.chat, TextFormat::Entities)).await;
        self.outbox.has_passed(&line(self.chat));
        match answer {
            Ok(sent) => {
                if known == 0 {
                    let message = number(&sent);
                    self.status.message.store(message, Ordering::Release);
                    self.sights.shown(self.chat, message).await;
                }
                true
            }
            Err(ApiError::Refused { code: 429, retry_after, .. }) => {
                let wait = Duration::from_secs(retry_after.unwrap_or(5));
                self.outbox.hold(&line(self.chat), wait).await;
                true
            }
            Err(ApiError::Refused { words, .. }) if super::send::is_done(&words) => true,
            Err(error) => {
                tracing::debug!(%error, "how far some work is cannot be shown");
                if error.code().is_some_and(|code| code < 500) {
                    self.status.message.store(0, Ordering::Release);
                    self.sights.forget(self.chat, known).await;
                    return false;
                }
                true
            }
        }
    }
}

fn number(sent: &Value) -> i64 {
    sent["message_id"].as_i64().unwrap_or_default()
}

/// Whether a button ends the work that its message shows.
pub(super) fn is_cancel(token: &str) -> bool {
    token == Button::CANCEL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancel_ends_the_work_of_who_pressed_it_and_of_nobody_else() {
        let running = Running::default();
        let (mine, other) = (running.begin("telegram:1", "tg:1", 3), running.begin("telegram:1", "tg:2", 4));
        let progress = Status::progress(&mine);
        assert!(progress.wanted());
        assert!(!running.cancel("telegram:2", "tg:1", Which::All));
        assert!(!running.cancel("telegram:1", "tg:1", Which::Shown(77)), "not its message");
        mine.message.store(77, Ordering::Release);
        assert!(running.cancel("telegram:1", "tg:1", Which::Shown(77)));
        assert!(!progress.show(Post::text("more")) && other.is_wanted());
        running.end("telegram:1", &mine);
        running.end("telegram:1", &other);
        assert!(running.0.lock().by_chat.is_empty());
    }

    #[test]
    fn what_was_asked_for_before_it_was_ended_is_not_wanted_whenever_it_begins() {
        let running = Running::default();
        let (early, late) = (running.begin("telegram:1", "tg:1", 3), running.begin("telegram:1", "tg:1", 8));
        assert!(running.cancel("telegram:1", "tg:1", Which::Before(5)));
        assert!(!early.is_wanted() && late.is_wanted());
        assert!(!running.begin("telegram:1", "tg:1", 4).is_wanted(), "it had only not begun yet");
        assert!(running.begin("telegram:1", "tg:1", 6).is_wanted());
        assert!(running.begin("telegram:1", "tg:2", 4).is_wanted(), "somebody else");
    }
}
