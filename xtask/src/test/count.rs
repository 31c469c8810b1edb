//! Counts of tests, read from the closing lines of the test runners.

/// How many passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// The closing line.
    pub(crate) fn line(self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    /// Adds what one line of output says, if it is a closing line of nextest or of cargo test. Indented, the latter is
    /// what nextest quotes of a test that failed, and counts among its own.
    pub(crate) fn read(&mut self, line: &str) {
        let quoted = line.starts_with(' ');
        let line = line.trim();
        let (tail, separator) = if let Some(tail) = line.strip_prefix("test result: ") {
            if quoted {
                return;
            }
            (tail.split_once(". ").map_or("", |(_, tail)| tail), "; ")
        } else if line.starts_with("Summary [") {
            (line.split_once(" run: ").map_or("", |(_, tail)| tail), ", ")
        } else {
            return;
        };
        for part in tail.split(separator) {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed" | "timed") => self.failed += number,
                Some("skipped" | "ignored") => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Counts {
        let mut counts = Counts::default();
        counts.read(line);
        counts
    }

    #[test]
    fn the_closing_line_of_nextest_is_understood() {
        let line =
            "     Summary [   5.123s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 3 skipped";
        assert_eq!(read(line), Counts { passed: 9, failed: 3, skipped: 3 });
    }

    #[test]
    fn the_closing_line_of_cargo_test_is_understood() {
        let line = "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.1s";
        assert_eq!(read(line), Counts { passed: 4, failed: 1, skipped: 2 });
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(read("    test result: FAILED. 0 passed; 1 failed; 0 ignored"), Counts::default());
        assert_eq!(read("    PASS [   0.1s] 3 passed, 1 failed"), Counts::default());
    }

    #[test]
    fn the_last_line_is_plain() {
        assert_eq!(Counts { passed: 3, failed: 0, skipped: 1 }.line(), "3 passed, 0 failed, 1 skipped");
    }
}
