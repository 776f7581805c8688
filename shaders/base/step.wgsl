// The step of a dispatch that runs one time step.
//
// Needs: `chunk` from base/params.wgsl.

/// The index of a step's dispatch within its chunk.
struct Step {
    index: u32,
}

@group(1) @binding(2) var<uniform> step_in_chunk: Step;

fn current_step() -> u32 {
    return chunk.first_step + step_in_chunk.index;
}
