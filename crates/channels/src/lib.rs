//! The doors of Portcullis.
