//! How good a ranking is, by judgements: nDCG@10, recall@10, recall@100, MRR@10, as trec_eval counts them (gains are the
//! scores themselves, discounts log2 of place plus one; questions without a relevant document are left out). Pure.

use std::collections::BTreeMap;

/// Documents and their scores of one question; 0 and less is not relevant.
pub type Judgements = BTreeMap<String, f64>;

/// Means over the questions with a relevant document.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Gain by place among the first ten, as a share of the best possible.
    pub ndcg_10: f64,
    /// Share of the relevant documents among the first ten.
    pub recall_10: f64,
    /// Share of the relevant documents among the first hundred.
    pub recall_100: f64,
    /// One over the place of the first relevant document among the first ten.
    pub mrr_10: f64,
    /// Questions counted.
    pub questions: usize,
}

/// Measures rankings, best document first; a judged question without a ranking counts as found nothing.
#[must_use]
pub fn measure(run: &BTreeMap<String, Vec<String>>, judged: &BTreeMap<String, Judgements>) -> Measures {
    let mut all = Measures::default();
    for (question, judgements) in judged {
        let relevant = judgements.values().filter(|score| **score > 0.0).count();
        if relevant == 0 {
            continue;
        }
        let ranked = run.get(question).map(Vec::as_slice).unwrap_or_default();
        let gain = |document: &String| judgements.get(document).copied().unwrap_or_default().max(0.0);
        let discounted = |gains: &mut dyn Iterator<Item = f64>| -> f64 {
            gains.take(10).zip(2_u32..).map(|(gain, place)| gain / f64::from(place).log2()).sum()
        };
        let mut best: Vec<f64> = judgements.values().map(|score| score.max(0.0)).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        all.ndcg_10 += discounted(&mut ranked.iter().map(gain)) / discounted(&mut best.into_iter());
        let found = |most| ranked.iter().take(most).filter(|document| gain(document) > 0.0).count();
        all.recall_10 += found(10) as f64 / relevant as f64;
        all.recall_100 += found(100) as f64 / relevant as f64;
        let first = ranked.iter().take(10).position(|document| gain(document) > 0.0);
        all.mrr_10 += first.map_or(0.0, |place| 1.0 / (place + 1) as f64);
        all.questions += 1;
    }
    let mean = |sum: f64| if all.questions == 0 { 0.0 } else { sum / all.questions as f64 };
    Measures {
        ndcg_10: mean(all.ndcg_10),
        recall_10: mean(all.recall_10),
        recall_100: mean(all.recall_100),
        mrr_10: mean(all.mrr_10),
        questions: all.questions,
    }
}

/// Whether the best sentence answers, and one over the place of the first that does; none when no sentence does.
#[must_use]
pub fn answered(scores: &[f32], labels: &[bool]) -> Option<(bool, f64)> {
    let mut order: Vec<usize> = (0..scores.len().min(labels.len())).collect();
    // A stable sort: of equals the earlier sentence comes first.
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let place = order.iter().position(|at| labels[*at])?;
    Some((place == 0, 1.0 / (place + 1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_that_trec_eval_counts_by_hand() {
        let judged = BTreeMap::from([
            (
                "q1".to_owned(),
                Judgements::from([("a".to_owned(), 2.0), ("b".to_owned(), 1.0), ("c".to_owned(), 0.0)]),
            ),
            ("q2".to_owned(), Judgements::from([("d".to_owned(), 1.0)])),
            ("q3".to_owned(), Judgements::from([("e".to_owned(), 0.0)])),
        ]);
        let run = BTreeMap::from([(
            "q1".to_owned(),
            ["b", "x", "a"].into_iter().map(str::to_owned).collect::<Vec<_>>(),
        )]);
        let measured = measure(&run, &judged);
        let gained = 1.0 + 2.0 / 4_f64.log2();
        let best = 2.0 + 1.0 / 3_f64.log2();
        assert_eq!(measured.questions, 2);
        assert!((measured.ndcg_10 - gained / best / 2.0).abs() < 1e-9);
        assert_eq!((measured.recall_10, measured.recall_100, measured.mrr_10), (0.5, 0.5, 0.5));
        assert_eq!(measure(&BTreeMap::new(), &BTreeMap::new()), Measures::default());
        assert_eq!(answered(&[0.1, 0.9, 0.9], &[true, false, true]), Some((false, 0.5)));
        assert_eq!(answered(&[1.0], &[false]), None);
    }
}
