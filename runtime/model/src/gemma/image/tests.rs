#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use proptest::prelude::*;

use super::*;

fn frame(width: u32, height: u32, rgb: Vec<u8>) -> Frame {
    Frame { width, height, rgb: Arc::from(rgb), captured_at: Duration::ZERO }
}

/// Red grows along x, green along y.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn sizes_follow_the_published_table() {
    let check = |width: usize, height: usize, expected: [Option<(usize, usize, usize)>; 5]| {
        for (budget, expected) in BUDGETS.into_iter().zip(expected) {
            let Some((new_width, new_height, tokens)) = expected else { continue };
            let scaled = scaled_size(width, height, budget).unwrap();
            assert_eq!(scaled, (new_width, new_height), "{width} x {height} at {budget}");
            let (width, height) = (width as u32, height as u32);
            assert_eq!(soft_tokens(width, height, budget).unwrap(), tokens);
        }
    };
    let all = |sizes: [(usize, usize, usize); 5]| sizes.map(Some);
    check(
        640,
        480,
        all([
            (432, 336, 63),
            (624, 480, 130),
            (912, 672, 266),
            (1296, 960, 540),
            (1824, 1344, 1064),
        ]),
    );
    check(
        612,
        408,
        all([
            (480, 288, 60),
            (672, 432, 126),
            (960, 624, 260),
            (1344, 912, 532),
            (1920, 1296, 1080),
        ]),
    );
    for side in [224, 512] {
        check(
            side,
            side,
            all([
                (384, 384, 64),
                (528, 528, 121),
                (768, 768, 256),
                (1104, 1104, 529),
                (1584, 1584, 1089),
            ]),
        );
    }
    check(
        1280,
        640,
        all([
            (528, 240, 55),
            (768, 384, 128),
            (1104, 528, 253),
            (1584, 768, 528),
            (2256, 1104, 1081),
        ]),
    );
    check(
        1920,
        1080,
        all([
            (528, 288, 66),
            (720, 384, 120),
            (1056, 576, 264),
            (1488, 816, 527),
            (2112, 1200, 1100),
        ]),
    );
    check(
        8000,
        20,
        all([
            (3360, 48, 70),
            (6720, 48, 140),
            (13440, 48, 280),
            (22704, 48, 473),
            (32112, 48, 669),
        ]),
    );
    check(100, 3000, [Some((48, 2160, 45)), None, Some((144, 4368, 273)), None, None]);
    check(1, 1, [Some((384, 384, 64)), None, None, None, None]);
}

#[test]
fn patches_hold_their_pixels_row_by_row() {
    // 384 by 384 pixels at a budget of 70 is a square of any size; this one is not scaled.
    let picture = gradient(384, 384);
    let prepared = prepare(&frame(384, 384, picture.clone().into_raw()), 70).unwrap();
    assert_eq!(prepared.pixels.dim(), (1, 576, PATCH_VALUES));
    assert_eq!(prepared.soft_tokens, 64);
    for (patch, x, y) in [(0, 0, 0), (1, 16, 0), (24, 0, 16), (25 + 24, 16, 32), (575, 368, 368)] {
        let position = [prepared.positions[[0, patch, 0]], prepared.positions[[0, patch, 1]]];
        assert_eq!(position, [i64::from(x) / 16, i64::from(y) / 16]);
        for (value, dx, dy, channel) in
            [(0, 0, 0, 0), (4, 1, 0, 1), (48, 0, 1, 0), (767, 15, 15, 2)]
        {
            let expected = f32::from(picture.get_pixel(x + dx, y + dy).0[channel]) / 255.0;
            assert_eq!(prepared.pixels[[0, patch, value]], expected, "patch {patch}");
        }
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = |frame: Frame, budget| prepare(&frame, budget).err().unwrap().to_string();
    assert!(refused(frame(0, 4, vec![]), 280).contains("empty"));
    assert!(refused(frame(2, 2, vec![0; 11]), 280).contains("11 bytes"));
    assert!(refused(frame(2, 2, vec![0; 12]), 100).contains("budget 100"));
    assert!(refused(frame(u32::MAX, u32::MAX, vec![]), 280).contains("too large"));
}

#[test]
fn a_folder_names_its_budget_or_gets_the_usual_one() {
    let check = |name: &str, text: &str, expected: Result<usize, &str>| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        match (folder_budget(folder.path()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected)),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    };
    check("processor_config.json", r#"{"image_processor": {"max_soft_tokens": 70}}"#, Ok(70));
    check("preprocessor_config.json", r#"{"max_soft_tokens": 1120}"#, Ok(1120));
    check("preprocessor_config.json", "{}", Ok(280));
    check("other.json", "", Ok(280));
    check("preprocessor_config.json", r#"{"max_soft_tokens": 71}"#, Err("71"));
    check("preprocessor_config.json", "{", Err("preprocessor_config.json"));
}

#[test]
fn files_of_every_kind_are_decoded() {
    let picture = gradient(20, 10);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let found = decode(&encoded(&picture, format)).unwrap();
        assert_eq!(found.rgb[..], picture.as_raw()[..], "{format:?}");
        assert_eq!((found.width, found.height), (20, 10));
    }
    let found = decode(&encoded(&picture, ImageFormat::Jpeg)).unwrap();
    assert_eq!((found.width, found.height), (20, 10));
}

#[test]
fn a_photo_taken_sideways_comes_out_upright() {
    let jpeg = encoded(&gradient(20, 10), ImageFormat::Jpeg);
    // An Exif segment with one entry: orientation 6, turn right to show.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1, 0, 2 + 6 + tiff.len() as u8]);
    bytes.extend(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend(&jpeg[2..]);
    let found = decode(&bytes).unwrap();
    assert_eq!((found.width, found.height), (10, 20));
}

#[test]
fn hostile_files_are_refused_before_they_cost_memory() {
    let refused = |bytes: &[u8]| decode(bytes).err().unwrap().to_string();
    assert!(refused(b"").contains("0 bytes"));
    assert!(refused(b"GIF89a").contains("JPEG, PNG"));
    let png = encoded(&gradient(20, 10), ImageFormat::Png);
    assert!(refused(&png[..png.len() / 2]).contains("cannot decode"));
    // A BMP header that claims 30,000 by 30,000 pixels.
    let mut bmp = encoded(&gradient(20, 10), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&30_000_u32.to_le_bytes());
    assert!(refused(&bmp).contains("too large"));
}

proptest! {
    #[test]
    fn no_budget_is_exceeded(width in 1_usize..9_000, height in 1_usize..9_000) {
        for budget in BUDGETS {
            let (wide, high) = scaled_size(width, height, budget).unwrap();
            prop_assert!(wide >= CELL && high >= CELL && wide % CELL == 0 && high % CELL == 0);
            prop_assert!(wide * high <= budget * CELL * CELL);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0_usize..4,
        cut in 8_usize..60,
    ) {
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp];
        let mut file = encoded(&gradient(9, 5), formats[kind]);
        file.truncate(cut);
        file.extend(bytes);
        // Either outcome will do; a panic will not.
        if let Ok(frame) = decode(&file) {
            prop_assert!(size(&frame).is_ok());
        }
    }
}
