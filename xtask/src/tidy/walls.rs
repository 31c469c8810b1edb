//! Absences: what only some crates may do. The dependency table cannot see them, because everybody may use the
//! standard library; this check reads the code (tests excepted) for the words that mean it.

use super::{Finding, Ground, sources};

/// Words, the folders in which they may stand, and why nowhere else.
struct Wall {
    words: &'static [&'static str],
    only_in: &'static [&'static str],
    reason: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        words: &["fs::write(", "File::create(", "File::options(", "OpenOptions::new(", "fs::create_dir"],
        only_in: &[
            "crates/store/",
            "crates/telemetry/",
            "crates/portcullis/src/commands/index.rs",
            // A script for the linker, while the program is built.
            "crates/portcullis/build.rs",
        ],
        reason: "only store (and telemetry, for logs and audit) writes files, but for those a person names",
    },
    Wall {
        words: &["TcpStream::connect", "UnixStream::connect", "TcpSocket::new"],
        only_in: &["crates/resilience/"],
        reason: "outbound connections go through resilience::http and Dependency::call",
    },
    Wall {
        words: &["process::Command", "Command::new("],
        only_in: &[
            "crates/knowledge/src/ingest/reader.rs",
            "crates/channels/src/signal/daemon.rs",
            "crates/runtime/src/models.rs",
            // Itself, in its own place, when its database was replaced.
            "crates/portcullis/src/commands/serve.rs",
            // The compiler, asked where it lives while the program is built.
            "crates/portcullis/build.rs",
            "crates/telemetry/src/metrics/rules.rs",
        ],
        reason: "who starts a process bounds and ends it: few places do",
    },
    Wall {
        words: &["async fn", "async move", ".await"],
        only_in: &[
            "crates/telemetry/",
            "crates/resilience/",
            "crates/pages/",
            "crates/store/",
            "crates/providers/",
            "crates/knowledge/",
            "crates/engine/",
            "crates/apps/",
            "crates/channels/",
            "crates/runtime/",
            "crates/portcullis/",
        ],
        reason: "domain and inspect are pure: no I/O, no async",
    },
    Wall {
        words: &["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"],
        only_in: &["crates/kernels/src/simd.rs", "crates/kernels/src/pages.rs"],
        reason: "unsafe code stands in two audited files",
    },
];

/// Outside the house: developer commands, benchmarks and test doubles.
const FREE: [&str; 4] = ["xtask/", "bench/", "guard/", "crates/testkit/"];

pub(crate) fn check(ground: &Ground) -> Vec<Finding> {
    let product = ground.tree.rust().filter(|file| !FREE.iter().any(|f| file.path.starts_with(f)));
    product.filter(|file| !is_test(&file.path)).flat_map(|file| breaches(&file.path, &file.text)).collect()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/benches/") || path.ends_with("tests.rs")
}

fn breaches(path: &str, text: &str) -> Vec<Finding> {
    let walls: Vec<&Wall> =
        WALLS.iter().filter(|wall| !wall.only_in.iter().any(|folder| path.starts_with(folder))).collect();
    product_lines(text)
        .filter_map(|(line, code)| {
            let wall = walls.iter().find(|wall| wall.words.iter().any(|word| code.contains(word)))?;
            Some(Finding::new(path, line, wall.reason))
        })
        .collect()
}

/// Lines of code with their numbers, without comments and without what stands below the file's first
/// `#[cfg(test)] mod`, which by custom is its end.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests_begin = lines
        .windows(2)
        .position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && sources::has_word(pair[1], "mod") && pair[1].ends_with('{')
        })
        .unwrap_or(lines.len());
    lines.into_iter().take(tests_begin).enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| {
        let line = line.trim_start();
        !line.starts_with("//")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S1-01, S1-02
    #[test]
    fn a_file_written_outside_the_store_is_found() {
        let code = "//! x\nfn keep() {\n    std::fs::write(path, text)\n}\n";
        assert_eq!(breaches("crates/engine/src/a.rs", code).iter().map(|f| f.line).collect::<Vec<_>>(), [3]);
        assert_eq!(breaches("crates/store/src/a.rs", code), vec![]);
    }

    #[test]
    fn comments_and_tests_may_say_it() {
        let code = "// fs::write( is banned\n#[cfg(test)]\nmod tests {\n    fs::write(a, b);\n}\n";
        assert_eq!(breaches("crates/engine/src/a.rs", code), vec![]);
    }

    #[test]
    fn unsafe_code_stands_in_two_files() {
        let code = "fn look() {\n    unsafe { read(at) }\n}\n";
        assert_eq!(breaches("crates/kernels/src/simd.rs", code), vec![]);
        assert_eq!(breaches("crates/kernels/src/pages.rs", code), vec![]);
        assert_eq!(breaches("crates/kernels/src/lib.rs", code).len(), 1);
        assert_eq!(breaches("crates/runtime/src/a.rs", code).len(), 1);
    }

    #[test]
    fn a_pure_crate_stays_pure() {
        assert_eq!(breaches("crates/inspect/src/a.rs", "async fn look() {}\n").len(), 1);
        assert_eq!(breaches("crates/engine/src/a.rs", "async fn look() {}\n"), vec![]);
    }
}
