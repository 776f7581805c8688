// The state of a cell that carries h alone, which the step kernel keeps itself.

struct State {
    h: f32,
}

fn load_state(h: f32, index: u32) -> State {
    return State(h);
}

fn store_state(state: State, index: u32) {}
