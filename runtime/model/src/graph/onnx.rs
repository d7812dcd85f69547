//! The few fields of an ONNX file that describe its interface and where its weights are, read
//! without the weights: tensor data inside the file is skipped by seeking, never loaded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use prost::Message;
use prost::bytes::Buf;

/// Field numbers follow `onnx.proto3` of the ONNX project; fields that are not named are skipped.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub(super) opset_import: Vec<OperatorSetProto>,
    #[prost(message, repeated, tag = "14")]
    pub(super) metadata_props: Vec<EntryProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSetProto {
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub(super) node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    pub(super) initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub(super) input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub(super) output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub(super) input: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub(super) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "3")]
    pub(super) i: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(string, tag = "8")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "13")]
    pub(super) external_data: Vec<EntryProto>,
    #[prost(int32, tag = "14")]
    pub(super) data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryProto {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub(super) elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub(super) dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub(super) dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub(super) dim_param: Option<String>,
}

/// `data_location` of a tensor whose data is in another file.
pub(super) const EXTERNAL: i32 = 1;

/// Reads the description of a graph file of `length` bytes.
pub(super) fn read(file: File, length: u64) -> Result<ModelProto, String> {
    let length = usize::try_from(length).map_err(|_| "larger than the address space".to_owned())?;
    let mut source = FileBuf::new(file, length);
    let model = ModelProto::decode(&mut source);
    if let Some(error) = source.error.take() {
        return Err(error.to_string());
    }
    model.map_err(|error| error.to_string())
}

/// A file as the decoder wants to see it. What the decoder skips is not read.
struct FileBuf {
    file: File,
    buffer: Vec<u8>,
    position: usize,
    remaining: usize,
    error: Option<io::Error>,
}

const BUFFER_BYTES: usize = 64 * 1024;

impl FileBuf {
    fn new(file: File, length: usize) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut new = Self { file, buffer, position: 0, remaining: length, error: None };
        new.refill();
        new
    }

    /// Loads the next stretch; on failure nothing remains, so that the decoder stops.
    fn refill(&mut self) {
        self.position = 0;
        self.buffer.clear();
        let wanted = self.remaining.min(BUFFER_BYTES) as u64;
        let read = Read::by_ref(&mut self.file).take(wanted).read_to_end(&mut self.buffer);
        let read = read.and_then(|bytes| match bytes as u64 == wanted {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        if let Err(error) = read {
            self.error = Some(error);
            self.buffer.clear();
            self.remaining = 0;
        }
    }
}

impl Buf for FileBuf {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.buffer.get(self.position..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let count = count.min(self.remaining);
        self.remaining -= count;
        let ahead = self.buffer.len() - self.position;
        if count < ahead {
            self.position += count;
            return;
        }
        let skip = i64::try_from(count - ahead).unwrap_or(i64::MAX);
        if skip > 0
            && let Err(error) = self.file.seek(SeekFrom::Current(skip))
        {
            self.error = Some(error);
            self.remaining = 0;
        }
        self.refill();
    }
}
