//! Reads what a process has used: CPU time and resident memory, from `/proc`. Invariant: a process group is summed
//! (nginx has a master and workers), and CPU time is user plus system, of all threads, ended ones included.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, time::Duration};

/// CPU time of some processes at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Clock ticks from `stat`: complete, but only as fine as the tick (10 ms).
    ticks: u64,
    /// Nanoseconds by thread from `schedstat`: exact while no thread ends.
    threads: BTreeMap<u32, u64>,
}

impl Cpu {
    /// Reads the clocks of `pids` and their children.
    pub(crate) fn read(pids: &[u32]) -> Result<Self> {
        let mut sum = Self { ticks: 0, threads: BTreeMap::new() };
        for pid in family(pids) {
            sum.ticks += ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
            for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                // A thread may end between the listing and the reading.
                if let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) {
                    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
                    sum.threads.insert(thread, nanos.unwrap_or(0));
                }
            }
        }
        Ok(sum)
    }

    /// CPU time used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let kept = before.threads.keys().all(|thread| self.threads.contains_key(thread));
        let total = |cpu: &Self| cpu.threads.values().sum::<u64>();
        if kept && total(self) > 0 {
            Duration::from_nanos(total(self) - total(before))
        } else {
            let per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
            Duration::from_nanos((self.ticks - before.ticks) * per_tick)
        }
    }
}

/// `utime` + `stime`. The command's name, in parentheses, may hold spaces and parentheses.
fn ticks(stat: &str) -> Result<u64> {
    let rest = stat.rsplit_once(')').context("no command in stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|word| word.parse::<u64>().ok());
    Ok(field(11).context("utime")? + field(12).context("stime")?)
}

/// The processes and their direct children.
fn family(pids: &[u32]) -> Vec<u32> {
    let children = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
    };
    pids.iter().copied().chain(pids.iter().flat_map(children)).collect()
}

/// Resident memory of some processes and their children, in bytes; shared pages are counted in each process, as
/// `ps` does.
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<u64> {
    of_status(pids, "VmRSS:")
}

/// The part of it that is no file's: what the process has made itself. The rest, such as the program's own code, the
/// kernel shares and gives up when memory is short.
pub(crate) fn anonymous_bytes(pids: &[u32]) -> Result<u64> {
    of_status(pids, "RssAnon:")
}

fn of_status(pids: &[u32], name: &'static str) -> Result<u64> {
    let mut sum = 0;
    for pid in family(pids) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
        let kib: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).context(name)?;
        sum += kib * 1024;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_strange_name() {
        let stat = "42 (a ) b) S 1 1 1 0 -1 4194304 100 0 0 0 17 25 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks(stat).unwrap(), 42);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_of_this_process_is_seen() {
        let me = [std::process::id()];
        let before = Cpu::read(&me).unwrap();
        let mut sum = 0_u64;
        // Some work the optimiser cannot drop.
        for step in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(step));
        }
        assert!(Cpu::read(&me).unwrap().since(&before) > Duration::from_millis(1));
        assert!(resident_bytes(&me).unwrap() > 100_000);
    }

    #[test]
    fn an_ended_thread_falls_back_to_ticks() {
        let cpu = |ticks, threads: &[(u32, u64)]| Cpu { ticks, threads: threads.iter().copied().collect() };
        let exact = cpu(5, &[(1, 500), (2, 70)]).since(&cpu(1, &[(1, 100)]));
        assert_eq!(exact, Duration::from_nanos(470));
        let coarse = cpu(5, &[(1, 500)]).since(&cpu(1, &[(1, 100), (2, 70)]));
        assert_eq!(coarse, Duration::from_nanos(4 * 1_000_000_000 / rustix::param::clock_ticks_per_second()));
    }
}
