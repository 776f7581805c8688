// The plain recurrent cell (Elman 1990), as torch.nn.RNN:
//
//   h' = nonlinearity(gx + gh)
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/rnn.rs.
//
// Needs: `nonlinearity` from cell/rnn_tanh.wgsl or cell/rnn_relu.wgsl; `State` from cell/state_h.wgsl;
// `Gates` from cell/gates_1.wgsl.

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    return State(nonlinearity(gx + gh));
}
