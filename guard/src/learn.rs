//! Learning: logistic regression by stochastic descent over hashed pieces of text, a part of each text's features left
//! out at each step so that no single one carries a verdict, then weights in steps of one byte.
//!
//! Invariant: single-threaded, in a fixed order, with additions, multiplications, divisions and square roots only,
//! which are the same on every machine: the same rows give the same bytes.

use crate::{
    grammar::Dice,
    rows::{Origin, Row, START},
};
use portcullis_inspect::{
    GROUPS,
    features::TABLE,
    group, letter,
    model::{Calibration, FEWEST, Trained},
};
use std::collections::BTreeMap;

/// What is chosen before learning. The values were found on the folds by source.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) rounds: usize,
    pub(crate) rate: f32,
    /// Share of features left out at each step, in 65,536ths.
    pub(crate) left_out: u64,
    /// Pull of weights towards zero.
    pub(crate) shrink: f32,
    pub(crate) attack: f32,
    pub(crate) noisy: f32,
    pub(crate) extra: f32,
    /// Of attacks of our own writing.
    pub(crate) own: f32,
    /// Of honest texts of our own writing.
    pub(crate) own_honest: f32,
    /// Of honest texts in which the words of attacks have other senses.
    pub(crate) senses: f32,
    /// Evidence of the rules' score of one.
    pub(crate) rules: f32,
    /// What a text loses that speaks about attacks where rules hit.
    pub(crate) mention: f32,
    /// What a text of one channel teaches about the other: 0 to 1.
    pub(crate) both: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            rounds: 24,
            rate: 10.0,
            left_out: 14_418,
            shrink: 4e-4,
            attack: 2.0,
            noisy: 0.2,
            extra: 0.7,
            own: 0.5,
            own_honest: 0.9,
            senses: 1.4,
            rules: 5.0,
            mention: 1.0,
            both: 0.3,
        }
    }
}

impl Recipe {
    /// Changes one value, for experiments.
    pub(crate) fn set(&mut self, name: &str, value: f32) -> bool {
        match name {
            "rounds" => self.rounds = value as usize,
            "rate" => self.rate = value,
            "left_out" => self.left_out = (value * 65_536.0) as u64,
            "shrink" => self.shrink = value,
            "attack" => self.attack = value,
            "noisy" => self.noisy = value,
            "extra" => self.extra = value,
            "own" => self.own = value,
            "own_honest" => self.own_honest = value,
            "senses" => self.senses = value,
            "rules" => self.rules = value,
            "mention" => self.mention = value,
            "both" => self.both = value,
            _ => return false,
        }
        true
    }
}

/// A row as it is learnt.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) features: Vec<u32>,
    pub(crate) row: usize,
}

/// Weights before they are rounded.
#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    /// For people, for documents.
    weights: [Vec<f32>; 2],
    bias: f32,
}

/// Learns from these rows.
pub(crate) fn learn(rows: &[Row], examples: &[&Example], recipe: &Recipe) -> Learnt {
    let shares = shares(rows, examples, recipe);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut descent = Descent::new(recipe);
    let mut mean = Learnt::nothing();
    let first = recipe.rounds / 2;
    for round in 0..recipe.rounds {
        for at in (1..order.len()).rev() {
            order.swap(at, descent.dice.below(at + 1));
        }
        let rate = 1.0 / (1.0 + round as f32 * 0.5);
        for at in &order {
            let example = examples[*at];
            descent.step(&rows[example.row], &example.features, shares[*at], rate);
        }
        if round >= first {
            mean.add(&descent.learnt, 1.0 / (recipe.rounds - first) as f32);
        }
    }
    mean
}

/// The weights on their way.
struct Descent<'a> {
    recipe: &'a Recipe,
    learnt: Learnt,
    /// Squares of the errors so far.
    errors: f32,
    dice: Dice,
    /// The features that the step at hand does not leave out.
    kept: Vec<u32>,
}

impl<'a> Descent<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        Self { recipe, learnt: Learnt::nothing(), errors: 1e-6, dice: Dice::new(START), kept: Vec::new() }
    }

    /// One text. It moves the weights of its own channel, and those of the other by a part: what is an attack here
    /// mostly is one there, but an order that a person may give is none that a document may.
    fn step(&mut self, row: &Row, features: &[u32], share: f32, rate: f32) {
        let Self { recipe, learnt, errors, dice, kept } = self;
        let [people, documents] = &mut learnt.weights;
        let (own, other) = if row.document { (documents, people) } else { (people, documents) };
        kept.clear();
        kept.extend(features.iter().filter(|_| dice.next() >> 48 >= recipe.left_out));
        let staying = 1.0 - recipe.left_out as f32 / 65_536.0;
        let scale = 1.0 / ((features.len().max(FEWEST as usize) as f32).sqrt() * staying);
        let sum: f32 = kept.iter().map(|feature| own[*feature as usize]).sum();
        let wanted = if row.attack { 1.0 } else { 0.0 };
        let error = (logistic(sum * scale + learnt.bias) - wanted) * share;
        let rate_of_weights = recipe.rate * 2.0 * rate;
        let (step, shrink) = (rate_of_weights * error * scale, rate_of_weights * recipe.shrink);
        for feature in &*kept {
            let weight = &mut own[*feature as usize];
            *weight -= step + shrink * *weight;
            let weight = &mut other[*feature as usize];
            *weight -= (step + shrink * *weight) * recipe.both;
        }
        *errors += error * error;
        learnt.bias -= 0.15 * rate * error / errors.sqrt();
    }
}

impl Learnt {
    fn nothing() -> Self {
        Self { weights: [vec![0.0; TABLE], vec![0.0; TABLE]], bias: 0.0 }
    }

    /// Adds a share of another: the mean of the later rounds holds less of what the last texts happened to be.
    fn add(&mut self, other: &Self, share: f32) {
        for (weight, more) in self.weights.iter_mut().flatten().zip(other.weights.iter().flatten()) {
            *weight += more * share;
        }
        self.bias += other.bias * share;
    }

    /// With everything else that the file holds.
    pub(crate) fn file(&self, recipe: &Recipe, language: &[i8], scale: &Scale) -> Vec<u8> {
        let mut sizes: Vec<f32> = self
            .weights
            .iter()
            .flatten()
            .filter(|weight| **weight != 0.0)
            .map(|weight| weight.abs())
            .collect();
        sizes.sort_by(f32::total_cmp);
        // The few largest weights are cut, so that the many small ones have finer steps.
        let largest = sizes.get(sizes.len().saturating_sub(1 + sizes.len() / 2000)).copied().unwrap_or(1.0);
        let unit = largest / 127.0;
        let round = |weight: &f32| {
            let steps = (weight / unit).clamp(-127.0, 127.0);
            (if steps < 0.0 { steps - 0.5 } else { steps + 0.5 }) as i8
        };
        let weights = self.weights.iter().flatten().map(round).collect();
        let Scale { calibration, decade } = *scale;
        let (rules, mention) = (recipe.rules, recipe.mention);
        Trained {
            unit,
            bias: self.bias,
            rules,
            mention,
            decade,
            calibration,
            language: language.to_vec(),
            weights,
        }
        .to_bytes()
    }
}

/// What evidence means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) calibration: [[Calibration; 4]; 3],
    pub(crate) decade: f32,
}

/// Families that `Recipe::senses` is about begin so.
const SENSES: &str = "senses";

/// How much each example counts: no source, label or length by its mere number.
fn shares(rows: &[Row], examples: &[&Example], recipe: &Recipe) -> Vec<f32> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for example in examples {
        *counts.entry(&rows[example.row].source).or_default() += 1;
    }
    examples
        .iter()
        .map(|example| {
            let row = &rows[example.row];
            let count = counts.get(row.source.as_str()).copied().unwrap_or(1) as f32;
            // About the power 0.25 of what it lacks to 150.
            let rare = (150.0 / count).sqrt().sqrt().min(3.0);
            let label = if row.attack { recipe.attack } else { 1.0 };
            let noisy = if row.noisy { recipe.noisy } else { 1.0 };
            let origin = match row.origin {
                Origin::Own | Origin::Gathered if !row.attack && row.family.starts_with(SENSES) => {
                    recipe.senses
                }
                Origin::Dev => 1.0,
                Origin::Extra | Origin::Gathered => recipe.extra,
                Origin::Own if row.attack => recipe.own,
                Origin::Own => recipe.own_honest,
            };
            label * noisy * origin * rare
        })
        .collect()
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// e to the x, by the same few operations on every machine; right to four digits.
fn exp(x: f32) -> f32 {
    let halvings = x.clamp(-60.0, 60.0) * std::f32::consts::LOG2_E;
    let whole = halvings.floor();
    let rest = (halvings - whole) * std::f32::consts::LN_2;
    let series = 1.0
        + rest
            * (1.0
                + rest
                    * (0.5 + rest * (1.0 / 6.0 + rest * (1.0 / 24.0 + rest * (1.0 / 120.0 + rest / 720.0)))));
    series * f32::from_bits(((whole as i32 + 127) << 23).cast_unsigned())
}

/// Twice the logarithm to base two, times eight, by whole numbers: sixteenths of bits.
fn sixteenths(many: u64, few: u64) -> i32 {
    let log = |number: u64| {
        let whole = 63 - number.max(1).leading_zeros();
        // The mantissa squared four times gives four more bits.
        let mut mantissa = (number.max(1) << (62 - whole)) >> 31;
        let mut bits = 0_u32;
        for _ in 0..4 {
            mantissa = (mantissa * mantissa) >> 31;
            bits <<= 1;
            if mantissa >= 1 << 32 {
                mantissa >>= 1;
                bits |= 1;
            }
        }
        (whole * 16 + bits).cast_signed()
    };
    log(many) - log(few)
}

/// How likely each group of three letters is in honest text of Latin script.
pub(crate) fn language(rows: &[Row]) -> Vec<i8> {
    let mut counts = vec![0_u64; GROUPS];
    let mut all = 0_u64;
    for row in rows.iter().filter(|row| !row.attack && row.permitted && !row.transformed()) {
        let (mut first, mut second) = (0, 0);
        for third in row.text.chars().map(letter) {
            if third == 0 && second == 0 {
                continue;
            }
            counts[group(first, second, third)] += 1;
            all += 1;
            (first, second) = (second, third);
        }
    }
    let weight =
        |count: u64| sixteenths((count * GROUPS as u64 + all / 50).max(1), all.max(1)).clamp(-127, 127) as i8;
    counts.into_iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_and_logarithms_are_right_to_their_digits() {
        for x in [-20.0_f32, -1.5, -0.1, 0.0, 0.7, 3.0, 20.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 3e-5, "{x}");
        }
        for (many, few) in [(1, 1), (2, 1), (1000, 3), (7, 7000), (1 << 40, 12345)] {
            let exact = (many as f64 / few as f64).log2() * 16.0;
            assert!((f64::from(sixteenths(many, few)) - exact).abs() <= 1.01, "{many}/{few}");
        }
    }
}
