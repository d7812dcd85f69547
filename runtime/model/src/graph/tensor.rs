//! A tensor of a graph file, with its numbers in the file or a note where they lie.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use prost::Message;
use prost::bytes::Bytes;

/// Element types by their number in `onnx.proto3`.
pub(crate) mod element {
    pub(crate) const F32: i32 = 1;
    pub(crate) const U8: i32 = 2;
    pub(crate) const I8: i32 = 3;
    pub(crate) const I32: i32 = 6;
    pub(crate) const I64: i32 = 7;
    pub(crate) const F16: i32 = 10;
    pub(crate) const BF16: i32 = 16;
}

/// `data_location` of a tensor whose numbers are in another file.
const EXTERNAL: i32 = 1;

/// Numbers beyond this belong to a matrix, not to a factor or a shape.
const SMALL_MAX: usize = 1 << 20;

/// A tensor. Fields follow `onnx.proto3`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub(crate) raw_data: Bytes,
    #[prost(message, repeated, tag = "13")]
    pub(crate) external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    pub(crate) data_location: i32,
}

/// A name and what it stands for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

impl Entry {
    /// An entry.
    pub(crate) fn new(key: &str, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Tensor {
    /// 32-bit floats.
    pub(crate) fn floats(name: &str, dims: &[usize], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::raw(name, element::F32, dims, raw)
    }

    /// 64-bit integers in a row.
    pub(crate) fn integers(name: &str, values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::raw(name, element::I64, &[values.len()], raw)
    }

    fn raw(name: &str, data_type: i32, dims: &[usize], raw: Vec<u8>) -> Self {
        let dims = dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
        Self { name: name.into(), data_type, dims, raw_data: raw.into(), ..Self::default() }
    }

    /// A tensor whose bytes lie in a file beside the graph.
    pub(crate) fn beside(&self, location: &str, offset: u64, length: u64) -> Self {
        Self {
            name: self.name.clone(),
            dims: self.dims.clone(),
            data_type: self.data_type,
            data_location: EXTERNAL,
            external_data: vec![
                Entry::new("location", location),
                Entry::new("offset", offset.to_string()),
                Entry::new("length", length.to_string()),
            ],
            ..Self::default()
        }
    }

    /// The numbers from one to another, as a tensor in a row under another name; `None` where they
    /// are listed one by one, or not there.
    pub(crate) fn part(&self, name: &str, from: usize, to: usize) -> Option<Self> {
        let width = usize::try_from(width(self.data_type)?).ok()?;
        let (start, end) = (from.checked_mul(width)?, to.checked_mul(width)?);
        let dims = vec![i64::try_from(to.checked_sub(from)?).ok()?];
        let renamed =
            Self { name: name.into(), dims, data_type: self.data_type, ..Self::default() };
        if !self.is_external() {
            let inside = start <= end && end <= self.raw_data.len();
            let raw_data = inside.then(|| self.raw_data.slice(start..end))?;
            return Some(Self { raw_data, ..renamed });
        }
        let (location, offset, length) = self.place()?;
        let (start, end) = (start as u64, end as u64);
        let offset = offset.checked_add(start)?;
        (end <= length).then(|| renamed.beside(location, offset, end - start))
    }

    /// Whether its numbers lie in another file.
    pub(crate) fn is_external(&self) -> bool {
        self.data_location == EXTERNAL
    }

    /// Its dimensions; `None` where one is negative.
    pub(crate) fn shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
    }

    /// How many numbers it has; `None` where that is beyond any memory.
    pub(crate) fn count(&self) -> Option<usize> {
        self.shape()?.into_iter().try_fold(1_usize, usize::checked_mul)
    }

    /// Bytes of its numbers; `None` for elements that take no whole bytes.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let count = u64::try_from(self.count()?).ok()?;
        count.checked_mul(width(self.data_type)?)
    }

    /// File, offset and length of numbers that lie in another file.
    pub(crate) fn place(&self) -> Option<(&str, u64, u64)> {
        let entry = |key: &str| {
            let found = self.external_data.iter().find(|entry| entry.key == key);
            found.map(|entry| entry.value.as_str())
        };
        let offset = entry("offset").map_or(Some(0), |text| text.parse().ok())?;
        let length = match entry("length") {
            Some(text) => text.parse().ok()?,
            None => self.bytes()?,
        };
        Some((entry("location")?, offset, length))
    }

    /// Its numbers as 32-bit floats; `folder` is where its graph lies. Only for few numbers.
    pub(crate) fn to_floats(&self, folder: &Path) -> Option<Vec<f32>> {
        let count = self.count().filter(|count| *count <= SMALL_MAX)?;
        let bytes = self.little_bytes(folder)?;
        let halves = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let words = || bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
        let values: Vec<f32> = match (self.data_type, bytes.is_empty()) {
            (element::F32, true) => self.float_data.clone(),
            (element::F32, false) => words().map(f32::from_le_bytes).collect(),
            (element::F16, true) => {
                let bits = self.int32_data.iter().map(|&bits| f16::from_bits(bits as u16));
                bits.map(f32::from).collect()
            }
            (element::F16, false) => halves().map(f16::from_le_bytes).map(f32::from).collect(),
            (element::BF16, false) => halves().map(bf16::from_le_bytes).map(f32::from).collect(),
            _ => return None,
        };
        (values.len() == count).then_some(values)
    }

    /// Its integers. Only for few.
    pub(crate) fn to_integers(&self, folder: &Path) -> Option<Vec<i64>> {
        let count = self.count().filter(|count| *count <= SMALL_MAX)?;
        let bytes = self.little_bytes(folder)?;
        let values: Vec<i64> = match (self.data_type, bytes.is_empty()) {
            (element::I64, true) => self.int64_data.clone(),
            (element::I32, true) => self.int32_data.iter().copied().map(i64::from).collect(),
            (element::I64, false) => {
                let longs = bytes.chunks_exact(8).filter_map(|long| long.try_into().ok());
                longs.map(i64::from_le_bytes).collect()
            }
            (element::I32, false) => {
                let words = bytes.chunks_exact(4).filter_map(|word| word.try_into().ok());
                words.map(i32::from_le_bytes).map(i64::from).collect()
            }
            _ => return None,
        };
        (values.len() == count).then_some(values)
    }

    /// Its bytes, read from the other file where they lie there; none where the numbers are listed.
    fn little_bytes(&self, folder: &Path) -> Option<Bytes> {
        if !self.is_external() {
            return Some(self.raw_data.clone());
        }
        let (location, offset, length) = self.place()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= 8 * SMALL_MAX)?;
        let mut file = File::open(folder.join(location)).ok()?;
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).ok()?;
        Some(bytes.into())
    }
}

/// Bytes of one element.
pub(crate) fn width(data_type: i32) -> Option<u64> {
    match data_type {
        2 | 3 | 9 | 17..=20 => Some(1),
        4 | 5 | 10 | 16 => Some(2),
        1 | 6 | 12 => Some(4),
        7 | 11 | 13 | 14 => Some(8),
        _ => None,
    }
}
