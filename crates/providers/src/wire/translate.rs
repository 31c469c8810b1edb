//! From the caller's format to the provider's and back, where they differ.
//!
//! Invariants: what the provider's format cannot say is named to the caller or, if the caller asked so, refused; an
//! answer is handed on only after it was understood whole. Source: gateway design section 8.

use super::scan::Broken;
use bytes::{Bytes, BytesMut};
use portcullis_domain::{Failure, Format, InputCode, Member, RequestId, Step};
use portcullis_wire::{
    Head, Odd, Reader, Writer,
    sse::{data_of, first_end},
};
use std::{borrow::Cow, collections::VecDeque};

/// Names of members, in the caller's words.
pub(crate) type Dropped = Vec<Cow<'static, str>>;

/// Most names of dropped members that are told; a header has bounds.
const MAX_NAMED: usize = 32;
/// Longest name of a dropped member that is told, in characters.
const MAX_NAME: usize = 64;

/// What was dropped, in the caller's words: members its format has and the target's lacks, and members nobody knows.
pub(crate) fn names(format: Format, dropped: &[Member], unheld: &[String]) -> Dropped {
    let known = dropped.iter().map(|member| Cow::Borrowed(portcullis_wire::member_name(format, *member)));
    // A caller's own text: only what may stand in a header, and short.
    let plain = |name: &&String| {
        name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]-".contains(&b))
    };
    let unknown = unheld.iter().filter(plain).map(|name| Cow::Owned(name.clone()));
    known.chain(unknown).take(MAX_NAMED).collect()
}

/// The refusal for a caller that wants nothing dropped.
pub(crate) fn strictly(dropped: &[Cow<'static, str>]) -> Option<Failure> {
    let first = dropped.first()?;
    Some(Failure::InvalidInput {
        code: InputCode::UnsupportedParameter,
        message: format!("This model cannot honour {}.", dropped.join(", ")).into(),
        param: Some(first.clone()),
    })
}

/// What an answer says about itself.
pub(crate) fn head(id: RequestId, include_usage: bool, request: &Bytes) -> Head {
    Head {
        id: id.as_str().trim_start_matches("req_").to_owned(),
        created: jiff::Timestamp::now().as_second(),
        include_usage,
        request: request.clone(),
    }
}

/// Turns a provider's events into the caller's.
#[derive(Debug)]
pub(crate) struct Translator {
    reader: Reader,
    writer: Writer,
    steps: Vec<Step>,
    finished: bool,
}

impl Translator {
    pub(crate) fn new(from: Format, to: Format, head: Head) -> Self {
        Self { reader: Reader::new(from), writer: Writer::new(to, head), steps: Vec::new(), finished: false }
    }

    /// Takes whole events.
    pub(crate) fn events(&mut self, mut events: &[u8], out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        let mut written = BytesMut::new();
        let mut result = Ok(());
        while !events.is_empty() && result.is_ok() {
            let (event, rest) = events.split_at(first_end(events).unwrap_or(events.len()));
            events = rest;
            let Some(data) = data_of(event) else { continue };
            result = self.reader.event(&data, &mut self.steps).map_err(|odd| match odd {
                Odd::WrongSchema => Broken::WrongSchema,
                Odd::Error(body) => Broken::Error(body),
            });
            for step in self.steps.drain(..) {
                self.writer.step(&step, &mut written);
            }
        }
        out.extend((!written.is_empty()).then(|| written.freeze()));
        result
    }

    /// The answer is whole. Once.
    pub(crate) fn finish(&mut self, out: &mut VecDeque<Bytes>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let mut written = BytesMut::new();
        self.writer.finish(&mut written);
        out.extend((!written.is_empty()).then(|| written.freeze()));
    }
}
