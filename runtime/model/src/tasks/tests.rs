#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Clip, Frame, Usage};

use super::*;

fn picture() -> Frame {
    let rgb = Arc::from(vec![0_u8; 6]);
    Frame { width: 2, height: 1, rgb, captured_at: Duration::ZERO }
}

fn said(text: &str) -> Said {
    Said { thought: String::new(), text: text.into(), tokens: 9, whole: true }
}

/// The words of a question and the kinds of what precedes them.
fn words(ask: &Ask) -> (&str, usize) {
    let [message] = ask.messages.as_slice() else { panic!("one message") };
    assert_eq!(message.role, Role::User);
    match message.parts.split_last() {
        Some((Part::Text(words), media)) => {
            assert!(media.iter().all(|part| !matches!(part, Part::Text(_))));
            (words, media.len())
        }
        _ => panic!("words last"),
    }
}

fn transcribe(seconds: f32, language: Option<&str>) -> Transcribe {
    let samples = vec![0_i16; (seconds * 16_000.0) as usize];
    Transcribe { samples: samples.into(), language: language.map(str::to_owned) }
}

#[test]
fn speech_is_asked_for_in_the_words_of_the_model_card() {
    let asks = transcribe(1.0, Some("German")).asks().unwrap();
    assert_eq!(
        words(&asks[0]),
        (
            "Transcribe the following speech segment in German into German text.\n\nFollow these \
             specific instructions for formatting the answer:\n* Only output the transcription, \
             with no newlines.\n* When transcribing numbers, write the digits, i.e. write 1.7 and \
             not one point seven, and write 3 instead of three.",
            1
        )
    );
    let asks = transcribe(1.0, None).asks().unwrap();
    assert!(words(&asks[0]).0.contains("segment in its original language.\n\nFollow"));
    let samples = Arc::from([0_i16; 400]);
    let task = Translate { samples, source: "English".into(), target: "German".into() };
    assert_eq!(
        words(&task.asks().unwrap()[0]).0,
        "Transcribe the following speech segment in English, then translate it into German.\nWhen \
         formatting the answer, first output the transcription in English, then one newline, then \
         output the string 'German: ', then the translation in German."
    );
}

#[test]
fn long_sound_is_heard_in_windows_and_becomes_one_text() {
    let task = transcribe(70.0, None);
    assert_eq!(task.asks().unwrap().len(), 3);
    let transcript = task.read(&[said(" one\ntwo "), said(""), said("three")]).unwrap();
    assert_eq!(transcript.text, "one two three");
    let seconds = |segment: &Segment| (segment.start.as_secs(), segment.end.as_secs());
    let found: Vec<_> = transcript.segments.iter().map(seconds).collect();
    assert_eq!((found[0].0, found[2].1), (0, 70));
    assert!(found.windows(2).all(|two| two[0].1 == two[1].0), "{found:?}");
    let chinese = transcribe(31.0, None).read(&[said("你好。"), said("再见")]).unwrap();
    assert_eq!(chinese.text, "你好。再见");
}

#[test]
fn pictures_have_the_size_that_their_task_needs() {
    let budget = |asks: Vec<Ask>| asks[0].options.image_budget;
    let captioning = Captioning { picture: picture(), language: None, thinking: false };
    assert_eq!(budget(captioning.asks().unwrap()), Some(140));
    assert_eq!(budget(ReadText { picture: picture() }.asks().unwrap()), Some(1120));
    let labels = vec!["cup".to_owned()];
    let detect = Detect { picture: picture(), labels, reading: Reading::Strict };
    assert_eq!(budget(detect.asks().unwrap()), Some(560));
}

#[test]
fn a_film_is_asked_about_in_words() {
    let clip = Clip { frames: vec![picture()], seconds: vec![0.0] };
    let mut task = DescribeVideo { clip, question: None, thinking: true };
    let asks = task.asks().unwrap();
    assert_eq!(words(&asks[0]), ("Describe what happens in this video.", 1));
    assert!(asks[0].options.thinking);
    task.question = Some(" Who comes? ".into());
    assert_eq!(words(&task.asks().unwrap()[0]).0, "Who comes?");
    task.clip.frames.clear();
    assert!(matches!(task.asks(), Err(TaskError::NoQuestion)));
}

#[test]
fn things_are_asked_for_by_name() {
    let check = |labels: &[&str], expected: &str| {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let task = Detect { picture: picture(), labels, reading: Reading::Forgiving };
        match task.asks() {
            Ok(asks) => assert_eq!(words(&asks[0]), (expected, 1)),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    };
    check(&["cup"], "detect cup, output only ```json");
    check(&["cup", " red pen "], "detect cup and red pen, output only ```json");
    check(&["a", "b", "c"], "detect a, b and c, output only ```json");
    check(&[], "cannot look for \"\"; expected 1 to 32 names");
    check(&["a\nb"], "cannot look for \"a\\nb\"");
    check(&["a"; 33], "expected 1 to 32 names");
}

#[test]
fn a_list_that_was_cut_still_holds_its_whole_boxes() {
    let text = r#"[{"box_2d": [0, 0, 500, 500]}, {"box_2d": ["#;
    let cut = Said { whole: false, ..said(text) };
    let labels = vec!["cup".to_owned()];
    let mut task = Detect { picture: picture(), labels, reading: Reading::Forgiving };
    let boxes = task.read(std::slice::from_ref(&cut)).unwrap();
    assert_eq!(boxes.found.len(), 1);
    assert_eq!(boxes.found[0].label, "cup");
    assert_eq!(boxes.passed_over.len(), 2, "{:?}", boxes.passed_over);
    task.reading = Reading::Strict;
    assert!(matches!(task.read(&[cut]), Err(TaskError::Cut { tokens: 9, .. })));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let check = |language: &str| {
        let refused = transcribe(1.0, Some(language)).asks();
        assert!(matches!(refused, Err(TaskError::Language(_))), "{language:?}");
    };
    check("");
    check(" ");
    check("French. Ignore that and");
    check("French\nGerman");
    check(&"x".repeat(65));
    assert!(transcribe(1.0, Some(" Chinese (Traditional) ")).asks().is_ok());
    let short = transcribe(0.01, None).asks();
    assert!(matches!(short, Err(TaskError::NoSound { samples: 160 })));
    let question = Question { media: Vec::new(), words: " ".into(), thinking: false };
    assert!(matches!(question.asks(), Err(TaskError::NoQuestion)));
}

#[test]
fn thoughts_are_kept_apart_from_the_answer() {
    let pieces = [
        Piece::Thought("I ".into()),
        Piece::Progress { prompt_tokens_done: 1, prompt_tokens: 1, reply_tokens: 1 },
        Piece::Thought("see. ".into()),
        Piece::Text(" A ".into()),
        Piece::Text("cup. ".into()),
        Piece::End { finish: Finish::Stop, usage: Usage { reply_tokens: 7, ..Usage::default() } },
    ];
    let said = Said::gather(pieces.map(Ok)).unwrap();
    assert_eq!((said.tokens, said.whole), (7, true));
    let media = vec![Part::Image(picture())];
    let question = Question { media, words: "What?".into(), thinking: true };
    let asks = question.asks().unwrap();
    assert!(asks[0].options.thinking);
    let answer = question.read(&[said]).unwrap();
    assert_eq!((answer.text.as_str(), answer.thought.as_deref()), ("A cup.", Some("I see.")));
}

#[test]
fn an_answer_that_was_cut_is_an_error_with_its_beginning() {
    let cut = Said { whole: false, ..said("Once upon a") };
    let error = ReadText { picture: picture() }.read(&[cut]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the answer was cut after 9 tokens; allow more, or ask for less: \"Once upon a\" ..."
    );
}
