//! A sequence holds the rows that were written, whatever was added, cut off, given up, gone back to
//! and branched.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::single_range_in_vec_init, reason = "pictures are given as ranges")]

use gemma_kernels::Rows;
use proptest::prelude::*;

use super::layer::SPARE_ROWS;
use super::*;

const WINDOW: usize = 150;
const SHAPES: [LayerShape; 3] = [
    LayerShape { heads: 1, width: 2, window: Some(WINDOW) },
    LayerShape { heads: 2, width: 1, window: None },
    LayerShape { heads: 1, width: 1, window: Some(3) },
];

/// What a sequence is held against: the mark of each row, in order.
#[derive(Clone, Default)]
struct Plain(Vec<u32>);

/// Marks of rows are whole numbers that 16-bit floats hold.
const MARKS: u32 = 2_048;

fn slots(marks: &[u32]) -> Vec<Slot> {
    marks.iter().map(|&mark| Slot::Token(mark)).collect()
}

/// The numbers of a row: its mark, but negative in values.
fn numbers(marks: &[u32], shape: LayerShape) -> [Vec<f32>; 2] {
    [1.0, -1.0].map(|sign| {
        marks.iter().flat_map(|&mark| vec![sign * mark as f32; shape.numbers()]).collect()
    })
}

fn write(sequence: &mut Sequence, marks: &[u32]) {
    let first = sequence.len();
    for (layer, shape) in SHAPES.into_iter().enumerate() {
        let [keys, values] = numbers(marks, shape);
        sequence.write(layer, first, &keys, &values).unwrap();
    }
}

fn add(sequence: &mut Sequence, marks: &[u32]) {
    sequence.begin(&slots(marks), &[]);
    write(sequence, marks);
    sequence.commit().unwrap();
}

fn with(tokens: usize) -> Sequence {
    let mut sequence = Sequence::new(&SHAPES, Store::F32);
    (0..tokens as u32).for_each(|mark| add(&mut sequence, &[mark]));
    sequence
}

fn floats(rows: &Rows<'_>) -> Vec<f32> {
    match rows {
        Rows::F32(rows) => rows.to_vec(),
        Rows::F16(rows) => rows.iter().map(|number| number.to_f32()).collect(),
    }
}

/// Looks at the sequence from every one of the last `rows` positions, in every layer.
fn check_seen(sequence: &Sequence, plain: &Plain, rows: usize) {
    let end = plain.0.len();
    for (layer, shape) in SHAPES.into_iter().enumerate() {
        let view = sequence.view(layer, end - rows..end, false).unwrap();
        let last = view.segments.last().map_or(0, |segment| segment.first + segment.rows);
        let first = view.segments.first().map_or(0, |segment| segment.first);
        assert_eq!(last, end);
        let all: [Vec<f32>; 2] = [true, false].map(|keys| {
            let rows =
                |segment: &Segment<'_>| floats(if keys { &segment.keys } else { &segment.values });
            view.segments.iter().flat_map(rows).collect()
        });
        assert_eq!(all, numbers(&plain.0[first..], shape));
        for (seen, position) in view.sees.iter().zip(end - rows..end) {
            let window = shape.window.unwrap_or(usize::MAX);
            assert_eq!(*seen, (position + 1).saturating_sub(window)..position + 1);
            assert!(first <= seen.start);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Step(usize),
    Failed(usize),
    Remember,
    /// Back to so many thousandths of the tokens.
    Back(usize),
    /// Goes on with a branch, which replaces another sequence.
    Branch(usize),
    Switch(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..200usize).prop_map(Op::Step),
        4 => (1..3usize).prop_map(Op::Step),
        1 => (1..200usize).prop_map(Op::Failed),
        2 => Just(Op::Remember),
        2 => (0..1_001usize).prop_map(Op::Back),
        1 => (900..1_001usize).prop_map(Op::Back),
        2 => (0..3usize).prop_map(Op::Branch),
        2 => (0..3usize).prop_map(Op::Switch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn rows_are_those_that_were_written(ops in prop::collection::vec(op(), 1..40), half: bool) {
        let store = if half { Store::F16 } else { Store::F32 };
        let empty = || (Sequence::new(&SHAPES, store), Plain::default(), [0, 0]);
        let mut all = [empty(), empty(), empty()];
        let mut current = 0;
        let mut counter = 0;
        for op in ops {
            let (sequence, plain, [remembered, longest]) = &mut all[current];
            match op {
                Op::Step(rows) | Op::Failed(rows) => {
                    let marks: Vec<u32> = (0..rows as u32).map(|i| (counter + i) % MARKS).collect();
                    counter += rows as u32;
                    sequence.begin(&slots(&marks), &[]);
                    write(sequence, &marks);
                    let mut longer = plain.clone();
                    longer.0.extend(marks);
                    check_seen(sequence, &longer, rows);
                    if matches!(op, Op::Failed(_)) {
                        sequence.abort();
                    } else {
                        sequence.commit().unwrap();
                        *plain = longer;
                        *longest = plain.0.len().max(*longest);
                    }
                }
                Op::Remember => {
                    sequence.remember();
                    *remembered = plain.0.len();
                }
                Op::Back(part) => {
                    let tokens = plain.0.len() * part / 1_000;
                    let back = sequence.truncate(tokens);
                    let near = tokens + SPARE_ROWS >= *longest;
                    let must = tokens == 0 || near || tokens == *remembered;
                    prop_assert!(back.is_ok() || !must, "{back:?}");
                    if back.is_ok() {
                        plain.0.truncate(tokens);
                        *remembered = (*remembered).min(tokens);
                    }
                }
                Op::Branch(place) => {
                    let branch = (sequence.branch(), plain.clone(), [*remembered, *longest]);
                    all[place] = branch;
                    current = place;
                }
                Op::Switch(place) => current = place,
            }
            for (sequence, plain, _) in &all {
                prop_assert_eq!(sequence.slots(), slots(&plain.0));
                check_seen(sequence, plain, 0);
            }
        }
    }
}

#[test]
fn sliding_layers_keep_their_window_and_no_more() {
    let bytes = |tokens: usize| with(tokens).count_bytes(&mut HashSet::new());
    let per_block = |numbers: usize| 2 * block::BLOCK_ROWS * numbers * 4;
    let all = bytes(4 * block::BLOCK_ROWS);
    let more = bytes(8 * block::BLOCK_ROWS);
    assert_eq!(more - all, 4 * per_block(SHAPES[1].numbers()));
    assert_eq!(all, 2 * per_block(2) + 4 * per_block(2) + per_block(1));
}

#[test]
fn going_back_is_possible_to_the_end_of_the_prompt_and_a_little() {
    let mut sequence = with(600);
    sequence.remember();
    (0..700).for_each(|mark| add(&mut sequence, &[mark]));
    assert!(sequence.branch().truncate(1_300 - SPARE_ROWS).is_ok());
    assert!(sequence.branch().truncate(600 - SPARE_ROWS).is_ok());
    let error = sequence.truncate(900).unwrap_err();
    assert_eq!(error, SequenceError::TooFarBack { tokens: 900, reach: sequence.reach() });
    assert!(sequence.reach() <= 600 - SPARE_ROWS);
    assert_eq!(sequence.len(), 1_300);
    sequence.truncate(600).unwrap();
    check_seen(&sequence, &Plain((0..600).collect()), 1);
}

#[test]
fn a_prompt_shares_what_can_be_gone_back_to() {
    let check = |remembered: usize, prompt: &[u32], expected: usize| {
        let mut sequence = with(remembered);
        sequence.remember();
        (remembered as u32..1_000).for_each(|mark| add(&mut sequence, &[mark]));
        let shared = sequence.shared(&slots(prompt));
        assert_eq!(shared, expected);
        sequence.truncate(shared).unwrap();
        assert_eq!(sequence.slots(), slots(&prompt[..expected]));
    };
    let same: Vec<u32> = (0..1_000).collect();
    let other = |from: usize| [&same[..from], &[9_999; 50]].concat();
    check(500, &[&same[..], &[1]].concat(), 1_000);
    check(500, &same, 999);
    check(500, &other(980), 980);
    check(500, &other(800), 500);
    check(500, &other(500), 500);
    check(500, &other(490), 490);
    check(500, &other(100), 0);
    check(500, &[], 0);
}

#[test]
fn a_branch_costs_what_is_written_to_it() {
    let one = with(1_000);
    let mut two = one.branch();
    let bytes = |two: &Sequence| {
        let mut counted = HashSet::new();
        one.count_bytes(&mut counted);
        two.count_bytes(&mut counted)
    };
    assert_eq!(bytes(&two), 0);
    add(&mut two, &[7]);
    let block: usize = SHAPES.iter().map(|shape| 2 * block::BLOCK_ROWS * shape.numbers() * 4).sum();
    assert_eq!(bytes(&two), block);
    check_seen(&one, &Plain((0..1_000).collect()), 1);
    check_seen(&two, &Plain((0..1_000).chain([7]).collect()), 1);
}

#[test]
fn tokens_of_a_picture_see_each_other_within_the_window() {
    let mut sequence = with(200);
    sequence.begin(&slots(&[1; 10]), &[203..206]);
    write(&mut sequence, &[1; 10]);
    let view = |layer, images_see| sequence.view(layer, 202..207, images_see).unwrap().sees;
    assert_eq!(view(0, true), [53..203, 54..206, 55..206, 56..206, 57..207]);
    assert_eq!(view(2, true), [200..203, 201..206, 202..206, 203..206, 204..207]);
    assert_eq!(view(2, false), [200..203, 201..204, 202..205, 203..206, 204..207]);
}

#[test]
fn rows_that_are_not_those_of_the_step_are_refused() {
    let mut sequence = with(5);
    sequence.begin(&slots(&[1, 2]), &[]);
    let write = |sequence: &mut Sequence, layer, first, keys: usize, values: usize| {
        sequence.write(layer, first, &vec![0.0; keys], &vec![0.0; values]).unwrap_err()
    };
    let error = write(&mut sequence, 3, 5, 2, 2);
    assert_eq!(error, SequenceError::NoLayer { layer: 3, layers: 3 });
    for (first, keys, values) in [(4, 2, 2), (5, 1, 2), (5, 2, 1), (5, 4, 4), (5, 0, 0)] {
        let error = write(&mut sequence, 2, first, keys, values);
        let expected = SequenceError::Rows { layer: 2, keys, values, first, expected: 2, at: 5 };
        assert_eq!(error, expected);
    }
    assert!(sequence.view(2, 5..7, false).is_err());
    sequence.write(2, 5, &[0.0; 2], &[0.0; 2]).unwrap();
    assert!(sequence.view(2, 5..7, false).is_ok());
    assert!(sequence.view(2, 5..8, false).is_err());
    write(&mut sequence, 2, 5, 2, 2);
    let error = sequence.commit().unwrap_err();
    let expected = SequenceError::NotThere { layer: 0, from: 0, to: 5, position: 7 };
    assert_eq!(error, expected);
    check_seen(&sequence, &Plain((0..5).collect()), 1);
}
