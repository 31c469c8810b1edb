//! `chunks.zst`: the passages as lines of JSON, packed into zstd frames, a table of frames and a short row for each
//! passage. Only table and rows stay in memory; a text is read when somebody is shown it. Invariants: rows name
//! documents that exist, in rising order; a frame is unpacked only when its sum is right, and never to more than its
//! recorded length, which is bounded.

use super::sealed::{Magic, seal, u32_at, u64_at, unseal};
use crate::{Chunk, IndexError, Language, error::Damage};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fs::File, os::unix::fs::FileExt as _};

pub(crate) const CHUNKS: &str = "chunks.zst";
const MAGIC: Magic = *b"PCCHUNK\n";
/// Unpacked bytes after which a frame is closed.
const FRAME: usize = 32 * 1024;
/// Largest unpacked frame: one passage may be long.
const MAX_FRAME: usize = 64 << 20;
const LEVEL: i32 = 3;
const ROW: usize = 12;
const FRAME_ROW: usize = 24;

/// What search needs of a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) document: u32,
    pub(crate) ordinal: u32,
    pub(crate) language: Language,
    pub(crate) flagged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    at: u64,
    packed: u32,
    unpacked: u32,
    crc: u32,
    first: u32,
}

/// The passages.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) marks: Vec<Mark>,
    frames: Vec<Frame>,
    source: Source,
}

/// Where packed passages are read from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The file of a generation.
    File(File),
    /// All of the file, of a generation that is nowhere on disk.
    Memory(Vec<u8>),
}

impl Source {
    fn read(&self, bytes: &mut [u8], at: u64) -> bool {
        match self {
            Self::File(file) => file.read_exact_at(bytes, at).is_ok(),
            Self::Memory(all) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let part = all.get(from..).and_then(|rest| rest.get(..bytes.len()));
                part.map(|part| bytes.copy_from_slice(part)).is_some()
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    c: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    h: Vec<Cow<'a, str>>,
}

/// The file of these passages.
pub(crate) fn write(chunks: &[Chunk]) -> Result<Vec<u8>, IndexError> {
    let (mut out, mut frames, mut open, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0_u32);
    for (at, chunk) in (0_u32..).zip(chunks) {
        let line = Line {
            t: Cow::Borrowed(&chunk.text),
            c: (chunk.chars.start, chunk.chars.end),
            p: chunk.pages,
            h: chunk.heading.iter().map(|line| Cow::Borrowed(line.as_str())).collect(),
        };
        serde_json::to_writer(&mut open, &line).map_err(|_| IndexError::Contents("a passage is no text"))?;
        open.push(b'\n');
        if open.len() >= FRAME {
            frames.push(close(&mut out, &mut open, first)?);
            first = at + 1;
        }
    }
    if !open.is_empty() {
        frames.push(close(&mut out, &mut open, first)?);
    }
    let frames_at = out.len() as u64;
    for Frame { at, packed, unpacked, crc, first } in &frames {
        out.extend(at.to_le_bytes());
        for number in [packed, unpacked, crc, first] {
            out.extend(number.to_le_bytes());
        }
    }
    for chunk in chunks {
        let code = chunk.language.code().as_bytes();
        out.extend(chunk.document.to_le_bytes());
        out.extend(chunk.ordinal.to_le_bytes());
        out.extend([
            code.first().copied().unwrap_or_default(),
            code.get(1).copied().unwrap_or_default(),
            u8::from(chunk.flagged),
            0,
        ]);
    }
    out.extend(frames_at.to_le_bytes());
    out.extend((frames.len() as u64).to_le_bytes());
    Ok(seal(out, MAGIC))
}

fn close(out: &mut Vec<u8>, open: &mut Vec<u8>, first: u32) -> Result<Frame, IndexError> {
    let too_long = || IndexError::Contents("a passage is longer than an index takes");
    if open.len() > MAX_FRAME {
        return Err(too_long());
    }
    let packed = zstd::bulk::compress(open, LEVEL).map_err(|_| too_long())?;
    let frame = Frame {
        at: out.len() as u64,
        packed: u32::try_from(packed.len()).map_err(|_| too_long())?,
        unpacked: u32::try_from(open.len()).map_err(|_| too_long())?,
        crc: crc32fast::hash(&packed),
        first,
    };
    out.extend(packed);
    open.clear();
    Ok(frame)
}

impl Texts {
    /// From the bytes of the file; texts are read from `source` later.
    pub(crate) fn load(
        bytes: Vec<u8>,
        source: Source,
        chunks: usize,
        documents: usize,
    ) -> Result<Self, IndexError> {
        let content = unseal(bytes, MAGIC, CHUNKS)?;
        let read = || {
            let tail = content.len().checked_sub(16)?;
            let frames_at = usize::try_from(u64_at(&content, tail)?).ok()?;
            let frames = usize::try_from(u64_at(&content, tail + 8)?).ok()?;
            let rows_at = frames_at.checked_add(frames.checked_mul(FRAME_ROW)?)?;
            if rows_at.checked_add(chunks.checked_mul(ROW)?)? != tail {
                return None;
            }
            let marks = rows(content.get(rows_at..tail)?, documents)?;
            Some((table(content.get(frames_at..rows_at)?, frames_at, chunks)?, marks))
        };
        let (frames, marks) = read().ok_or_else(|| Damage::of(CHUNKS, "its tables contradict each other"))?;
        Ok(Self { marks, frames, source })
    }

    /// A passage, as it was given.
    pub(crate) fn chunk(&self, n: u32) -> Result<Chunk, IndexError> {
        let missing = || Damage::of(CHUNKS, "there is no such passage");
        let mark = self.marks.get(n as usize).ok_or_else(missing)?;
        let after = self.frames.partition_point(|frame| frame.first <= n);
        let frame = after.checked_sub(1).and_then(|at| self.frames.get(at)).ok_or_else(missing)?;
        let unpacked = self.unpack(frame)?;
        let line = unpacked.split(|byte| *byte == b'\n').nth((n - frame.first) as usize);
        parse(line.ok_or_else(missing)?, mark)
    }

    /// All passages, in order.
    pub(crate) fn all(&self) -> Result<Vec<Chunk>, IndexError> {
        let mut out = Vec::with_capacity(self.marks.len());
        for (at, frame) in self.frames.iter().enumerate() {
            let next = self.frames.get(at + 1).map_or(self.marks.len(), |next| next.first as usize);
            let unpacked = self.unpack(frame)?;
            let marks = self.marks.get(frame.first as usize..next).unwrap_or_default();
            let mut lines = unpacked.split(|byte| *byte == b'\n');
            for mark in marks {
                let line = lines.next().unwrap_or_default();
                out.push(parse(line, mark)?);
            }
        }
        Ok(out)
    }

    fn unpack(&self, frame: &Frame) -> Result<Vec<u8>, IndexError> {
        let damage = |what| {
            let block = Some(frame.at / super::sealed::BLOCK as u64);
            IndexError::from(Damage { file: CHUNKS.to_owned(), block, what })
        };
        let mut packed = vec![0; frame.packed as usize];
        if !self.source.read(&mut packed, frame.at) {
            return Err(damage("cannot be read"));
        }
        if crc32fast::hash(&packed) != frame.crc {
            return Err(damage("the passages are not as they were written"));
        }
        let unpacked = zstd::bulk::decompress(&packed, frame.unpacked as usize).ok();
        unpacked
            .filter(|unpacked| unpacked.len() == frame.unpacked as usize)
            .ok_or_else(|| damage("does not unpack"))
    }
}

fn table(bytes: &[u8], end: usize, chunks: usize) -> Option<Vec<Frame>> {
    let mut frames: Vec<Frame> = Vec::with_capacity(bytes.len() / FRAME_ROW);
    let mut place = 0;
    for row in bytes.chunks_exact(FRAME_ROW) {
        let number = |at| u32_at(row, at);
        let frame = Frame {
            at: u64_at(row, 0)?,
            packed: number(8)?,
            unpacked: number(12)?,
            crc: number(16)?,
            first: number(20)?,
        };
        let in_order = frames.last().map_or(frame.first == 0, |last| last.first < frame.first);
        let fits =
            frame.at == place && frame.unpacked as usize <= MAX_FRAME && (frame.first as usize) < chunks;
        if !in_order || !fits {
            return None;
        }
        place += u64::from(frame.packed);
        frames.push(frame);
    }
    (place == end as u64 && frames.is_empty() == (chunks == 0)).then_some(frames)
}

fn rows(bytes: &[u8], documents: usize) -> Option<Vec<Mark>> {
    let mut marks: Vec<Mark> = Vec::with_capacity(bytes.len() / ROW);
    for row in bytes.chunks_exact(ROW) {
        let code = if row[8] == 0 { "" } else { std::str::from_utf8(&row[8..10]).ok()? };
        let flagged = row[10] == 1;
        let mark = Mark {
            document: u32_at(row, 0)?,
            ordinal: u32_at(row, 4)?,
            language: Language::from_code(code),
            flagged,
        };
        let after = marks.last().is_none_or(|last| last.document <= mark.document);
        if !after || mark.document as usize >= documents || row[10] > 1 {
            return None;
        }
        marks.push(mark);
    }
    Some(marks)
}

fn parse(line: &[u8], mark: &Mark) -> Result<Chunk, IndexError> {
    let line: Line<'_> =
        serde_json::from_slice(line).map_err(|_| Damage::of(CHUNKS, "a passage cannot be read"))?;
    Ok(Chunk {
        document: mark.document,
        ordinal: mark.ordinal,
        text: line.t.into_owned(),
        chars: line.c.0..line.c.1,
        pages: line.p,
        heading: line.h.into_iter().map(Cow::into_owned).collect(),
        language: mark.language,
        flagged: mark.flagged,
    })
}
