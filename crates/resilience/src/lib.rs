//! The way out and the limits of Portcullis.
