//! Tests of the configuration: the file in `systemd/` says what the code does, and errors help.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SHIPPED: &str = include_str!("../../../systemd/config.toml");

fn error(text: &str) -> String {
    format!("{:#}", Config::parse(text, Path::new("/etc/gemmad/config.toml")).unwrap_err())
}

/// Every key that a section accepts, as the refusal of an unknown key lists them.
fn accepted(section: &str) -> BTreeSet<String> {
    let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
    let message = error(&format!("{header}no_such_key = 1\n"));
    let listed = message.split_once("expected").unwrap().1.split_once(", in:").unwrap().0;
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every key in the shipped file by its section; optional keys stand there commented out.
fn shown() -> BTreeMap<String, BTreeSet<String>> {
    let mut section = String::new();
    let mut keys = BTreeMap::<String, BTreeSet<String>>::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !key.contains(' ')
        {
            keys.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    assert_eq!(toml::from_str::<raw::Raw>(SHIPPED).unwrap(), raw::Raw::default());
}

#[test]
fn the_shipped_file_shows_every_key_and_no_other() {
    let shown = shown();
    let sections: BTreeSet<String> =
        shown.keys().filter(|section| !section.is_empty()).cloned().collect();
    let top = shown.get("").cloned().unwrap_or_default();
    assert_eq!(accepted(""), top.union(&sections).cloned().collect());
    for section in sections {
        assert_eq!(accepted(&section), shown[&section], "[{section}]");
    }
}

#[test]
fn the_commented_keys_of_the_shipped_file_are_accepted_too() {
    let uncommented: String = SHIPPED
        .lines()
        .filter(|line| !line.starts_with("#password_file"))
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    Config::parse(&uncommented, Path::new("/etc/gemmad/config.toml")).unwrap();
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let text = "[model]\nfolder = \"model\"\n[microphone]\nsource = \"replay:demo/a.wav\"\n";
    let config = Config::parse(text, Path::new("/srv/house/gemmad.toml")).unwrap();
    assert_eq!(config.model.folder, Path::new("/srv/house/model"));
    let path = PathBuf::from("/srv/house/demo/a.wav");
    assert_eq!(config.microphone, Microphone::Replay { path });
    assert_eq!(config.file.unwrap(), Path::new("/srv/house/gemmad.toml"));
}

#[test]
fn a_wrong_value_is_named_with_file_line_key_and_what_is_accepted() {
    let check = |text: &str, expected: &str| {
        assert_eq!(error(text), format!("/etc/gemmad/config.toml: {expected}"), "{text}");
    };
    check("[model]\nthreads = -1\n", "line 2: model.threads: found -1, accepted is 0 to 1024");
    check(
        "[model]\nengine = \"onnx\"\n",
        "line 2: model.engine: found \"onnx\", accepted is \"ort\" or \"tract\"",
    );
    check(
        "[model]\ndevice = \"gpu\"\n",
        "line 2: model.device: found \"gpu\", accepted is \"auto\", \"cpu\" or \"cuda\"",
    );
    check(
        "[model]\nengine = \"tract\"\ndevice = \"cuda\"\n",
        "line 3: model.device: found \"cuda\", accepted is \"auto\" or \"cpu\" with the engine \
         \"tract\"",
    );
    check(
        "[model]\ngraph = \"slow\"\n",
        "line 2: model.graph: found \"slow\", accepted is \"auto\", \"published\" or \"fast\"",
    );
    check(
        "\n[listening]\nthreshold = 1.5\n",
        "line 3: listening.threshold: found 1.5, accepted is 0 to 1",
    );
    check(
        "[microphone]\nsource = \"mic\"\n",
        "line 2: microphone.source: found \"mic\", accepted is \"none\", \"alsa:NAME\" or \
         \"replay:PATH\"",
    );
    check(
        "[broker]\nprefix = \"a/#\"\n",
        "line 2: broker.prefix: found \"a/#\", accepted is topic levels without + # and a leading \
         $",
    );
    check(
        "[log]\njson = 3\n",
        "line 2: invalid type: integer `3`, expected a boolean, in: json = 3",
    );
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let message = error("stop_deadline_ms = 0\n[camera]\nwidth = 1\nsource = \"usb\"\n");
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    assert!(lines.iter().all(|line| line.starts_with("/etc/gemmad/config.toml: line ")));
}

#[test]
fn a_syntax_error_is_named_with_its_line() {
    let message = error("[model]\nfolder = \n");
    assert!(message.starts_with("/etc/gemmad/config.toml: line 2: "), "{message}");
}

#[test]
fn a_missing_named_file_is_an_error() {
    let missing = Path::new("/nonexistent/gemmad.toml");
    let message = format!("{:#}", Config::load(Some(missing)).unwrap_err());
    assert!(message.contains("/nonexistent/gemmad.toml"), "{message}");
}

#[test]
fn a_configuration_is_of_use_to_who_may_not_read_the_password() {
    let text = "[broker]\nuser = \"house\"\npassword_file = \"secret/password\"\n";
    let config = Config::parse(text, Path::new("/etc/gemmad/config.toml")).unwrap();
    let credentials = config.broker.credentials.unwrap();
    let expected = Path::new("/etc/gemmad/secret/password");
    assert_eq!(credentials.password_file.as_deref(), Some(expected));
}
