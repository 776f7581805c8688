//! Keras's tensors as PyTorch has them: gates as rows, LSTM i, f, g, o and GRU r, z, n, two biases.

use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::keras::layer::Kind;
use crate::formats::keras::store::widened;
use crate::memory;

/// The weights of one direction in PyTorch's form, all of one type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DirectionWeights {
    /// `[G·H, I]`.
    pub(crate) weight_ih: Array,
    /// `[G·H, H]`.
    pub(crate) weight_hh: Array,
    /// `[G·H]`, both or neither.
    pub(crate) bias_ih: Option<Array>,
    /// Zeros where Keras has one bias: it is on the input's side.
    pub(crate) bias_hh: Option<Array>,
}

/// The tensors as Keras has them: kernel `[I, G·H]`, recurrent kernel `[H, G·H]`, and bias.
pub(super) struct Stored {
    pub(super) kernel: Array,
    pub(super) recurrent: Array,
    pub(super) bias: Option<Array>,
}

impl Stored {
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Array> {
        [Some(&self.kernel), Some(&self.recurrent), self.bias.as_ref()].into_iter().flatten()
    }

    /// Returns the tensors as F64.
    pub(super) fn widened(self) -> std::result::Result<Self, String> {
        Ok(Self {
            kernel: widened(self.kernel)?,
            recurrent: widened(self.recurrent)?,
            bias: self.bias.map(widened).transpose()?,
        })
    }
}

/// Returns the biases that a layer of G·H columns can have, by their shapes: one or two of them, and whether they are
/// those of a CuDNN layer.
pub(super) fn bias_form(shape: &[usize], columns: usize) -> Option<Bias> {
    // One dimension at a time: as `match *shape { [size] if .., [2, size] if .. }`, an optimised build by rustc 1.95
    // was seen to read the first size of an empty shape.
    let (&size, before) = shape.split_last()?;
    match before.first() {
        None if size == columns => Some(Bias::One),
        None if columns.checked_mul(2) == Some(size) => Some(Bias::CuDnn),
        Some(2) if before.len() == 1 && size == columns => Some(Bias::Two),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    One,
    /// `[2, G·H]`, for the input and the recurrent product.
    Two,
    /// The same in one row.
    CuDnn,
}

/// Brings tensors of a layer called `name` to PyTorch's form.
pub(super) fn weights(name: &str, kind: Kind, cudnn: bool, stored: &Stored) -> Result<DirectionWeights> {
    match stored.kernel.dtype {
        Dtype::F64 => converted::<8>(name, kind, cudnn, stored),
        _ => converted::<4>(name, kind, cudnn, stored),
    }
}

fn converted<const N: usize>(name: &str, kind: Kind, cudnn: bool, stored: &Stored) -> Result<DirectionWeights> {
    let gates = kind.gates();
    let wrong = |what: &str, expected: String, got: &Array| Error::Shape {
        what: format!("{what} of {name:?}"),
        expected,
        got: got.shape.clone(),
    };
    let (&[inputs, columns], &[units, same]) = (stored.kernel.shape.as_slice(), stored.recurrent.shape.as_slice())
    else {
        return Err(wrong("the kernel", "[inputs, gates·units]".to_owned(), &stored.kernel));
    };
    if inputs == 0 || units == 0 || units.checked_mul(gates) != Some(columns) || same != columns {
        return Err(wrong("the recurrent kernel", format!("[units, {gates}·units], as the kernel"), &stored.recurrent));
    }
    // Where PyTorch's gates are in Keras's.
    let order: &[usize] = match kind {
        Kind::Lstm => &[0, 1, 2, 3],
        Kind::Gru => &[1, 0, 2],
        Kind::SimpleRnn => &[0],
    };
    let rows = || order.iter().flat_map(|gate| (0..units).map(move |unit| (gate * units, unit)));
    // A CuDNN layer's block of one gate, `[I, H]`, has the memory of PyTorch's `[H, I]`; recurrent blocks are
    // PyTorch's as they are.
    let weight_ih = rows().flat_map(|(gate, unit)| {
        (0..inputs).map(move |input| {
            let (row, column) =
                if cudnn { ((unit * inputs + input) / units, (unit * inputs + input) % units) } else { (input, unit) };
            row * columns + gate + column
        })
    });
    let weight_hh = rows().flat_map(|(gate, unit)| {
        (0..units).map(move |from| {
            let (row, column) = if cudnn { (unit, from) } else { (from, unit) };
            row * columns + gate + column
        })
    });
    let biases = match &stored.bias {
        None => None,
        Some(bias) => {
            let form = bias_form(&bias.shape, columns);
            let form = form.ok_or_else(|| wrong("the bias", format!("[{columns}] or [2, {columns}]"), bias))?;
            let input = rows().map(|(gate, unit)| gate + unit);
            let recurrent = rows().map(|(gate, unit)| columns + gate + unit);
            let of_recurrent = match form {
                Bias::One => {
                    let bytes = memory::zeroed("a bias", &[columns, N])?;
                    Array { dtype: bias.dtype, shape: vec![columns], bytes }
                }
                Bias::Two | Bias::CuDnn => gathered::<N>(name, bias, &[columns], recurrent)?,
            };
            Some((gathered::<N>(name, bias, &[columns], input)?, of_recurrent))
        }
    };
    let (bias_ih, bias_hh) = biases.unzip();
    Ok(DirectionWeights {
        weight_ih: gathered::<N>(name, &stored.kernel, &[columns, inputs], weight_ih)?,
        weight_hh: gathered::<N>(name, &stored.recurrent, &[columns, units], weight_hh)?,
        bias_ih,
        bias_hh,
    })
}

/// Returns an array of the numbers of another one at the given places.
fn gathered<const N: usize>(
    name: &str,
    from: &Array,
    shape: &[usize],
    places: impl Iterator<Item = usize>,
) -> Result<Array> {
    let numbers = from.bytes.as_chunks::<N>().0;
    let [rows, columns] = [shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1)];
    let mut bytes: Vec<u8> = memory::reserved("a tensor", &[rows, columns, N])?;
    for place in places {
        let number = numbers.get(place).ok_or_else(|| Error::Shape {
            what: format!("a tensor of {name:?}"),
            expected: format!("{shape:?}"),
            got: from.shape.clone(),
        })?;
        bytes.extend_from_slice(number);
    }
    Ok(Array { dtype: from.dtype, shape: shape.to_vec(), bytes })
}

/// Puts matrices of the same rows beside each other, or vectors behind each other.
pub(super) fn side_by_side(parts: &[Array]) -> std::result::Result<Array, String> {
    let first = parts.first().ok_or("no gates")?;
    if parts.iter().any(|part| part.dtype != first.dtype || part.shape != first.shape) {
        return Err("the gates differ in shape or type".to_owned());
    }
    let mut shape = first.shape.clone();
    let columns = shape.pop().ok_or("a gate has no dimension")?;
    let rows = shape.iter().product::<usize>();
    shape.push(columns.checked_mul(parts.len()).ok_or("the gates are too large")?);
    let row = first.bytes.len().checked_div(rows).unwrap_or(0);
    let mut bytes =
        memory::reserved("a tensor", &[first.bytes.len(), parts.len()]).map_err(|error| error.to_string())?;
    for at in 0..rows {
        for part in parts {
            bytes.extend(part.bytes.iter().skip(at * row).take(row));
        }
    }
    Ok(Array { dtype: first.dtype, shape, bytes })
}
