//! Sound to utterances: a detector says for each 16 ms how likely somebody speaks, the segmenter
//! cuts. An utterance starts a little before its first speech and ends with a pause.

mod segmenter;

use earshot::Detector;
use gemma_types::{AudioChunk, SAMPLE_RATE_HZ, Utterance};
use tokio::sync::{mpsc, watch};

use crate::config;
use segmenter::{FRAME_SAMPLES, Segmenter};

/// Finds utterances in `audio` until it closes. What was heard before a mute is forgotten.
///
/// # Errors
/// None; the signature is that of every task.
pub async fn run(
    config: config::Listening,
    mut audio: mpsc::Receiver<AudioChunk>,
    mut muted: watch::Receiver<bool>,
    utterances: mpsc::Sender<Utterance>,
) -> anyhow::Result<()> {
    let mut listener = Listener::new(&config);
    loop {
        let chunk = tokio::select! {
            biased;
            Ok(()) = muted.changed() => {
                listener.forget();
                continue;
            }
            chunk = audio.recv() => chunk,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        if *muted.borrow() {
            continue;
        }
        for utterance in listener.hear(&chunk) {
            let duration_ms = utterance.samples.len() * 1_000 / SAMPLE_RATE_HZ as usize;
            tracing::info!(duration_ms, "utterance heard");
            if utterances.send(utterance).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The detector and the segmenter behind it.
struct Listener {
    detector: Box<Detector>,
    threshold: f32,
    segmenter: Segmenter,
    /// Samples that do not fill a frame of the detector yet.
    rest: Vec<i16>,
}

impl Listener {
    fn new(config: &config::Listening) -> Self {
        Self {
            detector: Box::new(Detector::default()),
            threshold: config.threshold,
            segmenter: Segmenter::new(config),
            rest: Vec::new(),
        }
    }

    /// Takes a chunk; gives the utterances that ended in it.
    fn hear(&mut self, chunk: &AudioChunk) -> Vec<Utterance> {
        if let Some(caption) = &chunk.caption {
            self.segmenter.announce(caption.clone());
        }
        self.rest.extend_from_slice(&chunk.samples);
        let (frames, rest) = self.rest.as_chunks::<FRAME_SAMPLES>();
        let heard_until = chunk.captured_at + segmenter::duration_of(chunk.samples.len());
        let mut utterances = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let later = self.rest.len() - index * FRAME_SAMPLES;
            let started_at = heard_until.saturating_sub(segmenter::duration_of(later));
            let speech = self.detector.predict_i16(frame) >= self.threshold;
            utterances.extend(self.segmenter.push(frame, speech, started_at));
        }
        self.rest = rest.to_vec();
        utterances
    }

    fn forget(&mut self) {
        self.detector.reset();
        self.segmenter.forget();
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests;
