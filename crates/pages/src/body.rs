//! Reading a page: inflated as it comes, and counted inflated. Invariant: no more than the limit is ever held, whatever
//! the site declares or packs. Source: RFC 9110 section 8.4.

use crate::PageError;
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use std::io::{self, Write};

/// What we can read; sent with every request.
pub(crate) const ACCEPTED: &str = "gzip, deflate";

/// Bytes up to a limit; more is an error.
#[derive(Debug)]
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Capped {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(&more[..more.len().min(room)]);
        self.full |= more.len() > room;
        if self.full { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(more.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the bytes are packed.
#[derive(Debug)]
enum Unpack {
    Plain(Capped),
    Gzip(MultiGzDecoder<Capped>),
    /// `deflate`: zlib by the standard, raw by habit; the first byte tells.
    Either(Capped),
    Zlib(ZlibDecoder<Capped>),
    Raw(DeflateDecoder<Capped>),
}

impl Unpack {
    fn new(headers: &HeaderMap, limit: usize) -> Option<Self> {
        let capped = Capped { bytes: Vec::new(), limit, full: false };
        let Some(said) = headers.get(header::CONTENT_ENCODING) else { return Some(Self::Plain(capped)) };
        match said.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Plain(capped)),
            "gzip" | "x-gzip" => Some(Self::Gzip(MultiGzDecoder::new(capped))),
            "deflate" => Some(Self::Either(capped)),
            _ => None,
        }
    }

    fn add(self, chunk: &[u8]) -> (Self, io::Result<()>) {
        let mut this = match (self, chunk.first()) {
            (Self::Either(capped), Some(first)) if first & 0x0f == 8 => Self::Zlib(ZlibDecoder::new(capped)),
            (Self::Either(capped), Some(_)) => Self::Raw(DeflateDecoder::new(capped)),
            (other, _) => other,
        };
        let written = match &mut this {
            Self::Plain(to) | Self::Either(to) => to.write_all(chunk),
            Self::Gzip(to) => to.write_all(chunk),
            Self::Zlib(to) => to.write_all(chunk),
            Self::Raw(to) => to.write_all(chunk),
        };
        (this, written)
    }

    fn capped(&mut self) -> &mut Capped {
        match self {
            Self::Plain(to) | Self::Either(to) => to,
            Self::Gzip(to) => to.get_mut(),
            Self::Zlib(to) => to.get_mut(),
            Self::Raw(to) => to.get_mut(),
        }
    }

    /// Whether the end of the packing has come, as it must.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Either(_) => Ok(()),
            Self::Gzip(to) => to.try_finish(),
            Self::Zlib(to) => to.try_finish(),
            Self::Raw(to) => to.try_finish(),
        }
    }
}

/// What to do with more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Refuse it all.
    Refuse,
    /// Read no further.
    Cut,
}

/// Reads a body whole. Whoever calls bounds the time.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    excess: Excess,
) -> Result<Bytes, PageError>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut unpack = Unpack::new(headers, limit).ok_or(PageError::Broken)?;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit && excess == Excess::Refuse {
        return Err(PageError::TooLarge(limit));
    }
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| PageError::Broken)?.into_data() else { continue };
        let written;
        (unpack, written) = unpack.add(&chunk);
        if unpack.capped().full {
            return match excess {
                Excess::Refuse => Err(PageError::TooLarge(limit)),
                Excess::Cut => Ok(std::mem::take(&mut unpack.capped().bytes).into()),
            };
        }
        written.map_err(|_| PageError::Broken)?;
    }
    let finished = unpack.finish();
    if unpack.capped().full && excess == Excess::Refuse {
        return Err(PageError::TooLarge(limit));
    }
    finished.map_err(|_| PageError::Broken)?;
    Ok(std::mem::take(&mut unpack.capped().bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use http_body_util::Full;

    async fn told(
        coding: Option<&str>,
        bytes: Vec<u8>,
        limit: usize,
        excess: Excess,
    ) -> Result<Bytes, PageError> {
        let coding = coding.map(|coding| (header::CONTENT_ENCODING, coding.parse().unwrap()));
        let headers: HeaderMap = coding.into_iter().collect();
        read(&headers, Full::new(Bytes::from(bytes)), limit, excess).await
    }

    fn packed(text: &[u8]) -> [(&'static str, Vec<u8>); 3] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::best());
        for to in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
            to.write_all(text).unwrap();
        }
        [
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
        ]
    }

    #[tokio::test]
    async fn every_packing_is_read_and_one_that_breaks_off_is_refused() {
        assert_eq!(told(None, b"plain".to_vec(), 5, Excess::Refuse).await.unwrap(), "plain");
        let text = "some words, some words, some words".repeat(100);
        for (coding, bytes) in packed(text.as_bytes()) {
            let half = bytes[..bytes.len() / 2].to_vec();
            assert_eq!(told(Some(coding), bytes, 10_000, Excess::Refuse).await.unwrap(), text.as_bytes());
            let cut = told(Some(coding), half, 10_000, Excess::Refuse).await;
            // Of these only gzip ends with a sum, so only of it a missing end is noticed.
            assert!(cut == Err(PageError::Broken) || coding == "deflate", "{coding}: {cut:?}");
        }
        for unknown in ["br", "gzip, gzip", "zstd"] {
            assert_eq!(told(Some(unknown), vec![1], 10, Excess::Refuse).await, Err(PageError::Broken));
        }
        assert_eq!(
            told(Some("gzip"), b"no gzip at all".to_vec(), 99, Excess::Refuse).await,
            Err(PageError::Broken)
        );
    }

    #[tokio::test]
    async fn size_is_counted_after_unpacking_and_a_bomb_ends_at_the_limit() {
        for (coding, bytes) in packed(&vec![b'x'; 64 << 20]) {
            assert!(bytes.len() < 100_000);
            let refused = told(Some(coding), bytes.clone(), 1 << 20, Excess::Refuse).await;
            assert_eq!(refused, Err(PageError::TooLarge(1 << 20)));
            let cut = told(Some(coding), bytes, 1 << 20, Excess::Cut).await.unwrap();
            assert_eq!(cut.len(), 1 << 20);
        }
        assert_eq!(told(None, vec![b'x'; 11], 10, Excess::Refuse).await, Err(PageError::TooLarge(10)));
        assert_eq!(told(None, vec![b'x'; 11], 10, Excess::Cut).await.unwrap().len(), 10);
    }
}
