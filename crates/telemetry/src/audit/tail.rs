//! How a trail's newest file ends: its last whole line, and what a crash left behind it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
};

/// Options of a file that only its owner reads.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// How a file ends.
pub(super) struct End {
    /// Its last whole line, without the line feed.
    pub(super) line: Option<Vec<u8>>,
    /// Bytes up to the end of that line.
    pub(super) whole: u64,
    /// What follows it.
    pub(super) torn: Vec<u8>,
}

impl End {
    /// Reads from the end, so that a large file costs nothing.
    pub(super) fn of(mut file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut window = 65_536;
        loop {
            let from = size.saturating_sub(window);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(size - from).read_to_end(&mut bytes)?;
            let last = bytes.iter().rposition(|byte| *byte == b'\n');
            let before = last.and_then(|last| bytes[..last].iter().rposition(|byte| *byte == b'\n'));
            if from > 0 && before.is_none() {
                window *= 2;
                continue;
            }
            let start = before.map_or(0, |at| at + 1);
            return Ok(Self {
                line: last.map(|last| bytes[start..last].to_vec()),
                whole: last.map_or(0, |last| from + last as u64 + 1),
                torn: bytes[last.map_or(0, |last| last + 1)..].to_vec(),
            });
        }
    }
}
