//! Attention over the keys and values of a sequence: heads are normed and turned, new rows written
//! into the sequence, and every query meets the keys that it sees.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gemma_kernels::{Heads, Threads, attend};

use super::Attributes;
use super::angles::{Angles, Rotation};
use super::shared::Shared;
use crate::sequence::{LayerShape, Sequence, handles};

/// What the attributes of an attention say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attention {
    /// Place among the layers of the sequence.
    layer: usize,
    /// Heads of the queries.
    heads: usize,
    /// Heads of keys and values.
    kv_heads: usize,
    /// Rows that a query sees, itself included; 0 for all.
    window: usize,
    /// Width of a head, and how it is turned.
    rotation: Rotation,
    /// What keeps a norm from dividing by zero.
    epsilon: f32,
    /// Whether the tokens of a picture see each other.
    images_see: bool,
}

/// What an attention is given.
pub(crate) struct Given<'a> {
    /// Queries of the last rows of the step, `[rows, heads * width]`.
    pub(crate) query: &'a [f32],
    /// Keys and values of the step, `[step, kv_heads * width]`; a layer that shares has none.
    pub(crate) key_value: Option<[&'a [f32]; 2]>,
    /// Weights of the norm of the queries, `[width]`.
    pub(crate) query_norm: &'a [f32],
    /// Weights of the norm of the keys, `[width]`.
    pub(crate) key_norm: Option<&'a [f32]>,
    /// Which sequence it is.
    pub(crate) handle: &'a [i64],
    /// Position of the first row of the step, and rows of the step.
    pub(crate) rows: &'a [i64],
}

/// Rows that one thread norms and turns at least.
const GRAIN: usize = 8;

/// Elements that are summed side by side.
const LANES: usize = 8;

impl Attention {
    /// Reads the attributes of a node.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub(crate) fn read(node: &impl Attributes) -> Result<Self, String> {
        let fraction = |name: &str| {
            let value = node.fraction(name).filter(|value| value.is_finite() && *value > 0.0);
            value.ok_or_else(|| format!("its attribute {name} is no number above 0"))
        };
        let (width, rotated) = (node.size("width")?, node.size("rotated")?);
        let new = Self {
            layer: node.size("layer")?,
            heads: node.size("heads")?,
            kv_heads: node.size("kv_heads")?,
            window: node.size("window")?,
            rotation: Rotation { theta: fraction("theta")?, rotated, width },
            epsilon: fraction("epsilon")?,
            images_see: node.integer("images_see").unwrap_or(0) != 0,
        };
        let fits = new.kv_heads > 0 && new.heads.is_multiple_of(new.kv_heads) && new.heads > 0;
        let turns = width > 0 && width.is_multiple_of(2) && rotated <= width / 2;
        match fits && turns {
            true => Ok(new),
            false => Err(format!("heads that do not go together: {new:?}")),
        }
    }

    /// Elements of a row of queries.
    pub(crate) fn row(&self) -> usize {
        self.heads * self.rotation.width
    }

    /// Attends; `output` has the shape of the queries.
    ///
    /// # Errors
    /// When what is given has the wrong sizes, or there is no such sequence or layer.
    pub(crate) fn compute(
        &self,
        given: &Given<'_>,
        output: &mut [f32],
        shared: &Shared,
    ) -> Result<(), String> {
        let count = whole_rows(given.query, self.row(), "query")?;
        if output.len() != given.query.len() {
            return Err(format!("{} elements of output", output.len()));
        }
        let positions = last_positions(given.rows, count)?;
        let &[handle] = given.handle else {
            return Err(format!("{} handles; 1 is due", given.handle.len()));
        };
        let found = handles::with(handle, |sequence| {
            let shape = sequence.shape(self.layer);
            let is_fit = |shape: LayerShape| {
                (shape.heads, shape.width) == (self.kv_heads, self.rotation.width)
            };
            if !shape.is_some_and(is_fit) {
                return Err(format!("layer {} of the sequence is {shape:?}", self.layer));
            }
            self.write(sequence, given, shared)?;
            self.attend(sequence, given, positions, output, shared)
        });
        found.unwrap_or_else(|| Err(format!("no sequence has the handle {handle}")))
    }

    /// Writes the new keys and values, if there are some, into the sequence.
    fn write(
        &self,
        sequence: &mut Sequence,
        given: &Given<'_>,
        shared: &Shared,
    ) -> Result<(), String> {
        let Some([key, value]) = given.key_value else { return Ok(()) };
        let row = self.kv_heads * self.rotation.width;
        let count = whole_rows(key, row, "key")?;
        let norm = given.key_norm.ok_or("keys without their norm")?;
        if value.len() != key.len() {
            return Err(format!("{} elements of keys, {} of values", key.len(), value.len()));
        }
        let positions = last_positions(given.rows, count)?;
        let angles = shared.angles(self.rotation, positions.start, count);
        let (mut keys, mut values) = (key.to_vec(), value.to_vec());
        self.prepare(&mut keys, self.kv_heads, Some(norm), Some(&angles), &shared.threads)?;
        self.prepare(&mut values, self.kv_heads, None, None, &shared.threads)?;
        let written = sequence.write(self.layer, positions.start, &keys, &values);
        written.map_err(|error| error.to_string())
    }

    /// Meets the queries at these positions with the keys that they see.
    fn attend(
        &self,
        sequence: &Sequence,
        given: &Given<'_>,
        positions: Range<usize>,
        output: &mut [f32],
        shared: &Shared,
    ) -> Result<(), String> {
        if positions.is_empty() {
            return Ok(());
        }
        let angles = shared.angles(self.rotation, positions.start, positions.len());
        let mut query = given.query.to_vec();
        let norm = Some(given.query_norm);
        self.prepare(&mut query, self.heads, norm, Some(&angles), &shared.threads)?;
        let view = sequence.view(self.layer, positions.clone(), self.images_see);
        let mut view = view.map_err(|error| error.to_string())?;
        if self.window > 0 {
            // A sequence may keep more than a layer sees.
            for (sees, position) in view.sees.iter_mut().zip(positions) {
                sees.start = sees.start.max((position + 1).saturating_sub(self.window));
            }
        }
        let heads = Heads { query: self.heads, kv: self.kv_heads, width: self.rotation.width };
        attend(&heads, &query, &view.sees, &view.segments, output, &shared.threads)
            .map_err(|mismatch| mismatch.to_string())
    }

    /// Norms each head of each row, and turns it.
    fn prepare(
        &self,
        data: &mut [f32],
        heads: usize,
        norm: Option<&[f32]>,
        angles: Option<&Angles>,
        threads: &Threads,
    ) -> Result<(), String> {
        let width = self.rotation.width;
        if let Some(norm) = norm.filter(|norm| norm.len() != width) {
            return Err(format!("a norm of {} weights; {width} are due", norm.len()));
        }
        let prepare = |row: &mut [f32], at: usize| {
            for head in row.chunks_exact_mut(width) {
                self.norm(head, norm);
                angles.iter().for_each(|angles| angles.turn(head, at));
            }
        };
        let rows: Vec<Mutex<&mut [f32]>> =
            data.chunks_exact_mut(heads * width).map(Mutex::new).collect();
        threads.split(rows.len(), GRAIN, &|range| {
            for (at, row) in rows.iter().enumerate().take(range.end).skip(range.start) {
                prepare(&mut row.lock().unwrap_or_else(PoisonError::into_inner), at);
            }
        });
        Ok(())
    }

    /// Divides a head by the root of its mean square.
    fn norm(&self, head: &mut [f32], weights: Option<&[f32]>) {
        let scale = (square_sum(head) / head.len() as f32 + self.epsilon).sqrt().recip();
        match weights {
            None => head.iter_mut().for_each(|value| *value *= scale),
            Some(weights) => head
                .iter_mut()
                .zip(weights)
                .for_each(|(value, weight)| *value = *value * scale * weight),
        }
    }
}

/// The sum of squares, in as many sums side by side as a processor adds at once.
fn square_sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value * value);
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
}

/// How many rows there are.
fn whole_rows(data: &[f32], row: usize, name: &str) -> Result<usize, String> {
    match data.len().is_multiple_of(row) {
        true => Ok(data.len() / row),
        false => Err(format!("{name} has {} elements in rows of {row}", data.len())),
    }
}

/// Positions of the last `count` rows of a step.
fn last_positions(rows: &[i64], count: usize) -> Result<Range<usize>, String> {
    let positions = |&[first, step]: &[i64; 2]| {
        let first = usize::try_from(first).ok().filter(|&first| first <= POSITION_MAX)?;
        let step = usize::try_from(step).ok().filter(|&step| step <= POSITION_MAX)?;
        Some(first + step.checked_sub(count)?..first + step)
    };
    let positions = <&[i64; 2]>::try_from(rows).ok().and_then(positions);
    let due = || format!("rows is {rows:?}; the first position and at least {count} rows are due");
    positions.ok_or_else(due)
}

/// Positions beyond this are an error of whoever runs the graph.
const POSITION_MAX: usize = 1 << 40;
