//! Reading a request's body: bounded in bytes (counted inflated), in time, and in form. Invariant: no more than the
//! limit is ever held, whatever the sender declares. Source: gateway.md section 1; RFC 9110 sections 8.3, 8.4.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use portcullis_domain::{Deadline, Failure, InputCode};
use std::{io::Read, time::Duration};

/// Bounds of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Most bytes, after inflating.
    pub(super) max_bytes: usize,
    /// Longest time from the first byte to the last.
    pub(super) timeout: Duration,
}

fn refuse(code: InputCode, message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::InvalidInput { code, message: message.into(), param: None }
}

fn too_large(max_bytes: usize) -> Failure {
    refuse(InputCode::TooLarge, format!("The body is larger than the {max_bytes} bytes allowed."))
}

/// Reads a JSON body whole.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    deadline: Deadline,
) -> Result<Bytes, Failure> {
    check_type(headers)?;
    read(headers, body, limits, deadline).await
}

/// Reads a body whole, whatever it is.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    deadline: Deadline,
) -> Result<Bytes, Failure> {
    let coding = coding(headers)?;
    let until = deadline.within(limits.timeout).instant();
    let raw =
        tokio::time::timeout_at(until, collect(headers, body, limits.max_bytes)).await.map_err(|_| {
            refuse(InputCode::TooSlow, "The body came too slowly; send it within the time allowed.")
        })??;
    match coding {
        Coding::Identity => Ok(raw),
        Coding::Gzip => inflate(MultiGzDecoder::new(&raw[..]), limits.max_bytes),
        Coding::Deflate => inflate(ZlibDecoder::new(&raw[..]), limits.max_bytes),
    }
}

enum Coding {
    Identity,
    Gzip,
    Deflate,
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json") {
        Ok(())
    } else {
        Err(refuse(InputCode::UnsupportedMedia, "Send the body as application/json."))
    }
}

fn coding(headers: &HeaderMap) -> Result<Coding, Failure> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("identity" | "") => Ok(Coding::Identity),
        Some("gzip" | "x-gzip") => Ok(Coding::Gzip),
        Some("deflate") => Ok(Coding::Deflate),
        Some(_) => {
            Err(refuse(InputCode::UnsupportedMedia, "Content-Encoding must be gzip, deflate or identity."))
        }
    }
}

async fn collect(headers: &HeaderMap, mut body: Body, max_bytes: usize) -> Result<Bytes, Failure> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(too_large(max_bytes));
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| refuse(InputCode::InvalidValue, "The body broke off before its end."))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > max_bytes {
            return Err(too_large(max_bytes));
        }
        match &first {
            // A small body comes in one frame and is then never copied.
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    // What is declared may be a lie: reserve by it only up to a step.
                    rest.reserve(declared.unwrap_or(0).clamp(length, RESERVE_BYTES.max(length)));
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

/// How far a declared length is believed before the bytes have come.
const RESERVE_BYTES: usize = 1 << 20;

fn inflate(decoder: impl Read, max_bytes: usize) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    decoder
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| refuse(InputCode::InvalidValue, "The compressed body is damaged."))?;
    if out.len() > max_bytes { Err(too_large(max_bytes)) } else { Ok(out.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    const LIMITS: BodyLimits = BodyLimits { max_bytes: 1000, timeout: Duration::from_secs(30) };

    async fn read(headers: &[(&'static str, &str)], body: Body) -> Result<Bytes, Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        read_json(&map, body, LIMITS, Deadline::after(Duration::from_secs(60))).await
    }

    fn code(result: Result<Bytes, Failure>) -> InputCode {
        match result {
            Err(Failure::InvalidInput { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_declared_or_inflated_beyond_the_limit_is_refused() {
        assert_eq!(read(&[], Body::from("{}")).await.unwrap(), "{}");
        assert_eq!(code(read(&[("content-length", "1001")], Body::from("{}")).await), InputCode::TooLarge);
        assert_eq!(code(read(&[], Body::from(vec![b' '; 1001])).await), InputCode::TooLarge);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b' '; 500_000]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1000, "small enough to pass while compressed");
        assert_eq!(code(read(&[("content-encoding", "gzip")], Body::from(bomb)).await), InputCode::TooLarge);
    }

    #[tokio::test]
    async fn only_json_in_codings_we_know_is_read() {
        assert_eq!(
            code(read(&[("content-type", "text/plain")], Body::empty()).await),
            InputCode::UnsupportedMedia
        );
        assert_eq!(
            code(read(&[("content-encoding", "br")], Body::empty()).await),
            InputCode::UnsupportedMedia
        );
        assert!(read(&[("content-type", "application/json; charset=utf-8")], Body::from("{}")).await.is_ok());
        let mut good = GzEncoder::new(Vec::new(), Compression::fast());
        good.write_all(b"{\"a\":1}").unwrap();
        let good = Body::from(good.finish().unwrap());
        assert_eq!(read(&[("content-encoding", "gzip")], good).await.unwrap(), "{\"a\":1}");
        assert_eq!(
            code(read(&[("content-encoding", "gzip")], Body::from("junk")).await),
            InputCode::InvalidValue
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_at_the_time_limit() {
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        assert_eq!(code(read(&[], Body::from_stream(drops)).await), InputCode::TooSlow);
    }
}
