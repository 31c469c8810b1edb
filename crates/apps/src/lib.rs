//! What Portcullis does for people: chat.
