//! What an optimiser keeps on a GPU between its steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::blocking::Wait;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::gpu::arrays::BufferRange;
use crate::gpu::context::Context;
use crate::gpu::gradients::DeviceGradients;
use crate::gpu::optim;
use crate::gradients::zero_weights;
use crate::optim::moments::Moments;
use crate::plan::optim::WORD;
use crate::real::Real;
use crate::weights::names::{self, Parameter};

/// What parameters on a GPU belong to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    Layer { prefix: String, config: RecurrentConfig },
    Array { name: String, elements: u64 },
}

/// An array of the parameters' size.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Layer(DeviceGradients),
    Array(BufferRange),
}

/// What is kept for the parameters of an owner, all of which have taken the same steps.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) context: Arc<Context>,
    pub(super) owner: Owner,
    /// The number of steps so far.
    pub(super) step: u64,
    /// [`Rule::arrays`](super::rule::Rule::arrays) names them.
    pub(super) arrays: Vec<Kept>,
}

impl Owner {
    /// Returns the names and sizes of the parameters.
    pub(super) fn parameters(&self) -> Vec<(String, u64)> {
        match self {
            Self::Layer { prefix, config } => {
                let size = |shape: Vec<usize>| shape.iter().product::<usize>() as u64;
                Parameter::of(config).map(|(parameter, shape)| (format!("{prefix}{parameter}"), size(shape))).collect()
            }
            Self::Array { name, elements } => vec![(name.clone(), *elements)],
        }
    }
}

impl Resident {
    /// Returns true if it belongs to a parameter of one of these names.
    pub(super) fn has_one_of(&self, names: &BTreeSet<String>) -> bool {
        self.owner.parameters().iter().any(|(name, _)| names.contains(name))
    }

    /// Returns true if it is of this owner, and on this device.
    pub(super) fn is_of(&self, context: &Context, owner: &Owner) -> bool {
        self.context.gpu.device == context.gpu.device && self.owner == *owner
    }

    /// Creates what a rule that keeps `count` arrays starts from: zeros.
    pub(super) async fn zeros(context: &Arc<Context>, owner: Owner, count: usize) -> Result<Self> {
        let mut arrays = Vec::new();
        for _ in 0..count {
            arrays.push(match &owner {
                Owner::Layer { config, .. } => Kept::Layer(DeviceGradients::zeros(context, config).await?),
                Owner::Array { elements, .. } => Kept::Array(optim::zeros(context, elements * WORD).await?),
            });
        }
        Ok(Self { context: Arc::clone(context), owner, step: 0, arrays })
    }

    /// Uploads what was kept on the host, in the order of the owner's parameters.
    pub(super) async fn upload<F: Real>(
        context: &Arc<Context>,
        owner: Owner,
        moments: &[&Moments<F>],
        wait: Wait,
    ) -> Result<Self> {
        let count = moments.first().map_or(0, |first| first.arrays.len());
        let mut arrays = Vec::new();
        for number in 0..count {
            let mut values = moments.iter().map(|moments| moments.arrays[number].as_slice());
            arrays.push(match &owner {
                Owner::Layer { config, .. } => {
                    let mut weights = zero_weights::<F>(config)?;
                    for ((parameter, _), values) in Parameter::of(config).zip(values) {
                        let index = parameter.layer * config.directions() + parameter.direction;
                        if let Some(tensor) = weights[index].get_mut(parameter.kind) {
                            tensor.data_mut().copy_from_slice(values);
                        }
                    }
                    Kept::Layer(DeviceGradients::upload(context, config, &weights, wait).await?)
                }
                Owner::Array { elements, .. } => {
                    let array = optim::zeros(context, elements * WORD).await?;
                    optim::write(context, &array, values.next().unwrap_or_default(), wait).await?;
                    Kept::Array(array)
                }
            });
        }
        let step = moments.first().map_or(0, |first| first.step);
        Ok(Self { context: Arc::clone(context), owner, step, arrays })
    }

    /// Reads back what is kept, by the parameters' names.
    pub(super) async fn read<F: Real>(&self, wait: Wait) -> Result<Vec<(String, Moments<F>)>> {
        let names = self.owner.parameters().into_iter().map(|(name, _)| name);
        let mut all: Vec<_> = names.map(|name| (name, Moments { step: self.step, arrays: Vec::new() })).collect();
        for array in &self.arrays {
            let values: Vec<Vec<F>> = match array {
                Kept::Layer(array) => {
                    let layers = array.read::<F>(wait).await?;
                    let tensors = names::named(&layers, array.config.directions());
                    tensors.map(|(_, tensor)| tensor.data().to_vec()).collect()
                }
                Kept::Array(range) => optim::read(&self.context, range, wait).await?,
            };
            all.iter_mut().zip(values).for_each(|((_, moments), values)| moments.arrays.push(values));
        }
        Ok(all)
    }
}
