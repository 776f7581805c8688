//! A cell's weights in a file under PyTorch's names: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`
//! (`torch.nn.LSTMCell`, "Variables").

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::weights::LayerWeights;
use crate::weights::names::{self, ParameterKind};
use crate::weights::tensor_file::TensorFile;
use crate::{Error, Real, Result, Tensor};

/// The configuration and weights of the cell under `prefix`, which must be of `cell`'s kind.
pub(crate) fn read<F: Real>(
    cell: CellKind,
    file: &TensorFile,
    prefix: &str,
) -> Result<(RecurrentConfig, LayerWeights<F>)> {
    let name = |kind: ParameterKind| format!("{prefix}{}", kind.stem());
    let (input, recurrent) = (name(ParameterKind::WeightIh), name(ParameterKind::WeightHh));
    let Some(weight_ih) = file.shape(&input) else {
        if let Some(other) = ParameterKind::ALL.map(name).into_iter().find(|name| file.shape(name).is_some()) {
            return Err(Error::MissingTensor { name: input, why: format!("{other} is there") });
        }
        let (prefix, found) = (prefix.to_owned(), names::cell_prefixes(file.names()));
        return Err(Error::NoModel { what: "cell", prefix, missing: input, found });
    };
    let projection = name(ParameterKind::WeightHr);
    if file.shape(&projection).is_some() {
        return Err(Error::UnexpectedTensor { name: projection, why: "a cell has no projection".to_owned() });
    }
    let &[_, input_size] = weight_ih else { return Err(names::not_two_dimensional(input, weight_ih)) };
    let beside = |kind, other| {
        let missing = || Error::MissingTensor { name: name(kind), why: format!("{} is there", name(other)) };
        file.tensor(&name(kind))?.ok_or_else(missing)
    };
    let weight_hh: Tensor<F> = beside(ParameterKind::WeightHh, ParameterKind::WeightIh)?;
    let &[rows, hidden_size] = weight_hh.shape() else {
        return Err(names::not_two_dimensional(recurrent, weight_hh.shape()));
    };
    if hidden_size == 0 || hidden_size.checked_mul(cell.gates()) != Some(rows) {
        return Err(names::not_of_this_cell(cell, recurrent, weight_hh.shape(), hidden_size));
    }
    let mut weights = LayerWeights::new(beside(ParameterKind::WeightIh, ParameterKind::WeightHh)?, weight_hh);
    let [ih, hh] = [ParameterKind::BiasIh, ParameterKind::BiasHh];
    let bias = [ih, hh].iter().any(|&kind| file.shape(&name(kind)).is_some());
    if bias {
        weights = weights.with_bias(beside(ih, hh)?, beside(hh, ih)?);
    }
    Ok((RecurrentConfig { bias, ..RecurrentConfig::one_layer(cell, input_size, hidden_size) }, weights))
}

/// The weights with their full names.
pub(crate) fn named<'a, F: Real>(weights: &'a LayerWeights<F>, prefix: &str) -> Vec<(String, &'a Tensor<F>)> {
    let of_kind = |kind: ParameterKind| Some((format!("{prefix}{}", kind.stem()), weights.get(kind)?));
    ParameterKind::ALL.into_iter().filter_map(of_kind).collect()
}
