// What the norm of all gradients decides for a step.
struct Clip {
    squares: f32,
    norm: f32,
    scale: f32, // factor of all gradients
    steps: u32, // 0 if a gradient is NaN or infinite: then nothing changes
}
