//! Strict test doubles on loopback, a fault proxy and starters of real components; tests only.
//!
//! Invariant: everything binds a loopback port picked by binding port 0, writes below a temporary folder and is
//! stopped by its own process id when its owner goes away, even when the owner is killed. A component that is not
//! installed is skipped with one line, or is an error where `PORTCULLIS_REQUIRE_COMPONENTS=1` says so.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only tests link this crate: a fault here must end the test with a sentence, and skips are printed"
)]

pub mod child;
pub mod collector;
pub mod fault;
pub mod llm;
pub mod node;
pub mod pages;
pub mod postgres;
pub mod process;
pub mod python;
pub mod redis;
pub mod signal;
pub mod signal_cli;
pub mod telegram;
pub mod upstream;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    time::Duration,
};

/// Says that `component` is missing and the test does not run. With `PORTCULLIS_REQUIRE_COMPONENTS=1` (the test
/// command sets it) a missing component is an error instead.
///
/// # Panics
/// When components are required.
pub fn skip(component: &str, why: &str) {
    assert!(environment("PORTCULLIS_REQUIRE_COMPONENTS").as_deref() != Some("1"), "{component} {why}");
    println!("skipped: {component} {why}");
    // The runner hides what a passed test printed, and a skipped test passes: the test command counts these lines.
    if let Some(logs) = environment("PORTCULLIS_TEST_LOGS") {
        let line = format!("skipped: {component} {why}\n");
        let file =
            std::fs::File::options().create(true).append(true).open(PathBuf::from(logs).join("skipped.txt"));
        drop(file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes())));
    }
}

/// A loopback port that was free a moment ago.
///
/// # Panics
/// When loopback has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Where downloads survive a test run: `${XDG_CACHE_HOME:-$HOME/.cache}/portcullis`, outside any repository.
#[must_use]
pub fn cache_dir() -> PathBuf {
    environment("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("portcullis")
}

/// The full path of a program in `PATH` or one of `extra`.
#[must_use]
pub fn program(name: &str, extra: &[&str]) -> Option<PathBuf> {
    let path = environment("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(extra.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

#[expect(
    clippy::disallowed_methods,
    reason = "testkit is no part of the product; it reads a handful of well-known names"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Asks `ready` until it answers or `seconds` of real time have gone by. Blocks: callers use `spawn_blocking`,
/// which also keeps paused tokio time from racing ahead of a real process.
pub(crate) fn wait_for<T>(seconds: u64, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..seconds * NAPS_PER_SEC {
        if let Some(answer) = ready() {
            return Some(answer);
        }
        nap();
    }
    None
}

const NAPS_PER_SEC: u64 = 200;

/// A short wait in real time, off the async workers.
#[expect(clippy::disallowed_methods, reason = "waits in real time for a real process, off the async workers")]
pub(crate) fn nap() {
    std::thread::sleep(Duration::from_millis(1000 / NAPS_PER_SEC));
}

/// Runs blocking start-up work off the async workers.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("start-up work does not panic")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_picked_port_can_be_bound_again() {
        let port = super::free_port();
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    }
}
