//! HTML and XML into tokens and a tree, as far as reading needs it. Nothing is refused: what a browser or a feed reader
//! would read is read. Invariant: one pass; work and memory are linear in the size of the text, whatever it is made of
//! (deep nesting, a million attributes, unclosed elements, entities that expand); no recursion.
//! Source: HTML standard 13.2.5 (tokens) and 13.2.6 (which tags close which); XML 1.0, of which the document type and
//! what it declares are skipped.

mod entities;
#[cfg(test)]
mod tests;
mod token;
mod tree;

pub(crate) use tree::{Element, Kind, Tree, is_block, is_inline};
