//! Fresh ids: the wall clock and 80 random bits from the operating system's generator, reseeded per thread.

use jiff::Timestamp;
use portcullis_domain::{Incident, RequestId};

pub(crate) fn request() -> RequestId {
    RequestId::from_parts(now_ms(), rand::random())
}

pub(crate) fn incident() -> Incident {
    Incident::from_parts(now_ms(), rand::random())
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}
