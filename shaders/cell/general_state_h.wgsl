// The state of a general cell that carries only h: see cell/state_h.wgsl.

struct State {
    h: f32,
    d: u32,
}

const READS_H = true;

fn load_state(h: f32, s: u32, d: u32, b: u32, u: u32) -> State {
    return State(h, d);
}

fn store_state(state: State, s: u32, d: u32, b: u32, u: u32) {}
