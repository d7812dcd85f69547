//! How much memory the codebooks of a Vorbis stream would take.
//!
//! A few bytes of a header can claim a table of 16 MiB, and a stream may bring 256 of them. Honest
//! encoders stay below one mebibyte in all.

/// Begins every codebook, at any bit; lowest bit first.
const SYNC: u64 = 0x0056_4342;

/// Values of all tables together; a value takes four bytes.
const VALUES_MAX: u64 = 4 << 20;

/// Whether the tables that the headers announce stay within reason. Bits that look like the beginning
/// of a codebook count as one, so that none is overlooked.
pub(super) fn tables_fit(headers: &[u8]) -> bool {
    let claimed = (0..headers.len() * 8).map(|bit| {
        let read = |offset: usize, count: usize| bits(headers, bit + offset, count);
        if read(0, 24) != SYNC {
            return 0;
        }
        let (dimensions, entries) = (read(24, 16), read(40, 24));
        // Each entry has a code word beside its values.
        entries * (dimensions + 4)
    });
    claimed.sum::<u64>() <= VALUES_MAX
}

/// `count` bits from a place on, lowest first; zeros after the end.
fn bits(bytes: &[u8], from: usize, count: usize) -> u64 {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| u64::from(byte >> (at % 8) & 1));
    (0..count).fold(0, |value, place| value | bit(from + place) << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A codebook of the given size, shifted by some bits.
    fn codebook(dimensions: u64, entries: u64, shift: usize) -> Vec<u8> {
        let whole = u128::from(SYNC) | u128::from(dimensions) << 24 | u128::from(entries) << 40;
        (whole << shift).to_le_bytes().to_vec()
    }

    #[test]
    fn only_tables_of_unreasonable_size_are_refused() {
        for shift in 0..8 {
            assert!(tables_fit(&codebook(8, 6_561, shift)));
            assert!(!tables_fit(&codebook(32, 131_072, shift)));
            let many: Vec<u8> = (0..9).flat_map(|_| codebook(4, 65_536, shift)).collect();
            assert!(!tables_fit(&many));
        }
        assert!(tables_fit(b""));
        assert!(tables_fit(&[0xFF; 5_000]));
    }
}
