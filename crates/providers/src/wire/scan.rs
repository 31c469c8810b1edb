//! Scans a provider's server-sent events as they pass: finds usage, errors, finish reasons and `[DONE]`, holds back
//! only the tail of an unfinished event, and hands the bytes on as they came. The one thing it takes out is the
//! usage chunk the caller did not ask for.
//!
//! Invariants: what comes out is what came in, but for that chunk and whatever follows `[DONE]`; memory is bounded by
//! `max_event_bytes`; work is linear in the bytes. Source: WHATWG HTML, "Server-sent events", line ends LF and CRLF.

use bytes::{Bytes, BytesMut};
use portcullis_domain::{Format, Usage};
use portcullis_wire::{
    Odd, Told, look,
    sse::{data_of, first_end, last_end},
};

/// What makes a stream unusable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// An event longer than the limit.
    TooLong,
    /// Data that is no chunk of an answer.
    WrongSchema,
    /// The provider says that something went wrong; its words, for classification only.
    Error(Bytes),
    /// It ended before the answer did.
    Truncated,
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct Scanner {
    format: Format,
    held: BytesMut,
    /// Bytes of `held` known to hold no end of an event.
    searched: usize,
    max_event_bytes: usize,
    drop_usage: bool,
    choices: u32,
    finished: u32,
    events: u64,
    done: bool,
    usage: Option<Usage>,
    text_bytes: u64,
    blocked: bool,
    /// What the answer says of itself, where somebody wants to know.
    told: Option<Box<Told>>,
}

impl Scanner {
    /// For an answer of that format with so many choices.
    pub(crate) fn new(format: Format, choices: u32, drop_usage: bool, max_event_bytes: usize) -> Self {
        Self {
            format,
            held: BytesMut::new(),
            searched: 0,
            max_event_bytes,
            drop_usage,
            choices: choices.max(1),
            finished: 0,
            events: 0,
            done: false,
            usage: None,
            text_bytes: 0,
            blocked: false,
            told: None,
        }
    }

    /// The same, which also keeps what the answer says of itself.
    pub(crate) fn telling(mut self, wanted: bool) -> Self {
        self.told = wanted.then(Box::default);
        self
    }

    /// What the answer has said of itself.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.told.as_deref()
    }

    /// Whether the answer has begun: at least one chunk of it has passed.
    pub(crate) const fn begun(&self) -> bool {
        self.events > 0
    }

    /// Whether the mark of the end (`[DONE]`, `message_stop`) has passed.
    pub(crate) const fn done(&self) -> bool {
        self.done
    }

    /// Whether the answer is whole.
    pub(crate) const fn ended(&self) -> bool {
        self.done || self.finished >= self.choices
    }

    /// Whether the provider's filter refused the prompt.
    pub(crate) const fn blocked(&self) -> bool {
        self.blocked
    }

    /// What the provider said of its use.
    pub(crate) const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Bytes of text written so far, as JSON: the base of an estimate where the provider says nothing.
    pub(crate) const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Takes what arrived; puts what may pass into `out`.
    pub(crate) fn push(&mut self, mut chunk: Bytes, out: &mut impl Extend<Bytes>) -> Result<(), Broken> {
        if self.done {
            return Ok(());
        }
        let whole = if self.held.is_empty() {
            let whole = chunk.split_to(last_end(&chunk, 0).unwrap_or(0));
            self.held.extend_from_slice(&chunk);
            whole
        } else {
            self.held.extend_from_slice(&chunk);
            match last_end(&self.held, self.searched) {
                Some(end) => self.held.split_to(end).freeze(),
                None => Bytes::new(),
            }
        };
        // An end is at most three bytes: two of them may be here already.
        self.searched = self.held.len().saturating_sub(2);
        self.pass(&whole, out)?;
        if self.held.len() > self.max_event_bytes { Err(Broken::TooLong) } else { Ok(()) }
    }

    /// The provider has ended: passes a last event without its blank line, and tells whether the answer is whole.
    pub(crate) fn finish(&mut self, out: &mut impl Extend<Bytes>) -> Result<(), Broken> {
        if !self.done && !self.held.is_empty() {
            let rest = self.held.split().freeze();
            self.pass(&rest, out)?;
        }
        if self.ended() { Ok(()) } else { Err(Broken::Truncated) }
    }

    fn pass(&mut self, whole: &Bytes, out: &mut impl Extend<Bytes>) -> Result<(), Broken> {
        let (mut from, mut at) = (0, 0);
        let mut result = Ok(());
        while at < whole.len() && !self.done {
            let end = first_end(&whole[at..]).map_or(whole.len(), |end| at + end);
            match self.event(&whole[at..end]) {
                Ok(true) => {}
                Ok(false) => {
                    out.extend((from < at).then(|| whole.slice(from..at)));
                    from = end;
                }
                Err(broken) => {
                    // What came before the fault is sound and may go.
                    result = Err(broken);
                    break;
                }
            }
            at = end;
        }
        out.extend((from < at).then(|| whole.slice(from..at)));
        result
    }

    /// Looks at one event; false when it is to be taken out.
    fn event(&mut self, event: &[u8]) -> Result<bool, Broken> {
        if event.len() > self.max_event_bytes {
            return Err(Broken::TooLong);
        }
        let Some(data) = data_of(event) else { return Ok(true) };
        let seen = look::event(self.format, &data).map_err(|odd| match odd {
            Odd::WrongSchema => Broken::WrongSchema,
            Odd::Error(body) => Broken::Error(body),
        })?;
        if let Some(told) = &mut self.told
            && (seen.finished > 0 || !(self.events > 0 || seen.done))
        {
            told.add(self.format, &data);
        }
        self.done = seen.done;
        if seen.done && !self.begun() && !seen.begins {
            // Nothing but the mark: a proxy in front of the provider, not an answer.
            return Err(Broken::WrongSchema);
        }
        self.events += u64::from(seen.begins);
        self.finished += seen.finished;
        self.text_bytes += seen.text_bytes;
        self.usage = look::later(self.usage, seen.usage);
        self.blocked |= seen.blocked;
        Ok(!(self.drop_usage && seen.usage_only))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(text: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}"
        )
    }

    const LAST: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}";
    const DONE: &str = "data: [DONE]";

    /// Feeds `text` in pieces that end at `cuts`.
    fn run(text: &str, cuts: &[usize], drop_usage: bool) -> (Vec<u8>, Result<(), Broken>, Scanner) {
        let mut scanner = Scanner::new(Format::OpenAi, 1, drop_usage, 4096);
        let mut out: Vec<Bytes> = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            let piece = Bytes::copy_from_slice(&text.as_bytes()[pair[0]..pair[1]]);
            if let Err(broken) = scanner.push(piece, &mut out) {
                return (out.concat(), Err(broken), scanner);
            }
        }
        let end = scanner.finish(&mut out);
        (out.concat(), end, scanner)
    }

    fn stream(end: &str, events: &[&str]) -> String {
        events.iter().map(|event| format!("{event}{end}{end}")).collect()
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_bytes_pass_unchanged_and_only_the_usage_chunk_is_taken_out(
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            words in proptest::collection::vec("[a-z ]{0,9}", 1..6),
            crlf: bool,
            drop_usage: bool,
            comment: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let mut events: Vec<String> = words.iter().map(|word| chunk(word)).collect();
            if comment {
                events.insert(0, ": waiting".into());
            }
            events.push(LAST.into());
            let head: Vec<&str> = events.iter().map(String::as_str).collect();
            let all = [head.clone(), vec![USAGE, DONE]].concat();
            let kept = if drop_usage { [head, vec![DONE]].concat() } else { all.clone() };
            let (out, result, scanner) = run(&stream(end, &all), &cuts, drop_usage);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(String::from_utf8(out).unwrap(), stream(end, &kept));
            prop_assert_eq!(scanner.usage(), Some(Usage { input: 7, output: 3, estimated: false, ..Usage::default() }));
            prop_assert!(scanner.done());
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_grow(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut scanner = Scanner::new(Format::OpenAi, 1, true, 64);
            let mut out: Vec<Bytes> = Vec::new();
            for piece in bytes.chunks(7) {
                if scanner.push(Bytes::copy_from_slice(piece), &mut out).is_err() {
                    break;
                }
                prop_assert!(scanner.held.len() <= 64);
            }
        }
    }

    #[test]
    fn an_end_without_finish_reason_and_mark_is_a_cut_answer() {
        let (out, result, _) = run(&stream("\n", &[&chunk("a")]), &[], true);
        assert_eq!(
            (String::from_utf8(out).unwrap(), result),
            (stream("\n", &[&chunk("a")]), Err(Broken::Truncated))
        );
        // Some compatible servers leave the mark out; the finish reason says that the answer is whole.
        assert_eq!(run(&stream("\n", &[&chunk("a"), LAST]), &[], true).1, Ok(()));
        // The last blank line may be missing.
        assert_eq!(run(&format!("{}\n\n{DONE}", chunk("a")), &[], true).1, Ok(()));
        // Two choices were asked for, one has finished.
        let mut two = Scanner::new(Format::OpenAi, 2, true, 4096);
        let mut out: Vec<Bytes> = Vec::new();
        two.push(Bytes::from(stream("\n", &[LAST])), &mut out).unwrap();
        assert_eq!(two.finish(&mut out), Err(Broken::Truncated));
    }

    #[test]
    fn errors_wrong_schemas_and_giants_are_told_apart() {
        let error = "data: {\"error\":{\"message\":\"boom\"}}";
        let expected = Err(Broken::Error(Bytes::from_static(b"{\"message\":\"boom\"}")));
        let (out, result, _) = run(&stream("\n", &[&chunk("a"), error, DONE]), &[], true);
        assert_eq!(
            (out, result),
            (stream("\n", &[&chunk("a")]).into_bytes(), expected),
            "what came before passes"
        );
        for wrong in
            ["data: {\"answer\":42}", "data: nonsense", "data: {\"choices\":\"x\"}", "data: [1]", DONE]
        {
            assert_eq!(run(&stream("\n", &[wrong]), &[], true).1, Err(Broken::WrongSchema), "{wrong}");
        }
        assert_eq!(run(&stream("\n", &[&chunk(&"x".repeat(5000))]), &[], true).1, Err(Broken::TooLong));
        assert_eq!(run(&"x".repeat(5000), &[100, 2000], true).1, Err(Broken::TooLong));
    }

    #[test]
    fn a_chunk_that_carries_words_beside_its_usage_stays() {
        let both = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\
                    \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}";
        let (out, result, scanner) = run(&stream("\n", &[both]), &[], true);
        assert_eq!((out, result), (stream("\n", &[both]).into_bytes(), Ok(())));
        assert_eq!(scanner.usage().map(|usage| usage.output), Some(1));
        // Moonshot puts the usage into the choice.
        let inside = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\
                      \"usage\":{\"prompt_tokens\":2,\"completion_tokens\":5}}]}";
        assert_eq!(run(&stream("\n", &[inside]), &[], true).2.usage().map(|usage| usage.output), Some(5));
    }

    #[test]
    fn data_in_several_lines_is_one_event() {
        let text = "data: {\"choices\":\ndata: [{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(run(text, &[], true).1, Ok(()));
    }
}
