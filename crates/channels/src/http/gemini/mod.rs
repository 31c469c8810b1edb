//! Google's format at the door: its verbs behind a colon, decoding what comes in, how answers are laid out, and the
//! error schema of what goes out.

mod array;
pub(super) mod decode;
pub(super) mod render;
mod verbs;

pub(super) use array::ArrayBody;
pub(super) use verbs::{Layout, asks, credential, of_path, one_vector, split};
