//! What connections of the double share: who listens, what waits, what was seen. Invariant: an event leaves `waiting`
//! only into the channel of a listener, and comes back when that listener goes away before writing it and no other had
//! it.

use super::{Options, Person, ReceiveMode, Rule, Sent};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel},
    time::Instant,
};

/// How long recipients see an account typing that does not say it stopped.
const TYPING: Duration = Duration::from_secs(15);

/// One call that was received.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Its parameters.
    pub params: Value,
    /// When.
    pub at: Instant,
}

/// A message on its way to listeners.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) body: Value,
    pub(super) cut: bool,
    written: AtomicBool,
}

/// What a stream is to write.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Event(Arc<Event>),
    Raw(Vec<u8>),
    End,
}

#[derive(Debug)]
struct Outlet {
    number: usize,
    account: Option<String>,
    frames: UnboundedSender<Frame>,
    frozen: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Post {
    waiting: VecDeque<Arc<Event>>,
    outlets: Vec<Outlet>,
    lost: usize,
    cut_next: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) people: Mutex<Vec<Person>>,
    pub(super) groups: Mutex<HashMap<String, Vec<Person>>>,
    pub(super) files: Mutex<HashMap<String, Vec<u8>>>,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) sent: Mutex<Vec<Sent>>,
    pub(super) calls: Mutex<Vec<Call>>,
    pub(super) violations: Mutex<Vec<String>>,
    post: Mutex<Post>,
    typing: Mutex<HashMap<String, Instant>>,
    delivered: AtomicUsize,
    numbers: AtomicUsize,
    clock: AtomicI64,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        let people = options.accounts.clone();
        Self {
            options,
            people: Mutex::new(people),
            groups: Mutex::default(),
            files: Mutex::default(),
            rules: Mutex::default(),
            sent: Mutex::default(),
            calls: Mutex::default(),
            violations: Mutex::default(),
            post: Mutex::default(),
            typing: Mutex::default(),
            delivered: AtomicUsize::new(0),
            numbers: AtomicUsize::new(0),
            clock: AtomicI64::new(0),
        }
    }

    /// A number that none had before.
    pub(super) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Unix milliseconds, never the same twice.
    pub(super) fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let next = |last: i64| Some(now.max(last + 1));
        let last = self.clock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(now);
        now.max(last + 1)
    }

    pub(super) fn violation(&self, what: impl Into<String>) {
        self.violations.lock().push(what.into());
    }

    pub(super) fn push(&self, account: &str, mut envelope: Value) {
        let now = self.now();
        if let Some(envelope) = envelope.as_object_mut() {
            envelope.entry("serverReceivedTimestamp").or_insert_with(|| now.into());
            envelope.entry("serverDeliveredTimestamp").or_insert_with(|| now.into());
        }
        let mut post = self.post.lock();
        let cut = std::mem::take(&mut post.cut_next);
        let body = json!({"envelope": envelope, "account": account});
        post.waiting.push_back(Arc::new(Event { body, cut, written: AtomicBool::new(false) }));
        self.hand_out(&mut post);
    }

    /// Gives what waits to whoever listens.
    fn hand_out(&self, post: &mut Post) {
        let waiting = std::mem::take(&mut post.waiting);
        for event in waiting {
            let account = event.body["account"].as_str();
            let open: Vec<_> = post
                .outlets
                .iter()
                .filter(|out| out.account.is_none() || out.account.as_deref() == account)
                .collect();
            let nobody = open.is_empty();
            let mut taken = false;
            for outlet in open.iter().filter(|outlet| !outlet.frozen.load(Ordering::Relaxed)) {
                taken |= outlet.frames.send(Frame::Event(Arc::clone(&event))).is_ok();
            }
            match (taken, nobody) {
                (true, _) => {}
                (false, true) if self.options.receive_mode != ReceiveMode::OnStart => {
                    post.waiting.push_back(event);
                }
                // Fetched, and written to nobody or into a dead stream.
                (false, _) => post.lost += 1,
            }
        }
    }

    pub(super) fn to_all(&self, frame: &Frame) {
        for outlet in &self.post.lock().outlets {
            drop(outlet.frames.send(frame.clone()));
        }
    }

    pub(super) fn end_streams(&self) {
        let mut post = self.post.lock();
        for outlet in post.outlets.drain(..) {
            drop(outlet.frames.send(Frame::End));
        }
    }

    pub(super) fn freeze(&self) {
        for outlet in &self.post.lock().outlets {
            outlet.frozen.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn cut_next(&self) {
        self.post.lock().cut_next = true;
    }

    /// A new stream for that account, or for all.
    pub(super) fn listen(self: &Arc<Self>, account: Option<String>) -> Listener {
        let (sender, frames) = unbounded_channel();
        let (number, frozen) = (self.number(), Arc::new(AtomicBool::new(false)));
        let outlet = Outlet { number, account, frames: sender, frozen: Arc::clone(&frozen) };
        let mut post = self.post.lock();
        post.outlets.push(outlet);
        self.hand_out(&mut post);
        drop(post);
        Listener { shared: Arc::clone(self), number, frames, frozen }
    }

    pub(super) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.post.lock().waiting.len()
    }

    pub(super) fn lost(&self) -> usize {
        self.post.lock().lost
    }

    pub(super) fn listeners(&self) -> usize {
        self.post.lock().outlets.len()
    }

    pub(super) fn frozen(&self) -> usize {
        self.post.lock().outlets.iter().filter(|outlet| outlet.frozen.load(Ordering::Relaxed)).count()
    }

    pub(super) fn set_typing(&self, recipient: &str, on: bool) {
        let mut typing = self.typing.lock();
        if on {
            typing.insert(recipient.into(), Instant::now());
        } else {
            typing.remove(recipient);
        }
    }

    pub(super) fn is_typing(&self, recipient: &str) -> bool {
        self.typing.lock().get(recipient).is_some_and(|since| since.elapsed() < TYPING)
    }
}

/// The reading end of one stream.
pub(super) struct Listener {
    shared: Arc<Shared>,
    number: usize,
    frames: UnboundedReceiver<Frame>,
    frozen: Arc<AtomicBool>,
}

/// What a stream does next.
pub(super) enum Next {
    Write(Frame),
    KeepAlive,
}

impl Listener {
    /// What is to be written next; the event counts as delivered.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let next = tokio::time::timeout(self.shared.options.keep_alive, self.frames.recv()).await;
            let frozen = self.frozen.load(Ordering::Relaxed);
            match next {
                Ok(None | Some(Frame::End)) => return Next::Write(Frame::End),
                _ if frozen => {}
                Ok(Some(frame)) => {
                    self.written(&frame);
                    return Next::Write(frame);
                }
                Err(_) => return Next::KeepAlive,
            }
        }
    }

    fn written(&mut self, frame: &Frame) {
        let Frame::Event(event) = frame else { return };
        if event.cut {
            let again = Event { body: event.body.clone(), cut: false, written: AtomicBool::new(false) };
            let shared = Arc::clone(&self.shared);
            let mut post = shared.post.lock();
            // A stream that breaks off is a listener no more; what it would have written next comes after this one.
            post.outlets.retain(|outlet| outlet.number != self.number);
            self.put_back(&mut post);
            post.waiting.push_front(Arc::new(again));
            shared.hand_out(&mut post);
        } else if !event.written.swap(true, Ordering::Relaxed) {
            self.shared.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What nobody wrote waits again, unless others listen, who have it too.
    fn put_back(&mut self, post: &mut Post) {
        let mut left = Vec::new();
        self.frames.close();
        loop {
            match self.frames.try_recv() {
                Ok(Frame::Event(event)) => left.push(event),
                Ok(Frame::Raw(_) | Frame::End) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        if post.outlets.is_empty() {
            for event in left.into_iter().rev() {
                if !event.written.load(Ordering::Relaxed) {
                    post.waiting.push_front(event);
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut post = shared.post.lock();
        post.outlets.retain(|outlet| outlet.number != self.number);
        self.put_back(&mut post);
    }
}
