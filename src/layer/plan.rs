//! The plan of a forward, on whatever device.

use std::fmt;

use crate::cpu::plan::CpuPlan;
use crate::plan::Plan as GpuPlan;
use crate::strategy::Strategy;

/// The plan of a forward of one shape: [`Placed::plan`](crate::Placed::plan). Its [`Display`](fmt::Display) is for
/// people: a line, and with `{:#}` what was chosen and why.
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Plan};
///
/// let gru = Gru::random(GruConfig::new(10, 20), 0)?.to(&Device::auto())?;
/// match gru.plan(100, 8)? {
///     Plan::Gpu(plan) => println!("{} dispatches, {}", plan.dispatch_count(), plan.strategy()),
///     Plan::Cpu(plan) => println!("{} threads, {}", plan.threads(), plan.instruction_set()),
///     other => println!("{other}"),
/// }
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Plan {
    /// On a GPU.
    Gpu(Box<GpuPlan>),
    /// On the CPU.
    Cpu(CpuPlan),
}

impl Plan {
    /// Returns the plan of a GPU: its dispatches and submissions. `None` on the CPU.
    pub fn as_gpu(&self) -> Option<&GpuPlan> {
        match self {
            Self::Gpu(plan) => Some(plan),
            Self::Cpu(_) => None,
        }
    }

    /// Returns the strategy of a GPU, which was chosen or asked for; never [`Strategy::Auto`]. `None` on the CPU.
    pub fn strategy(&self) -> Option<Strategy> {
        self.as_gpu().map(GpuPlan::strategy)
    }

    /// Returns the floating-point operations of the matrix products, a multiply-add counted as two.
    pub fn flops(&self) -> u64 {
        match self {
            Self::Gpu(plan) => plan.flops(),
            Self::Cpu(plan) => plan.flops(),
        }
    }

    /// Returns the bytes of device memory that a forward with host input and output takes beside the weights; 0 on the
    /// CPU.
    pub fn device_bytes(&self) -> u64 {
        match self {
            Self::Gpu(plan) => plan.device_bytes(),
            Self::Cpu(_) => 0,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(plan) => plan.fmt(f),
            Self::Cpu(plan) => plan.fmt(f),
        }
    }
}
