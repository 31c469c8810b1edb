//! Files that prove themselves: content, a CRC-32 for each 64 KiB of it, and a trailer with length, version and magic.
//! Invariant: one changed bit or a missing byte anywhere in the file is an error, with the block where it can be told;
//! nothing of the content is looked at before all of it was checked.
//!
//! ```text
//! content | crc32 of each block | length u64, version u32, crc32 of the table u32, crc32 of the other 28 bytes u32, 0 u32, magic [8]
//! ```

use crate::{IndexError, error::Damage};

/// Bytes of content under one sum.
pub(crate) const BLOCK: usize = 65_536;
/// The version of all files of an index. It rises with every change of their layout, and with every change of how words
/// are cut, stemmed or weighed, for an index answers as its canaries recorded. Older ones are made anew from their texts.
pub(crate) const FORMAT: u32 = 1;
const TRAILER: usize = 32;
const SUM_AT: std::ops::Range<usize> = 16..20;

/// What a file is; the name says so and the magic too, so that one cannot stand for another.
pub(crate) type Magic = [u8; 8];

/// The file of a content.
pub(crate) fn seal(mut content: Vec<u8>, magic: Magic) -> Vec<u8> {
    let length = content.len() as u64;
    let sums: Vec<u8> =
        content.chunks(BLOCK).flat_map(|block| crc32fast::hash(block).to_le_bytes()).collect();
    let mut trailer = [0; TRAILER];
    trailer[..8].copy_from_slice(&length.to_le_bytes());
    trailer[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    trailer[12..16].copy_from_slice(&crc32fast::hash(&sums).to_le_bytes());
    trailer[24..].copy_from_slice(&magic);
    let sum = trailer_sum(&trailer);
    trailer[SUM_AT].copy_from_slice(&sum.to_le_bytes());
    content.reserve_exact(sums.len() + TRAILER);
    content.extend_from_slice(&sums);
    content.extend_from_slice(&trailer);
    content
}

fn trailer_sum(trailer: &[u8; TRAILER]) -> u32 {
    let mut others = *trailer;
    others[SUM_AT].fill(0);
    crc32fast::hash(&others)
}

/// The content of a file.
pub(crate) fn unseal(mut file: Vec<u8>, magic: Magic, name: &str) -> Result<Vec<u8>, IndexError> {
    let damage = |what| Damage::of(name, what);
    let (rest, trailer) = file.split_last_chunk::<TRAILER>().ok_or_else(|| damage("cut short"))?;
    if u32_at(trailer, SUM_AT.start) != Some(trailer_sum(trailer)) {
        return Err(damage("its trailer is not as it was written").into());
    }
    if trailer[24..] != magic {
        return Err(damage("it is another file").into());
    }
    let found = u32_at(trailer, 8).unwrap_or_default();
    if found != FORMAT {
        return Err(IndexError::Format { found, known: FORMAT });
    }
    let length = u64_at(trailer, 0).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| {
        let sums = length.div_ceil(BLOCK).checked_mul(4);
        sums.and_then(|sums| sums.checked_add(*length)) == Some(rest.len())
    });
    let length = length.ok_or_else(|| damage("not as long as it was written"))?;
    let (content, sums) = rest.split_at(length);
    if u32_at(trailer, 12) != Some(crc32fast::hash(sums)) {
        return Err(damage("its table of sums is not as it was written").into());
    }
    for (at, (block, sum)) in content.chunks(BLOCK).zip(sums.chunks(4)).enumerate() {
        if crc32fast::hash(block).to_le_bytes() != *sum {
            let block = Some(at as u64);
            return Err(
                Damage { file: name.to_owned(), block, what: "the block is not as it was written" }.into()
            );
        }
    }
    file.truncate(length);
    Ok(file)
}

/// The number at a place; nothing past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number at a place; nothing past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: Magic = *b"PCTESTS\n";

    #[test]
    fn every_flipped_bit_and_every_cut_is_found_and_a_flip_in_the_content_has_an_address() {
        for length in [0, 1, 1000, BLOCK, BLOCK + 1] {
            let content: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let file = seal(content.clone(), MAGIC);
            assert_eq!(unseal(file.clone(), MAGIC, "f").unwrap(), content);
            let step = if length > 2000 { 997 } else { 1 };
            for at in (0..file.len()).step_by(step).chain(file.len() - 40.min(file.len())..file.len()) {
                for bit in 0..8 {
                    let mut bad = file.clone();
                    bad[at] ^= 1 << bit;
                    let found = unseal(bad, MAGIC, "f");
                    assert!(found.is_err(), "length {length}, byte {at}, bit {bit}");
                    if at < length {
                        let Err(IndexError::Damaged(damage)) = found else { panic!("no damage") };
                        assert_eq!(damage.block, Some((at / BLOCK) as u64));
                    }
                }
                assert!(unseal(file[..at].to_vec(), MAGIC, "f").is_err());
            }
        }
        assert!(unseal(seal(vec![1], *b"PCOTHER\n"), MAGIC, "f").is_err());
    }
}
