//! The table as Prometheus reads it: text format 0.0.4. Invariant: numbers are exact, and labels are escaped. Source: Prometheus,
//! "Exposition formats".

use super::{
    MetricRow,
    series::{Cell, Histogram},
    table::Reader,
};
use std::fmt::Write as _;

/// Writes all it is shown.
pub(super) struct Text<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Text<'a> {
    pub(super) const fn new(out: &'a mut String) -> Self {
        Self { out, name: "" }
    }
}

impl Reader for Text<'_> {
    fn metric(&mut self, row: &MetricRow) {
        let MetricRow { name, kind, help, .. } = *row;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        put(self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self.name = name;
    }

    fn series(&mut self, labels: &[(&'static str, &str)], cell: &Cell) {
        let mut text = String::new();
        for (index, (label, value)) in labels.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(label);
            text.push_str("=\"");
            escape(&mut text, value);
            text.push('"');
        }
        let (out, name, braced) = (&mut *self.out, self.name, braces(&text));
        match cell {
            Cell::Counter(counter) => put(out, format_args!("{name}{braced} {}\n", counter.get())),
            Cell::Gauge(gauge) => put(out, format_args!("{name}{braced} {}\n", gauge.get())),
            Cell::Millionths(gauge) => {
                let nanos = u64::try_from(gauge.get()).unwrap_or(0).saturating_mul(1000);
                put(out, format_args!("{name}{braced} {}\n", seconds(nanos)));
            }
            Cell::Number(number) => put(out, format_args!("{name}{braced} {number}\n")),
            Cell::Histogram(observed) => histogram(out, name, &text, observed),
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, observed: &Histogram) {
    let mut total = 0;
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in observed.buckets() {
        total += count;
        let bound = bound.map_or_else(|| "+Inf".into(), seconds);
        put(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}\n"));
    }
    let (braced, sum) = (braces(labels), seconds(observed.nanos()));
    put(out, format_args!("{name}_sum{braced} {sum}\n{name}_count{braced} {total}\n"));
}

/// Billionths as a decimal, exactly: nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ok = out.write_fmt(text);
}

/// Escapes a label value: backslash, quote, line feed.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn seconds_are_exact_and_short() {
        for (nanos, text) in [(0, "0"), (20_000, "0.00002"), (1_500_000_000, "1.5"), (60_000_000_000, "60")] {
            assert_eq!(seconds(nanos), text);
        }
    }

    proptest! {
        #[test]
        fn a_histogram_counts_like_a_list_of_all_observations(
            bounds in prop::collection::btree_set(1_u64..1_000_000, 1..12),
            observed in prop::collection::vec(0_u64..2_000_000, 0..60),
        ) {
            let bounds: Vec<u64> = bounds.into_iter().collect();
            let histogram = Histogram::new(&bounds);
            for micros in &observed {
                histogram.observe(Duration::from_micros(*micros));
            }
            let mut text = String::new();
            super::histogram(&mut text, "h", "", &histogram);
            for bound in &bounds {
                let at_most = observed.iter().filter(|micros| *micros <= bound).count();
                let line = format!("h_bucket{{le=\"{}\"}} {at_most}\n", seconds(bound * 1000));
                prop_assert!(text.contains(&line), "{line}\n{text}");
            }
            let sum = seconds(observed.iter().sum::<u64>() * 1000);
            let ends = format!("h_sum {sum}\nh_count {}\n", observed.len());
            prop_assert!(text.ends_with(&ends), "{}\n{}", ends, text);
        }
    }
}
