//! Attention with vector instructions: the query heads that share a head of keys, of one row or of
//! several, lie side by side in the lanes, so that keys and values are read once for all of them.
//! Where there are fewer such panels than threads, each is split over the positions.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{
    Call,
    blocks::BLOCK,
    portable,
    running::{Running, tile_start},
};
use crate::{
    simd::{Kernel, LANES, Simd},
    tile::{Step, TALL},
};

/// Positions below which a panel is not split further.
const POSITIONS_MIN: usize = 256;

/// See [`crate::attend`].
pub(super) fn attend<S: Simd>(simd: S, call: &Call<'_>) {
    let Call { heads, query, sees, segments, output, threads } = *call;
    let lanes = sees.len() * heads.query / heads.kv;
    if heads.width < TALL || lanes == 0 {
        return portable::attend(heads, query, sees, segments, output, threads);
    }
    if lanes <= LANES {
        call.all::<S, 1>(simd);
    } else {
        call.all::<S, 2>(simd);
    }
}

impl Call<'_> {
    fn all<S: Simd, const WIDE: usize>(&self, simd: S) {
        let lanes = self.sees.len() * self.group();
        let panels = lanes.div_ceil(WIDE * LANES);
        let splits = self.splits(self.heads.kv * panels);
        let tasks = self.heads.kv * panels * splits;
        let found: Vec<_> = (0..tasks).map(|_| Mutex::new(None)).collect();
        self.threads.split(tasks, 1, &|range| {
            for task in range {
                let (index, split) = (task / splits, task % splits);
                let (kv_head, panel) = (index / panels, index % panels);
                let call = self;
                let part = Part { call, kv_head, panel, split, splits };
                let running: Running<WIDE> = simd.enter(part);
                if splits == 1 {
                    simd.enter(Finish { call, kv_head, panel, parts: vec![running] });
                } else {
                    *found[task].lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
                }
            }
        });
        if splits == 1 {
            return;
        }
        let mut found = found.into_iter();
        for index in 0..self.heads.kv * panels {
            let parts = found.by_ref().take(splits);
            let parts = parts.filter_map(|part| part.into_inner().ok().flatten()).collect();
            let (kv_head, panel) = (index / panels, index % panels);
            simd.enter(Finish { call: self, kv_head, panel, parts });
        }
    }

    /// Query heads that share a head of keys.
    fn group(&self) -> usize {
        self.heads.query / self.heads.kv
    }

    /// Parts that the positions of every panel are split into.
    fn splits(&self, panels: usize) -> usize {
        let longest = self.sees.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let threads = self.threads.count();
        if threads == 1 || panels >= 2 * threads {
            return 1;
        }
        (2 * threads).div_ceil(panels).min(longest / POSITIONS_MIN).max(1)
    }

    /// Row and query head of a lane, if it is used.
    fn place(&self, kv_head: usize, lane: usize) -> Option<(usize, usize)> {
        let (row, head) = (lane / self.group(), lane % self.group());
        (row < self.sees.len()).then_some((row, kv_head * self.group() + head))
    }

    /// Where the numbers of a lane begin in query and output.
    fn first(&self, kv_head: usize, lane: usize) -> Option<usize> {
        let (row, head) = self.place(kv_head, lane)?;
        Some((row * self.heads.query + head) * self.heads.width)
    }
}

/// A panel of queries over a part of the positions.
struct Part<'a> {
    call: &'a Call<'a>,
    kv_head: usize,
    panel: usize,
    split: usize,
    splits: usize,
}

impl<const WIDE: usize> Kernel<Running<WIDE>> for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Running<WIDE> {
        let Self { call, kv_head, panel, split, splits } = self;
        let width = call.heads.width;
        let mut queries: Vec<Step<WIDE>> = vec![[[0.0; LANES]; WIDE]; width];
        let mut sees: [[Range<usize>; LANES]; WIDE] = std::array::from_fn(|_| Default::default());
        let mut hull: Option<Range<usize>> = None;
        for lane in 0..WIDE * LANES {
            let index = panel * WIDE * LANES + lane;
            let Some((row, _)) = call.place(kv_head, index) else { break };
            let Some(first) = call.first(kv_head, index) else { break };
            for (step, number) in queries.iter_mut().zip(&call.query[first..][..width]) {
                step[lane / LANES][lane % LANES] = *number;
            }
            let range = call.sees[row].clone();
            if !range.is_empty() {
                let before = hull.unwrap_or(range.clone());
                hull = Some(before.start.min(range.start)..before.end.max(range.end));
            }
            sees[lane / LANES][lane % LANES] = range;
        }
        let hull = hull.unwrap_or_default();
        let each = hull.len().div_ceil(splits);
        let start = hull.start.saturating_add(split * each);
        let part = start..hull.end.min(start.saturating_add(each));
        let mut running = Running::new(width);
        let (mut keys_room, mut values_room) = (Vec::new(), Vec::new());
        for segment in call.segments {
            let rows = segment.part(&part);
            for first in rows.clone().step_by(BLOCK) {
                let rows = first..rows.end.min(first + BLOCK);
                let positions = segment.first + rows.start..segment.first + rows.end;
                let heads = call.heads;
                let keys = segment.keys.of_head(simd, heads, kv_head, rows.clone(), &mut keys_room);
                let values = segment.values.of_head(simd, heads, kv_head, rows, &mut values_room);
                running.see(simd, &queries, &sees, &positions, keys, values);
            }
        }
        running
    }
}

/// Brings the parts of a panel together and writes it.
struct Finish<'a, const WIDE: usize> {
    call: &'a Call<'a>,
    kv_head: usize,
    panel: usize,
    parts: Vec<Running<WIDE>>,
}

impl<const WIDE: usize> Kernel for Finish<'_, WIDE> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, kv_head, panel, parts } = self;
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return };
        for part in parts {
            all.merge(simd, &part);
        }
        let width = call.heads.width;
        let mut row = vec![0.0; width];
        for lane in 0..WIDE * LANES {
            let Some(first) = call.first(kv_head, panel * WIDE * LANES + lane) else { return };
            let (vector, lane) = (lane / LANES, lane % LANES);
            let whole = all.whole[vector][lane];
            let inverse = if whole > 0.0 { 1.0 / whole } else { 0.0 };
            for (tile, sums) in all.values.iter().enumerate() {
                let start = tile_start(tile, width);
                for (number, sums) in row[start..].iter_mut().zip(sums) {
                    *number = sums[vector][lane] * inverse;
                }
            }
            call.output.set(first, &row);
        }
    }
}
