//! Cuts a stream of judged frames into utterances. Pure: no device, no clock, no detector.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gemma_types::{SAMPLE_RATE_HZ, Utterance};

use crate::config;

/// Samples of a frame: 16 ms.
pub(super) const FRAME_SAMPLES: usize = 256;
/// Silence that stays at the end of an utterance.
const TAIL: Duration = Duration::from_millis(200);

/// Cuts a stream of frames.
#[derive(Debug)]
pub(super) struct Segmenter {
    limits: Limits,
    /// Sound before the speech that may come.
    before: VecDeque<i16>,
    speaking: Option<Speaking>,
    caption: Option<Arc<str>>,
}

/// The configured times in samples.
#[derive(Clone, Copy, Debug)]
struct Limits {
    before: usize,
    pause: usize,
    tail: usize,
    speech_min: usize,
    utterance_max: usize,
}

/// An utterance that has not ended.
#[derive(Debug)]
struct Speaking {
    samples: Vec<i16>,
    started_at: Duration,
    /// Samples of frames that were judged to be speech.
    speech: usize,
    /// Samples since the last of them.
    pause: usize,
}

impl Segmenter {
    pub(super) fn new(config: &config::Listening) -> Self {
        let utterance_max = samples_of(config.utterance_max).max(FRAME_SAMPLES);
        let pause = samples_of(config.hang_over).max(1);
        let limits = Limits {
            before: samples_of(config.pre_roll).min(utterance_max - FRAME_SAMPLES),
            pause,
            tail: samples_of(TAIL).min(pause),
            speech_min: samples_of(config.utterance_min),
            utterance_max,
        };
        Self { limits, before: VecDeque::new(), speaking: None, caption: None }
    }

    /// Says what the speech to come is about, where a replayed file knows it.
    pub(super) fn announce(&mut self, caption: Arc<str>) {
        self.caption = Some(caption);
    }

    /// Takes a frame that started at `started_at` and says whether it ends an utterance.
    pub(super) fn push(
        &mut self,
        frame: &[i16; FRAME_SAMPLES],
        speech: bool,
        started_at: Duration,
    ) -> Option<Utterance> {
        let Some(speaking) = &mut self.speaking else {
            if speech {
                self.start(frame, started_at);
            } else {
                self.before.extend(frame);
                let surplus = self.before.len().saturating_sub(self.limits.before);
                self.before.drain(..surplus);
            }
            return None;
        };
        speaking.samples.extend_from_slice(frame);
        if speech {
            speaking.speech += FRAME_SAMPLES;
            speaking.pause = 0;
        } else {
            speaking.pause += FRAME_SAMPLES;
        }
        let paused = speaking.pause >= self.limits.pause;
        let full = speaking.samples.len() + FRAME_SAMPLES > self.limits.utterance_max;
        if paused || full { self.end() } else { None }
    }

    /// Forgets everything that was heard.
    pub(super) fn forget(&mut self) {
        self.before.clear();
        self.speaking = None;
        self.caption = None;
    }

    fn start(&mut self, frame: &[i16; FRAME_SAMPLES], started_at: Duration) {
        let mut samples: Vec<i16> = self.before.drain(..).collect();
        let started_at = started_at.saturating_sub(duration_of(samples.len()));
        samples.extend_from_slice(frame);
        self.speaking = Some(Speaking { samples, started_at, speech: FRAME_SAMPLES, pause: 0 });
    }

    fn end(&mut self) -> Option<Utterance> {
        let mut speaking = self.speaking.take()?;
        let surplus = speaking.pause.saturating_sub(self.limits.tail);
        let cut = speaking.samples.split_off(speaking.samples.len() - surplus);
        // What is cut off may be the beginning of what comes next.
        self.before.extend(cut);
        let beyond = self.before.len().saturating_sub(self.limits.before);
        self.before.drain(..beyond);
        (speaking.speech >= self.limits.speech_min).then(|| Utterance {
            samples: speaking.samples.into(),
            started_at: speaking.started_at,
            caption: self.caption.take(),
        })
    }
}

/// Duration of a number of samples.
pub(super) fn duration_of(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ))
}

fn samples_of(time: Duration) -> usize {
    (time.as_micros() * u128::from(SAMPLE_RATE_HZ) / 1_000_000).min(usize::MAX as u128) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn config() -> config::Listening {
        config::Listening {
            threshold: 0.5,
            pre_roll: Duration::from_millis(32),
            hang_over: Duration::from_millis(64),
            utterance_min: Duration::from_millis(32),
            utterance_max: Duration::from_millis(320),
        }
    }

    /// Runs a line of frames, `#` for speech and `.` for none, each frame filled with its number;
    /// gives the first and last frame number of each utterance.
    fn cut(line: &str) -> Vec<(i16, i16)> {
        utterances(line.bytes().map(|byte| byte == b'#'))
            .iter()
            .map(|utterance| (utterance.samples[0], *utterance.samples.last().unwrap()))
            .collect()
    }

    fn utterances(frames: impl Iterator<Item = bool>) -> Vec<Utterance> {
        let mut segmenter = Segmenter::new(&config());
        let push = |(index, speech): (usize, bool)| {
            let frame = [index as i16; FRAME_SAMPLES];
            segmenter.push(&frame, speech, duration_of(index * FRAME_SAMPLES))
        };
        frames.enumerate().filter_map(push).collect()
    }

    #[test]
    fn speech_is_cut_with_pre_roll_and_pause() {
        let check = |line: &str, expected: &[(i16, i16)]| assert_eq!(cut(line), expected, "{line}");
        check("........", &[]);
        check("....###....", &[(2, 10)]);
        check("###....", &[(0, 6)]);
        check("....#.#.#....", &[(2, 12)]);
        check("....###...", &[]);
        check("....#........", &[]);
        check("....##........##....", &[(2, 9), (12, 19)]);
        check("#####################....", &[(0, 19)]);
        check("######################....", &[(0, 19), (20, 25)]);
        check("#########################....", &[(0, 19), (20, 28)]);
    }

    #[test]
    fn an_utterance_says_when_it_started() {
        let utterance = utterances("....###....".bytes().map(|byte| byte == b'#')).remove(0);
        assert_eq!(utterance.started_at, Duration::from_millis(32));
    }

    #[test]
    fn a_caption_belongs_to_one_utterance() {
        let mut segmenter = Segmenter::new(&config());
        segmenter.announce("light on".into());
        let captions: Vec<_> = "###....###...."
            .bytes()
            .filter_map(|byte| segmenter.push(&[0; FRAME_SAMPLES], byte == b'#', Duration::ZERO))
            .map(|utterance| utterance.caption)
            .collect();
        assert_eq!(captions, [Some("light on".into()), None]);
    }

    #[test]
    fn what_was_heard_before_a_mute_is_forgotten() {
        let mut segmenter = Segmenter::new(&config());
        for _ in 0..5 {
            assert!(segmenter.push(&[1; FRAME_SAMPLES], true, Duration::ZERO).is_none());
        }
        segmenter.forget();
        for _ in 0..8 {
            assert!(segmenter.push(&[0; FRAME_SAMPLES], false, Duration::ZERO).is_none());
        }
    }

    proptest! {
        #[test]
        fn utterances_keep_their_limits_and_their_order(
            frames in proptest::collection::vec(any::<bool>(), 0..400)
        ) {
            let found = utterances(frames.iter().copied());
            let max = samples_of(config().utterance_max);
            let mut next = 0;
            for utterance in &found {
                prop_assert!(utterance.samples.len() <= max);
                let (first, last) = (utterance.samples[0], *utterance.samples.last().unwrap());
                prop_assert!(first >= next, "sound is heard twice");
                next = last + 1;
                let numbers: Vec<i16> = utterance.samples.to_vec();
                prop_assert!(numbers.is_sorted(), "sound is out of order");
                let speech = (first..=last).filter(|at| frames[*at as usize]).count();
                prop_assert!(speech * FRAME_SAMPLES >= samples_of(config().utterance_min));
            }
        }

        #[test]
        fn long_speech_is_never_lost(start in 0usize..20, length in 2usize..60) {
            let mut frames = vec![false; start];
            frames.extend(vec![true; length]);
            frames.extend(vec![false; 8]);
            let heard: usize = utterances(frames.iter().copied())
                .iter()
                .map(|utterance| {
                    let speech = |sample: &&i16| frames[usize::try_from(**sample).unwrap()];
                    utterance.samples.iter().filter(speech).count() / FRAME_SAMPLES
                })
                .sum();
            // A last piece that is too short to count may be left over after a full utterance.
            prop_assert!(heard + 1 >= length, "{heard} of {length}");
        }
    }
}
