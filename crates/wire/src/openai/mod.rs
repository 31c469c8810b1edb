//! OpenAI's chat completions and embeddings.

use crate::{
    Head, Odd, Written,
    look::{Glance, Seen},
};
use bytes::{Bytes, BytesMut};
use portcullis_domain::{Completion, Conversation, Failure, Member, Step, Vectors};

/// Reads a request.
///
/// # Errors
/// `InvalidInput` naming the member.
pub fn read_request(_body: &[u8]) -> Result<Conversation, Failure> {
    Err(Failure::NotFound("This format is not offered here.".into()))
}

/// Writes a request.
#[must_use]
pub fn write_request(_conversation: &Conversation, _model: &str) -> Written {
    Written { body: Bytes::new(), dropped: Vec::new() }
}

/// What a member is called here.
#[must_use]
pub const fn member_name(_member: Member) -> &'static str {
    "member"
}

/// Reads a whole answer.
#[must_use]
pub fn read_answer(_body: &[u8]) -> Option<Completion> {
    None
}

/// Writes a whole answer.
#[must_use]
pub fn write_answer(_answer: &Completion, _head: &Head) -> Bytes {
    Bytes::new()
}

/// Looks at one event.
///
/// # Errors
/// [`Odd`].
pub fn look_event(_data: &[u8]) -> Result<Seen, Odd> {
    Err(Odd::WrongSchema)
}

/// Looks at a whole answer.
#[must_use]
pub fn look_whole(_body: &[u8]) -> Option<Glance> {
    None
}

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub struct Reader {}

impl Reader {
    pub(crate) fn event(&mut self, _data: &[u8], _out: &mut Vec<Step>) -> Result<(), Odd> {
        Err(Odd::WrongSchema)
    }
}

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    pub(crate) fn new(_head: Head) -> Self {
        Self {}
    }

    pub(crate) fn step(&mut self, _step: &Step, _out: &mut BytesMut) {}

    pub(crate) fn finish(&mut self, _out: &mut BytesMut) {}
}

/// Writes texts to embed.
#[must_use]
pub fn write_embed(_texts: &[impl AsRef<str>], _model: &str, _dimensions: Option<u32>) -> Bytes {
    Bytes::new()
}

/// Reads vectors.
#[must_use]
pub fn read_vectors(_body: &[u8]) -> Option<Vectors> {
    None
}

/// Writes vectors.
#[must_use]
pub fn write_vectors(_vectors: &Vectors, _encoding: portcullis_domain::Encoding) -> Bytes {
    Bytes::new()
}
