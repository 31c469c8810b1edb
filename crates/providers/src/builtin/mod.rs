//! temp
pub mod minilm;
#[cfg(test)]
mod tests;
mod wordpiece;
