//! The strategies of running the recurrence on a GPU.

use std::fmt;

/// The way in which a GPU runs the recurrence: [`Placed::set_strategy`](crate::Placed::set_strategy). All strategies
/// give the same numbers except for rounding; which one is fastest depends on the sizes and on the GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// Chosen by hidden size, batch, layers, length and device, or by what `tune` has found; a [`Plan`](crate::Plan)
    /// says which one, and why.
    #[default]
    Auto,
    /// One dispatch per time step, whose workgroups share the hidden units. Runs every shape.
    Step,
    /// One dispatch per layer for all time steps, or for some thousand of them, in which a workgroup owns all hidden
    /// units of a row: no step waits for another workgroup. For small hidden sizes, with H up to the invocations of a
    /// workgroup (256 on every device, 1,024 on many, if its memory holds their sums), without `proj_size`.
    Sequence,
    /// One dispatch per time step over all layers at once, each of them one chunk of steps behind the layer below:
    /// fewer steps wait for each other. For stacks of 2 to 32 layers in one direction, without `proj_size`. Gives the
    /// same bits as [`Step`](Self::Step).
    Wavefront,
}

impl Strategy {
    /// Every strategy that can be requested, [`Auto`](Self::Auto) first.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Step, Self::Sequence, Self::Wavefront];

    /// Returns the name: "auto", "step" and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Step => "step",
            Self::Sequence => "sequence",
            Self::Wavefront => "wavefront",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
