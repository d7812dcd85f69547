#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use image::{GrayAlphaImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, RgbaImage};
use proptest::prelude::*;

use super::*;

/// Red grows along x, green along y.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn files_of_every_kind_are_decoded() {
    let original = gradient(20, 10);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let found = picture(&encoded(original.clone(), format)).unwrap();
        assert_eq!(found.rgb[..], original.as_raw()[..], "{format:?}");
        assert_eq!((found.width, found.height), (20, 10));
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let found = picture(&encoded(original.clone(), format)).unwrap();
        assert_eq!((found.width, found.height), (20, 10), "{format:?}");
    }
}

#[test]
fn a_photo_taken_sideways_comes_out_upright() {
    let jpeg = encoded(gradient(20, 10), ImageFormat::Jpeg);
    // An Exif segment with one entry: orientation 6, turn right to show.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1, 0, 2 + 6 + tiff.len() as u8]);
    bytes.extend(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend(&jpeg[2..]);
    let found = picture(&bytes).unwrap();
    assert_eq!((found.width, found.height), (10, 20));
}

#[test]
fn what_is_transparent_shows_white() {
    let rgba = RgbaImage::from_raw(3, 1, vec![9, 9, 9, 0, 0, 100, 200, 128, 1, 2, 3, 255]).unwrap();
    let found = picture(&encoded(rgba, ImageFormat::Png)).unwrap();
    assert_eq!(found.rgb[..], [255, 255, 255, 127, 177, 227, 1, 2, 3]);
    let grey = GrayAlphaImage::from_raw(2, 1, vec![0, 0, 77, 255]).unwrap();
    let found = picture(&encoded(grey, ImageFormat::Png)).unwrap();
    assert_eq!(found.rgb[..], [255, 255, 255, 77, 77, 77]);
}

#[test]
fn of_sixteen_bits_the_upper_eight_count() {
    let grey = ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![0x12FF, 0xFF00]).unwrap();
    let found = picture(&encoded(grey, ImageFormat::Png)).unwrap();
    assert_eq!(found.rgb[..], [0x12, 0x12, 0x12, 0xFF, 0xFF, 0xFF]);
    let rgb = ImageBuffer::<Rgb<u16>, _>::from_raw(1, 1, vec![0x01FF, 0x8000, 0xFFFF]).unwrap();
    let found = picture(&encoded(rgb, ImageFormat::Png)).unwrap();
    assert_eq!(found.rgb[..], [1, 0x80, 0xFF]);
}

#[test]
fn hostile_files_are_refused_before_they_cost_memory() {
    let refused = |bytes: &[u8]| picture(bytes).err().unwrap().to_string();
    assert!(refused(b"").contains("0 bytes"));
    assert!(refused(b"no picture").contains("JPEG, PNG"));
    let png = encoded(gradient(20, 10), ImageFormat::Png);
    assert!(refused(&png[..png.len() / 2]).contains("cannot decode"));
    // A BMP header that claims 30,000 by 30,000 pixels.
    let mut bmp = encoded(gradient(20, 10), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&30_000_u32.to_le_bytes());
    assert!(refused(&bmp).contains("too large"));
}

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        kind in 0_usize..5,
        changes in prop::collection::vec((0_usize..900, any::<u8>()), 0..12),
        length in 8_usize..900,
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut file = encoded(gradient(19, 15), FORMATS[kind]);
        for (place, byte) in changes {
            if let Some(changed) = file.get_mut(place) { *changed = byte }
        }
        file.truncate(length);
        file.extend(tail);
        // Either outcome will do; a panic will not.
        if let Ok(frame) = picture(&file) {
            prop_assert_eq!(frame.rgb.len(), frame.width as usize * frame.height as usize * 3);
        }
    }
}
