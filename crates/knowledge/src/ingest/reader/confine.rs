//! What a reading process takes from itself before it sees a hostile byte: memory, processor time, files, network.
//! Invariant: afterwards it can open nothing, neither a file nor a socket, because it is allowed no descriptor beyond
//! those it has; where the system lets it, it has also left the network. Source: setrlimit(2), unshare(2).

use rustix::{
    io::dup,
    process::{Resource, Rlimit, setrlimit},
    stdio::dup2_stdout,
    thread::UnshareFlags,
    time::{ClockId, clock_gettime},
};
use std::{fs::File, io};

/// Bytes of address space that are assumed where the system does not tell.
const FALLBACK_SIZE: u64 = 2 << 30;

/// The pipe for answers, apart from standard output: what a library prints there goes where errors go.
pub(super) fn own_output() -> io::Result<File> {
    let output = File::from(dup(io::stdout())?);
    dup2_stdout(io::stderr())?;
    Ok(output)
}

/// A confined process.
pub(super) struct Confinement(());

impl Confinement {
    /// From here on at most so many bytes of memory beyond what the process has, no file, no socket.
    pub(super) fn enter(memory_bytes: u64) -> io::Result<Self> {
        leave_network();
        let most = size().saturating_add(memory_bytes);
        for (resource, most) in
            [(Resource::As, most), (Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, 0)]
        {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(Self(()))
    }

    /// Processor time for one more file. The process that waits outside counts wall time; this ends one that nobody
    /// waits for any more.
    pub(super) fn grant(&self, secs: u64) -> io::Result<()> {
        let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or_default();
        let most = used.saturating_add(secs).saturating_add(1);
        Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(most), maximum: None })?)
    }
}

/// A network of its own without a way out. Not every system lets an ordinary user have one; the limit on descriptors
/// holds all the same.
fn leave_network() {
    #[expect(deprecated, reason = "the successor is unsafe for the sake of flags that are not used here")]
    let leave = rustix::thread::unshare;
    if leave(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_err() {
        let _not_permitted = leave(UnshareFlags::NEWNET);
    }
}

/// Bytes of address space that the process has: an allocator reserves more than it uses.
fn size() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().next()?.parse::<u64>().ok());
    pages.map_or(FALLBACK_SIZE, |pages| pages.saturating_mul(rustix::param::page_size() as u64))
}
