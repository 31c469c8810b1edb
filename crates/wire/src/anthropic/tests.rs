//! Anthropic's format, read and written.

use super::{Reader, read_answer, read_request};
use proptest::prelude::*;

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read_request(&bytes));
        drop(read_answer(&bytes));
        drop(super::look_whole(&bytes));
        drop(super::look_event(&bytes));
        drop(Reader::default().event(&bytes, &mut Vec::new()));
    }
}
