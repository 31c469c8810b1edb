//! What a generation consists of, and the one word that says which generation is current. Invariant: both are read only
//! in the very bytes that we would write, so that no changed bit is overlooked.

use super::sealed::FORMAT;
use crate::{IndexError, Space, error::Damage};
use serde::{Deserialize, Serialize};

/// Name of the file.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Name of the file that names the current generation.
pub(crate) const CURRENT: &str = "CURRENT";
/// Largest manifest that is read, in bytes.
pub(crate) const MANIFEST_BYTES: u64 = 1 << 20;

/// `CURRENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Current {
    /// Which generation.
    pub(crate) generation: u64,
    /// Sum of its manifest, in hex.
    pub(crate) manifest_blake3: String,
}

impl Current {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        out.push(b'\n');
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, IndexError> {
        let read = serde_json::from_slice::<Self>(bytes).ok();
        read.filter(|read| read.to_bytes() == bytes)
            .ok_or_else(|| Damage::of(CURRENT, "not as it was written").into())
    }
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSum {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Of all of its bytes, in hex.
    pub(crate) blake3: String,
}

/// A question whose best passage is known: the passage's own first words and its own vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Canary {
    pub(crate) query: String,
    /// Passage whose vector asks.
    pub(crate) asker: u32,
    /// CRC-32 of that vector as it lies in the file; 0 without vectors.
    pub(crate) query_vector_crc: u32,
    /// Passage that is found first.
    pub(crate) top_chunk: u32,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) generation: u64,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Space of the vectors; none without vectors.
    pub(crate) embedder: Option<Space>,
    pub(crate) documents: u64,
    pub(crate) chunks: u64,
    /// Whether there is a list of pieces of words.
    pub(crate) grams: bool,
    pub(crate) files: Vec<FileSum>,
    pub(crate) canaries: Vec<Canary>,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    blake3: String,
}

impl Manifest {
    /// One line of JSON and one with its sum.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        let seal = Seal { blake3: sum(&out) };
        out.push(b'\n');
        out.extend(serde_json::to_vec(&seal).unwrap_or_default());
        out.push(b'\n');
        out
    }

    /// Reads and checks it; another format is told apart from damage.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, IndexError> {
        let damage = || IndexError::from(Damage::of(MANIFEST, "not as it was written"));
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let seal = serde_json::to_vec(&Seal { blake3: sum(line) }).unwrap_or_default();
        if bytes.get(line.len()..) != Some(&[b"\n", &seal[..], b"\n"].concat()[..]) {
            return Err(damage());
        }
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(line).map_err(|_| damage())?;
        if format != FORMAT {
            return Err(IndexError::Format { found: format, known: FORMAT });
        }
        serde_json::from_slice(line).map_err(|_| damage())
    }
}

/// BLAKE3 in hex.
pub(crate) fn sum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
