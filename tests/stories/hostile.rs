//! What strangers send over MQTT: they get an error, and the daemon goes on.

use gemmad_tests::house::{House, TOPICS};

#[tokio::test]
async fn hostile_payloads_get_an_error_and_the_daemon_goes_on() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let ask = format!("{TOPICS}/ask");
    let hostile: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("binary", vec![0xff, 0xfe, 0x00, 0x80, 0xc3]),
        ("a megabyte of text", vec![b'a'; 1 << 20]),
        ("a megabyte of braces", vec![b'{'; 1 << 20]),
        ("JSON without an end", b"{\"text\": \"hello\"".to_vec()),
        ("JSON of another type", b"{\"text\": 5}".to_vec()),
        ("JSON with an unknown key", b"{\"text\": \"hello\", \"sudo\": true}".to_vec()),
        ("JSON without a question", b"{}".to_vec()),
        ("JSON with a broken picture", b"{\"text\": \"hello\", \"image\": \"%%%\"}".to_vec()),
    ];
    for (what, payload) in hostile {
        let answer = house.mqtt_client.request(&ask, payload).await?;
        assert!(answer.json()["error"].is_string(), "{what}: {answer}");
        println!("{what}: {answer}");
    }
    house.mqtt_client.publish(&format!("{TOPICS}/mute/set"), vec![0xff; 4096]).await?;

    let answer = house.mqtt_client.request(&ask, "hello").await?;
    assert_eq!(answer.json()["text"], "Hello, how can I help?");
    Ok(())
}
