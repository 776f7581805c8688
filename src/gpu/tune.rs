//! Timing the strategies on the device itself, once for a class of shapes.

use std::time::{Duration, Instant};

use crate::Result;
use crate::call::Call;
use crate::gpu::Wait;
use crate::gpu::model::GpuModel;
use crate::strategy::Strategy;

/// Forwards of each; the first is for compilation and buffers, and is not counted.
const FORWARDS: usize = 4;

impl GpuModel {
    /// Times a forward of zeros with each strategy that can run, and has the fastest taken from now on.
    pub(crate) async fn tune(&self, call: &Call, input: &[f32]) -> Result<Strategy> {
        let mut best: Option<(Duration, Strategy)> = None;
        for strategy in Strategy::ALL.into_iter().filter(|&strategy| strategy != Strategy::Auto) {
            let call = call.clone().with_strategy(strategy);
            if self.plan_forward(call.task).is_err() {
                continue;
            }
            let mut least = Duration::MAX;
            for n in 0..FORWARDS {
                let start = Instant::now();
                self.forward(&call, input, None, Wait::Blocking).await?;
                least = if n == 0 { least } else { least.min(start.elapsed()) };
            }
            log::info!("{}: {strategy} takes {least:?}", self.config);
            if best.is_none_or(|(time, _)| least < time) {
                best = Some((least, strategy));
            }
        }
        let Some((_, strategy)) = best else {
            // Not even steps run: the reason is the error.
            return self.plan_forward(call.task).map(|plan| plan.strategy());
        };
        self.context.tuned.insert(self.class(&call.task), strategy);
        Ok(strategy)
    }
}
