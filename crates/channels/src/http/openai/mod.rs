//! The OpenAI wire at the door: decoding what comes in, and the error schema of what goes out.

pub(super) mod decode;
pub(super) mod render;
pub(super) mod responses;
