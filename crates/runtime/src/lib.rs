//! Settings, secrets, wiring, start, drain and shutdown of Portcullis.
