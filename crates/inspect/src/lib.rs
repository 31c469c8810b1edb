//! Sanitising, threat scoring and redaction of Portcullis, pure and bounded.
