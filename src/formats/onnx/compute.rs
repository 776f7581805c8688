//! Computing the values that [`fold`](super::fold) has planned.

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::memory::{copied, element_count, reserved};

use super::fold::{Kind, Plan};
use super::store::Store;
use super::tensor::{cast, size_of};

impl Plan {
    /// Computes the value.
    pub(super) fn compute(&self, store: &Store) -> Result<Array> {
        let (dtype, shape, name) = (self.dtype, self.shape.clone(), "a folded constant");
        let each = size_of(dtype);
        let total = || element_count::<u64>(name, &self.shape).map(|count| count * each);
        let bytes = match &self.kind {
            Kind::Stored(tensor) => return tensor.load(store),
            Kind::Literal(bytes) => copied(name, bytes)?,
            Kind::Same(input) => input.compute(store)?.bytes,
            Kind::Cast(input) => return cast(input.compute(store)?, dtype, name),
            Kind::Fill(value) => {
                let mut bytes = reserved(name, &[total()?])?;
                (0..element_count::<u64>(name, &shape)?).for_each(|_| bytes.extend_from_slice(value));
                bytes
            }
            Kind::Strided(input, offset, strides) => {
                let input = input.compute(store)?.bytes;
                let mut bytes = reserved(name, &[total()?])?;
                strided(&input, each, &shape, *offset, strides, &mut bytes);
                bytes
            }
            Kind::Concat(parts, axis) => {
                let parts = parts.iter().map(|part| part.compute(store)).collect::<Result<Vec<_>>>()?;
                let mut bytes = reserved(name, &[total()?])?;
                let outer: usize = shape.iter().take(*axis).product();
                for index in 0..outer {
                    for part in &parts {
                        let block = part.bytes.len() / outer;
                        bytes.extend_from_slice(part.bytes.get(index * block..(index + 1) * block).unwrap_or_default());
                    }
                }
                bytes
            }
            Kind::Gather(input, axis, indices) => {
                let size = input.shape.get(*axis).copied().unwrap_or(1);
                let outer: usize = input.shape.iter().take(*axis).product();
                let input = input.compute(store)?.bytes;
                let mut bytes = reserved(name, &[total()?])?;
                let block = input.len() / (outer * size).max(1);
                for start in (0..outer).map(|index| index * size) {
                    for at in indices.iter().map(|index| start + index) {
                        bytes.extend_from_slice(input.get(at * block..(at + 1) * block).unwrap_or_default());
                    }
                }
                bytes
            }
        };
        if bytes.len() == total()? {
            return Ok(Array { dtype, shape, bytes });
        }
        let why = "its operations do not fit together".to_owned();
        Err(Error::Unsupported { what: name.to_owned(), why })
    }
}

/// Appends elements at an offset and by strides, the last dimension fastest.
fn strided(input: &[u8], each: usize, shape: &[usize], offset: usize, strides: &[isize], bytes: &mut Vec<u8>) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    let mut at = offset as isize;
    loop {
        let start = usize::try_from(at).ok().and_then(|at| at.checked_mul(each));
        bytes.extend_from_slice(start.and_then(|start| input.get(start..)?.get(..each)).unwrap_or_default());
        let mut dimension = shape.len();
        loop {
            let Some(next) = dimension.checked_sub(1) else { return };
            dimension = next;
            let (Some(count), Some(&size), Some(&stride)) =
                (index.get_mut(dimension), shape.get(dimension), strides.get(dimension))
            else {
                return;
            };
            *count += 1;
            at = at.wrapping_add(stride);
            if *count < size {
                break;
            }
            at = at.wrapping_sub(stride.wrapping_mul(size as isize));
            *count = 0;
        }
    }
}
