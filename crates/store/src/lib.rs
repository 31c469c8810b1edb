//! The only owner of persistent state in Portcullis.
