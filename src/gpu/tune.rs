//! Timing the strategies on the device itself, once for a class of shapes.

use std::time::{Duration, Instant};

use crate::blocking::Wait;
use crate::call::Call;
use crate::error::Result;
use crate::gpu::model::GpuModel;
use crate::strategy::Strategy;

/// Rounds, in each of which every strategy runs once; the first is for compilation and buffers, and is not counted.
const ROUNDS: usize = 6;

impl GpuModel {
    /// Times a forward of zeros with each strategy that can run, in turn, and has the fastest taken from now on.
    pub(crate) async fn tune(&self, call: &Call, input: &[f32]) -> Result<Strategy> {
        let named = Strategy::ALL.into_iter().filter(|&strategy| strategy != Strategy::Auto);
        let calls = named.map(|strategy| (call.clone().with_strategy(strategy), Duration::MAX));
        let mut calls: Vec<_> = calls.filter(|(call, _)| self.plan_forward(call.task).is_ok()).collect();
        for round in 0..ROUNDS {
            for (call, least) in &mut calls {
                let start = Instant::now();
                self.forward(call, input, None, Wait::Blocking).await?;
                if round > 0 {
                    *least = start.elapsed().min(*least);
                }
            }
        }
        let Some((fastest, least)) = calls.iter().min_by_key(|(_, least)| least) else {
            // Not even steps run: the reason is the error.
            return self.plan_forward(call.task).map(|plan| plan.strategy());
        };
        let strategy = fastest.task.strategy;
        log::info!("{}, B = {}: {strategy} is the fastest, {least:?}", self.config, call.extents().batch);
        self.context.tuned.insert(self.class(&call.task), strategy);
        Ok(strategy)
    }
}
