// The step that a dispatch of one time step is at.
//
// Needs: `chunk` from base/params.wgsl.

/// The place of a step dispatch in its chunk.
struct Step {
    index: u32,
}

@group(1) @binding(2) var<uniform> step_in_chunk: Step;

fn current_step() -> u32 {
    return chunk.first_step + step_in_chunk.index;
}
