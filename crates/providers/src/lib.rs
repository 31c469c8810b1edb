//! AI providers: presets as data rows, wires as code, and the builtin ones that need no network.
pub mod builtin;
pub mod config;
pub mod presets;
pub mod wire;
