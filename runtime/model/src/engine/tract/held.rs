//! Weights that an operator holds itself: mapped where they lie in a file of their own, else read.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

use crate::engine::own::columns::ByteSlice;
use crate::engine::own::matrix::ScaleSlice;
use crate::mapped::{self, Mapped};

/// A constant that an operator holds.
#[derive(Clone)]
pub(super) struct Held {
    kind: DatumType,
    dims: TVec<usize>,
    stored: Stored,
}

#[derive(Clone)]
enum Stored {
    /// It stays in its file.
    Mapped(Arc<Mapped>),
    /// It was read.
    Read(Arc<Tensor>),
}

/// The attribute in which the graph gives the constant at an input.
pub(super) fn name(place: usize) -> String {
    format!("gemmad.input_{place}")
}

impl Held {
    /// The constant at an input of a node; `None` where there is none.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(super) fn find(
        context: &ParsingContext<'_>,
        node: &NodeProto,
        place: usize,
    ) -> TractResult<Option<Self>> {
        let name = name(place);
        let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
        let Some(tensor) = attribute.and_then(|attribute| attribute.t.as_ref()) else {
            return Ok(None);
        };
        if let Some(mapped) = map(context, tensor)? {
            return Ok(Some(mapped));
        }
        let tensor = Arc::new(context.load_tensor(tensor)?);
        let (kind, dims) = (tensor.datum_type(), tensor.shape().into());
        Ok(Some(Self { kind, dims, stored: Stored::Read(tensor) }))
    }

    /// The type of its elements.
    pub(super) fn kind(&self) -> DatumType {
        self.kind
    }

    /// Its dimensions.
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The bytes of a constant of bytes.
    ///
    /// # Errors
    /// When it holds something else.
    pub(super) fn bytes(&self) -> TractResult<&[u8]> {
        ensure!(self.kind == DatumType::U8, "a constant of {:?} where bytes are due", self.kind);
        match &self.stored {
            Stored::Mapped(mapped) => Ok(mapped.bytes()),
            Stored::Read(tensor) => tensor.try_as_plain_ram()?.as_slice(),
        }
    }

    /// The bytes of a constant of bytes, with a sign or without.
    ///
    /// # Errors
    /// When it holds something else.
    pub(super) fn byte_slice(&self) -> TractResult<ByteSlice<'_>> {
        if self.kind == DatumType::U8 {
            return self.bytes().map(ByteSlice::U8);
        }
        ensure!(self.kind == DatumType::I8, "a constant of {:?} where bytes are due", self.kind);
        Ok(ByteSlice::I8(match &self.stored {
            Stored::Mapped(mapped) => mapped::signed(mapped.bytes()),
            Stored::Read(tensor) => tensor.try_as_plain_ram()?.as_slice()?,
        }))
    }

    /// The scales that it holds.
    ///
    /// # Errors
    /// When it holds something else.
    pub(super) fn scales(&self) -> TractResult<ScaleSlice<'_>> {
        let askew = "scales that lie askew in their file";
        Ok(match (&self.stored, self.kind) {
            (Stored::Mapped(mapped), DatumType::F32) => {
                ScaleSlice::F32(mapped::floats(mapped.bytes()).context(askew)?)
            }
            (Stored::Mapped(mapped), DatumType::F16) => {
                ScaleSlice::F16(mapped::halves(mapped.bytes()).context(askew)?)
            }
            (Stored::Mapped(_), kind) => bail!("scales of {kind:?}; f32 or f16 is due"),
            (Stored::Read(tensor), DatumType::F16) => {
                ScaleSlice::F16(tensor.try_as_plain_ram()?.as_slice()?)
            }
            (Stored::Read(tensor), _) => ScaleSlice::F32(tensor.try_as_plain_ram()?.as_slice()?),
        })
    }
}

/// Maps a constant; `None` where it does not lie in a file of its own as its elements must.
fn map(context: &ParsingContext<'_>, tensor: &TensorProto) -> TractResult<Option<Held>> {
    let is_external = tensor.data_location == Some(DataLocation::External as i32);
    let entry = |key: &str| {
        let found = tensor.external_data.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.value.as_str())
    };
    let (Some(location), Some(folder)) = (entry("location"), context.model_dir) else {
        return Ok(None);
    };
    let kind = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Uint8) => DatumType::U8,
        Ok(DataType::Int8) => DatumType::I8,
        Ok(DataType::Float16) => DatumType::F16,
        Ok(DataType::Float) => DatumType::F32,
        Ok(_) | Err(_) => return Ok(None),
    };
    let width = kind.size_of();
    let offset: u64 = entry("offset").map_or(Ok(0), str::parse)?;
    let dims = tensor.dims.iter().map(|&size| usize::try_from(size));
    let dims = dims.collect::<Result<TVec<usize>, _>>()?;
    let length = dims.iter().try_fold(width, |length: usize, &size| length.checked_mul(size));
    let length = length.context("a constant beyond any file")?;
    if !is_external || length == 0 || !offset.is_multiple_of(width as u64) {
        return Ok(None);
    }
    let path = Path::new(folder).join(location);
    let mapped = Mapped::open(&path, offset, length);
    let mapped = mapped.with_context(|| format!("{length} bytes of {}", path.display()))?;
    Ok(Some(Held { kind, dims, stored: Stored::Mapped(Arc::new(mapped)) }))
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.dims, self.kind)
    }
}

/// The same constant, not one that is equal by chance.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        match (&self.stored, &other.stored) {
            (Stored::Mapped(one), Stored::Mapped(other)) => Arc::ptr_eq(one, other),
            (Stored::Read(one), Stored::Read(other)) => Arc::ptr_eq(one, other),
            (Stored::Mapped(_), Stored::Read(_)) | (Stored::Read(_), Stored::Mapped(_)) => false,
        }
    }
}

impl Eq for Held {}
