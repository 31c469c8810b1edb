//! What the operating system says about this process, read at each scrape: the names every Prometheus client uses.
//! Where there is no `/proc` the values are left out. Source: Prometheus' "process metrics" convention.

use super::{MetricRow, series::Cell, table::Reader};
use std::fs;

/// Name, type, meaning.
pub(super) const ROWS: [(&str, &str, &str); 3] = [
    ("process_cpu_seconds_total", "counter", "Processor time used, in user and system mode, in seconds."),
    ("process_resident_memory_bytes", "gauge", "Memory in use, in bytes."),
    ("process_open_fds", "gauge", "File descriptors open: connections, files, sockets."),
];

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 by the kernel's interface.
const TICKS: f64 = 100.0;
/// Bytes of one page where the kernel does not say otherwise; `statm` counts pages.
const PAGE: u64 = 4096;

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold blanks; fields are counted behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok();
    let line = status.as_deref().and_then(|text| text.lines().find(|line| line.starts_with("VmRSS:")));
    if let Some(kib) = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()) {
        return Some(kib * 1024);
    }
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}

pub(super) fn read(reader: &mut dyn Reader) {
    let open = fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64);
    let values = [cpu_seconds(), resident_bytes().map(|bytes| bytes as f64), open];
    for ((name, kind, help), value) in ROWS.into_iter().zip(values) {
        if let Some(value) = value {
            reader.metric(&MetricRow { name, kind, labels: &[], help });
            reader.series(&[], &Cell::Number(value));
        }
    }
}
