//! Memory that only a start needed. Code and constants are mapped from their files as they are first used, and stay
//! counted as a process's memory until somebody else needs the room: parsing settings, building tables and opening a database
//! leave more of them behind than serving ever touches. Given back, what is needed again is mapped again from the page cache.
//! Invariant: only mappings of files that may not be written and hold no page of their own are given back, of the heaps
//! what nobody has, and of the stack what lies below all that runs.
//!
//! Source: madvise(2), `MADV_DONTNEED` on private mappings; proc_pid_smaps(5); mallopt(3); malloc_trim(3); `mi_collect` of
//! mimalloc.

use std::{fs, ops::Range};

/// Gives back the pages of code and constants, the program's and its libraries', that are mapped, what is free in the heaps
/// of mimalloc and of the C library, and the stack that this thread does not use; how many bytes of code and constants it
/// was. Takes a few milliseconds; the next use of each piece costs a page fault, some microseconds. Zero where the kernel does not tell what is mapped, or is not Linux's.
#[must_use]
pub fn give_back() -> u64 {
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return 0 };
    let here = 0_u8;
    if let Some(unused) = below(&smaps, std::ptr::from_ref(&here).addr()) {
        forget_stack(unused);
    }
    let given = unwritten(&smaps)
        .into_iter()
        .filter(|mapping| forget(mapping.place.clone()))
        .map(|mapping| mapping.resident)
        .sum();
    drop(smaps);
    trim();
    given
}

/// Lets all threads share one heap of the C library, instead of one each, most of it free: only the database's library
/// allocates there, and it waits for disks more than for a lock. To be called before there are threads. Nothing happens with
/// C libraries other than GNU's.
pub fn share_heap_of_c() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets a number of the allocator; there is no second thread yet that could read it.
        let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        debug_assert_eq!(done, 1, "GNU's allocator knows this number");
    }
}

/// Gives free pages of the heaps back.
fn trim() {
    // SAFETY: has the allocator give back what is free, which it may do at any call.
    unsafe { libmimalloc_sys::mi_collect(true) };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: gives back pages in which nothing is allocated, under the allocator's own locks.
    let _whether_there_were_any = unsafe { libc::malloc_trim(0) };
}

/// So far below what runs now a stack is left alone: whoever is called from here, and the kernel's signals, stay above.
const STACK_MARGIN: usize = 32 << 10;
/// Bytes of a page. Where pages are larger the kernel refuses what does not begin with one, and the stack stays as it is.
const PAGE: usize = 4 << 10;

/// The part of a thread's stack that it does not use, where it stands at `here`: deep calls of the start went down there.
fn below(smaps: &str, here: usize) -> Option<Range<usize>> {
    let mut mappings = smaps.lines().filter_map(place);
    let (stack, _) = mappings.find(|(place, rights)| place.contains(&here) && rights.starts_with("rw-p"))?;
    let (start, end) = (stack.start, here.checked_sub(STACK_MARGIN)? / PAGE * PAGE);
    (start < end).then_some(start..end)
}

/// A mapping that can be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    place: Range<usize>,
    /// Bytes of it in memory.
    resident: u64,
}

/// Mappings of files that are read or run and never written, and hold nothing that differs from the file: what the loader
/// wrote (addresses) does, and so would code with a debugger's breakpoints.
fn unwritten(smaps: &str) -> Vec<Mapping> {
    let mut all = Vec::new();
    let mut here: Option<(Range<usize>, u64)> = None;
    for line in smaps.lines() {
        if let Some(place) = header(line) {
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

/// Whether a line begins a mapping; if it is one of a file that nobody may write and nobody shares, its place.
fn header(line: &str) -> Option<Option<Range<usize>>> {
    let (place, rights) = place(line)?;
    let given = rights.starts_with('r') && !rights.contains('w') && rights.ends_with('p');
    Some((given && line.contains(" /")).then_some(place))
}

/// Where a mapping lies that a line begins, and what may be done with it.
fn place(line: &str) -> Option<(Range<usize>, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some((from..to, words.next()?))
}

/// The number of a line such as `Rss:   12 kB`, in bytes.
fn kib(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(target_os = "linux")]
fn forget(place: Range<usize>) -> bool {
    // SAFETY: the kernel has just said that this mapping is private, from a file, not writable and without a page of its own:
    // its pages are those of the page cache. Forgotten ones are mapped again from there, with the bytes that are there with or
    // without this call.
    let done = unsafe { libc::madvise(place.start as *mut libc::c_void, place.len(), libc::MADV_DONTNEED) };
    done == 0
}

#[cfg(target_os = "linux")]
fn forget_stack(unused: Range<usize>) {
    // SAFETY: a part of this thread's own stack (its mapping holds a variable of the caller) that lies far below every frame
    // of it: nothing is there that anybody reads. What grows down there again finds zeros, as at first.
    let _whether_it_was =
        unsafe { libc::madvise(unused.start as *mut libc::c_void, unused.len(), libc::MADV_DONTNEED) };
}

#[cfg(not(target_os = "linux"))]
fn forget_stack(_unused: Range<usize>) {}

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
7f0000100000-7f0000200000 r--s 00000000 fe:00 3 /data/shared\nRss:  50 kB\nAnonymous:  0 kB\n\
7f0000200000-7f0000300000 r--p 00000000 00:00 0 \nRss:  50 kB\nAnonymous:  0 kB\n\
7f0000300000-7f0000400000 r-xp 00000000 00:00 0 [vdso]\nRss:  4 kB\nAnonymous:  0 kB\n";

    #[test]
    fn only_unwritten_mappings_of_files_that_nobody_shares_are_given_back() {
        let all = unwritten(SMAPS);
        let expected = [
            Mapping { place: 0x55d0_0000_0000..0x55d0_0200_0000, resident: 100 << 10 },
            Mapping { place: 0x55d0_0200_0000..0x55d0_0400_0000, resident: 300 << 10 },
            Mapping { place: 0x7f00_0000_0000..0x7f00_0010_0000, resident: 900 << 10 },
        ];
        assert_eq!(all, expected);
        assert_eq!(unwritten(""), []);
        assert_eq!(unwritten("no mapping at all\nRss: 1 kB\n"), []);
    }

    #[test]
    fn of_a_stack_what_lies_far_below_is_given_back_and_nothing_else() {
        let smaps =
            "7ffd00000000-7ffd00100000 rw-p 00000000 00:00 0  [stack]\nRss:  900 kB\nAnonymous:  900 kB\n";
        assert_eq!(below(smaps, 0x7ffd_000f_8000), Some(0x7ffd_0000_0000..0x7ffd_000f_0000));
        for elsewhere in [0x7ffd_0010_0000, 0x7ffd_0000_8000, 0x100] {
            assert_eq!(below(smaps, elsewhere), None);
        }
        fn deep(levels: u32) -> u64 {
            let here = std::hint::black_box([u64::from(levels); 4096]);
            if levels == 0 { here[4095] } else { deep(levels - 1) + here[0] }
        }
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(|| {
            let before = deep(100);
            (before, give_back(), deep(100))
        });
        let (before, _given, after) = thread.unwrap().join().unwrap();
        assert_eq!(before, after);
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
        assert!(give_back() > 0, "a running program has mapped code");
        let after: u64 = TABLE.iter().fold(0, |sum, number| sum ^ number);
        assert_eq!(before, after);
    }
}
