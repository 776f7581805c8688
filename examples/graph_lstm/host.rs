//! The model on the CPU: the graph convolution and the scaling of c are loops, the cell is the crate's.

use anyhow::{Context, Result};
use wgpu_rnn::{Device, LstmState, Tensor};

use crate::Run;
use crate::model::GraphLstm;

pub fn run(model: &GraphLstm, device: &Device, x: &Tensor) -> Result<Run> {
    let cell = model.cell.to(device)?;
    let (roads, batch) = (model.roads, x.shape()[1]);
    let zeros = Tensor::zeros([batch, roads])?;
    let mut state = LstmState { h: zeros.clone(), c: zeros };
    let mut h = Vec::new();
    for x_t in x.data().chunks_exact(batch * roads) {
        // g_t = (W_gc ⊙ Ã ⊙ FFR) x_t
        let features = |x: &[f32]| -> Vec<f32> {
            let filters = model.filters.chunks_exact(roads);
            filters.map(|filter| filter.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
        };
        let features: Vec<f32> = x_t.chunks_exact(roads).flat_map(features).collect();
        // c = n ⊙ c
        for row in 0..batch {
            let c = state.c.row_mut(&[row]).context("a row of c")?;
            c.iter_mut().zip(&model.neighbors).for_each(|(c, n)| *c *= n);
        }
        state = cell.forward(&Tensor::new([batch, model.hops * roads], features)?, &state)?;
        h.extend_from_slice(state.h.data());
    }
    Ok(Run { h, c: state.c.into_data(), how: "step by step on the CPU".to_owned() })
}
