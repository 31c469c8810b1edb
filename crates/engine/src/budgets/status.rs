//! What operators see and do: counters, reports, budgets raised once, money computed again.

use super::{Amount, Budgets, book::Shown, now_ms, rules::Kind, window::Span};
use jiff::Timestamp;
use portcullis_domain::Price;
use portcullis_store::{LedgerPrice, RaiseRow, StoreError, UsageQuery, UsageSum};
use serde::Serialize;

/// One budget of one subject in its current window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetStatus {
    /// Its name.
    pub budget: String,
    /// `caller`, `key`, `user`, `team`, `tier` or `global`.
    pub scope: &'static str,
    /// `day`, `week`, `month` or `total`.
    pub window: &'static str,
    /// Whose; empty where all together are meant.
    pub subject: String,
    /// Whether it refuses.
    pub refuses: bool,
    /// When the window began; none for a total.
    pub since: Option<Timestamp>,
    /// When the next one begins; none for a total.
    pub until: Option<Timestamp>,
    /// Most tokens, raises included; none: not bounded.
    pub tokens: Option<u64>,
    /// Most micro-dollars, raises included; none: not bounded.
    pub micros: Option<u64>,
    /// Tokens spent.
    pub spent_tokens: u64,
    /// Micro-dollars spent.
    pub spent_micros: u64,
    /// Tokens reserved by running requests.
    pub reserved_tokens: u64,
    /// Micro-dollars reserved by running requests.
    pub reserved_micros: u64,
    /// Share that is left, 0 to 1.
    pub left: f64,
}

/// What a correction of a price came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Repriced {
    /// Rows computed again.
    pub rows: u64,
    /// Micro-dollars that their sum grew by; negative when it shrank.
    pub micros: i64,
}

fn moment(ms: i64) -> Option<Timestamp> {
    if ms == 0 || ms == i64::MAX { None } else { Timestamp::from_millisecond(ms).ok() }
}

impl Budgets {
    /// Every budget: those that nobody has drawn on as one row without subject, the others one for each subject, the
    /// most used first; at most `limit`. `budget` and `subject` narrow it down.
    #[must_use]
    pub fn status(&self, budget: Option<&str>, subject: Option<&str>, limit: usize) -> Vec<BudgetStatus> {
        let rules = self.0.rules.load_full();
        let now = now_ms();
        let shown = self.0.book.lock().shown(now);
        let mut out = Vec::new();
        for (rule, _) in rules.all().filter(|(rule, _)| budget.is_none_or(|name| *rule.name == *name)) {
            let row = |shown: &Shown| BudgetStatus {
                budget: rule.name.to_string(),
                scope: rule.kind.as_str(),
                window: rule.window.as_str(),
                subject: shown.subject.to_string(),
                refuses: rule.refuse,
                since: moment(shown.span.start),
                until: moment(shown.span.end),
                tokens: shown.limit.tokens,
                micros: shown.limit.micros,
                spent_tokens: shown.spent.tokens,
                spent_micros: shown.spent.micros,
                reserved_tokens: shown.reserved.tokens,
                reserved_micros: shown.reserved.micros,
                #[expect(clippy::cast_precision_loss, reason = "at most a million")]
                left: shown.left() as f64 / 1e6,
            };
            let before = out.len();
            let wanted =
                |shown: &&Shown| shown.rule == rule.id && subject.is_none_or(|name| *shown.subject == *name);
            out.extend(shown.iter().filter(wanted).map(row));
            if out.len() == before && subject.is_none() && rule.limit.bounds() {
                let span = self.0.book.lock().span(rule.window, now);
                out.push(row(&unused(rule.id, rule.limit, span)));
            }
        }
        out.sort_by(|a, b| {
            a.left
                .total_cmp(&b.left)
                .then_with(|| a.budget.cmp(&b.budget))
                .then_with(|| a.subject.cmp(&b.subject))
        });
        out.truncate(limit);
        out
    }

    /// A report of the ledger, with everything that has ended so far.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageSum>, StoreError> {
        let ledger = self.0.store.ledger();
        ledger.flush().await?;
        ledger.usage(query).await
    }

    /// Raises a budget of one subject for the rest of its current window, on all replicas within seconds. Whether there
    /// is a budget of that name.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn raise(
        &self,
        budget: &str,
        subject: &str,
        tokens: u64,
        micros: u64,
    ) -> Result<bool, StoreError> {
        let rules = self.0.rules.load_full();
        let Some(rule) = rules.by_name(budget) else { return Ok(false) };
        let span = self.0.book.lock().span(rule.window, now_ms());
        let subject = if matches!(rule.kind, Kind::Tier | Kind::Global) { "" } else { subject };
        let row = RaiseRow {
            budget: budget.to_owned(),
            subject: subject.to_owned(),
            window_start: span.start,
            tokens,
            micros,
        };
        self.0.store.ledger().raise(&row).await?;
        self.load_raises().await?;
        self.show();
        Ok(true)
    }

    /// Computes the money of a model's rows again with the right price, from one moment to before another (Unix
    /// milliseconds), and counts as the ledger then says.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn reprice(
        &self,
        target: (&str, &str),
        time: (i64, i64),
        price: Price,
    ) -> Result<Repriced, StoreError> {
        let ledger = self.0.store.ledger();
        ledger.flush().await?;
        let Price { input, cached_input, output } = price;
        let price = LedgerPrice { input, cached: cached_input, output };
        let (rows, micros) = ledger.reprice(target, time, price).await?;
        self.rebuild_as(0, true).await?;
        Ok(Repriced { rows, micros })
    }
}

fn unused(rule: u32, limit: super::Limit, span: Span) -> Shown {
    let (spent, reserved) = (Amount::NOTHING, Amount::NOTHING);
    Shown { rule, subject: "".into(), span, limit, spent, reserved }
}

/// Rows of a report as CSV: a head, then one line each; texts that a spreadsheet would compute are quoted.
#[must_use]
pub fn usage_csv(query: &UsageQuery, rows: &[UsageSum]) -> String {
    let mut out: String = query.by.iter().map(|by| format!("{},", by.as_str())).collect();
    out.push_str("requests,input,cached,output,micros,estimated,unpriced\n");
    for row in rows {
        for text in &row.group {
            out.push_str(&cell(text));
            out.push(',');
        }
        let numbers =
            [row.requests, row.input, row.cached, row.output, row.micros, row.estimated, row.unpriced];
        out.push_str(&numbers.map(|number| number.to_string()).join(","));
        out.push('\n');
    }
    out
}

/// One text of a CSV line (RFC 4180). A leading `=`, `+`, `-` or `@` would make it a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if formula { "'" } else { "" };
    if formula || text.contains([',', '"', '\n', '\r']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_store::GroupBy;

    #[test]
    fn csv_quotes_what_would_break_a_line_or_compute() {
        let query = UsageQuery { by: vec![GroupBy::User, GroupBy::Model], from: 0, to: 1, limit: 1 };
        let row = UsageSum {
            group: vec!["=1+1,\"x\"".into(), "gpt".into()],
            requests: 1,
            input: 2,
            cached: 3,
            output: 4,
            micros: 5,
            estimated: 6,
            unpriced: 7,
        };
        let expected = "user,model,requests,input,cached,output,micros,estimated,unpriced\n\
                        \"'=1+1,\"\"x\"\"\",gpt,1,2,3,4,5,6,7\n";
        assert_eq!(usage_csv(&query, &[row]), expected);
    }
}
