// The plain recurrent cell (Elman 1990), as torch.nn.RNN:
//
//   h' = nonlinearity(gx + gh)
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/rnn.rs.
//
// Needs: `nonlinearity` from cell/rnn_tanh.wgsl or cell/rnn_relu.wgsl; `State` from cell/state_h.wgsl.

/// The one pre-activation of a unit.
alias Gates = f32;

alias PackedGates = f32;

fn unpack_gates(packed: PackedGates) -> Gates {
    return packed;
}

fn pack_gates(gates: Gates) -> PackedGates {
    return gates;
}

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    return State(nonlinearity(gx + gh));
}
