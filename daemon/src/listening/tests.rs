//! Tests of listening with the real detector: on the recorded sentence, on silence, on a mute.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use gemma_types::SAMPLE_RATE_HZ;

use super::*;
use crate::config::Config;

const SENTENCE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/demo/kitchen_light.wav");
const SECOND: usize = SAMPLE_RATE_HZ as usize;

/// The recorded sentence with a second of silence before and two after.
fn sentence() -> Vec<i16> {
    let mut reader = hound::WavReader::open(SENTENCE).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (SAMPLE_RATE_HZ, 1));
    let mut samples = vec![0; SECOND];
    samples.extend(reader.samples::<i16>().map(Result::unwrap));
    samples.extend(vec![0; 2 * SECOND]);
    samples
}

fn chunks(samples: &[i16]) -> Vec<AudioChunk> {
    samples
        .chunks(320)
        .enumerate()
        .map(|(index, samples)| AudioChunk {
            samples: samples.to_vec(),
            captured_at: Duration::from_millis(20) * u32::try_from(index).unwrap(),
            caption: (index == 50).then(|| "the caption".into()),
        })
        .collect()
}

fn hear(samples: &[i16]) -> Vec<Utterance> {
    let mut listener = Listener::new(&Config::default().listening);
    chunks(samples).iter().flat_map(|chunk| listener.hear(chunk)).collect()
}

#[test]
fn a_recorded_sentence_is_one_utterance() {
    let samples = sentence();
    let utterances = hear(&samples);
    assert_eq!(utterances.len(), 1, "{} utterances", utterances.len());
    let utterance = &utterances[0];
    let spoken = samples.len() - 3 * SECOND;
    assert!(utterance.samples.len() >= spoken / 2, "most of the sentence is missing");
    assert!(utterance.samples.len() <= spoken + SECOND, "too much silence");
    assert_eq!(utterance.caption.as_deref(), Some("the caption"));
    let at = (utterance.started_at.as_secs_f64() * SECOND as f64).round() as usize;
    assert_eq!(utterance.samples[..], samples[at..at + utterance.samples.len()]);
}

#[test]
fn silence_and_noise_are_no_speech() {
    assert!(hear(&vec![0; 5 * SECOND]).is_empty());
    // A linear congruential generator: the same hiss every time.
    let mut state = 1_u32;
    let hiss: Vec<i16> = (0..5 * SECOND)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 / 256
        })
        .collect();
    assert!(hear(&hiss).is_empty());
}

#[tokio::test]
async fn what_was_said_before_a_mute_is_not_heard() {
    let (audio, chunks_in) = mpsc::channel(1_000);
    let (utterances, mut heard) = mpsc::channel(4);
    let muted = watch::Sender::new(false);
    let listening = run(Config::default().listening, chunks_in, muted.subscribe(), utterances);
    let samples = sentence();
    let (before, after) = samples.split_at(2 * SECOND);
    let speak = async {
        for chunk in chunks(before) {
            audio.send(chunk).await.unwrap();
        }
        while audio.capacity() < audio.max_capacity() {
            tokio::task::yield_now().await;
        }
        muted.send_replace(true);
        for chunk in chunks(after) {
            audio.send(chunk).await.unwrap();
        }
        drop(audio);
    };
    let (listened, ()) = tokio::join!(listening, speak);
    listened.unwrap();
    assert!(heard.recv().await.is_none());
}
