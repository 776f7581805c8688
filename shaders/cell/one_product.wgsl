// A cell whose step has one recurrent product, which yields every gate of the input product.
//
// Needs: `Gates`, `PackedGates`, `unpack_gates` from cell/.

alias InputGates = Gates;
alias PackedInputGates = PackedGates;

fn unpack_input_gates(packed: PackedInputGates) -> InputGates {
    return unpack_gates(packed);
}
