//! What the resident memory of a process consists of, read from `/proc/<id>/smaps`: every mapping counts for exactly one
//! part. Invariant: the parts sum up to the resident memory that the kernel tells.

use anyhow::{Context, Result};
use std::fs;

/// A part of the memory, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Pages of the program's instructions that ran, or lie within 64 KiB of one that did: the kernel maps them together.
    Code,
    /// Tables, texts and models inside the program that were read.
    Constants,
    /// Pages of the program that hold addresses, which the loader wrote, and its variables.
    Addresses,
    /// The C library and the like.
    Libraries,
    /// Of the main thread and of all others.
    Stacks,
    /// What was allocated.
    Heap,
}

impl Part {
    pub(crate) const ALL: [Self; 6] =
        [Self::Code, Self::Constants, Self::Addresses, Self::Libraries, Self::Stacks, Self::Heap];

    /// For the table.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Code => "code of the program that ran, in steps of 64 KiB",
            Self::Constants => "constants of the program that were read",
            Self::Addresses => "addresses written by the loader, variables",
            Self::Libraries => "shared libraries and other files",
            Self::Stacks => "stacks",
            Self::Heap => "heap",
        }
    }
}

/// KiB of each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident([u64; Part::ALL.len()]);

impl Resident {
    /// Of one process.
    pub(crate) fn read(pid: u32) -> Result<Self> {
        let program = fs::read_link(format!("/proc/{pid}/exe"))?;
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        Self::of(&smaps, program.to_str().context("a path that is not UTF-8")?).context("smaps")
    }

    /// MiB of a part.
    pub(crate) fn mib(&self, part: Part) -> f64 {
        self.0[part as usize] as f64 / 1024.0
    }

    fn of(smaps: &str, program: &str) -> Option<Self> {
        let mut sum = Self::default();
        let (mut here, mut guarded) = (None, None);
        for line in smaps.lines() {
            let (first, rest) = line.split_once(' ')?;
            if let Some((from, to)) = first.split_once('-') {
                let rights = rest.split(' ').next()?;
                let name = rest.splitn(5, ' ').nth(4).unwrap_or_default().trim();
                here = Some((part(name, rights, program, guarded == Some(from)), name == program));
                // A stack lies above pages that nobody may touch.
                guarded = (rights == "---p").then_some(to);
                continue;
            }
            let Some((part, program)) = here else { continue };
            let kib = || rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok();
            match first {
                "Rss:" => sum.0[part as usize] += kib()?,
                // Of a file, what is no longer as it stands there.
                "Anonymous:" if program => {
                    sum.0[part as usize] -= kib()?;
                    sum.0[Part::Addresses as usize] += kib()?;
                }
                _ => {}
            }
        }
        Some(sum)
    }
}

fn part(name: &str, rights: &str, program: &str, guarded: bool) -> Part {
    match name {
        _ if name == program && rights.contains('x') => Part::Code,
        _ if name == program => Part::Constants,
        "[stack]" => Part::Stacks,
        _ if name.starts_with('/') => Part::Libraries,
        _ if guarded => Part::Stacks,
        _ => Part::Heap,
    }
}

/// What the product's memory consists of, as Markdown.
pub(crate) fn markdown(notes: &[String], idle: &Resident, streams: &Resident) -> String {
    let mut out =
        String::from("# What the resident memory consists of\n\nWritten by `cargo xtask bench gateway`.\n\n");
    for note in notes {
        out.push_str(&format!("* {note}\n"));
    }
    out.push_str("\n| MiB | after a start and one answer | with 500 open streams |\n|---|---:|---:|\n");
    for part in Part::ALL {
        out.push_str(&format!("| {} | {:.1} | {:.1} |\n", part.words(), idle.mib(part), streams.mib(part)));
    }
    let sum = |resident: &Resident| Part::ALL.iter().map(|part| resident.mib(*part)).sum::<f64>();
    out.push_str(&format!("| all | {:.1} | {:.1} |\n", sum(idle), sum(streams)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
5500-5600 r--p 00000000 fe:00 10 /bin/it
Rss: 4000 kB
Anonymous: 0 kB
5600-5700 r-xp 00001000 fe:00 10 /bin/it
Rss: 9000 kB
Anonymous: 0 kB
5700-5800 r--p 00002000 fe:00 10 /bin/it
Rss: 1600 kB
Anonymous: 1500 kB
5800-5900 rw-p 00000000 00:00 0
Rss: 700 kB
Anonymous: 700 kB
7000-7001 ---p 00000000 00:00 0
Rss: 0 kB
7001-7200 rw-p 00000000 00:00 0
Rss: 150 kB
Anonymous: 150 kB
7200-7300 r-xp 00000000 fe:00 11 /lib/libc.so.6
Rss: 1100 kB
Anonymous: 0 kB
7f00-7fff rw-p 00000000 00:00 0 [stack]
Rss: 20 kB
Anonymous: 20 kB
";

    #[test]
    fn every_mapping_counts_for_one_part() {
        let read = Resident::of(SMAPS, "/bin/it").unwrap();
        assert_eq!(read, Resident([9000, 4100, 1500, 1100, 170, 700]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_parts_sum_up_to_what_the_kernel_tells() {
        let read = Resident::read(std::process::id()).unwrap();
        let parts: f64 = Part::ALL.iter().map(|part| read.mib(*part)).sum();
        let told = crate::meter::resident_bytes(&[std::process::id()]).unwrap() as f64 / f64::from(1 << 20);
        assert!((parts - told).abs() < told / 4.0, "{parts} of {told}");
    }
}
