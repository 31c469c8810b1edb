//! Memory that only a start needed. A program's code and constants are mapped from its file as they are first used, and stay
//! counted as its memory until somebody else needs the room: parsing settings, building tables and opening a database leave
//! more of them behind than serving ever touches. Given back, what is needed again is mapped again from the page cache.
//! Invariant: only mappings of the program's own file that may not be written and hold no page of their own are given back.
//!
//! Source: madvise(2), `MADV_DONTNEED` on private file mappings; proc_pid_smaps(5).

use std::{fs, ops::Range, path::Path};

/// Gives back the pages of this program's own code and constants that are mapped; how many bytes were. Takes a few
/// milliseconds; the next use of each piece costs a page fault, some microseconds. Zero where the kernel does not tell
/// what is mapped, or is not Linux's.
#[must_use]
pub fn give_back_code() -> u64 {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return 0 };
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return 0 };
    own_code(&smaps, &program)
        .into_iter()
        .filter(|mapping| forget(mapping.place.clone()))
        .map(|mapping| mapping.resident)
        .sum()
}

/// A mapping that can be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    place: Range<usize>,
    /// Bytes of it in memory.
    resident: u64,
}

/// Mappings of the program's file that are read or run and never written, and hold nothing that differs from the file: what
/// the loader wrote (addresses) does, and so would code with a debugger's breakpoints.
fn own_code(smaps: &str, program: &Path) -> Vec<Mapping> {
    let mut all = Vec::new();
    let mut here: Option<(Range<usize>, u64)> = None;
    for line in smaps.lines() {
        if let Some(place) = header(line, program) {
            here = place.map(|place| (place, 0));
            continue;
        }
        let Some((place, resident)) = &mut here else { continue };
        if let Some(bytes) = kib(line, "Rss:") {
            *resident = bytes;
        } else if let Some(bytes) = kib(line, "Anonymous:") {
            if bytes == 0 && *resident > 0 {
                all.push(Mapping { place: place.clone(), resident: *resident });
            }
            here = None;
        }
    }
    all
}

/// Whether a line begins a mapping; if it is one of the program's that nobody may write, its place.
fn header(line: &str, program: &Path) -> Option<Option<Range<usize>>> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    let rights = words.next()?;
    let own = line.split_once('/').is_some_and(|(_, path)| Path::new("/").join(path) == program);
    let kept = !rights.starts_with('r') || rights.contains('w') || !rights.ends_with('p');
    Some((own && !kept).then_some(from..to))
}

/// The number of a line such as `Rss:   12 kB`, in bytes.
fn kib(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(target_os = "linux")]
fn forget(place: Range<usize>) -> bool {
    // SAFETY: the kernel has just said that this mapping is private, from a file, never written by us and without a page of
    // its own. Forgotten pages read as the file's bytes again, which are those that were there: a running program's file
    // cannot be written (ETXTBSY). No memory of Rust's lies in it but constants, which keep their bytes.
    let done = unsafe { libc::madvise(place.start as *mut libc::c_void, place.len(), libc::MADV_DONTNEED) };
    done == 0
}

#[cfg(not(target_os = "linux"))]
fn forget(_place: Range<usize>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d000000000-55d002000000 r--p 00000000 fe:00 1 /opt/the program\nRss:  100 kB\nAnonymous:  0 kB\n\
55d002000000-55d004000000 r-xp 02000000 fe:00 1 /opt/the program\nRss:  300 kB\nAnonymous:  0 kB\n\
55d004000000-55d005000000 r--p 04000000 fe:00 1 /opt/the program\nRss:  80 kB\nAnonymous:  80 kB\n\
55d005000000-55d006000000 rw-p 05000000 fe:00 1 /opt/the program\nRss:  8 kB\nAnonymous:  0 kB\n\
7f0000000000-7f0000100000 r-xp 00000000 fe:00 2 /lib/libc.so.6\nRss:  900 kB\nAnonymous:  0 kB\n\
7f0000100000-7f0000200000 rw-p 00000000 00:00 0 \nRss:  50 kB\nAnonymous:  50 kB\n";

    #[test]
    fn only_the_programs_own_unwritten_mappings_are_given_back() {
        let all = own_code(SMAPS, Path::new("/opt/the program"));
        let expected = [
            Mapping { place: 0x55d0_0000_0000..0x55d0_0200_0000, resident: 100 << 10 },
            Mapping { place: 0x55d0_0200_0000..0x55d0_0400_0000, resident: 300 << 10 },
        ];
        assert_eq!(all, expected);
        assert_eq!(own_code("", Path::new("/opt/the program")), []);
        assert_eq!(own_code("no mapping at all\nRss: 1 kB\n", Path::new("/opt/the program")), []);
    }

    #[test]
    fn what_was_given_back_is_read_again_as_it_was() {
        static TABLE: [u64; 4096] = {
            let mut table = [0; 4096];
            let mut at = 0;
            while at < table.len() {
                table[at] = at as u64 * 0x9E37_79B9;
                at += 1;
            }
            table
        };
        let before: u64 = TABLE.iter().fold(0, |sum, number| sum ^ number);
        assert!(give_back_code() > 0, "a running program has mapped code");
        let after: u64 = TABLE.iter().fold(0, |sum, number| sum ^ number);
        assert_eq!(before, after);
    }
}
