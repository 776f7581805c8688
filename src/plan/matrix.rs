//! The layout of packed weights, and of their gradients.

use std::ops::Range;

use crate::config::RecurrentConfig;
use crate::plan::WEIGHT_BLOCK;
use crate::plan::kernel::WeightArray;
use crate::plan::limits::saturating_product;
use crate::precision::Precision;
use crate::weights::names::ParameterKind;

/// Returns the number of 32-bit words that the weights of all gates of one unit take.
pub(crate) const fn words(gates: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => gates,
        Precision::F16 => gates.div_ceil(2),
    }
}

/// A packed matrix: `[D, units / block, columns, block]` of `gates`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) array: WeightArray,
    pub(crate) parameter: ParameterKind,
    pub(crate) columns: usize,
    pub(crate) units: usize,
    /// The gates of the parameter that it holds.
    pub(crate) gates: Range<usize>,
    pub(crate) block: usize,
    pub(crate) precision: Precision,
    /// True if the peepholes of the same units follow, in the same layout.
    pub(crate) peepholes: bool,
}

impl Matrix {
    /// Returns the matrices of a layer.
    pub(crate) fn of_layer(config: &RecurrentConfig, layer: usize, precision: Precision) -> Vec<Self> {
        let units = config.hidden_size;
        let weights = |array, parameter, columns, gates| Self {
            array,
            parameter,
            columns,
            units,
            gates,
            block: WEIGHT_BLOCK,
            precision,
            peepholes: false,
        };
        let biases = |array, parameter, gates| {
            let (columns, block, precision) = (1, 1, Precision::F32);
            let peepholes = parameter == ParameterKind::BiasHh && config.form.peepholes;
            Self { array, parameter, columns, units, gates, block, precision, peepholes }
        };
        let gates = 0..config.cell.gates();
        let mut all = vec![
            weights(WeightArray::Ih, ParameterKind::WeightIh, config.layer_input_size(layer), gates.clone()),
            biases(WeightArray::BiasIh, ParameterKind::BiasIh, gates),
        ];
        for (product, gates) in config.cell.products().iter().enumerate() {
            let columns = config.recurrent_size();
            all.push(weights(WeightArray::Hh(product), ParameterKind::WeightHh, columns, gates.clone()));
            all.push(biases(WeightArray::BiasHh(product), ParameterKind::BiasHh, gates.clone()));
        }
        if config.is_projected() {
            let units = config.recurrent_size();
            all.push(Self {
                array: WeightArray::Hr,
                parameter: ParameterKind::WeightHr,
                columns: config.hidden_size,
                units,
                gates: 0..1,
                block: units,
                precision: Precision::F32,
                peepholes: false,
            });
        }
        all
    }

    /// Returns the matrices of a layer that are not biases, which follow theirs where both are in one array.
    pub(crate) fn without_biases(config: &RecurrentConfig, layer: usize) -> impl Iterator<Item = Self> {
        let is_bias = |matrix: &Self| matches!(matrix.array, WeightArray::BiasIh | WeightArray::BiasHh(_));
        Self::of_layer(config, layer, Precision::F32).into_iter().filter(move |matrix| !is_bias(matrix))
    }

    /// Returns the bias that is added to the product with the matrix.
    pub(crate) fn bias(&self) -> Option<ParameterKind> {
        match self.array {
            WeightArray::Ih => Some(ParameterKind::BiasIh),
            WeightArray::Hh(_) => Some(ParameterKind::BiasHh),
            WeightArray::Hr | WeightArray::BiasIh | WeightArray::BiasHh(_) => None,
        }
    }

    /// Returns the array of the bias that is added to the product with the matrix.
    pub(crate) fn bias_array(&self) -> Option<WeightArray> {
        match self.array {
            WeightArray::Ih => Some(WeightArray::BiasIh),
            WeightArray::Hh(product) => Some(WeightArray::BiasHh(product)),
            WeightArray::Hr | WeightArray::BiasIh | WeightArray::BiasHh(_) => None,
        }
    }

    /// Returns the bytes of the bias that is added to the product with the matrix, of all directions.
    pub(crate) fn bias_bytes(&self, directions: usize) -> u64 {
        let factors = [directions, self.units, self.gates.len(), size_of::<f32>()];
        if self.bias().is_some() { saturating_product(&factors.map(|n| n as u64)) } else { 0 }
    }

    /// Returns the number of units, rounded up to whole blocks.
    pub(crate) fn padded_units(&self) -> usize {
        self.units.next_multiple_of(self.block)
    }

    pub(crate) fn bytes(&self, directions: usize) -> u64 {
        let (arrays, words) = (1 + usize::from(self.peepholes), words(self.gates.len(), self.precision));
        let factors = [arrays, directions, self.padded_units(), self.columns, words, size_of::<u32>()];
        saturating_product(&factors.map(|n| n as u64))
    }
}
