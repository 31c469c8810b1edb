//! Documents that answer: what is found in folders and on pages becomes text, chunks and vectors in a collection; a
//! collection is searched by words, by pieces of words and by meaning. Invariants: an answer comes from a generation
//! whose every byte was checked; a new generation replaces an old one whole or not at all; nothing here asks a
//! provider: who embeds is handed in as an [`Embedder`]. Source: ask design sections 4 to 6.

pub mod cache;
pub mod collection;
pub mod config;
pub mod embedder;
pub mod error;
pub mod eval;
pub mod index;
pub mod ingest;
pub mod language;
pub mod model;
pub mod search;
pub mod sentences;
pub mod text;

pub use cache::VectorCache;
pub use collection::{Collection, Library, PgCollection, Shelf, ShelfWriter, State, Writer};
pub use config::{Backend, Grams, KnowledgeConfig};
pub use embedder::{EmbedFailure, Embedder, Purpose, Space};
pub use error::{Damage, IndexError};
pub use index::Index;
pub use model::{Chunk, Contents, Document, Language};
pub use search::{Evidence, Found, Hit, Query, Question, follow_up};
