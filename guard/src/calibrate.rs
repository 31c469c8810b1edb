//! From evidence to score: for each channel and length band the evidence that one honest text in a hundred reaches
//! (0.5), and one in a thousand (0.9), on texts the model did not know. A band with few texts leans on its channel.

use crate::{
    folds::{Measured, Weight},
    learn::Scale,
    rows::Row,
};
use portcullis_inspect::model::{BANDS, Calibration};

/// Share of honest texts that may reach 0.5 and 0.9. Below the promise of 1 % and 0.1 %: decoded layers of plain texts
/// can alarm, too, and honest texts of unknown sources lie higher than those that are measured here.
const FLAG: f32 = 0.009;
const BLOCK: f32 = 0.000_6;
/// The same for texts that were wholly encoded, of which honest ones are few.
const DECODED_FLAG: f32 = 0.028;
/// The same for long texts, of which each here is two dozen honest ones: a single odd one among them is no reason to
/// miss what stands in all others.
const LONG_FLAG: f32 = 0.06;
/// As many texts as the prior of the channel counts for in a band.
const PRIOR: f32 = 200.0;

/// How many times ten the long texts are longer than the last band: the logarithm of 20,000 / 4,096, written out.
const DECADES: f32 = 0.689;

/// By user, document, decoded, and length band; and for long texts.
pub(crate) fn calibrate(rows: &[Row], measured: &Measured) -> Scale {
    let honest = || measured.weights.iter().filter(|weight| !rows[weight.row].attack);
    let plain = |document: bool| {
        let of =
            move |weight: &&Weight| rows[weight.row].document == document && !rows[weight.row].transformed();
        honest()
            .filter(of)
            .map(|weight| (band(weight.weighed.bytes), weight.weighed.evidence))
            .collect::<Vec<_>>()
    };
    let decoded = honest().filter_map(|weight| weight.weighed.decoded);
    let decoded: Vec<(usize, f32)> = decoded.map(|(evidence, bytes)| (band(bytes), evidence)).collect();
    let calibration = [
        kind(&plain(false), FLAG, BLOCK),
        kind(&plain(true), FLAG, BLOCK),
        kind(&decoded, DECODED_FLAG, BLOCK * 2.0),
    ];
    let worst = point(measured.long.clone(), LONG_FLAG);
    let decade = ((worst - calibration[1][3].flag) / DECADES).clamp(0.2, 1.0);
    println!("{} long honest texts ask for {decade:.2} more a decade", measured.long.len());
    Scale { calibration, decade }
}

fn band(bytes: usize) -> usize {
    BANDS.iter().position(|most| bytes <= *most).unwrap_or(BANDS.len())
}

fn kind(all: &[(usize, f32)], flag: f32, block: f32) -> [Calibration; 4] {
    let own = |wanted: usize| {
        all.iter().filter(|(band, _)| *band == wanted).map(|(_, evidence)| *evidence).collect::<Vec<_>>()
    };
    let general = point(all.iter().map(|(_, evidence)| *evidence).collect(), flag);
    let flags: [f32; 4] = std::array::from_fn(|band| {
        let own = own(band);
        let share = own.len() as f32 / (own.len() as f32 + PRIOR);
        share * point(own, flag) + (1.0 - share) * general
    });
    // How far above the flag point the few worst are is learnt from all bands together.
    let gap = point(all.iter().map(|(band, evidence)| evidence - flags[*band]).collect(), block).max(0.3);
    flags.map(|flag| Calibration { flag, block: flag + gap })
}

/// The evidence that a share of them reaches.
fn point(mut all: Vec<f32>, share: f32) -> f32 {
    if all.is_empty() {
        return 0.0;
    }
    all.sort_by(|a, b| b.total_cmp(a));
    let place = share * all.len() as f32;
    let above = (place as usize).min(all.len() - 1);
    let below = (above + 1).min(all.len() - 1);
    let part = place - above as f32;
    all[above] * (1.0 - part) + all[below] * part
}
