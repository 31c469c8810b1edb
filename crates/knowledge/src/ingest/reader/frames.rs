//! What goes through the pipes: first the bounds, then one file after the other, each a short JSON head and its bytes;
//! back comes one JSON answer for each. Blocking on the side of the reading process, which has no other work.

use super::confine::{self, Confinement};
use crate::{
    config::KnowledgeConfig,
    ingest::extract::{Extracted, Hint, Limits, Refusal, extract},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};

/// Longest head in bytes.
const MOST_HEAD: u32 = 64 * 1024;
/// Most bytes that JSON makes of one byte of text, and what stands around it.
const JSON_GROWTH: u64 = 6;
const JSON_AROUND: u64 = 64 << 20;

/// The bounds of a reading process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// How much of one file is taken.
    pub limits: Limits,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Seconds for one file.
    pub secs: u64,
}

impl From<&KnowledgeConfig> for Setup {
    fn from(config: &KnowledgeConfig) -> Self {
        Self {
            limits: Limits::from(config),
            memory_bytes: config.extract_memory_bytes,
            secs: config.extract_secs,
        }
    }
}

impl Setup {
    /// The longest answer that is believed.
    pub(super) const fn most_answer(&self) -> u64 {
        self.limits.text_bytes.saturating_mul(JSON_GROWTH).saturating_add(JSON_AROUND)
    }
}

/// The head of one file.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) hint: Hint,
}

/// Length of head, head, length of bytes, bytes.
pub(super) fn encode(head: &impl Serialize, bytes: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).unwrap_or_default();
    let mut out = Vec::with_capacity(head.len() + bytes.len() + 12);
    out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

/// Reads a frame; nothing at the end of the pipe.
fn decode<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > MOST_HEAD {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut head = vec![0; length as usize];
    input.read_exact(&mut head)?;
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    input.take(u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
    Ok(Some((serde_json::from_slice(&head)?, bytes)))
}

/// The answer of a reading process.
pub(super) fn answer(body: &[u8]) -> io::Result<Result<Extracted, Refusal>> {
    let answer: Result<Extracted, Refusal> = serde_json::from_slice(body)?;
    // What a process may have been made to say is checked before it is used as a position.
    let sound = |extracted: &Extracted| {
        extracted.blocks.iter().all(|block| (block.section as usize) < extracted.sections.len())
    };
    match answer {
        Ok(extracted) if !sound(&extracted) => Err(io::ErrorKind::InvalidData.into()),
        answer => Ok(answer),
    }
}

/// The reading process: confines itself, then reads files until the pipe ends.
///
/// # Errors
/// The pipes; a limit that the system does not grant.
pub fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let Some((setup, _)) = decode::<Setup>(&mut input)? else { return Ok(()) };
    let mut output = confine::own_output()?;
    let confined = Confinement::enter(setup.memory_bytes)?;
    while let Some((request, bytes)) = decode::<Request>(&mut input)? {
        confined.grant(setup.secs)?;
        let answer = extract(&bytes, &request.hint, &setup.limits);
        drop(bytes);
        let body = serde_json::to_vec(&answer)?;
        output.write_all(&(body.len() as u64).to_le_bytes())?;
        output.write_all(&body)?;
        output.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_through_and_the_end_of_the_pipe_is_the_end() {
        let hint = Hint { extension: "md".to_owned(), charset: None };
        let mut pipe = encode(&Request { hint: hint.clone() }, b"bytes");
        pipe.extend(encode(&Request { hint: hint.clone() }, b""));
        let mut input = pipe.as_slice();
        let (first, bytes) = decode::<Request>(&mut input).unwrap().unwrap();
        assert_eq!((first.hint, bytes.as_slice()), (hint, b"bytes".as_slice()));
        assert!(decode::<Request>(&mut input).unwrap().is_some_and(|(_, bytes)| bytes.is_empty()));
        assert!(decode::<Request>(&mut input).unwrap().is_none());
        assert!(decode::<Request>(&mut [255_u8; 12].as_slice()).is_err());
    }

    #[test]
    fn an_answer_that_points_outside_itself_is_not_believed() {
        let refused: Result<Extracted, Refusal> = Err(Refusal::TooLarge("x".to_owned()));
        assert_eq!(answer(&serde_json::to_vec(&refused).unwrap()).unwrap(), refused);
        let liar = br#"{"Ok":{"sections":[[]],"blocks":[{"kind":"paragraph","section":7,"text":"x"}]}}"#;
        assert!(answer(liar).is_err());
        assert!(answer(b"{").is_err());
    }
}
