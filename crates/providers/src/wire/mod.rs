//! temp
pub mod openai;
