//! What may go wrong with an index. The words are for the operator; doors get a `Failure`.

use portcullis_store::files::FileError;

/// A place in a generation that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The file in the generation's folder.
    pub file: String,
    /// The block of 64 KiB, from 0, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// What is wrong.
    pub what: &'static str,
}

impl Damage {
    /// Of a whole file.
    #[must_use]
    pub fn of(file: &str, what: &'static str) -> Self {
        Self { file: file.to_owned(), block: None, what }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(block) = self.block {
            write!(f, ", block {block}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why an index cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is not as it was written; nothing of it was used.
    #[error("the index is damaged ({0})")]
    Damaged(Damage),
    /// Another version wrote it.
    #[error(
        "the index has format {found}, this version reads {known}: use the newer Portcullis, or `portcullis index rebuild`"
    )]
    Format {
        /// As the file says.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It would take more memory than allowed.
    #[error("the index has {bytes} bytes, knowledge.max_index_bytes allows {limit}")]
    TooLarge {
        /// Of its files.
        bytes: u64,
        /// The setting.
        limit: u64,
    },
    /// What is to be indexed contradicts itself; nothing was written.
    #[error("the contents cannot be indexed: {0}")]
    Contents(&'static str),
    /// Another machine published meanwhile, and what was to be published knows nothing of it.
    #[error("another machine published meanwhile; nothing was changed: do it again")]
    Overtaken,
    /// There is no such generation, or none at all.
    #[error("there is no such generation")]
    Missing,
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database of a collection that is kept there.
    #[error(transparent)]
    Store(#[from] portcullis_store::StoreError),
    /// Publishing was ended between two steps, as if the process had died. For tests.
    #[error("stopped before {0}")]
    Stopped(&'static str),
}

impl From<Damage> for IndexError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
