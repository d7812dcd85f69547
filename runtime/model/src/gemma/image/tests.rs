#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn frame(width: u32, height: u32, rgb: Vec<u8>) -> Frame {
    Frame { width, height, rgb: Arc::from(rgb), captured_at: Duration::ZERO }
}

/// Red grows along x, green along y.
fn gradient(width: u32, height: u32) -> Vec<u8> {
    let pixel = |place: u32| [(place % width) as u8, (place / width) as u8, 7];
    (0..width * height).flat_map(pixel).collect()
}

/// A picture's width and height, and those that it is scaled to for each budget.
type Scaled = ((usize, usize), [(usize, usize); 5]);

/// The published table, and below it odd sizes that the reference was asked for.
#[rustfmt::skip]
const SIZES: [Scaled; 16] = [
    ((640, 480), [(432, 336), (624, 480), (912, 672), (1296, 960), (1824, 1344)]),
    ((612, 408), [(480, 288), (672, 432), (960, 624), (1344, 912), (1920, 1296)]),
    ((224, 224), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((512, 512), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((1280, 640), [(528, 240), (768, 384), (1104, 528), (1584, 768), (2256, 1104)]),
    ((1920, 1080), [(528, 288), (720, 384), (1056, 576), (1488, 816), (2112, 1200)]),
    ((8000, 20), [(3360, 48), (6720, 48), (13440, 48), (22704, 48), (32112, 48)]),
    ((100, 3000), [(48, 2160), (96, 3072), (144, 4368), (192, 6192), (288, 8784)]),
    ((1, 1), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((1, 2), [(240, 528), (384, 768), (528, 1104), (768, 1584), (1104, 2256)]),
    ((3, 1000), [(48, 3360), (48, 6720), (48, 13440), (48, 20736), (48, 29328)]),
    ((49, 47), [(384, 384), (576, 528), (816, 768), (1152, 1104), (1632, 1536)]),
    ((2047, 1999), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((4032, 3024), [(432, 336), (624, 480), (912, 672), (1296, 960), (1824, 1344)]),
    ((1, 32768), [(48, 3360), (48, 6720), (48, 13440), (48, 26880), (48, 53760)]),
    ((32768, 1), [(3360, 48), (6720, 48), (13440, 48), (26880, 48), (53760, 48)]),
];

#[test]
fn sizes_follow_the_published_table() {
    for ((width, height), expected) in SIZES {
        for (budget, expected) in BUDGETS.into_iter().zip(expected) {
            let found = scaled_size(width, height, budget).unwrap();
            assert_eq!(found, expected, "{width} x {height} at {budget}");
            let tokens = soft_tokens(width as u32, height as u32, budget).unwrap();
            assert_eq!(tokens, expected.0 * expected.1 / 2_304, "{width} x {height} at {budget}");
        }
    }
}

#[test]
fn token_counts_follow_the_published_table() {
    let check = |width: u32, height: u32, expected: [usize; 5]| {
        let found = BUDGETS.map(|budget| soft_tokens(width, height, budget).unwrap());
        assert_eq!(found, expected, "{width} x {height}");
    };
    check(640, 480, [63, 130, 266, 540, 1064]);
    check(612, 408, [60, 126, 260, 532, 1080]);
    check(224, 224, [64, 121, 256, 529, 1089]);
    check(512, 512, [64, 121, 256, 529, 1089]);
    check(1280, 640, [55, 128, 253, 528, 1081]);
    check(1920, 1080, [66, 120, 264, 527, 1100]);
    check(8000, 20, [70, 140, 280, 473, 669]);
    check(100, 3000, [45, 128, 273, 516, 1098]);
}

/// Checks values of a square: its number, its left upper pixel, a value and that value's place.
fn check_squares(prepared: &PreparedImage, picture: &[u8], side: usize, columns: usize) {
    let squares = prepared.pixels.dim().1;
    for square in [0, 1, columns, 2 * columns + 1, squares - 1] {
        let (column, row) = (square % columns, square / columns);
        let position = [prepared.positions[[0, square, 0]], prepared.positions[[0, square, 1]]];
        assert_eq!(position, [column as i64, row as i64]);
        for (x, y, channel) in [(0, 0, 0), (1, 0, 1), (0, 1, 0), (side - 1, side - 1, 2)] {
            let place = ((row * side + y) * 384 + column * side + x) * 3 + channel;
            let expected = f32::from(picture[place]) * (1.0 / 255.0);
            let value = (y * side + x) * 3 + channel;
            assert_eq!(prepared.pixels[[0, square, value]], expected, "square {square}");
        }
    }
}

#[test]
fn patches_hold_their_pixels_row_by_row() {
    // 384 by 384 pixels at a budget of 70 is a square of any size; this one is not scaled.
    let picture = gradient(384, 384);
    let prepared = prepare(&frame(384, 384, picture.clone()), 70).unwrap();
    assert_eq!(prepared.pixels.dim(), (1, 576, PATCH_VALUES));
    assert_eq!(prepared.positions.dim(), (1, 576, 2));
    assert_eq!(prepared.soft_tokens, 64);
    check_squares(&prepared, &picture, 16, 24);
}

#[test]
fn soft_tokens_of_a_model_without_a_tower_hold_nine_patches() {
    let picture = gradient(384, 384);
    let prepared = prepare_unified(&frame(384, 384, picture.clone()), 70).unwrap();
    assert_eq!(prepared.pixels.dim(), (1, 64, CELL_VALUES));
    assert_eq!(prepared.positions.dim(), (1, 64, 2));
    assert_eq!(prepared.soft_tokens, 64);
    check_squares(&prepared, &picture, 48, 8);
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = |frame: Frame, budget| prepare(&frame, budget).err().unwrap().to_string();
    assert!(refused(frame(0, 4, vec![]), 280).contains("empty"));
    assert!(refused(frame(2, 2, vec![0; 11]), 280).contains("11 bytes"));
    assert!(refused(frame(2, 2, vec![0; 12]), 100).contains("budget 100"));
    assert!(refused(frame(u32::MAX, u32::MAX, vec![]), 280).contains("too large"));
}

#[test]
fn a_folder_names_its_budget_or_gets_the_usual_one() {
    let check = |name: &str, text: &str, expected: Result<usize, &str>| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        match (folder_budget(folder.path()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected)),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    };
    check("processor_config.json", r#"{"image_processor": {"max_soft_tokens": 70}}"#, Ok(70));
    check("preprocessor_config.json", r#"{"max_soft_tokens": 1120}"#, Ok(1120));
    check("preprocessor_config.json", "{}", Ok(280));
    check("other.json", "", Ok(280));
    check("preprocessor_config.json", r#"{"max_soft_tokens": 71}"#, Err("71"));
    check("preprocessor_config.json", "{", Err("preprocessor_config.json"));
}

/// The published rule, written down a second time in whole numbers: the largest number of cells along
/// each side with which the scaled picture fills the budget at most.
fn cells(side: u128, width: u128, height: u128, budget: u128) -> u128 {
    // floor(sqrt(budget * 48^2 / (w * h)) * side / 48) = floor(sqrt(budget * side^2 / (w * h)))
    (budget * side * side / (width * height)).isqrt()
}

/// Whether the root of a ratio is a whole number.
fn is_square(numerator: usize, denominator: usize) -> bool {
    let ratio = numerator / denominator;
    numerator.is_multiple_of(denominator) && ratio.isqrt().pow(2) == ratio
}

proptest! {
    #[test]
    fn no_budget_is_exceeded(width in 1_usize..9_000, height in 1_usize..9_000) {
        for budget in BUDGETS {
            let (wide, high) = scaled_size(width, height, budget).unwrap();
            prop_assert!(wide >= CELL && high >= CELL && wide % CELL == 0 && high % CELL == 0);
            prop_assert!(wide * high <= budget * CELL * CELL);
        }
    }

    #[test]
    fn every_size_follows_the_published_rule(width in 1_usize..33_000, height in 1_usize..33_000) {
        for budget in BUDGETS {
            let found = scaled_size(width, height, budget).unwrap();
            let exact = |side: usize| {
                cells(side as u128, width as u128, height as u128, budget as u128) as usize
            };
            // Where the root is a whole number, the reference's rounding decides.
            prop_assume!(!is_square(budget * width, height) && !is_square(budget * height, width));
            let expected = match (exact(width), exact(height)) {
                (_, 0) => ((width / height).min(budget), 1),
                (0, _) => (1, (height / width).min(budget)),
                sides => sides,
            };
            prop_assert_eq!((found.0 / CELL, found.1 / CELL), expected, "at {}", budget);
        }
    }
}
