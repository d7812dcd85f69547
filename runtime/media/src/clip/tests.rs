#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Delay, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

use super::*;
use crate::Kind;

fn every(total: usize) -> Vec<usize> {
    (0..total).collect()
}

fn every_third(total: usize) -> Vec<usize> {
    (0..total).step_by(3).collect()
}

/// A film of `frames` frames of 100 ms whose red grows by ten.
fn gif(frames: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for index in 0..frames {
        let picture = RgbaImage::from_pixel(6, 4, Rgba([index * 10, 0, 0, 255]));
        let delay = Delay::from_numer_denom_ms(100, 1);
        encoder.encode_frame(image::Frame::from_parts(picture, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    bytes
}

fn jpeg(red: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(16, 8, Rgb([red, 0, 0]));
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Three frames, two a second: white, black, and a strong red.
fn y4m(colour: &str) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 W3 H2 F2:1 Ip A1:1 C{colour}\n").into_bytes();
    let plane = match colour {
        "444" => 6,
        "422" => 4,
        "mono" => 0,
        _ => 2,
    };
    for (y, u, v) in [(235, 128, 128), (16, 128, 128), (81, 90, 240)] {
        bytes.extend(b"FRAME\n");
        bytes.extend([y; 6]);
        bytes.extend(vec![u; plane]);
        bytes.extend(vec![v; plane]);
    }
    bytes
}

#[test]
fn the_picked_frames_of_an_animation_come_with_their_times() {
    let found = clip(&gif(8), None, every_third).unwrap();
    let reds: Vec<u8> = found.frames.iter().map(|frame| frame.rgb[0]).collect();
    assert_eq!(reds, [0, 30, 60]);
    let times: Vec<i64> = found.seconds.iter().map(|at| (at * 1_000.0).round() as i64).collect();
    assert_eq!(times, [0, 300, 600]);
    assert_eq!((found.frames[2].width, found.frames[2].height), (6, 4));
}

#[test]
fn uncompressed_films_keep_their_colours() {
    for colour in ["420jpeg", "422", "444", "mono"] {
        let found = clip(&y4m(colour), None, every).unwrap();
        assert_eq!(found.seconds, [0.0, 0.5, 1.0]);
        assert_eq!(found.frames[0].rgb[..], [255; 18]);
        assert_eq!(found.frames[1].rgb[..], [0; 18]);
        let expected = if colour == "mono" { [76, 76, 76] } else { [255, 0, 0] };
        assert_eq!(found.frames[2].rgb[15..], expected, "{colour}");
    }
}

#[test]
fn motion_jpeg_is_cut_at_its_pictures() {
    // A preview inside the first picture is no frame.
    let (first, preview) = (jpeg(10), jpeg(99));
    let mut stream = first[..2].to_vec();
    stream.extend([0xFF, 0xE1]);
    stream.extend((preview.len() as u16 + 2).to_be_bytes());
    stream.extend(&preview);
    stream.extend(&first[2..]);
    stream.extend(b"between");
    stream.extend(jpeg(200));
    let found = clip(&stream, Some(4.0), every).unwrap();
    assert_eq!(found.seconds, [0.0, 0.25]);
    assert!(found.frames[0].rgb[0] < 20 && found.frames[1].rgb[0] > 190);
    // Without a rate, that of the reference.
    assert_eq!(clip(&stream, None, every).unwrap().seconds[1], 1.0 / 24.0);
}

#[test]
fn pictures_of_a_folder_make_a_film() {
    let read = |index: usize| picture(&jpeg(index as u8 * 20));
    let found = clip_of(9, 1.0, every_third, read).unwrap();
    assert_eq!(found.seconds, [0.0, 3.0, 6.0]);
    let none = clip_of(0, 1.0, every, read).unwrap_err();
    assert!(none.to_string().contains("no frame"));
    let nonsense = clip_of(1, f64::NAN, every, read).unwrap_err();
    assert!(nonsense.to_string().contains("frames a second"));
}

#[test]
fn pictures_with_times_make_a_film() {
    let make = |seconds: &[f64]| clip_at(seconds, |index| picture(&jpeg(index as u8)));
    let found = make(&[0.0, 0.25, 0.25, 86_400.0]).unwrap();
    assert_eq!((found.frames.len(), found.seconds[3]), (4, 86_400.0));
    let check = |seconds: &[f64], expected: &str| {
        let error = make(seconds).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[], "it has no frame");
    check(&[1.0, 0.5], "frame 2 is at 0.5 seconds; expected 1 to 86400");
    check(&[-1.0], "frame 1 is at -1 seconds; expected 0 to 86400");
    check(&[f64::NAN], "frame 1 is at NaN seconds");
    check(&[86_401.0], "expected 0 to 86400");
    let large =
        |_| Ok::<_, MediaError>(Frame { width: 10_000, height: 10_000, ..picture(&jpeg(0))? });
    let error = clip_at(&[0.0, 1.0], large).unwrap_err().to_string();
    assert!(error.contains("scale the film down"), "{error}");
}

#[test]
fn films_and_pictures_are_told_apart() {
    let still = |format: ImageFormat| {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(4, 4).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    assert_eq!(Kind::of(&gif(2)), Ok(Kind::Clip));
    assert_eq!(Kind::of(&gif(1)), Ok(Kind::Picture));
    assert_eq!(Kind::of(&y4m("mono")), Ok(Kind::Clip));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(Kind::of(&still(format)), Ok(Kind::Picture));
        assert!(clip(&still(format), None, every).unwrap_err().to_string().contains("not move"));
    }
}

#[test]
fn broken_and_huge_films_are_refused() {
    let check = |bytes: &[u8], expected: &str| {
        let error = clip(bytes, None, every).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"", "does not move");
    check(&gif(3)[..60], "cannot decode");
    check(b"YUV4MPEG2 W3", "no end");
    check(b"YUV4MPEG2 W3 H2 C420p10\n", "420p10");
    check(b"YUV4MPEG2 W99999 H99999\n", "too large");
    check(b"YUV4MPEG2 W3 H2\n", "no frame");
    let film = y4m("444");
    check(&film[..film.len() - 3], "cut off");
    let large = |_: usize| {
        let rgb = vec![0; 8_000 * 6_000 * 3].into();
        let captured_at = std::time::Duration::ZERO;
        Ok::<_, MediaError>(Frame { width: 8_000, height: 6_000, rgb, captured_at })
    };
    let error = clip_of(3, 1.0, every, large).unwrap_err().to_string();
    assert!(error.contains("scale the film down"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        kind in 0_usize..4,
        changes in prop::collection::vec((0_usize..700, any::<u8>()), 0..8),
        length in 8_usize..2_000,
    ) {
        let mut file = match kind {
            0 => gif(3),
            1 => y4m("420jpeg"),
            2 => y4m("mono"),
            _ => [jpeg(1), jpeg(2)].concat(),
        };
        for (place, byte) in changes {
            if let Some(changed) = file.get_mut(place) { *changed = byte }
        }
        file.truncate(length);
        // Either outcome will do; a panic will not.
        if let Ok(found) = clip(&file, None, every_third) {
            prop_assert_eq!(found.frames.len(), found.seconds.len());
        }
    }
}
