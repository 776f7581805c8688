//! The file with the input of a layer, and what else it gives to a call.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use wgpu_rnn::{Imported, Kind, Tensor, TensorFile};

use crate::files::say;

/// The contents of the input file.
pub struct Input<K: Kind> {
    pub input: Tensor,
    pub state: Option<K::State<f32>>,
    pub lengths: Option<Vec<usize>>,
}

/// The opened input file.
pub struct InputFile<'a> {
    file: TensorFile,
    path: &'a Path,
}

impl<'a> InputFile<'a> {
    pub fn open(path: &'a Path) -> Result<Self> {
        Ok(Self { file: TensorFile::open(path)?, path })
    }

    /// Reads a tensor, if the file has it.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        match self.file.tensor(name) {
            Err(wgpu_rnn::Error::Dtype { name, got, .. }) => {
                bail!("{}: {name} has numbers of type {got}, not floating-point ones", self.path.display())
            }
            tensor => tensor.with_context(|| self.path.display().to_string()),
        }
    }

    /// Tells of tensors that are not used, because their names are not those of an input.
    pub fn note_others(&self, used: &[&str]) {
        let others: Vec<_> = self.file.names().filter(|name| !used.contains(name)).collect();
        if !others.is_empty() {
            say!("note    not used of the input: {}", others.join(", "));
        }
    }

    /// Reads the arrays of a state, `h` and, for an LSTM, `c`, by these names. Some of them may be missing.
    pub fn state<K: Kind>(&self, names: [&'static str; 2]) -> Result<Vec<(&'static str, Option<Tensor>)>> {
        let (wanted, unwanted) = names.split_at(K::STATES);
        if let Some(name) = unwanted.iter().find(|name| self.file.shape(name).is_some()) {
            bail!("{}: has {name}, but the model is no LSTM and has no cell state", self.path.display());
        }
        wanted.iter().map(|&name| Ok((name, self.tensor(name)?))).collect()
    }

    /// Reads what a call needs. A state or lengths that the file does not give are those of the model, if it has any.
    pub fn input<K: Kind>(&self, imported: &Imported) -> Result<Input<K>> {
        let path = self.path.display();
        let Some(input) = self.tensor("input")? else {
            bail!("{path}: has no tensor \"input\", only {:?}", self.file.names().collect::<Vec<_>>());
        };
        let (names, arrays): (Vec<_>, Vec<_>) = self.state::<K>(["h_0", "c_0"])?.into_iter().unzip();
        let arrays: Vec<_> = arrays.into_iter().flatten().collect();
        let batch = match (imported.layer().batch_first(), input.shape()) {
            (true, [batch, _, _]) | (false, [_, batch, _]) => Some(*batch),
            _ => None,
        };
        let state = match arrays.len() {
            0 => match imported.initial_state() {
                Some(given) => {
                    let all = given.iter().map(|state| for_batch(state, batch)).collect::<Result<_>>();
                    Some(K::state(all.context("the initial state of the model")?)?)
                }
                None => None,
            },
            n if n == names.len() => Some(K::state(arrays)?),
            _ => bail!("{path}: has only one of h_0 and c_0; an LSTM takes both or neither"),
        };
        let with = if state.is_some() { format!(", with {}", names.join(" and ")) } else { String::new() };
        if let Some(shape) = self.file.shape("lengths").filter(|shape| shape.len() != 1) {
            bail!("{path}: lengths has shape {shape:?}, expected [B]");
        }
        let lengths = self.file.integers("lengths").with_context(|| path.to_string())?;
        let length = |length| usize::try_from(length).map_err(|_| anyhow!("{path}: a length is {length}, below 0"));
        let lengths: Option<Vec<usize>> =
            lengths.map(|all| all.into_iter().map(length).collect::<Result<_>>()).transpose()?;
        let lengths = match (lengths, imported.lengths()) {
            (None, Some(own)) if batch.is_some_and(|batch| batch != own.len()) => {
                bail!("the model has the lengths of {} rows, and the input has {}", own.len(), batch.unwrap_or(1))
            }
            (given, own) => given.or(own.map(<[usize]>::to_vec)),
        };
        let rows = if lengths.is_some() { ", with lengths" } else { "" };
        say!("input   {:?}{with}{rows}", input.shape());
        Ok(Input { input, state, lengths })
    }
}

/// Returns an initial state, `[L·D, B, H]`, for a batch of another size, which one row is repeated for; `None` stands
/// for an unbatched input.
fn for_batch(state: &Tensor, batch: Option<usize>) -> Result<Tensor> {
    let &[layers, rows, units] = state.shape() else { bail!("it has shape {:?}", state.shape()) };
    let all = state.data().chunks_exact(rows * units);
    let wanted = batch.unwrap_or(1);
    if rows != 1 && rows != wanted {
        bail!("it has a batch of {rows}, and the input one of {wanted}");
    }
    let data: Vec<f32> = all.flat_map(|rows| rows.iter().copied().cycle().take(wanted * units)).collect();
    Ok(match batch {
        Some(batch) => Tensor::new([layers, batch, units], data)?,
        None => Tensor::new([layers, units], data)?,
    })
}
